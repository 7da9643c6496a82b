//! How many are connected, in all and from one address, and who makes room when there is none.

mod guest;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::account::{Account, Accounts};
use crate::clientlog::{self, ClientLog};
use crate::metrics::CONNECTIONS_TOTAL;

/// How long a connection outside may take to say something, in milliseconds, before it makes room.
const OUTER_PATIENCE_MS: u64 = 1_000;
/// There may be so many times as many outside while all of them have just come.
const OUTER_FACTOR: usize = 4;

/// Counts who is in.
pub struct Door {
    max: usize,
    max_per_address: usize,
    accounts: Arc<Accounts>,
    /// How many are in.
    gauge: Option<&'static str>,
    /// It is in front of the other, and lets in whoever comes last.
    is_outer: bool,
    began: Instant,
    open: Mutex<Open>,
    left: Notify,
}

#[derive(Default)]
struct Open {
    /// Connections that are in, with those that were told to go.
    present: usize,
    /// Places that are taken.
    total: usize,
    next: u64,
    by_address: HashMap<IpAddr, HashMap<u64, Arc<Place>>>,
    /// Addresses by how many places they have.
    by_count: BTreeSet<(usize, IpAddr)>,
}

struct Place {
    number: u64,
    address: IpAddr,
    /// When something was last heard, in milliseconds since the door began.
    heard: AtomicU64,
    is_given_away: AtomicBool,
    gone: Notify,
}

/// Lets clients in by the one door that counts them, and writes down whom it turned away.
pub struct Doorkeeper {
    /// The door.
    pub door: Arc<Door>,
    /// The log of clients.
    pub clients: Arc<ClientLog>,
}

impl Doorkeeper {
    /// Lets a connection in, if there is room.
    pub fn admit(&self, address: IpAddr) -> Result<Admission, Full> {
        let admission =
            Door::admit(&self.door, address).map(|seat| Admission::new(seat, address, self.clients.came(address)));
        let outcome = match &admission {
            Ok(_) => "accepted",
            Err(Full::Relay) => "full",
            Err(Full::Address) => "full_address",
            Err(Full::FalseEvents(_)) => "false_events",
        };
        metrics::counter!(CONNECTIONS_TOTAL, "outcome" => outcome).increment(1);
        if admission.is_err() {
            self.clients.turned_away(address, outcome);
        }
        admission
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// `limits.connections_max`.
    Relay,
    /// `limits.connections_per_address_max`.
    Address,
    /// Too many false events came from the address: it may come back after this time.
    FalseEvents(Duration),
}

/// A place of a connection; given back when dropped.
pub struct Seat {
    door: Arc<Door>,
    account: Arc<Account>,
    place: Arc<Place>,
}

/// A client that was let in.
pub struct Admission {
    seat: Seat,
    client: IpAddr,
    log: clientlog::Client,
}

impl Admission {
    fn new(seat: Seat, client: IpAddr, log: clientlog::Client) -> Self {
        Self { seat, client, log }
    }

    /// The address of the client itself.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// The account of that address.
    pub fn account(&self) -> &Arc<Account> {
        &self.seat.account
    }

    /// Where to say what is refused to this client.
    pub fn log(&self) -> &clientlog::Client {
        &self.log
    }

    /// Something came from the client.
    pub fn heard(&self) {
        self.seat.heard();
    }

    /// The same where the time is known.
    pub fn heard_at(&self, now: Instant) {
        self.seat.heard_at(now);
    }

    /// How many connections were let in and are there.
    pub fn present(&self) -> usize {
        self.seat.door.present()
    }

    /// Waits until the place is given to somebody else: the connection must end.
    pub async fn given_away(&self) {
        self.seat.given_away().await;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.log.left();
    }
}

impl Seat {
    /// Something came from the client.
    pub fn heard(&self) {
        self.heard_at(Instant::now());
    }

    /// The same where the time is known.
    fn heard_at(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.door.began);
        self.place.heard.store(milliseconds(passed), Ordering::Relaxed);
    }

    /// Waits until the place is given to somebody else: the connection must end.
    pub async fn given_away(&self) {
        loop {
            let gone = self.place.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if self.place.is_given_away.load(Ordering::Acquire) {
                return;
            }
            gone.await;
        }
    }
}

