//! A pico node: the least that connects, downloads, uploads and hears, written from the recorded frames and not from the
//! relay's code.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use picofeed::{Block, Feed, Format, Id, Key, Limits, Merged, Secret};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};

use super::PATIENCE;

/// What one of our requests was about.
#[derive(Clone, Debug, PartialEq)]
enum Ask {
    NodeId,
    Query,
    Next,
    /// These feeds are still to be sent.
    Upload(VecDeque<Vec<u8>>),
}

/// A node with its own repo of feeds.
pub(crate) struct Node {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) format: Format,
    pub(crate) secret: Secret,
    /// By owner.
    pub(crate) feeds: BTreeMap<Key, Feed>,
    /// Every block it was sent or wrote.
    pub(crate) known: HashSet<Id>,
    /// Feeds that fit nowhere yet.
    pool: Vec<Feed>,
    asks: HashMap<u16, Ask>,
    port: u16,
    /// Ids of blocks that came out of the blue, in order.
    pub(crate) live: Vec<Id>,
    /// Feeds that came in answer to the QUERY.
    pub(crate) answers: usize,
    /// The answer to the QUERY is complete.
    pub(crate) is_synced: bool,
    /// The relay has read everything this node had.
    pub(crate) is_read: bool,
    pub(crate) relay_id: Option<[u8; 8]>,
}

fn frame(to: u16, reply: Option<u16>, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = to.to_be_bytes().to_vec();
    out.extend(reply.unwrap_or(0).to_be_bytes());
    out.push(u8::from(reply.is_some()));
    out.push(kind);
    out.extend(data);
    out
}

/// Reads and verifies a feed that the relay sent. What many nodes of one test are sent is verified once.
fn read(format: Format, data: Bytes) -> Feed {
    static READ: Mutex<Option<HashMap<Bytes, Feed>>> = Mutex::new(None);
    let mut known = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(feed) = known.as_ref().and_then(|known| known.get(&data)) {
        return feed.clone();
    }
    drop(known);
    let limits = Limits::NONE;
    let feed = Feed::decode(format, data.clone(), &limits).expect("the relay forwards what a node cannot read");
    let feed = feed.verify(&limits).expect("the relay forwards what is not signed");
    known = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if data.len() < 1_000 && known.len() < 20_000 {
        known.insert(data, feed.clone());
    }
    feed
}

/// Merges a part of a chain, if it is one of this chain.
fn fits(known: &mut Feed, part: &Feed) -> bool {
    !matches!(known.merge(part), Merged::Unrelated)
}

/// A live message with this feed.
pub(crate) fn live(feed: &[u8]) -> Vec<u8> {
    frame(0, None, 2, feed)
}

