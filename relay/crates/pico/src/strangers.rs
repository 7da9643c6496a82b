//! What strangers may do with rooms that nobody declared: how many new ones the peers of an address may begin, and which
//! stored room gives way when there are too many.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::repo::{Repo, RoomName};

/// The rooms that are open.
pub trait OpenRooms: Send + Sync {
    /// Those that somebody is in.
    fn in_use(&self) -> Vec<RoomName>;

    /// What the room has stored was removed. Whoever has come meanwhile sends its blocks as if the room were new.
    fn was_removed(&self, room: &RoomName);
}

/// Addresses of which it is remembered how many rooms they began; those with nothing to remember go first.
const ADDRESSES_MAX: usize = 100_000;

const HOUR: Duration = Duration::from_secs(3600);

/// How many new rooms each address has begun lately.
#[derive(Debug)]
pub struct NewRooms {
    per_hour: u32,
    by_address: Mutex<HashMap<IpAddr, Begun>>,
}

/// The new rooms that an address may still begin, at a time.
#[derive(Clone, Copy, Debug)]
struct Begun {
    left: f64,
    at: Instant,
}

impl NewRooms {
    /// `per_hour` rooms of one address: so many at once, then again as time passes. 0: no limit.
    pub fn new(per_hour: u32) -> Self {
        Self { per_hour, by_address: Mutex::default() }
    }

    /// Counts one more new room of an address. False if that is one too many.
    pub fn begin(&self, address: IpAddr, now: Instant) -> bool {
        if self.per_hour == 0 {
            return true;
        }
        let mut by_address = self.by_address.lock();
        if by_address.len() >= ADDRESSES_MAX && !by_address.contains_key(&address) {
            by_address.retain(|_, begun| begun.refilled(self.per_hour, now).left < f64::from(self.per_hour));
            if by_address.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let begun = by_address.entry(address).or_insert(Begun { left: f64::from(self.per_hour), at: now });
        *begun = begun.refilled(self.per_hour, now);
        if begun.left < 1.0 {
            return false;
        }
        begun.left -= 1.0;
        true
    }
}

impl Begun {
    fn refilled(self, per_hour: u32, now: Instant) -> Self {
        let most = f64::from(per_hour);
        let passed = now.saturating_duration_since(self.at).as_secs_f64() / HOUR.as_secs_f64();
        Self { left: (self.left + most * passed).min(most), at: now }
    }
}

/// Makes a place for one more room that holds blocks.
#[derive(Clone)]
pub struct Places {
    declared: Arc<HashSet<RoomName>>,
    /// Rooms hold this, so it does not hold them.
    open: Weak<dyn OpenRooms>,
}

impl Places {
    pub(super) fn new(declared: Arc<HashSet<RoomName>>, open: Weak<dyn OpenRooms>) -> Self {
        Self { declared, open }
    }

    /// True for `main`, the rooms of the configuration, and those with slices.
    pub fn is_declared(&self, room: &RoomName) -> bool {
        self.declared.contains(room)
    }

    /// Removes the stored room that is missed least: not declared, nobody in it, as empty and as long unused as there is.
    /// False if there is none.
    pub async fn make(&self, repo: &Repo) -> bool {
        let in_use = self.open.upgrade().map_or_else(Vec::new, |open| open.in_use());
        let keep: Arc<[RoomName]> = self.declared.iter().cloned().chain(in_use).collect();
        match repo.give_way(keep).await {
            Ok(Some(room)) => {
                tracing::info!(%room, "a room gave way to a new one: pico.rooms_max is reached");
                if let Some(open) = self.open.upgrade() {
                    open.was_removed(&room);
                }
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, "no room could be removed to make a place");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_begins_so_many_rooms_in_an_hour() {
        let rooms = NewRooms::new(3);
        let [one, other] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        let now = Instant::now();
        let begun = |address, after: u64| rooms.begin(address, now + Duration::from_secs(after));
        assert_eq!([0, 0, 0, 0].map(|after| begun(one, after)), [true, true, true, false]);
        assert!(begun(other, 0), "another address has its own");
        assert!(!begun(one, 1_199));
        assert!(begun(one, 1_201), "a third of an hour later one more");
        assert!(!begun(one, 1_202));
        assert_eq!(
            [9_000; 4].map(|after| begun(one, after)),
            [true, true, true, false],
            "what is not used is kept once"
        );
        assert!((0..1_000).all(|_| NewRooms::new(0).begin(one, now)));
    }
}
