//! What waits to be sent to all clients together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{Closing, Outbox};

/// All outboxes of clients. When they hold too much together, the fullest ones are closed.
#[derive(Debug)]
pub struct Outboxes {
    used: AtomicUsize,
    max: usize,
    open: Mutex<Open>,
}

#[derive(Default, Debug)]
struct Open {
    next: u64,
    by_number: HashMap<u64, Weak<Outbox>>,
}

/// What one outbox holds of the sum.
#[derive(Debug)]
pub(super) struct Share {
    all: Arc<Outboxes>,
    number: u64,
}

impl Outboxes {
    /// At most `max` bytes.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max, open: Mutex::default() })
    }

    /// An outbox for one more client, which holds up to `bytes_max` bytes.
    pub fn open(self: &Arc<Self>, bytes_max: usize) -> Arc<Outbox> {
        let mut open = self.open.lock();
        open.next += 1;
        let number = open.next;
        let share = Share { all: Arc::clone(self), number };
        let outbox = Arc::new(Outbox::with(bytes_max, Some(share)));
        open.by_number.insert(number, Arc::downgrade(&outbox));
        outbox
    }

    /// Closes the fullest outboxes until the others hold seven eighths of what they may.
    fn relieve(&self) {
        // Not while the list is locked: the last handle of an outbox may go here.
        let open: Vec<Arc<Outbox>> = self.open.lock().by_number.values().filter_map(Weak::upgrade).collect();
        let mut fullest: Vec<(usize, &Arc<Outbox>)> = open.iter().map(|outbox| (outbox.charge(), outbox)).collect();
        fullest.sort_unstable_by_key(|(charge, _)| std::cmp::Reverse(*charge));
        for (charge, outbox) in fullest {
            if charge == 0 || self.used.load(Ordering::Relaxed) <= self.max / 8 * 7 {
                return;
            }
            outbox.discard(Closing::OutOfMemory);
        }
    }
}

impl Share {
    pub(super) fn add(&self, bytes: usize) {
        self.all.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.all.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether more than half is used: then whoever can wait waits.
    pub(super) fn is_scarce(&self) -> bool {
        self.all.used.load(Ordering::Relaxed) > self.all.max / 2
    }

    /// Makes room if there is too much. Must not be called with an outbox locked.
    pub(super) fn relieve_if_full(&self) {
        if self.all.used.load(Ordering::Relaxed) > self.all.max {
            self.all.relieve();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.open.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::reply::EventHead;
    use crate::store::Body;

    #[test]
    fn the_fullest_are_closed_when_all_hold_too_much() {
        let all = Outboxes::new(100_000);
        let outboxes: Vec<_> = (0..20).map(|_| all.open(1 << 20)).collect();
        let used = || all.used.load(Ordering::Relaxed);
        // Each a little more than the one before; 19,000 in all.
        for (n, outbox) in outboxes.iter().enumerate() {
            outbox.text("x".repeat(n * 100));
        }
        assert!((19_000..21_000).contains(&used()), "{}", used());
        for _ in 0..20 {
            outboxes[3].text("y".repeat(2_000));
            outboxes[4].text("z".repeat(3_000));
        }
        let closed: Vec<usize> = (0..20).filter(|n| outboxes[*n].closing().is_some()).collect();
        assert_eq!(closed, [4]);
        assert_eq!(outboxes[4].closing(), Some(Closing::OutOfMemory));
        assert!(used() < 100_000);
        // What is sent, closed or dropped is given back.
        while outboxes[3].take().is_some() {}
        drop(outboxes);
        assert_eq!(used(), 0);
        assert!(all.open.lock().by_number.is_empty());
    }

    #[test]
    fn a_body_that_many_wait_for_counts_about_once() {
        let all = Outboxes::new(10 << 20);
        let outboxes: Vec<_> = (0..1_000).map(|_| all.open(1 << 20)).collect();
        let body = Body::Json("x".repeat(100_000).into());
        let head = EventHead::new("s");
        outboxes.iter().for_each(|outbox| outbox.live(&head, body.clone()));
        assert!(outboxes.iter().all(|outbox| outbox.closing().is_none()));
        let used = all.used.load(Ordering::Relaxed);
        assert!((100_000..1_000_000).contains(&used), "{used}");
        // Answers are each somebody's own.
        for outbox in &outboxes {
            outbox.events(&head, [Body::Json("y".repeat(20_000).into())], None);
        }
        assert!(all.used.load(Ordering::Relaxed) <= 10 << 20);
        let closed = outboxes.iter().filter(|outbox| outbox.closing().is_some()).count();
        assert!((400..700).contains(&closed), "{closed}");
    }
}