impl Door {
    /// For clients: with so many places, in all and for one address (0: as many as there are), counted by a gauge.
    pub(crate) fn new(
        max: usize,
        max_per_address: usize,
        accounts: Arc<Accounts>,
        gauge: Option<&'static str>,
    ) -> Arc<Self> {
        let (open, left, began) = (Mutex::default(), Notify::new(), Instant::now());
        Arc::new(Self { max, max_per_address, accounts, gauge, is_outer: false, began, open, left })
    }

    /// For connections that have not said what they want. Who comes last gets in, also of an address that has all places.
    pub(crate) fn outer(max: usize, accounts: Arc<Accounts>) -> Arc<Self> {
        let (open, left, began) = (Mutex::default(), Notify::new(), Instant::now());
        Arc::new(Self { max, max_per_address: 0, accounts, gauge: None, is_outer: true, began, open, left })
    }

    /// How many are in.
    fn present(&self) -> usize {
        self.open.lock().present
    }

    /// Waits until the last connection is gone.
    pub(crate) async fn all_left(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.open.lock().present == 0 {
                return;
            }
            left.await;
        }
    }

    /// Lets a client in, as [`Door::enter`], unless false events came from its address.
    fn admit(door: &Arc<Self>, client: IpAddr) -> Result<Seat, Full> {
        match door.accounts.of(client).refused_for(Instant::now()) {
            Some(wait) => Err(Full::FalseEvents(wait)),
            None => Self::enter(door, client),
        }
    }

    /// Lets somebody in. When all places are taken, the one who has been silent longest of the address that has most of them
    /// makes room, if the newcomer's address has fewer, also with the newcomer.
    pub fn enter(door: &Arc<Self>, client: IpAddr) -> Result<Seat, Full> {
        let account = door.accounts.of(client);
        let address = account.address();
        let mut open = door.open.lock();
        let here = open.by_address.get(&address).map_or(0, HashMap::len);
        if door.max_per_address > 0 && here >= door.max_per_address {
            return Err(Full::Address);
        }
        if open.total >= door.max {
            if door.is_outer {
                open.make_room_outside(here, address, door.max, door.now());
            } else {
                open.give_way(here).ok_or(Full::Relay)?;
            }
        }
        let place = open.add(address, door.now());
        if let Some(gauge) = door.gauge {
            metrics::gauge!(gauge).increment(1.0);
        }
        drop(open);
        Ok(Seat { door: Arc::clone(door), account, place })
    }

    fn now(&self) -> u64 {
        milliseconds(self.began.elapsed())
    }
}

impl Open {
    fn add(&mut self, address: IpAddr, now: u64) -> Arc<Place> {
        self.present += 1;
        self.total += 1;
        self.next += 1;
        let place = Arc::new(Place {
            number: self.next,
            address,
            heard: AtomicU64::new(now),
            is_given_away: AtomicBool::new(false),
            gone: Notify::new(),
        });
        let here = self.by_address.entry(address).or_default();
        self.by_count.remove(&(here.len(), address));
        here.insert(place.number, Arc::clone(&place));
        self.by_count.insert((here.len(), address));
        place
    }

    fn remove(&mut self, address: IpAddr, number: u64) {
        let Some(here) = self.by_address.get_mut(&address) else { return };
        let before = here.len();
        if here.remove(&number).is_none() {
            return;
        }
        self.total -= 1;
        self.by_count.remove(&(before, address));
        if here.is_empty() {
            self.by_address.remove(&address);
        } else {
            self.by_count.insert((before - 1, address));
        }
    }

    /// Takes a place away for an address that has `theirs`.
    fn give_way(&mut self, theirs: usize) -> Option<()> {
        let &(most, greediest) = self.by_count.last()?;
        if theirs + 1 >= most {
            return None;
        }
        let silent = self.most_silent(greediest)?;
        self.take(&silent);
        Some(())
    }

    /// Takes a place away from somebody who has had time to say something. When all have just come, as after a restart, there
    /// may be more for a moment.
    fn make_room_outside(&mut self, theirs: usize, own: IpAddr, max: usize, now: u64) {
        let Some(&(most, greediest)) = self.by_count.last() else { return };
        let address = if theirs + 1 < most { greediest } else { own };
        let silent = self.most_silent(address).or_else(|| self.most_silent(greediest));
        let Some(silent) = silent else { return };
        let is_new = now.saturating_sub(silent.heard.load(Ordering::Relaxed)) < OUTER_PATIENCE_MS;
        if !is_new || self.total >= max.saturating_mul(OUTER_FACTOR) {
            self.take(&silent);
        }
    }

