//! Who a connection belongs to: an account for each address (of IPv6: for each /64), shared by all connections of that
//! address and kept for a while after the last of them is gone, so that whoever reconnects finds what they have used.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::http::client_addr;

/// How long the account of an address is kept when no connection has it any more.
const KEPT: Duration = Duration::from_secs(600);

/// The accounts of all addresses that are connected, or were lately.
#[derive(Debug)]
pub struct Accounts {
    max: usize,
    by_address: Mutex<HashMap<IpAddr, Entry>>,
}

#[derive(Debug)]
struct Entry {
    account: Arc<Account>,
    asked_for: Instant,
}

/// What one address may use, and has used.
#[derive(Debug)]
pub struct Account {
    address: IpAddr,
}

impl Account {
    fn new(address: IpAddr) -> Self {
        Self { address }
    }

    /// The address; of IPv6 the first of its /64.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl Accounts {
    /// Remembers `max` addresses that are not connected any more; those that are connected always have an account.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), by_address: Mutex::default() })
    }

    /// The account of an address, made if there is none.
    pub fn of(&self, client: IpAddr) -> Arc<Account> {
        let address = client_addr::limit_key(client);
        let now = Instant::now();
        let mut by_address = self.by_address.lock();
        if by_address.len() >= self.max && !by_address.contains_key(&address) {
            forget(&mut by_address, now);
        }
        let entry = by_address
            .entry(address)
            .or_insert_with(|| Entry { account: Arc::new(Account::new(address)), asked_for: now });
        entry.asked_for = now;
        Arc::clone(&entry.account)
    }
}

/// Forgets accounts that nobody holds and that were not asked for lately; if there are none, those asked for longest ago.
fn forget(by_address: &mut HashMap<IpAddr, Entry>, now: Instant) {
    let is_idle = |entry: &Entry| Arc::strong_count(&entry.account) == 1;
    let before = by_address.len();
    by_address.retain(|_, entry| !is_idle(entry) || now.duration_since(entry.asked_for) < KEPT);
    if by_address.len() == before {
        let mut idle: Vec<Instant> = by_address.values().filter(|entry| is_idle(entry)).map(|e| e.asked_for).collect();
        idle.sort_unstable();
        if let Some(&middle) = idle.get(idle.len() / 2) {
            by_address.retain(|_, entry| !is_idle(entry) || entry.asked_for > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_for_each_address_also_after_it_left() {
        let accounts = Accounts::new(10);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = accounts.of(address("2001:db8::1"));
        assert!(Arc::ptr_eq(&first, &accounts.of(address("2001:db8::2"))));
        assert!(!Arc::ptr_eq(&first, &accounts.of(address("2001:db8:0:1::1"))));
        let pointer = Arc::as_ptr(&first);
        drop(first);
        assert_eq!(Arc::as_ptr(&accounts.of(address("2001:db8::3"))), pointer);
    }

    #[test]
    fn forgets_no_account_that_is_in_use() {
        let accounts = Accounts::new(4);
        let held: Vec<_> = (0..4).map(|n| accounts.of(IpAddr::from([10, 0, 0, n]))).collect();
        for n in 0..100 {
            accounts.of(IpAddr::from([10, 0, 1, n]));
        }
        for (n, account) in (0..4).zip(&held) {
            assert!(Arc::ptr_eq(account, &accounts.of(IpAddr::from([10, 0, 0, n]))));
        }
        assert!(accounts.by_address.lock().len() < 10);
    }
}
