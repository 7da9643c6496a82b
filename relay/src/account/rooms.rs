//! The account of an address, as pico rooms see it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Account, Budget};
use crate::pico;

impl pico::account::Account for Account {
    fn number(&self) -> u64 {
        self.number
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn spend(&self, bytes: usize, now: Instant) -> Option<Duration> {
        let mut peers = self.peers.lock();
        let mut budgets = self.budgets.lock();
        let spent = [peers.frames.take(1, now), budgets.take(Budget::Bytes, bytes, now)];
        spent.into_iter().filter_map(Result::err).max()
    }

    fn asks_too_often(&self, now: Instant) -> bool {
        self.peers.lock().queries.take(1, now).is_err()
    }

    fn delay(&self, now: Instant) -> Duration {
        Self::delay(self, now)
    }

    fn false_feeds(&self, count: u32, now: Instant) -> bool {
        self.false_events(count, now) || self.refused_for(now).is_some()
    }
}