    fn most_silent(&self, address: IpAddr) -> Option<Arc<Place>> {
        let places = self.by_address.get(&address)?.values();
        places.min_by_key(|place| (place.heard.load(Ordering::Relaxed), place.number)).map(Arc::clone)
    }

    fn take(&mut self, silent: &Place) {
        self.remove(silent.address, silent.number);
        silent.is_given_away.store(true, Ordering::Release);
        silent.gone.notify_waiters();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.door.open.lock();
        open.present -= 1;
        open.remove(self.account.address(), self.place.number);
        if let Some(gauge) = self.door.gauge {
            metrics::gauge!(gauge).decrement(1.0);
        }
        if open.present == 0 {
            self.door.left.notify_waiters();
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::config::{Limits, Pico};

    fn door(max: usize, max_per_address: usize) -> Arc<Door> {
        Door::new(max, max_per_address, Accounts::new(&Limits::default(), &Pico::default()), None)
    }

    fn enter(door: &Arc<Door>, host: u8) -> Result<Seat, Full> {
        Door::enter(door, IpAddr::from([10, 0, 0, host]))
    }

    fn is_gone(seat: &Seat) -> bool {
        seat.given_away().now_or_never().is_some()
    }

    #[test]
    fn who_has_most_places_makes_room() {
        let door = door(10, 0);
        let greedy: Vec<_> = (0..10).map(|_| enter(&door, 1).unwrap()).collect();
        assert_eq!(enter(&door, 1).err(), Some(Full::Relay));
        // The one that has been silent longest goes first.
        std::thread::sleep(Duration::from_millis(5));
        greedy.iter().filter(|seat| seat.place.number != 4).for_each(Seat::heard);
        let first = enter(&door, 2).unwrap();
        assert!(is_gone(&greedy[3]) && greedy.iter().filter(|seat| is_gone(seat)).count() == 1);
        let mut others: Vec<_> = (0..4).map(|_| enter(&door, 2).unwrap()).collect();
        // Now both have five, and nobody takes from the other; a third does.
        assert_eq!(enter(&door, 2).err(), Some(Full::Relay));
        assert_eq!(enter(&door, 1).err(), Some(Full::Relay));
        others.extend((3..=8).map(|host| enter(&door, host).unwrap()));
        assert!(!is_gone(others.last().unwrap()));
        let open = door.open.lock();
        assert_eq!((open.total, open.present), (10, 21));
        assert_eq!(open.by_count.last().unwrap().0, 2);
        drop(open);
        drop((greedy, first, others));
        let open = door.open.lock();
        assert!(open.total == 0 && open.present == 0 && open.by_address.is_empty() && open.by_count.is_empty());
    }

    #[test]
    fn in_front_of_the_door_the_last_who_came_has_a_place() {
        let door = Door::outer(3, Accounts::new(&Limits::default(), &Pico::default()));
        // Twelve at once may be a crowd that comes back.
        let mut waiting: Vec<_> = (0..12).map(|_| enter(&door, 1).unwrap()).collect();
        assert!(!waiting.iter().any(is_gone));
        waiting.push(enter(&door, 1).unwrap());
        assert_eq!(waiting.iter().map(is_gone).filter(|is_gone| *is_gone).count(), 1);
        assert!(is_gone(&waiting[0]));
        let other = enter(&door, 2).unwrap();
        assert!(is_gone(&waiting[1]) && !is_gone(&other));
        // Who had time makes room.
        std::thread::sleep(Duration::from_millis(OUTER_PATIENCE_MS + 50));
        other.heard();
        waiting.truncate(6);
        waiting.push(enter(&door, 1).unwrap());
        assert!(is_gone(&waiting[2]) && !is_gone(&waiting[3]));
    }

    #[test]
    fn no_address_has_more_than_it_may() {
        let door = door(10, 2);
        let two = [enter(&door, 1).unwrap(), enter(&door, 1).unwrap()];
        assert_eq!(enter(&door, 1).err(), Some(Full::Address));
        drop(two);
        enter(&door, 1).unwrap();
    }

    #[test]
    fn who_sends_false_events_waits_outside() {
        let door = door(10, 0);
        let inside = enter(&door, 1).unwrap();
        let enter = |door, host| Door::admit(door, IpAddr::from([10, 0, 0, host]));
        assert!(inside.account.false_events(Limits::default().false_events_per_minute, Instant::now()));
        assert!(matches!(enter(&door, 1).err(), Some(Full::FalseEvents(wait)) if wait.as_secs() <= 10));
        assert!(enter(&door, 2).is_ok() && !is_gone(&inside));
    }
}
