//! Who hears what: live subscriptions, and the broadcast of new events to them.
//!
//! Nothing falls between stored and live, and nothing is doubled: a subscription is registered, *holding*, before its
//! stored events are read, and learns in the same moment the number of the last event that was committed. The store is
//! asked up to that number, and what comes later is live, held back until the stored events are sent. Commits are told
//! before their OKs, so whoever got an OK finds the event, even if it was not broadcast yet. Later versions of replaceable
//! events are given by the store, too, since the version before them is gone; those are not given live again.

mod index;
mod lists;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};

use crate::clock::{self, Timestamp};
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::message::reply::EventHead;
use crate::outbox::Outbox;
use crate::store::{Body, Seq};
use crate::verify::Verified;
use index::Index;

/// All live subscriptions. Clones share them.
#[derive(Clone)]
pub struct Subscriptions {
    index: Arc<Mutex<Index<Subscription>>>,
    /// The last event that was committed.
    committed: Arc<AtomicU64>,
    held_max: usize,
}

struct Subscription {
    head: EventHead,
    outbox: Arc<Outbox>,
    viewer: Arc<RwLock<Viewer>>,
    /// Events up to this number are for the store to give.
    since: Seq,
    /// Live events that wait for the stored ones. `None` once those are sent.
    held: Option<Vec<(Verified, Option<Seq>)>>,
    /// Later ones that the store gave, and which are still to come live.
    given: Vec<Seq>,
}

/// Names a registered subscription.
pub type Key = index::Key;

/// Bytes of memory that a subscription with these filters takes, about.
pub fn bytes_of(filters: &[Filter]) -> usize {
    index::bytes_of(filters)
}

impl Subscriptions {
    /// `last` is the number of the last event in the store. `held_max`: events held for one subscription.
    pub fn new(last: Seq, held_max: usize) -> Self {
        Self { index: Arc::default(), committed: Arc::new(AtomicU64::new(last)), held_max }
    }

    /// Registers a subscription, holding. The store is to be asked for events up to the number that comes back.
    pub fn open(
        &self,
        head: EventHead,
        filters: Arc<[Filter]>,
        outbox: Arc<Outbox>,
        viewer: Arc<RwLock<Viewer>>,
    ) -> (Key, Seq) {
        let mut index = self.index.lock();
        let since = self.committed.load(Ordering::Acquire);
        let key = index
            .insert(filters, Subscription { head, outbox, viewer, since, held: Some(Vec::new()), given: Vec::new() });
        (key, since)
    }

    /// The store gave these events, although they are later than it was asked for.
    pub fn given(&self, key: Key, later: impl IntoIterator<Item = Seq>) {
        if let Some(subscription) = self.index.lock().get_mut(key) {
            subscription.given.extend(later);
        }
    }

    /// The store has events up to this number. To be told before they are acknowledged and before they are broadcast.
    pub fn committed(&self, seq: Seq) {
        self.committed.fetch_max(seq, Ordering::AcqRel);
    }

    /// The stored events are sent: `eose` goes out, then what was held and has not expired since, and from now on events as
    /// they come.
    pub fn go_live(&self, key: Key, eose: String, now: Timestamp) {
        let mut index = self.index.lock();
        let Some(subscription) = index.get_mut(key) else { return };
        subscription.outbox.text(eose);
        for (event, seq) in subscription.held.take().unwrap_or_default() {
            if subscription.was_given(seq) || event.is_expired(now) {
                continue;
            }
            subscription.outbox.live(&subscription.head, Body::Event(event));
        }
    }

    /// Ends a subscription. Nothing is sent for it any more.
    pub fn close(&self, key: Key) {
        self.index.lock().remove(key);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.lock().len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends an event to all who asked for it and may see it. `seq` is its number in the store, `None` for ephemeral
    /// ones.
    pub fn broadcast(&self, event: &Verified, seq: Option<Seq>) {
        let held_max = self.held_max;
        self.index.lock().matching(event, |subscription| {
            if seq.is_some_and(|seq| seq <= subscription.since) {
                return;
            }
            if subscription.held.is_none() && subscription.was_given(seq) {
                return;
            }
            if !subscription.viewer.read().may_see(event) {
                return;
            }
            match &mut subscription.held {
                Some(held) if held.len() < held_max => held.push((event.clone(), seq)),
                Some(_) => subscription.outbox.close(crate::outbox::Closing::TooSlow),
                None => subscription.outbox.live(&subscription.head, Body::Event(event.clone())),
            }
        });
    }
}

impl Subscription {
    /// Whether the store gave this event, which is asked once for each.
    fn was_given(&mut self, seq: Option<Seq>) -> bool {
        let before = self.given.len();
        self.given.retain(|given| Some(*given) != seq);
        self.given.len() < before
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
