//! What one connection may use in a minute, beside the other connections of its address and of its key; and how long
//! nothing is read from one that uses more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::account::{Account, Accounts, Bucket, Budget, Budgets};
use crate::config::Limits;
use crate::event::PublicKey;

/// The longest time for which nothing is read from a connection that uses too much.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Messages of a connection that are refused in a minute before it is made to wait.
const REFUSALS_PER_MINUTE: f64 = 60.0;

/// The budgets that a connection uses, and its pause.
pub struct Limiter {
    own: Budgets,
    account: Arc<Account>,
    keys: SmallVec<[Arc<Mutex<Budgets>>; 1]>,
    refusals: Bucket,
    paused_until: Option<Instant>,
}

impl Limiter {
    /// From `limits`, for a connection of an address.
    pub fn new(limits: &Limits, account: Arc<Account>) -> Self {
        let refusals = Bucket::new(REFUSALS_PER_MINUTE);
        Self { own: Budgets::new(limits, 1), account, keys: SmallVec::new(), refusals, paused_until: None }
    }

    /// The connection has proved to hold these keys.
    pub fn set_keys(&mut self, accounts: &Accounts, keys: &[PublicKey]) {
        self.keys.extend(keys.iter().skip(self.keys.len()).map(|key| accounts.of_key(key)));
    }

    /// Takes from a budget, of the connection, of its address and of its keys. False when one of them is used up: the message
    /// is to be refused. A connection from which many are refused is not read from until there is enough.
    pub fn take(&mut self, budget: Budget, amount: usize, now: Instant) -> bool {
        // An address and a key have none either then.
        if self.own.is_unlimited(budget) {
            return true;
        }
        let taken = self
            .own
            .take(budget, amount, now)
            .and_then(|()| self.account.budgets().lock().take(budget, amount, now))
            .and_then(|()| self.keys.iter().try_for_each(|key| key.lock().take(budget, amount, now)));
        let Err(wait) = taken else { return true };
        if self.refusals.take(1, now).is_err() {
            self.pause(wait, now);
        }
        false
    }

    /// Nothing is to be read for a while.
    pub fn pause(&mut self, wait: Duration, now: Instant) {
        if !wait.is_zero() {
            let until = now + wait.min(PAUSE_MAX);
            self.paused_until = Some(self.paused_until.map_or(until, |before| before.max(until)));
        }
    }

    /// Until when nothing is to be read, if that is not over.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until.filter(|until| Instant::now() < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pico;

    fn limits() -> Limits {
        Limits { messages_per_minute: 10, queries_per_minute: 0, address_budget_factor: 3, ..Limits::default() }
    }

    /// How many messages of a new connection pass.
    fn passes(limits: &Limits, accounts: &Accounts, address: [u8; 4], keys: &[PublicKey], now: Instant) -> usize {
        let mut limiter = Limiter::new(limits, accounts.of(address.into()));
        limiter.set_keys(accounts, keys);
        (0..20).filter(|_| limiter.take(Budget::Message, 1, now)).count()
    }

    #[test]
    fn an_address_has_a_budget_that_a_new_connection_does_not_renew() {
        let (limits, now) = (limits(), Instant::now());
        let accounts = Accounts::new(&limits, &Pico::default());
        let one: Vec<_> = (0..5).map(|_| passes(&limits, &accounts, [10, 0, 0, 1], &[], now)).collect();
        assert_eq!(one, [10, 10, 10, 0, 0]);
        assert_eq!(passes(&limits, &accounts, [10, 0, 0, 2], &[], now), 10);
        // A key has one, too, wherever it comes from.
        let key = PublicKey([7; 32]);
        let everywhere: Vec<_> = (3..8).map(|n| passes(&limits, &accounts, [10, 0, 0, n], &[key], now)).collect();
        assert_eq!(everywhere, [10, 10, 10, 0, 0]);
        assert_eq!(passes(&limits, &accounts, [10, 0, 0, 9], &[], now), 10);
        // Queries have none.
        let mut limiter = Limiter::new(&limits, accounts.of([10, 0, 0, 1].into()));
        assert!((0..1_000).all(|_| limiter.take(Budget::Query, 1, now)));
    }

    #[test]
    fn who_goes_on_is_paused() {
        let (limits, now) = (limits(), Instant::now());
        let accounts = Accounts::new(&limits, &Pico::default());
        let mut limiter = Limiter::new(&limits, accounts.of([10, 0, 0, 1].into()));
        while limiter.take(Budget::Message, 1, now) {}
        for _ in 0..59 {
            assert!(!limiter.take(Budget::Message, 1, now));
            assert_eq!(limiter.paused_until(), None);
        }
        assert!(!limiter.take(Budget::Message, 1, now));
        assert!(limiter.paused_until().is_some_and(|until| until <= now + PAUSE_MAX));
    }
}
