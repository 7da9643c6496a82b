//! Who a connection belongs to: an account for each address (of IPv6: for each /64), shared by all connections of that
//! address and kept for a while after the last of them is gone, so that whoever reconnects finds what they have used.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::address;
use crate::config::{Limits, Pico};
use crate::event::PublicKey;
use crate::holdings::Holdings;
use crate::store::Party;

mod budget;
mod flight;
mod rooms;
mod standing;

pub use budget::{Bucket, Budget, Budgets};
pub use flight::{AddressFlight, Flight, Held, event_bytes};

use standing::{Penalties, Standing};

/// How long the account of an address is kept when no connection has it any more.
const KEPT: Duration = Duration::from_secs(600);

/// Accounts with lower numbers belong to other origins of work than addresses.
const FIRST_NUMBER: u64 = Party::ADDRESS;

/// The accounts of all addresses that are connected, or were lately, and the budgets of keys.
#[derive(Debug)]
pub struct Accounts {
    limits: Limits,
    /// Of one peer in a room.
    frames_per_minute: u32,
    flight: Arc<Flight>,
    numbers: AtomicU64,
    by_address: Mutex<Remembered<IpAddr, Account>>,
    by_key: Mutex<Remembered<PublicKey, Mutex<Budgets>>>,
}

/// What one address may use, and has used.
#[derive(Debug)]
pub struct Account {
    number: u64,
    address: IpAddr,
    budgets: Mutex<Budgets>,
    requests: Mutex<Bucket>,
    peer_frames: Mutex<Bucket>,
    flight: Arc<AddressFlight>,
    penalties: Penalties,
    standing: Mutex<Standing>,
    /// False events of the last minute when one came last: most addresses never have any, and nobody need look.
    suspicion: AtomicUsize,
    /// Connections that have sent true events and no false ones.
    proven: AtomicUsize,
    /// Its part of what queries of all take.
    pub holdings: Holdings,
}

impl Account {
    fn new(number: u64, address: IpAddr, (limits, frames_per_minute): (&Limits, u32), flight: &Arc<Flight>) -> Self {
        Self {
            number,
            address,
            budgets: Mutex::new(Budgets::new(limits, limits.address_budget_factor)),
            peer_frames: Mutex::new(Bucket::new(
                f64::from(frames_per_minute) * f64::from(limits.address_budget_factor),
            )),
            requests: Mutex::new(Bucket::new(f64::from(limits.requests_per_minute))),
            flight: flight.of_address(),
            penalties: Penalties::new(limits),
            standing: Mutex::new(Standing::new(Instant::now())),
            suspicion: AtomicUsize::new(0),
            proven: AtomicUsize::new(0),
            holdings: Holdings::new(number, limits),
        }
    }

    /// Tells accounts apart.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The address; of IPv6 the first of its /64.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// What all its connections may use in a minute.
    pub fn budgets(&self) -> &Mutex<Budgets> {
        &self.budgets
    }

    /// What it may ask for by HTTP in a minute.
    pub fn requests(&self) -> &Mutex<Bucket> {
        &self.requests
    }

    /// What all its connections have under way.
    pub fn flight(&self) -> &Arc<AddressFlight> {
        &self.flight
    }

    /// False events came from it. True if it gets no new connections from now on, for a while.
    pub fn false_events(&self, count: u32, now: Instant) -> bool {
        let mut standing = self.standing.lock();
        let is_shared = self.proven.load(Ordering::Relaxed) > 0;
        let is_too_much = standing.false_events(count, is_shared, now, &self.penalties);
        let is_refused = standing.refused_for(now).is_some();
        self.suspicion.store(standing.in_a_minute(now) as usize + usize::from(is_refused), Ordering::Relaxed);
        is_too_much
    }

    /// How long reading waits after an event of a connection of this address that is not known to send true ones.
    pub fn delay(&self, now: Instant) -> Duration {
        if !self.is_suspect() {
            return Duration::ZERO;
        }
        let standing = self.standing.lock();
        if standing.in_a_minute(now) == 0 && standing.refused_for(now).is_none() {
            self.suspicion.store(0, Ordering::Relaxed);
        }
        standing.delay(now, &self.penalties)
    }

    /// Whether false events came from it lately.
    pub fn is_suspect(&self) -> bool {
        self.suspicion.load(Ordering::Relaxed) > 0
    }

    /// How long it still gets no new connections, if it is refused.
    pub fn refused_for(&self, now: Instant) -> Option<Duration> {
        if !self.is_suspect() {
            return None;
        }
        self.standing.lock().refused_for(now)
    }

