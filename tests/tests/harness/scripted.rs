//! A relay that does what a test says, whatever it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::Event;

/// Ends with its connections when dropped.
pub(crate) struct Scripted {
    /// Where to connect.
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// One connection of somebody.
pub(crate) struct Conversation {
    /// Which, from 1.
    pub(crate) number: usize,
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Scripted {
    /// Plays the script with everybody who connects.
    pub(crate) async fn start<P>(play: impl Fn(Conversation) -> P + Send + Sync + Clone + 'static) -> Self
    where
        P: Future<Output = ()> + Send,
    {
        Self::on_sockets(move |number, socket| {
            let play = play.clone();
            async move {
                if let Ok(socket) = accept_async(socket).await {
                    play(Conversation { number, socket }).await;
                }
            }
        })
        .await
    }

    /// The same, before the handshake.
    pub(crate) async fn on_sockets<P>(play: impl Fn(usize, TcpStream) -> P + Send + Sync + Clone + 'static) -> Self
    where
        P: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::AcqRel) + 1;
                let play = play.clone();
                conversations.spawn(async move { play(number, socket).await });
            }
        });
        Self { url, connections, _tasks: tasks }
    }

    /// How many have connected.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }
}

impl Conversation {
    /// The next message. `None` when the other is gone.
    pub(crate) async fn hear(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next REQ: its name and its filter. What is not a REQ is passed by, NEG-OPEN refused.
    pub(crate) async fn req(&mut self) -> Option<(String, Value)> {
        loop {
            let mut message = self.hear().await?;
            let name = message[1].as_str().unwrap_or_default().to_owned();
            match message[0].as_str()? {
                "REQ" => return Some((name, message[2].take())),
                "NEG-OPEN" => drop(self.say(json!(["NEG-ERR", name, "unsupported: not here"])).await?),
                _ => {}
            }
        }
    }

    /// Says something. `None` when the other is gone.
    pub(crate) async fn say(&mut self, message: impl ToString) -> Option<()> {
        self.socket.send(Message::text(message.to_string())).await.ok()
    }

    /// Answers a REQ with what of `events`, newest first, it asks for. `None` when the other is gone, or more than `most`
    /// would have to be given: who calls then lets the connection end.
    pub(crate) async fn give(&mut self, name: &str, filter: &Value, events: &[Event], most: usize) -> Option<()> {
        let limit = filter["limit"].as_u64().map_or(500, |limit| usize::try_from(limit).unwrap());
        let asked: Vec<&Event> = events.iter().filter(|event| is_asked_for(filter, event)).take(limit).collect();
        for event in asked.iter().take(most) {
            self.say(json!(["EVENT", name, event.0])).await?;
        }
        if asked.len() > most { None } else { self.say(json!(["EOSE", name])).await }
    }

    /// Says nothing until the other is gone.
    pub(crate) async fn until_gone(&mut self) {
        while self.socket.next().await.is_some_and(|item| item.is_ok()) {}
    }
}

/// What a filter says of times, ids, kinds and `e` tags.
fn is_asked_for(filter: &Value, event: &Event) -> bool {
    let at = event.created_at();
    let has = |name: &str, value: &Value| filter[name].as_array().is_none_or(|values| values.contains(value));
    let tags = event["tags"].as_array().unwrap();
    let named = filter["#e"].as_array();
    filter["since"].as_u64().is_none_or(|since| at >= since)
        && filter["until"].as_u64().is_none_or(|until| at <= until)
        && has("ids", &event["id"])
        && has("kinds", &event["kind"])
        && named.is_none_or(|ids| tags.iter().any(|tag| tag[0] == "e" && ids.contains(&tag[1])))
}
