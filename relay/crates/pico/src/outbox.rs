//! What waits to be sent to one peer, bounded in bytes.

use std::collections::VecDeque;
use std::task::Context;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// The sending side of a peer, shared by its connection and by the room's gossip.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    /// Wakes the connection's task.
    task: AtomicWaker,
    bytes_max: usize,
}

#[derive(Default, Debug)]
struct State {
    frames: VecDeque<Bytes>,
    /// New blocks that wait until the peer has what the room held, so that they come behind it.
    held: VecDeque<Bytes>,
    is_holding: bool,
    bytes: usize,
    closing: Option<Closing>,
    /// The peer is to be asked for everything it has.
    is_to_ask: bool,
}

/// Why the relay ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// The peer reads more slowly than new blocks come.
    TooSlow,
    /// A new connection of the same node id came.
    Replaced,
    /// The room was closed, so that others have one.
    GivesWay,
    /// Too many feeds of the peer were malformed or falsely signed.
    FalseFeeds,
    /// The address has begun too many rooms lately, and the feed that would have begun this one asked for no answer.
    NewRooms,
}

impl Closing {
    /// WebSocket close code and reason.
    pub fn code_and_reason(self) -> (u16, &'static str) {
        match self {
            Self::TooSlow => (1008, "too slow: blocks come faster than you read them"),
            Self::Replaced => (1000, "the same node connected again"),
            Self::GivesWay => (1013, "too many rooms are open: yours gave way, try again later"),
            Self::FalseFeeds => (1008, "too many malformed or falsely signed feeds"),
            Self::NewRooms => (1013, "too many new rooms from your address, try again later"),
        }
    }
}

/// What is counted for each frame beside its bytes.
const FRAME_BYTES: usize = 64;

impl Outbox {
    /// Holds up to `bytes_max` bytes of new blocks. Answers to what the peer itself asked are always taken: who asks for
    /// more looks at [`Outbox::has_room`] first.
    pub fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), task: AtomicWaker::new(), bytes_max }
    }

    /// Queues an answer.
    pub fn push(&self, frame: Bytes) {
        let mut state = self.state.lock();
        state.bytes += frame.len() + FRAME_BYTES;
        state.frames.push_back(frame);
        drop(state);
        self.task.wake();
    }

    /// Queues new blocks. When there is no room the peer is too slow, and will be closed.
    pub fn live(&self, frame: Bytes) {
        let mut state = self.state.lock();
        if state.bytes > self.bytes_max {
            state.closing.get_or_insert(Closing::TooSlow);
        } else if state.closing.is_none() {
            state.bytes += frame.len() + FRAME_BYTES;
            if state.is_holding {
                state.held.push_back(frame);
            } else {
                state.frames.push_back(frame);
            }
        }
        drop(state);
        self.task.wake();
    }

    /// From now on new blocks wait for [`Outbox::release`].
    pub fn hold(&self) {
        self.state.lock().is_holding = true;
    }

    /// Lets go what was held.
    pub fn release(&self) {
        let mut state = self.state.lock();
        state.is_holding = false;
        let mut held = std::mem::take(&mut state.held);
        state.frames.append(&mut held);
        drop(state);
        self.task.wake();
    }

    /// Asks the connection's task to ask the peer for everything it has.
    pub fn ask_again(&self) {
        self.state.lock().is_to_ask = true;
        self.task.wake();
    }

    /// Whether that was asked for since the last time.
    pub fn take_ask(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_to_ask)
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

    /// True while less than a quarter of it is used: then more may be read from the peer.
    pub fn has_room(&self) -> bool {
        self.state.lock().bytes < self.bytes_max / 4
    }

    /// Registers the connection's task, which [`Outbox::take`]s what there is and is woken when there is more.
    pub fn register(&self, context: &Context<'_>) {
        self.task.register(context.waker());
    }

    /// The next frame.
    pub fn take(&self) -> Option<Bytes> {
        let mut state = self.state.lock();
        let frame = state.frames.pop_front()?;
        state.bytes -= frame.len() + FRAME_BYTES;
        if state.frames.is_empty() && state.frames.capacity() > 64 {
            state.frames = VecDeque::new();
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_blocks_wait_behind_what_is_read_for_the_peer() {
        let outbox = Outbox::new(1 << 20);
        outbox.live(Bytes::from_static(b"1"));
        outbox.hold();
        outbox.live(Bytes::from_static(b"3"));
        outbox.push(Bytes::from_static(b"2"));
        assert_eq!(outbox.take().unwrap(), "1");
        assert_eq!(outbox.take().unwrap(), "2");
        assert_eq!(outbox.take(), None);
        outbox.release();
        assert_eq!(outbox.take().unwrap(), "3");
        assert_eq!(outbox.state.lock().bytes, 0);
    }

    #[test]
    fn a_slow_peer_is_closed_and_keeps_what_it_was_owed() {
        let outbox = Outbox::new(1000);
        let frame = Bytes::from(vec![0; 400]);
        assert!(outbox.has_room());
        for _ in 0..3 {
            outbox.live(frame.clone());
        }
        assert!(!outbox.has_room());
        assert_eq!(outbox.closing(), None);
        outbox.live(frame.clone());
        assert_eq!(outbox.closing(), Some(Closing::TooSlow));
        outbox.close(Closing::Replaced);
        assert_eq!(outbox.closing(), Some(Closing::TooSlow));
        outbox.push(Bytes::from_static(b"answer"));
        assert_eq!(std::iter::from_fn(|| outbox.take()).count(), 4);
    }
}