impl Node {
    /// Connects, without a word.
    pub(crate) async fn silent(url: &str, format: Format, seed: [u8; 32]) -> Self {
        Self::try_from(url, [127, 0, 0, 1], format, seed).await.unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// The same from another address of the loopback; the error is why the relay does not let it in.
    pub(crate) async fn try_from(url: &str, from: [u8; 4], format: Format, seed: [u8; 32]) -> Result<Self, Error> {
        let limits = WebSocketConfig::default().max_message_size(Some(64 << 20)).max_frame_size(Some(64 << 20));
        let address = url.strip_prefix("ws://").unwrap().split('/').next().unwrap();
        let own = TcpSocket::new_v4().unwrap();
        own.bind((from, 0).into()).unwrap();
        own.set_nodelay(true).unwrap();
        let stream = MaybeTlsStream::Plain(own.connect(address.parse().unwrap()).await.unwrap());
        let connected = client_async_with_config(url, stream, Some(limits));
        let (socket, _) = timeout(PATIENCE, connected).await.unwrap()?;
        Ok(Self {
            socket,
            format,
            secret: Secret::ed25519(seed),
            feeds: BTreeMap::new(),
            known: HashSet::new(),
            pool: Vec::new(),
            asks: HashMap::new(),
            port: 0,
            live: Vec::new(),
            answers: 0,
            is_synced: false,
            is_read: false,
            relay_id: None,
        })
    }

    /// How the relay turns this address away: the text of ERR, and the code and reason of the end, which must be the same.
    /// None if there is a place.
    pub(crate) async fn turned_away(url: &str, from: [u8; 4]) -> Option<(String, u16)> {
        let mut node = Self::try_from(url, from, Format::V8, [77; 32]).await.unwrap();
        node.introduce([77; 8]).await;
        let error = loop {
            let answer = node.next_frame().await.expect("closed without an answer to NODE_ID");
            if answer[..2] == [0, 1] {
                match answer[5] {
                    255 => break String::from_utf8(answer[6..].to_vec()).unwrap(),
                    _ => return None,
                }
            }
        };
        let end = node.until_closed().await.expect("no Close frame");
        assert_eq!(end.reason.as_str(), error);
        Some((error, end.code.into()))
    }

    /// Connects with these feeds, and stays until both sides know what the other had.
    pub(crate) async fn with_feeds(url: &str, format: Format, seed: u8, feeds: BTreeMap<Key, Feed>) -> Self {
        let mut node = Self::silent(url, format, [seed; 32]).await;
        node.known.extend(feeds.values().flat_map(|feed| feed.iter().map(Block::id)));
        node.feeds = feeds;
        node.introduce([seed; 8]).await;
        node.until("synced", |node| node.is_synced && node.is_read).await;
        node
    }

    /// A node without feeds.
    pub(crate) async fn connect(url: &str, format: Format, seed: u8) -> Self {
        Self::with_feeds(url, format, seed, BTreeMap::new()).await
    }

    pub(crate) async fn introduce(&mut self, id: [u8; 8]) {
        self.ask(0, 3, &id, Ask::NodeId).await;
    }

    async fn ask(&mut self, to: u16, kind: u8, data: &[u8], ask: Ask) {
        // From 65535 back to 1, where JavaScript nodes fail.
        self.port = self.port.checked_add(1).unwrap_or(1);
        assert!(!self.asks.contains_key(&self.port), "port {} is still open", self.port);
        self.asks.insert(self.port, ask);
        self.send(frame(to, Some(self.port), kind, data)).await;
    }

    /// Sends a message as it is.
    pub(crate) async fn send(&mut self, bytes: Vec<u8>) {
        assert!(self.try_send(bytes).await, "the relay does not read");
    }

    pub(crate) async fn try_send(&mut self, bytes: Vec<u8>) -> bool {
        matches!(timeout(PATIENCE, self.socket.send(Message::Binary(bytes.into()))).await, Ok(Ok(())))
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        let _ = timeout(PATIENCE, self.socket.send(message)).await;
    }

    /// Writes a block and tells the relay.
    pub(crate) async fn write(&mut self, body: &str) -> Block {
        self.write_bytes(body.as_bytes()).await
    }

    pub(crate) async fn write_bytes(&mut self, body: &[u8]) -> Block {
        let block = self.append_bytes(body);
        let feed = Feed::from_blocks([block.clone()]).unwrap();
        self.send(live(&feed.encode())).await;
        block
    }

    /// Writes a block, to oneself.
    pub(crate) fn append(&mut self, body: &str) -> Block {
        self.append_bytes(body.as_bytes())
    }

    pub(crate) fn append_bytes(&mut self, body: &[u8]) -> Block {
        let feed = self.feeds.entry(self.secret.key()).or_insert_with(|| Feed::new(self.format));
        let block = feed.append(body, &self.secret).unwrap();
        self.known.insert(block.id());
        block
    }

    /// Goes on until something holds, as long as messages come.
    pub(crate) async fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        while !is_so(self) {
            match timeout(PATIENCE, self.socket.next()).await {
                Ok(Some(Ok(message))) => self.hear(message).await,
                Ok(other) => panic!("the relay closed while waiting for {what}: {other:?}"),
                Err(_) => panic!("{what} does not come; feeds {:?}, answers {}", self.heights(), self.answers),
            }
        }
    }

