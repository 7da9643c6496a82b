//! A listener between a relay and another: passes everything on and writes down the texts.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async_with_config};

/// What passed: true when it came from who connected.
type Seen = Arc<Mutex<Vec<(bool, Value)>>>;

/// Ends with its connections when dropped.
pub(crate) struct Tap {
    /// Where to connect.
    pub(crate) url: String,
    seen: Seen,
    cut: watch::Sender<u32>,
    _tasks: JoinSet<()>,
}

impl Tap {
    /// In front of the relay at `url`. Without `negentropy`, NEG-OPEN is answered as relays do that do not know it.
    pub(crate) async fn before(url: &str, negentropy: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = format!("ws://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let (cut, cuts) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let (to, seen_by_task) = (url.to_owned(), Arc::clone(&seen));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(pass(socket, to.clone(), negentropy, Arc::clone(&seen_by_task), cuts.clone()));
            }
        });
        Self { url: here, seen, cut, _tasks: tasks }
    }

    /// Ends all connections; new ones are let in.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Everything that passed so far.
    pub(crate) fn seen(&self) -> Vec<(bool, Value)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many messages of a kind passed, either way.
    pub(crate) fn count(&self, verb: &str) -> usize {
        self.seen().iter().filter(|(_, message)| message[0] == verb).count()
    }
}

async fn pass(socket: TcpStream, to: String, negentropy: bool, seen: Seen, mut cuts: watch::Receiver<u32>) {
    cuts.mark_unchanged();
    // Small messages one after the other, which Nagle's algorithm would keep back.
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let Ok(mut client) = accept_async(socket).await else { return };
    let Ok((mut relay, _)) = connect_async_with_config(to, None, true).await else { return };
    let note = |up: bool, message: &Message| {
        if let Message::Text(text) = message {
            let json: Value = serde_json::from_str(text).unwrap();
            seen.lock().unwrap_or_else(PoisonError::into_inner).push((up, json));
        }
    };
    loop {
        let passed = tokio::select! {
            Some(Ok(message)) = client.next() => {
                note(true, &message);
                let is_open = matches!(&message, Message::Text(text) if text.starts_with("[\"NEG-OPEN\""));
                if is_open && !negentropy {
                    client.send(Message::text(r#"["NOTICE","ERROR: bad msg: unknown cmd"]"#)).await
                } else {
                    relay.send(message).await
                }
            }
            Some(Ok(message)) = relay.next() => {
                note(false, &message);
                client.send(message).await
            }
            _ = cuts.changed() => return,
            else => return,
        };
        if passed.is_err() {
            return;
        }
    }
}
