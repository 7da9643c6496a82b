//! What waits to be sent to one client, bounded in bytes.

mod outboxes;

use std::collections::VecDeque;
use std::task::Context;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::outboxes::Outboxes;
use self::outboxes::Share;
use crate::message::reply::{self, EventHead};
use crate::store::Body;

/// The sending side of a connection, shared by all who have something to say to it.
pub struct Outbox {
    state: Mutex<State>,
    /// Wakes the connection's task.
    task: AtomicWaker,
    /// Told when there is room again.
    sent: Notify,
    bytes_max: usize,
    /// What it holds of the sum of all, if it counts there.
    share: Option<Share>,
}

#[derive(Default)]
struct State {
    /// Each with what it holds of the sum of all.
    items: VecDeque<(Item, usize)>,
    bytes: usize,
    /// What all items hold of the sum of all.
    charge: usize,
    closing: Option<Closing>,
}

enum Item {
    Text(String),
    /// The body is shared by all who get the event; it becomes a message when it is sent.
    Event(EventHead, Body),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Event(head, body) => head.bytes() + body.as_str().len(),
        }
    }
}

/// Why the relay ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// The client reads more slowly than its live events come.
    TooSlow,
    /// All clients together read too slowly, and this one has most to read.
    OutOfMemory,
    /// The client sends events that are false.
    FalseEvents,
    /// Another address has fewer connections, and there was no place for it.
    PlaceTaken,
}

impl Closing {
    /// What the log calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooSlow => "too slow",
            Self::OutOfMemory => "out of memory",
            Self::FalseEvents => "false events",
            Self::PlaceTaken => "place taken",
        }
    }

    /// WebSocket close code and reason.
    pub fn code_and_reason(self) -> (u16, &'static str) {
        match self {
            Self::TooSlow => (1008, "too slow: events come faster than you read them"),
            Self::OutOfMemory => (1008, "too slow: the relay cannot keep so much for you to read"),
            Self::FalseEvents => (1008, "rate-limited: too many events with a wrong id or signature"),
            Self::PlaceTaken => (1008, "rate-limited: the relay is full, and your address has most connections"),
        }
    }
}

/// What is counted for each item beside its text.
const ITEM_BYTES: usize = 64;

/// What an outbox may hold while all together hold too much: a scan that finds less goes on.
const FREE_BYTES: usize = 64 << 10;

impl Outbox {
    /// Holds up to `bytes_max` bytes of live events. Answers to what the client itself asked are always taken: who asks
    /// looks at [`Outbox::has_room`] first.
    pub fn new(bytes_max: usize) -> Self {
        Self::with(bytes_max, None)
    }

    fn with(bytes_max: usize, share: Option<Share>) -> Self {
        Self { state: Mutex::default(), task: AtomicWaker::new(), sent: Notify::new(), bytes_max, share }
    }

    /// Queues an answer.
    pub fn text(&self, text: String) {
        self.texts([text]);
    }

    /// Queues many answers.
    pub fn texts(&self, texts: impl IntoIterator<Item = String>) {
        self.extend(texts.into_iter().map(Item::Text));
    }

    /// Queues stored events, and what follows them, in one step.
    pub fn events(&self, head: &EventHead, bodies: impl IntoIterator<Item = Body>, then: Option<String>) {
        let events = bodies.into_iter().map(|body| Item::Event(head.clone(), body));
        self.extend(events.chain(then.map(Item::Text)));
    }

    /// Queues a live event. When there is no room the client is too slow, and will be closed.
    pub fn live(&self, head: &EventHead, body: Body) {
        let mut state = self.state.lock();
        if state.bytes > self.bytes_max {
            self.fail(&mut state, Closing::TooSlow);
        } else {
            // It is there once, however many wait for it.
            let charge = body.as_str().len() / body.holders() + ITEM_BYTES;
            self.push(&mut state, Item::Event(head.clone(), body), charge);
            self.charge_all(charge);
        }
        self.queued(state);
    }

