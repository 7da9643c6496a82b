//! A WebSocket client that speaks raw text.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use super::{Event, Key, Names, matches};

/// How long an answer may take on a busy machine. Nothing waits this long unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    url: String,
    /// The last challenge that came (NIP-42); empty before the first.
    pub(crate) challenge: String,
    /// Texts for `<name>` in [`Client::check`].
    pub(crate) names: Names,
    /// Messages that came while another was awaited.
    waiting: VecDeque<Value>,
    queries: usize,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> Self {
        Self::connect_with(url, &[]).await.unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// The same with more request headers.
    pub(crate) async fn connect_with(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = timeout(PATIENCE, connect_async(request)).await.expect("the handshake takes too long")?;
        Ok(Self::on(socket, url))
    }

    fn on(socket: WebSocketStream<MaybeTlsStream<TcpStream>>, url: &str) -> Self {
        Self {
            socket,
            url: url.to_owned(),
            challenge: String::new(),
            names: Names::default(),
            waiting: VecDeque::new(),
            queries: 0,
        }
    }

    /// Connects from an address of the loopback, such as 127.0.0.2: the relay takes it for somebody else.
    pub(crate) async fn connect_from(url: &str, address: [u8; 4]) -> Result<Self, Error> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((address, 0).into())?;
        let server = url.strip_prefix("ws://").expect("a plain URL").parse().expect("an address");
        let stream = timeout(PATIENCE, socket.connect(server)).await.expect("connecting takes too long")?;
        let handshake = client_async(url, MaybeTlsStream::Plain(stream));
        let (socket, _) = timeout(PATIENCE, handshake).await.expect("the handshake takes too long")?;
        Ok(Self::on(socket, url))
    }

    pub(crate) fn name(&mut self, name: &str, text: impl ToString) {
        self.names.bind(name, text);
    }

    /// Sends one text message as it is.
    pub(crate) async fn send(&mut self, text: impl ToString) {
        self.send_message(Message::text(text.to_string())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        timeout(PATIENCE, self.socket.send(message)).await.expect("sending takes too long").unwrap();
    }

    /// Sends without asking whether it worked: for a socket that the relay may be closing.
    pub(crate) async fn try_send(&mut self, text: impl ToString) -> bool {
        matches!(timeout(PATIENCE, self.socket.send(Message::text(text.to_string()))).await, Ok(Ok(())))
    }

    /// Sends a text frame whose bytes need not be UTF-8.
    pub(crate) async fn send_text_bytes(&mut self, bytes: &[u8]) {
        let frame = Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true);
        self.send_message(Message::Frame(frame)).await;
    }

    /// The next message of the relay that is no challenge: those are noted in passing.
    pub(crate) async fn recv(&mut self) -> Value {
        match self.waiting.pop_front() {
            Some(message) => message,
            None => self.recv_new().await,
        }
    }

    async fn recv_new(&mut self) -> Value {
        match timeout(PATIENCE, self.recv_or_close()).await.expect("no message comes") {
            Ok(message) => message,
            Err(close) => panic!("the relay closed the connection: {close:?}"),
        }
    }

    /// The next message that is no challenge, or why the connection ended. Waits as long as it takes.
    pub(crate) async fn recv_or_close(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            let message = self.recv_any().await?;
            if message[0] != "AUTH" {
                return Ok(message);
            }
        }
    }

    /// The same, challenges too.
    pub(crate) async fn recv_any(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                    if message[0] == "AUTH" {
                        assert_eq!(message.as_array().unwrap().len(), 2, "{message}");
                        self.challenge = message[1].as_str().expect("a challenge is a string").to_owned();
                    }
                    return Ok(message);
                }
                Some(Ok(Message::Close(close))) => return Err(close),
                Some(Ok(Message::Binary(_))) => panic!("a binary frame from the relay"),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Reads until the connection ends: all messages, and the reason.
    pub(crate) async fn until_closed(&mut self) -> (Vec<Value>, Option<CloseFrame>) {
        let mut messages: Vec<Value> = self.waiting.drain(..).collect();
        timeout(PATIENCE, async {
            loop {
                match self.recv_or_close().await {
                    Ok(message) => messages.push(message),
                    Err(close) => return close,
                }
            }
        })
        .await
        .map(|close| (messages, close))
        .expect("the relay does not close the connection")
    }

    /// The next message for which `wanted` says yes; those before it stay for later.
    pub(crate) async fn recv_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(at).unwrap();
        }
        loop {
            let message = self.recv_new().await;
            if wanted(&message) {
                return message;
            }
            self.waiting.push_back(message);
        }
    }

    /// The next messages are these, in this order.
    pub(crate) async fn expect(&mut self, expected: &[&str]) {
        for wanted in expected {
            let filled = self.names.fill(wanted);
            let wanted: Value = serde_json::from_str(&filled).unwrap_or_else(|error| panic!("{error}: {filled}"));
            let got = self.recv().await;
            assert!(matches(&wanted, &got), "\nexpected {wanted}\n     got {got}");
        }
    }

    /// Sends `message`, after which the next messages are those expected. Both may hold `<name>`s.
    pub(crate) async fn check(&mut self, message: &str, expected: &[&str]) {
        self.send(self.names.fill(message)).await;
        self.expect(expected).await;
    }

    /// A round trip: what the relay had to answer to earlier messages has come, and the connection works.
    pub(crate) async fn fence(&mut self) {
        assert_eq!(self.query(json!({"kinds": []})).await, []);
    }

    /// Sends an event and gives the answer: accepted or not, and the text.
    pub(crate) async fn offer(&mut self, event: &Event) -> (bool, String) {
        self.send(format!(r#"["EVENT",{event}]"#)).await;
        self.ok(event.id()).await
    }

    /// The OK for an event or AUTH.
    pub(crate) async fn ok(&mut self, id: &str) -> (bool, String) {
        let answer = self.recv_where(|message| message[0] == "OK" && message[1] == id).await;
        assert_eq!(answer.as_array().unwrap().len(), 4, "OK has four elements: {answer}");
        (answer[2].as_bool().expect("a bool"), answer[3].as_str().expect("a text").to_owned())
    }

    /// Publishes events that must be accepted as new.
    pub(crate) async fn publish(&mut self, events: &[&Event]) {
        for event in events {
            let (accepted, text) = self.offer(event).await;
            assert!(accepted && !text.starts_with("duplicate"), "{accepted} {text:?} for {event}");
        }
    }

    /// Publishes an event that must be refused with that prefix.
    pub(crate) async fn refused(&mut self, event: &Event, prefix: &str) -> String {
        let (accepted, text) = self.offer(event).await;
        assert!(!accepted, "accepted {event}, expected {prefix:?}");
        assert!(text.starts_with(prefix), "got {text:?}, expected {prefix:?} for {event}");
        text
    }

    /// The challenge of this connection. If none came yet, something is asked for that needs AUTH.
    pub(crate) async fn challenged(&mut self) -> String {
        if self.challenge.is_empty() {
            let reason = self.closed("REQ", json!({"kinds": [1059]})).await;
            assert!(reason.starts_with("auth-required: "), "{reason}");
        }
        self.challenge.clone()
    }

    /// Proves to hold `key` (NIP-42).
    pub(crate) async fn auth(&mut self, key: &Key) {
        self.challenged().await;
        let event = self.auth_event(key);
        let answer = self.offer_auth(&event).await;
        assert!(answer.0, "AUTH is refused: {}", answer.1);
    }

    pub(crate) fn auth_event(&self, key: &Key) -> Event {
        assert!(!self.challenge.is_empty(), "no challenge came");
        key.event(json!({"kind": 22242, "tags": [["relay", self.url], ["challenge", self.challenge]]}))
    }

    pub(crate) async fn offer_auth(&mut self, event: &Event) -> (bool, String) {
        self.send(format!(r#"["AUTH",{event}]"#)).await;
        self.ok(event.id()).await
    }

    /// Asks for stored events with one filter, or several in an array.
    pub(crate) async fn query(&mut self, filters: Value) -> Vec<Event> {
        self.queries += 1;
        let sub = format!("query {}", self.queries);
        self.send(request("REQ", &sub, filters)).await;
        let mut events = Vec::new();
        loop {
            let mut message = self.recv_where(|message| message[1] == sub.as_str()).await;
            match message[0].as_str() {
                Some("EVENT") => events.push(Event(message[2].take())),
                Some("EOSE") => break,
                _ => panic!("the query is refused: {message}"),
            }
        }
        self.send(json!(["CLOSE", sub])).await;
        events
    }

    /// The ids of stored events, in the order in which they come.
    pub(crate) async fn ids(&mut self, filters: Value) -> Vec<String> {
        self.query(filters).await.iter().map(|event| event.id().to_owned()).collect()
    }

    /// The answer to a COUNT (NIP-45).
    pub(crate) async fn count(&mut self, filters: Value) -> Value {
        self.queries += 1;
        let sub = format!("count {}", self.queries);
        self.send(request("COUNT", &sub, filters)).await;
        let mut message = self.recv_where(|message| message[1] == sub.as_str()).await;
        assert_eq!(message[0], "COUNT", "the count is refused: {message}");
        message[2].take()
    }

    /// The text of a CLOSED that must answer a REQ or COUNT.
    pub(crate) async fn closed(&mut self, verb: &str, filters: Value) -> String {
        self.queries += 1;
        let sub = format!("closed {}", self.queries);
        self.send(request(verb, &sub, filters)).await;
        let message = self.recv_where(|message| message[1] == sub.as_str()).await;
        assert_eq!(message[0], "CLOSED", "the query is answered: {message}");
        message[2].as_str().expect("a reason").to_owned()
    }

    /// Opens a subscription and passes by its stored events.
    pub(crate) async fn subscribe(&mut self, sub: &str, filters: Value) {
        self.send(request("REQ", sub, filters)).await;
        loop {
            let message = self.recv_where(|message| message[1] == sub).await;
            match message[0].as_str() {
                Some("EVENT") => {}
                Some("EOSE") => return,
                _ => panic!("the subscription is refused: {message}"),
            }
        }
    }

    /// The next event of a subscription.
    pub(crate) async fn event_of(&mut self, sub: &str) -> Event {
        let mut message = self.recv_where(|message| message[1] == sub).await;
        assert_eq!(message[0], "EVENT", "{message}");
        Event(message[2].take())
    }
}

fn request(verb: &str, sub: &str, filters: Value) -> Value {
    let mut message = vec![json!(verb), json!(sub)];
    match filters {
        Value::Array(filters) => message.extend(filters),
        filter => message.push(filter),
    }
    Value::Array(message)
}