    /// Goes on for a while, whatever comes.
    pub(crate) async fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Ok(Some(Ok(message))) = timeout_at(end, self.socket.next()).await {
            self.hear(message).await;
        }
    }

    /// Goes on until the relay closes.
    pub(crate) async fn until_closed(&mut self) -> Option<CloseFrame> {
        let closed = timeout(PATIENCE, async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(close))) => return close,
                    Some(Ok(message)) => self.hear(message).await,
                    Some(Err(_)) | None => return None,
                }
            }
        });
        closed.await.expect("the relay does not close the connection")
    }

    /// The next frame, not acted on.
    pub(crate) async fn next_frame(&mut self) -> Option<Vec<u8>> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("no frame comes") {
                Some(Ok(Message::Binary(bytes))) => return Some(bytes.to_vec()),
                Some(Ok(Message::Text(text))) => panic!("a text frame kills JavaScript nodes: {text}"),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Binary(bytes) => self.frame(bytes).await,
            Message::Text(text) => panic!("a text frame kills JavaScript nodes: {text}"),
            _ => {}
        }
    }

    async fn frame(&mut self, bytes: Bytes) {
        assert!(bytes.len() >= 6, "a short frame kills JavaScript nodes: {bytes:?}");
        let to = u16::from_be_bytes([bytes[0], bytes[1]]);
        let reply = (bytes[4] & 1 == 1).then(|| u16::from_be_bytes([bytes[2], bytes[3]]));
        let (kind, data) = (bytes[5], bytes.slice(6..));
        if to == 0 {
            return self.message(kind, data, reply).await;
        }
        let ask = self.asks.remove(&to).unwrap_or_else(|| panic!("a reply to port {to}, which is not open"));
        match (ask, kind) {
            (Ask::NodeId, 0) => {
                let parameters: &[u8] = if self.format == Format::V8 { &[0xa0] } else { &[0xde, 0, 0] };
                self.ask(0, 1, parameters, Ask::Query).await;
            }
            (Ask::Query | Ask::Next, 0) => self.is_synced = true,
            (Ask::Query | Ask::Next, 2) => {
                self.answers += 1;
                self.merge(data);
                match reply {
                    Some(port) => self.ask(port, 0, &[], Ask::Next).await,
                    None => self.is_synced = true,
                }
            }
            (Ask::Upload(feeds), 0) => self.upload(reply.unwrap(), feeds).await,
            (ask, kind) => panic!("answer {kind} to {ask:?}"),
        }
    }

    async fn message(&mut self, kind: u8, data: Bytes, reply: Option<u16>) {
        match kind {
            3 => {
                assert_eq!(data.len(), 8);
                self.relay_id = Some(data[..].try_into().unwrap());
                self.send(frame(reply.unwrap(), None, 0, &[])).await;
            }
            1 => {
                assert!(data[..] == [0xa0] || data[..] == [0xde, 0, 0], "{data:?}");
                let feeds = self.feeds.values().map(Feed::encode).collect();
                self.upload(reply.unwrap(), feeds).await;
            }
            2 => {
                let feed = self.merge(data);
                self.live.extend(feed.iter().map(Block::id));
            }
            _ => panic!("message {kind}"),
        }
    }

    async fn upload(&mut self, to: u16, mut feeds: VecDeque<Vec<u8>>) {
        let Some(feed) = feeds.pop_front() else {
            self.send(frame(to, None, 0, &[])).await;
            self.is_read = true;
            return;
        };
        if !feeds.is_empty() {
            return self.ask(to, 2, &feed, Ask::Upload(feeds)).await;
        }
        self.send(frame(to, None, 2, &feed)).await;
        self.is_read = true;
    }

    /// Takes a feed in, as strictly as a JavaScript node would have to be to survive.
    fn merge(&mut self, data: Bytes) -> Feed {
        let feed = read(self.format, data);
        assert!(!feed.is_empty(), "an empty feed");
        self.known.extend(feed.iter().map(Block::id));
        self.pool.push(feed.clone());
        while self.merge_pool() {}
        feed
    }

    /// Puts one feed of the pool in its place, if there is one.
    fn merge_pool(&mut self) -> bool {
        for at in 0..self.pool.len() {
            let feed = &self.pool[at];
            if !feed.is_partial() {
                let feed = self.pool.remove(at);
                let merged = self.feeds.entry(feed[0].author()).or_insert_with(|| Feed::new(self.format)).merge(&feed);
                assert!(merged.count().is_some(), "{merged:?}");
                return true;
            }
            // Most blocks continue their author's own chain: the others are not asked.
            let author = feed[0].author();
            let own = self.feeds.get_mut(&author).is_some_and(|own| fits(own, feed));
            if own || self.feeds.iter_mut().any(|(owner, known)| *owner != author && fits(known, feed)) {
                self.pool.remove(at);
                return true;
            }
        }
        false
    }

    pub(crate) fn heights(&self) -> Vec<usize> {
        self.feeds.values().map(|feed| feed.len()).collect()
    }

    /// Every block the node has.
    pub(crate) fn ids(&self) -> HashSet<Id> {
        self.feeds.values().flat_map(|feed| feed.iter().map(Block::id)).collect()
    }

    /// Every byte the node has, in order.
    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        self.feeds.values().map(Feed::encode).collect()
    }

    /// Waits until it has a block.
    pub(crate) async fn until_has(&mut self, block: &Block) {
        let id = block.id();
        self.until("a block", |node| node.known.contains(&id)).await;
        assert!(self.pool.is_empty(), "feeds that fit nowhere");
    }
}
