//! How many are connected, in all and from one address.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::account::{Account, Accounts};
use crate::http::metrics::CONNECTIONS;

/// Counts who is in.
pub(super) struct Door {
    max: usize,
    max_per_address: usize,
    accounts: Arc<Accounts>,
    open: Mutex<Open>,
    left: Notify,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// `limits.connections_max`.
    Relay,
    /// `limits.connections_per_address_max`.
    Address,
}

/// A place of a connection; given back when dropped.
pub struct Admission {
    door: Arc<Door>,
    account: Arc<Account>,
    client: IpAddr,
}

impl Admission {
    /// The address of the client itself.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// The account of that address.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Door {
    pub(super) fn new(max: usize, max_per_address: usize, accounts: Arc<Accounts>) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, accounts, open: Mutex::default(), left: Notify::new() })
    }

    /// Waits until the last connection is gone.
    pub(super) async fn all_left(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.open.lock().total == 0 {
                return;
            }
            left.await;
        }
    }

    pub(super) fn enter(door: &Arc<Self>, client: IpAddr) -> Result<Admission, Full> {
        let account = door.accounts.of(client);
        let mut open = door.open.lock();
        if open.total >= door.max {
            return Err(Full::Relay);
        }
        let here = open.by_address.entry(account.address()).or_default();
        if door.max_per_address > 0 && *here >= door.max_per_address {
            return Err(Full::Address);
        }
        *here += 1;
        open.total += 1;
        metrics::gauge!(CONNECTIONS).increment(1.0);
        Ok(Admission { door: Arc::clone(door), account, client })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.door.open.lock();
        open.total -= 1;
        if let Some(here) = open.by_address.get_mut(&self.account.address()) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&self.account.address());
            }
        }
        metrics::gauge!(CONNECTIONS).decrement(1.0);
        if open.total == 0 {
            self.door.left.notify_waiters();
        }
    }
}
