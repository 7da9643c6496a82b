//! Events that the writer will have soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many events of each account are on their way to the writer. A transaction waits a little while all whose events it has
/// have more on their way, since each event costs less the more there are. So nobody waits for what others send, and an event
/// that comes alone does not wait at all.
#[derive(Clone, Debug)]
pub struct Coming(Arc<[AtomicUsize]>);

/// Accounts that are told apart. Two that are not wait for each other now and then.
const ACCOUNTS: usize = 4096;

impl Default for Coming {
    fn default() -> Self {
        Self((0..ACCOUNTS).map(|_| AtomicUsize::new(0)).collect())
    }
}

impl Coming {
    /// They have set out.
    pub fn add(&self, account: u64, events: usize) {
        self.of(account, |coming| coming.fetch_add(events, Ordering::Relaxed));
    }

    /// They have arrived, or will not come.
    pub fn remove(&self, account: u64, events: usize) {
        self.of(account, |coming| coming.fetch_sub(events, Ordering::Relaxed));
    }

    pub(super) fn any(&self, account: u64) -> bool {
        self.of(account, |coming| coming.load(Ordering::Relaxed)) > 0
    }

    fn of(&self, account: u64, look: impl FnOnce(&AtomicUsize) -> usize) -> usize {
        self.0.get(Self::place(account)).map_or(0, look)
    }

    fn place(account: u64) -> usize {
        usize::try_from(account % ACCOUNTS as u64).unwrap_or(0)
    }
}