    /// A connection has begun, or ceased, to be one that sends true events.
    pub fn is_proven(&self, is_one_more: bool) {
        if is_one_more {
            self.proven.fetch_add(1, Ordering::Relaxed);
        } else {
            self.proven.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Accounts {
    /// Remembers `accounts_max` addresses that are not connected any more, and as many keys; those that are connected always
    /// have an account.
    pub fn new(limits: &Limits, pico: &Pico) -> Arc<Self> {
        Arc::new(Self {
            limits: limits.clone(),
            frames_per_minute: pico.frames_per_minute,
            flight: Flight::new(limits.in_flight_bytes_all_max),
            numbers: AtomicU64::new(FIRST_NUMBER),
            by_address: Mutex::new(Remembered::new(limits.accounts_max)),
            by_key: Mutex::new(Remembered::new(limits.accounts_max)),
        })
    }

    /// The account of an address, made if there is none.
    pub fn of(&self, client: IpAddr) -> Arc<Account> {
        let address = address::limit_key(client);
        self.by_address.lock().of(address, Instant::now(), || {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            Account::new(number, address, (&self.limits, self.frames_per_minute), &self.flight)
        })
    }

    /// What a key may use in a minute, over all addresses.
    pub fn of_key(&self, key: &PublicKey) -> Arc<Mutex<Budgets>> {
        let budgets = || Mutex::new(Budgets::new(&self.limits, self.limits.address_budget_factor));
        self.by_key.lock().of(*key, Instant::now(), budgets)
    }
}

/// What is kept for a while after nobody uses it.
#[derive(Debug)]
struct Remembered<K, V> {
    max: usize,
    entries: HashMap<K, Entry<V>>,
}

#[derive(Debug)]
struct Entry<V> {
    value: Arc<V>,
    asked_for: Instant,
}

impl<V> Entry<V> {
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.value) == 1
    }
}

impl<K: Hash + Eq, V> Remembered<K, V> {
    fn new(max: usize) -> Self {
        Self { max: max.max(1), entries: HashMap::new() }
    }

    fn of(&mut self, key: K, now: Instant, make: impl FnOnce() -> V) -> Arc<V> {
        if self.entries.len() >= self.max && !self.entries.contains_key(&key) {
            self.forget(now);
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry { value: Arc::new(make()), asked_for: now });
        entry.asked_for = now;
        Arc::clone(&entry.value)
    }

    /// Forgets what nobody holds and nobody asked for lately; if there is none, what was asked for longest ago.
    fn forget(&mut self, now: Instant) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| !entry.is_idle() || now.duration_since(entry.asked_for) < KEPT);
        if self.entries.len() == before {
            let idle = self.entries.values().filter(|entry| entry.is_idle());
            let mut idle: Vec<Instant> = idle.map(|entry| entry.asked_for).collect();
            idle.sort_unstable();
            if let Some(&middle) = idle.get(idle.len() / 2) {
                self.entries.retain(|_, entry| !entry.is_idle() || entry.asked_for > middle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(accounts_max: usize) -> Arc<Accounts> {
        Accounts::new(&Limits { accounts_max, ..Limits::default() }, &Pico::default())
    }

    #[test]
    fn one_for_each_address_also_after_it_left() {
        let accounts = accounts(10);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = accounts.of(address("2001:db8::1"));
        assert!(Arc::ptr_eq(&first, &accounts.of(address("2001:db8::2"))));
        assert!(!Arc::ptr_eq(&first, &accounts.of(address("2001:db8:0:1::1"))));
        assert_ne!(first.number(), accounts.of(address("10.0.0.1")).number());
        let pointer = Arc::as_ptr(&first);
        drop(first);
        assert_eq!(Arc::as_ptr(&accounts.of(address("2001:db8::3"))), pointer);
    }

    #[test]
    fn what_was_under_way_does_not_end_a_refusal() {
        let accounts = accounts(10);
        let (account, now) = (accounts.of(IpAddr::from([10, 0, 0, 1])), Instant::now());
        assert!(account.false_events(Limits::default().false_events_per_minute, now));
        for count in [0, 1, 5] {
            assert!(!account.false_events(count, now));
            assert!(account.refused_for(now).is_some() && account.delay(now) > Duration::ZERO, "{count}");
        }
    }

    #[test]
    fn forgets_no_account_that_is_in_use() {
        let accounts = accounts(4);
        let held: Vec<_> = (0..4).map(|n| accounts.of(IpAddr::from([10, 0, 0, n]))).collect();
        for n in 0..100 {
            accounts.of(IpAddr::from([10, 0, 1, n]));
        }
        for (n, account) in (0..4).zip(&held) {
            assert!(Arc::ptr_eq(account, &accounts.of(IpAddr::from([10, 0, 0, n]))));
        }
        assert!(accounts.by_address.lock().entries.len() < 10);
    }
}
