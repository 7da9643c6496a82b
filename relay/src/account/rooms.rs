//! The account of an address, as pico rooms see it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Account, Budget};
use crate::pico;
use crate::store::Party;

impl pico::account::Account for Account {
    fn number(&self) -> u64 {
        self.number
    }

    fn address(&self) -> IpAddr {
        self.address
    }

    fn party(&self) -> &Arc<Party> {
        &self.holdings.party
    }

    fn spend(&self, frames: usize, bytes: usize, now: Instant) -> Option<Duration> {
        let spent = [self.peer_frames.lock().take(frames, now), self.budgets.lock().take(Budget::Bytes, bytes, now)];
        spent.into_iter().filter_map(Result::err).max()
    }

    fn delay(&self, now: Instant) -> Duration {
        Self::delay(self, now)
    }

    fn false_feeds(&self, count: u32, now: Instant) -> bool {
        self.false_events(count, now) || self.refused_for(now).is_some()
    }
}