    fn extend(&self, items: impl Iterator<Item = Item>) {
        let mut state = self.state.lock();
        let before = state.charge;
        for item in items {
            let charge = item.len() + ITEM_BYTES;
            self.push(&mut state, item, charge);
        }
        self.charge_all(state.charge - before);
        self.queued(state);
    }

    fn queued(&self, state: parking_lot::MutexGuard<'_, State>) {
        drop(state);
        self.task.wake();
        if let Some(share) = &self.share {
            share.relieve_if_full();
        }
    }

    fn push(&self, state: &mut State, item: Item, charge: usize) {
        if state.closing.is_none() {
            state.bytes += item.len() + ITEM_BYTES;
            state.charge += charge;
            state.items.push_back((item, charge));
        }
    }

    fn charge_all(&self, bytes: usize) {
        if let Some(share) = &self.share {
            share.add(bytes);
        }
    }

    /// Ends the connection, whatever waits.
    fn fail(&self, state: &mut State, why: Closing) {
        state.closing.get_or_insert(why);
        // They will not be sent any more.
        state.items = VecDeque::new();
        state.bytes = 0;
        if let Some(share) = &self.share {
            share.remove(state.charge);
        }
        state.charge = 0;
    }

    /// Ends the connection and lets go of what waits.
    fn discard(&self, why: Closing) {
        self.fail(&mut self.state.lock(), why);
        self.task.wake();
    }

    /// What it holds of the sum of all.
    fn charge(&self) -> usize {
        self.state.lock().charge
    }

    /// Asks the connection's task to end it.
    pub fn close(&self, why: Closing) {
        self.state.lock().closing.get_or_insert(why);
        self.task.wake();
    }

    /// Why the connection must end, if it must.
    pub fn closing(&self) -> Option<Closing> {
        self.state.lock().closing
    }

    /// True while less than a quarter of it is used: then more may be read from the client or from the store for it.
    pub fn has_room(&self) -> bool {
        let bytes = self.state.lock().bytes;
        bytes < self.bytes_max / 4 && (bytes < FREE_BYTES || !self.share.as_ref().is_some_and(Share::is_scarce))
    }

    /// Wakes the connection's task, which looks at everything again.
    pub fn wake(&self) {
        self.task.wake();
    }

    /// Registers the connection's task, which [`Outbox::take`]s what there is and is woken when there is more.
    pub fn register(&self, context: &Context<'_>) {
        self.task.register(context.waker());
    }

    /// The next message as text.
    pub fn take(&self) -> Option<String> {
        Some(match self.take_item()? {
            Item::Text(text) => text,
            Item::Event(head, body) => reply::event(&head, body.as_str()),
        })
    }

    /// The next event. For listeners of our own, which need no answers: those before it are dropped.
    pub fn take_event(&self) -> Option<Body> {
        loop {
            if let Item::Event(_, body) = self.take_item()? {
                return Some(body);
            }
        }
    }

    fn take_item(&self) -> Option<Item> {
        let mut state = self.state.lock();
        let (item, charge) = state.items.pop_front()?;
        let before = state.bytes;
        state.bytes -= item.len() + ITEM_BYTES;
        state.charge -= charge;
        if let Some(share) = &self.share {
            share.remove(charge);
        }
        if [self.bytes_max / 4, FREE_BYTES].iter().any(|mark| before >= *mark && state.bytes < *mark) {
            self.sent.notify_waiters();
        }
        if state.items.is_empty() && state.items.capacity() > 64 {
            state.items = VecDeque::new();
        }
        Some(item)
    }

    /// Waits until there is room again.
    pub async fn room(&self) {
        loop {
            let sent = self.sent.notified();
            tokio::pin!(sent);
            sent.as_mut().enable();
            if self.has_room() {
                return;
            }
            sent.await;
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if let Some(share) = &self.share {
            share.remove(self.state.get_mut().charge);
        }
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        write!(f, "an outbox with {} messages, {} bytes", state.items.len(), state.bytes)
    }
}
