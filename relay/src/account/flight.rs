//! What has been read from clients and not been answered yet, in bytes: of each address, and of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// What each address may have under way in any case.
const FREE_BYTES: usize = 256 << 10;

/// What is counted for an event beside its bytes.
const EVENT_BYTES: usize = 512;

/// Of all addresses.
#[derive(Debug)]
pub struct Flight {
    used: AtomicUsize,
    max: usize,
    landed: Notify,
}

/// Of one address.
#[derive(Debug)]
pub struct AddressFlight {
    used: AtomicUsize,
    all: Arc<Flight>,
    landed: Notify,
}

/// Some bytes that are under way, until this is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    address: Arc<AddressFlight>,
    /// Of the connection.
    own: Arc<AtomicUsize>,
}

/// What an event counts for.
pub fn event_bytes(event: &crate::event::Event) -> usize {
    event.heap_bytes() + EVENT_BYTES
}

impl Flight {
    /// At most `max` bytes, of which one address may have a quarter.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max, landed: Notify::new() })
    }

    /// What a new address has of it.
    pub fn of_address(self: &Arc<Self>) -> Arc<AddressFlight> {
        Arc::new(AddressFlight { used: AtomicUsize::new(0), all: Arc::clone(self), landed: Notify::new() })
    }
}

impl AddressFlight {
    /// Whether more may be read from this address.
    pub fn has_room(&self) -> bool {
        let own = self.used.load(Ordering::Relaxed);
        own < FREE_BYTES || own < self.max() && self.all.used.load(Ordering::Relaxed) < self.all.max
    }

    /// Waits until more may be read.
    pub async fn room(&self) {
        loop {
            let (own, all) = (self.landed.notified(), self.all.landed.notified());
            tokio::pin!(own, all);
            own.as_mut().enable();
            all.as_mut().enable();
            if self.has_room() {
                return;
            }
            tokio::select! {
                () = own => {}
                () = all => {}
            }
        }
    }

    /// Counts bytes, for a connection of the address, too.
    pub fn hold(self: &Arc<Self>, bytes: usize, own: &Arc<AtomicUsize>) -> Held {
        own.fetch_add(bytes, Ordering::Relaxed);
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.all.used.fetch_add(bytes, Ordering::Relaxed);
        Held { bytes, address: Arc::clone(self), own: Arc::clone(own) }
    }

    fn max(&self) -> usize {
        (self.all.max / 4).max(FREE_BYTES)
    }
}

impl Held {
    /// Takes some of the bytes off.
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { bytes, address: Arc::clone(&self.address), own: Arc::clone(&self.own) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Self { bytes, address, own } = self;
        let falls_below = |used: &AtomicUsize, marks: &[usize]| {
            let before = used.fetch_sub(*bytes, Ordering::AcqRel);
            marks.iter().any(|mark| before >= *mark && before - *bytes < *mark)
        };
        falls_below(own, &[]);
        if falls_below(&address.used, &[FREE_BYTES, address.max()]) {
            address.landed.notify_waiters();
        }
        if falls_below(&address.all.used, &[address.all.max]) {
            address.all.landed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_may_have_a_quarter_and_a_little_in_any_case() {
        let all = Flight::new(8 << 20);
        let own = Arc::default();
        let greedy: Vec<_> = (0..4).map(|_| all.of_address()).collect();
        let mut held = Vec::new();
        for address in &greedy {
            while address.has_room() {
                held.push(address.hold(100_000, &own));
            }
        }
        let used = all.used.load(Ordering::Relaxed);
        assert!(((8 << 20) - 400_000..(8 << 20) + 400_000).contains(&used), "{used}");
        // All is used, and yet somebody else gets in, with a little.
        let late = all.of_address();
        assert!(late.has_room());
        let mut theirs = late.hold(FREE_BYTES, &own);
        assert!(!late.has_room() || used < 8 << 20);
        drop(theirs.split(FREE_BYTES / 2));
        assert!(late.has_room());
        drop(theirs);

        let waiting = tokio::spawn({
            let address = Arc::clone(&greedy[0]);
            async move { address.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        held.clear();
        tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.unwrap().unwrap();
        assert_eq!((all.used.load(Ordering::Relaxed), own.load(Ordering::Relaxed)), (0, 0));
    }
}
