//! What follows a commit.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::event::Id;
use crate::store::carry::Interest;
use crate::store::{Commits, Seq};
use crate::subscription::{Broadcast, Subscriptions};
use crate::verify::Verified;

/// Ids of events that were stored lately, so that a duplicate costs no signature check. Never says yes to an event that
/// is not stored: the writer takes back what it removes.
pub struct RecentIds {
    max: usize,
    /// The newer and the older half.
    halves: Mutex<(HashSet<Id>, HashSet<Id>)>,
}

impl RecentIds {
    /// Remembers between `max / 2` and `max` ids.
    pub fn new(max: usize) -> Self {
        Self { max, halves: Mutex::default() }
    }

    pub(super) fn contains(&self, id: &Id) -> bool {
        let halves = self.halves.lock();
        halves.0.contains(id) || halves.1.contains(id)
    }

    fn update(&self, stored: impl Iterator<Item = Id>, removed: &[Id]) {
        let mut halves = self.halves.lock();
        for id in stored {
            if halves.0.len() >= self.max / 2 {
                let full = std::mem::take(&mut halves.0);
                halves.1 = full;
            }
            halves.0.insert(id);
        }
        for id in removed {
            halves.0.remove(id);
            halves.1.remove(id);
        }
    }
}

/// What follows a commit: caches learn of it, then subscribers.
pub struct AfterCommit {
    /// Who waits for events that are to be carried into rooms.
    pub interest: Option<Arc<dyn Interest>>,
    /// Known duplicates.
    pub recent: Arc<RecentIds>,
    /// Learn what the store has.
    pub subscriptions: Subscriptions,
    /// To the broadcasting thread.
    pub broadcast: Sender<Broadcast>,
}

impl Commits for AfterCommit {
    fn committed(&mut self, events: Vec<(Verified, Seq)>, removed: &[Id], took: Duration, batch_len: usize) {
        if let Some((_, seq)) = events.last() {
            self.subscriptions.committed(*seq);
        }
        self.recent.update(events.iter().map(|(event, _)| event.id), removed);
        if batch_len > 0 {
            crate::metrics::commit(took, batch_len);
        }
        if let Some(interest) = &self.interest {
            interest.committed();
        }
        let events: Broadcast = events.into_iter().map(|(event, seq)| (event, Some(seq))).collect();
        if !events.is_empty() && self.broadcast.send(events).is_err() {
            tracing::debug!("the broadcaster is gone");
        }
    }
}
