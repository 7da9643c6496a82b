//! Who hears what: live subscriptions, and the broadcast of new events to them.
//!
//! Nothing falls between stored and live, and nothing is doubled: a subscription is registered, *holding*, before its
//! stored events are read, and learns in the same moment the number of the last event that was broadcast. The store is
//! asked up to that number; what comes later is live, and held back until the stored events are sent.

mod index;

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};

use crate::clock;
use crate::connection::Outbox;
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::store::{Body, Seq};
use crate::verify::Verified;
use index::Index;

/// All live subscriptions. Clones share them.
#[derive(Clone)]
pub struct Subscriptions {
    state: Arc<Mutex<State>>,
    held_max: usize,
}

struct State {
    index: Index<Subscription>,
    /// The last event that was broadcast.
    last: Seq,
}

struct Subscription {
    id: Arc<str>,
    outbox: Arc<Outbox>,
    viewer: Arc<RwLock<Viewer>>,
    /// Live events that wait for the stored ones. `None` once those are sent.
    held: Option<Vec<Verified>>,
}

/// Names a registered subscription.
pub type Key = index::Key;

impl Subscriptions {
    /// `last` is the number of the last event in the store. `held_max`: events held for one subscription.
    pub fn new(last: Seq, held_max: usize) -> Self {
        Self { state: Arc::new(Mutex::new(State { index: Index::default(), last })), held_max }
    }

    /// Registers a subscription, holding. The store is to be asked for events up to the number that comes back.
    pub fn open(
        &self,
        id: Arc<str>,
        filters: Arc<[Filter]>,
        outbox: Arc<Outbox>,
        viewer: Arc<RwLock<Viewer>>,
    ) -> (Key, Seq) {
        let mut state = self.state.lock();
        let key = state.index.insert(filters, Subscription { id, outbox, viewer, held: Some(Vec::new()) });
        (key, state.last)
    }

    /// The stored events are sent: `eose` goes out, then what was held, and from now on events as they come.
    pub fn go_live(&self, key: Key, eose: String) {
        let mut state = self.state.lock();
        let Some(subscription) = state.index.get_mut(key) else { return };
        subscription.outbox.text(eose);
        for event in subscription.held.take().unwrap_or_default() {
            subscription.outbox.live(&subscription.id, Body::Event(event));
        }
    }

    /// Ends a subscription. Nothing is sent for it any more.
    pub fn close(&self, key: Key) {
        self.state.lock().index.remove(key);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.state.lock().index.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends an event to all who asked for it and may see it. `seq` is its number in the store, `None` for ephemeral
    /// ones. Events with a number must come in order.
    pub fn broadcast(&self, event: &Verified, seq: Option<Seq>) {
        let mut state = self.state.lock();
        if let Some(seq) = seq {
            state.last = seq;
        }
        let held_max = self.held_max;
        state.index.matching(event, |subscription| {
            if !subscription.viewer.read().may_see(event) {
                return;
            }
            match &mut subscription.held {
                Some(held) if held.len() < held_max => held.push(event.clone()),
                Some(_) => subscription.outbox.close(crate::connection::Closing::TooSlow),
                None => subscription.outbox.live(&subscription.id, Body::Event(event.clone())),
            }
        });
    }
}

/// A batch of events on its way to the subscribers.
pub type Broadcast = Vec<(Verified, Option<Seq>)>;

/// The queue in front of the broadcasting thread.
pub fn broadcast_queue(queue_max: usize) -> (Sender<Broadcast>, Receiver<Broadcast>) {
    crossbeam_channel::bounded(queue_max.max(1))
}

/// Broadcasts what comes until all senders are gone.
pub fn broadcast_all(subscriptions: &Subscriptions, queue: &Receiver<Broadcast>) {
    while let Ok(batch) = queue.recv() {
        let now = clock::now();
        for (event, seq) in batch {
            if event.is_expired(now) {
                continue;
            }
            subscriptions.broadcast(&event, seq);
        }
    }
}
