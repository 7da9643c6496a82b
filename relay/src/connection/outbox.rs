//! What waits to be sent to one client, bounded in bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::message::reply;
use crate::store::Body;

/// The sending side of a connection, shared by all who have something to say to it.
pub struct Outbox {
    state: Mutex<State>,
    /// Wakes the connection's task.
    task: AtomicWaker,
    /// Told when there is room again.
    sent: Notify,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    closing: Option<Closing>,
}

enum Item {
    Text(String),
    /// The body is shared by all who get the event; it becomes a message when it is sent.
    Event(Arc<str>, Body),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Event(subscription, body) => subscription.len() + body.as_str().len(),
        }
    }
}

/// Why the relay ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// The client reads more slowly than its live events come.
    TooSlow,
    /// The relay stops.
    ShuttingDown,
}

impl Closing {
    /// WebSocket close code and reason.
    pub fn code_and_reason(self) -> (u16, &'static str) {
        match self {
            Self::TooSlow => (1008, "too slow: events come faster than you read them"),
            Self::ShuttingDown => (1001, "the relay is shutting down"),
        }
    }
}

/// What is counted for each item beside its text.
const ITEM_BYTES: usize = 64;

impl Outbox {
    /// Holds up to `bytes_max` bytes of live events. Answers to what the client itself asked are always taken: who asks
    /// looks at [`Outbox::has_room`] first.
    pub fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), task: AtomicWaker::new(), sent: Notify::new(), bytes_max }
    }

    /// Queues an answer.
    pub fn text(&self, text: String) {
        self.push(&mut self.state.lock(), Item::Text(text));
        self.task.wake();
    }

    /// Queues many answers.
    pub fn texts(&self, texts: impl IntoIterator<Item = String>) {
        let mut state = self.state.lock();
        for text in texts {
            self.push(&mut state, Item::Text(text));
        }
        drop(state);
        self.task.wake();
    }

    /// Queues stored events, and what follows them, in one step.
    pub fn events(&self, subscription: &Arc<str>, bodies: impl IntoIterator<Item = Body>, then: Option<String>) {
        let mut state = self.state.lock();
        for body in bodies {
            self.push(&mut state, Item::Event(Arc::clone(subscription), body));
        }
        if let Some(text) = then {
            self.push(&mut state, Item::Text(text));
        }
        drop(state);
        self.task.wake();
    }

    /// Queues a live event. When there is no room the client is too slow, and will be closed.
    pub fn live(&self, subscription: &Arc<str>, body: Body) {
        let mut state = self.state.lock();
        if state.bytes > self.bytes_max {
            state.closing.get_or_insert(Closing::TooSlow);
            // They will not be sent any more.
            state.items = VecDeque::new();
            state.bytes = 0;
        } else {
            self.push(&mut state, Item::Event(Arc::clone(subscription), body));
        }
        drop(state);
        self.task.wake();
    }

    fn push(&self, state: &mut State, item: Item) {
        if state.closing.is_none() {
            state.bytes += item.len() + ITEM_BYTES;
            state.items.push_back(item);
        }
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
        self.state.lock().bytes < self.bytes_max / 4
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
            Item::Event(subscription, body) => reply::event(&subscription, body.as_str()),
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
        let item = state.items.pop_front()?;
        let had_room = state.bytes < self.bytes_max / 4;
        state.bytes -= item.len() + ITEM_BYTES;
        if !had_room && state.bytes < self.bytes_max / 4 {
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
