//! The log of clients: who came and went, what was refused to whom, and why. One line a minute at `info`, one for each
//! occasion at `debug`.
//!
//! This is the only place that logs addresses of clients, and it shortens them to their network unless
//! `server.log_addresses` says otherwise. Keys are never logged.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::LogAddresses;
use crate::event::Id;
use crate::outcome::Outcome;

/// Networks among which a minute's line finds those to whom most was refused.
const WATCHED: usize = 64;

/// What refusals begin with.
const PREFIXES: [&str; 9] =
    ["auth-required", "blocked", "duplicate", "error", "invalid", "pow", "rate-limited", "restricted", "unsupported"];

/// Of [`WATCHED`] networks, how many it names.
const NAMED: usize = 3;

/// Counts what happens to clients until the next line.
#[derive(Debug)]
pub struct ClientLog {
    addresses: LogAddresses,
    numbers: AtomicU64,
    open: AtomicU64,
    accepted: AtomicU64,
    queries: AtomicU64,
    counts: Mutex<Counts>,
}

/// One client of a [`ClientLog`], from when it is let in until it has left. Clones are the same client.
#[derive(Clone, Debug)]
pub struct Client {
    log: Arc<ClientLog>,
    address: IpAddr,
    /// Tells clients of one network apart in the log.
    number: u64,
    since: Instant,
}

/// What has reasons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum What {
    Turned,
    Event,
    Message,
    Closed,
}

#[derive(Default, Debug)]
struct Counts {
    came: u64,
    left: u64,
    reasons: BTreeMap<(What, &'static str), u64>,
    /// To whom something was refused, and how often: exact for few networks; of many, those with the most are in it.
    refused: Vec<(Shown, u64)>,
}

/// An address as the log shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shown {
    Nothing,
    Network(IpNet),
    Address(IpAddr),
}

impl ClientLog {
    /// Nobody was there yet.
    pub fn new(addresses: LogAddresses) -> Arc<Self> {
        Arc::new(Self {
            addresses,
            numbers: AtomicU64::new(0),
            open: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            queries: AtomicU64::new(0),
            counts: Mutex::default(),
        })
    }

    /// A connection was let in. Whoever keeps the client says [`Client::left`] at its end.
    pub fn came(self: &Arc<Self>, address: IpAddr) -> Client {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let client = Client { log: Arc::clone(self), address, number, since: Instant::now() };
        self.open.fetch_add(1, Ordering::Relaxed);
        self.counts.lock().came += 1;
        tracing::debug!(client = number, from = %self.shown(address), "connected");
        client
    }

    /// A connection was not let in.
    pub fn turned_away(&self, address: IpAddr, why: &'static str) {
        let shown = self.shown(address);
        self.count(What::Turned, why, shown);
        tracing::debug!(from = %shown, why, "a connection was refused");
    }

    /// What happened since the last call, in one line. None if nothing did.
    pub fn summary(&self) -> Option<String> {
        let Counts { came, left, reasons, mut refused } = std::mem::take(&mut *self.counts.lock());
        let accepted = self.accepted.swap(0, Ordering::Relaxed);
        let queries = self.queries.swap(0, Ordering::Relaxed);
        if came + left + accepted + queries == 0 && reasons.is_empty() {
            return None;
        }
        let open = self.open.load(Ordering::Relaxed);
        let mut line = format!(
            "clients: {came} came, {left} left, {open} are here; {accepted} events accepted, {queries} queries"
        );
        for (what, name) in [
            (What::Turned, "connections refused"),
            (What::Event, "events not taken"),
            (What::Message, "messages refused"),
            (What::Closed, "clients closed"),
        ] {
            let these = || reasons.iter().filter(|((kind, _), _)| *kind == what);
            let total: u64 = these().map(|(_, count)| count).sum();
            if total > 0 {
                let each: Vec<String> = these().map(|((_, why), count)| format!("{why} {count}")).collect();
                let _ = write!(line, "; {total} {name} ({})", each.join(", "));
            }
        }
        refused.retain(|(shown, _)| *shown != Shown::Nothing);
        refused.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        refused.truncate(NAMED);
        if !refused.is_empty() {
            let each: Vec<String> = refused.iter().map(|(shown, count)| format!("{shown} {count}")).collect();
            let _ = write!(line, "; refused most to {}", each.join(", "));
        }
        Some(line)
    }

    /// Logs a line each `period` in which something happened, until the relay stops.
    pub async fn tell(self: Arc<Self>, period: Duration, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
            self.tell_now();
        }
    }

    /// Logs the line now, if something happened since the last one.
    pub fn tell_now(&self) {
        if let Some(line) = self.summary() {
            tracing::info!("{line}");
        }
    }

    fn count(&self, what: What, why: &'static str, shown: Shown) {
        let mut counts = self.counts.lock();
        *counts.reasons.entry((what, why)).or_default() += 1;
        // The space-saving algorithm: whoever is new takes the place, and the count, of the least frequent.
        if let Some((_, count)) = counts.refused.iter_mut().find(|(other, _)| *other == shown) {
            *count += 1;
        } else if counts.refused.len() < WATCHED {
            counts.refused.push((shown, 1));
        } else if let Some(least) = counts.refused.iter_mut().min_by_key(|(_, count)| *count) {
            *least = (shown, least.1 + 1);
        }
    }

    fn shown(&self, address: IpAddr) -> Shown {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { 24 } else { 48 };
        match self.addresses {
            LogAddresses::Off => Shown::Nothing,
            LogAddresses::Short => IpNet::new(address, bits).map_or(Shown::Nothing, |net| Shown::Network(net.trunc())),
            LogAddresses::Full => Shown::Address(address),
        }
    }
}

impl Client {
    /// What became of events.
    pub fn events(&self, outcomes: &[(Id, Outcome)]) {
        let mut accepted = 0;
        for (id, outcome) in outcomes {
            match outcome.labels() {
                ("accepted" | "ephemeral", _) => accepted += 1,
                (outcome, reason) => {
                    let why = if reason.is_empty() { outcome } else { reason };
                    self.count(What::Event, why);
                    tracing::debug!(client = self.number, from = %self.shown(), why, %id, "an event was not taken");
                }
            }
        }
        if accepted > 0 {
            self.log.accepted.fetch_add(accepted, Ordering::Relaxed);
        }
    }

    /// A query came.
    pub fn query(&self) {
        self.log.queries.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was refused. `what`: its type, such as `REQ`; `why`: what the client is told. It is counted by its
    /// standard prefix (NIP-01).
    pub fn refused(&self, what: &'static str, why: &str) {
        let (prefix, _) = why.split_once(':').unwrap_or_default();
        self.count(What::Message, PREFIXES.iter().find(|known| **known == prefix).unwrap_or(&"other"));
        tracing::debug!(client = self.number, from = %self.shown(), what, why, "a message was refused");
    }

    /// The relay ends the connection. `why`: one of few words, such as `too slow`.
    pub fn closed(&self, why: &'static str) {
        self.count(What::Closed, why);
        tracing::debug!(client = self.number, from = %self.shown(), why, "a client was closed");
    }

    /// The connection is gone, whoever ended it.
    pub fn left(&self) {
        self.log.open.fetch_sub(1, Ordering::Relaxed);
        self.log.counts.lock().left += 1;
        tracing::debug!(client = self.number, from = %self.shown(), seconds = self.since.elapsed().as_secs(), "left");
    }

    fn count(&self, what: What, why: &'static str) {
        self.log.count(what, why, self.shown());
    }

    fn shown(&self) -> Shown {
        self.log.shown(self.address)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("-"),
            Self::Network(network) => network.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Refusal;
    use crate::store::Saved;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_line_says_what_happened_once() {
        let log = ClientLog::new(LogAddresses::Short);
        assert_eq!(log.summary(), None);
        let (one, two) = (log.came(address("203.0.113.7")), log.came(address("2001:db8:1:2::3")));
        let refused = |words: &str| (Id([1; 32]), Outcome::Refused(Refusal::with_prefix("test", words).unwrap()));
        let accepted = (Id([2; 32]), Outcome::Saved(Saved::New(1)));
        one.events(&[accepted.clone(), refused("pow: 1"), (Id([3; 32]), Outcome::Saved(Saved::Duplicate))]);
        two.events(&[accepted, refused("pow: 2"), refused("blocked: no")]);
        two.query();
        two.refused("REQ", "rate-limited: too many queries");
        two.refused("REQ", "something: else");
        two.closed("too slow");
        two.left();
        log.turned_away(address("203.0.113.8"), "full");
        let line = log.summary().unwrap();
        assert_eq!(
            line,
            "clients: 2 came, 1 left, 1 are here; 2 events accepted, 1 queries; \
             1 connections refused (full 1); 4 events not taken (blocked 1, duplicate 1, pow 2); \
             2 messages refused (other 1, rate-limited 1); 1 clients closed (too slow 1); \
             refused most to 2001:db8:1::/48 5, 203.0.113.0/24 3"
        );
        assert_eq!(log.summary(), None, "it is told once");
    }

    #[test]
    fn addresses_are_shown_as_asked_for() {
        for (addresses, given, shown) in [
            (LogAddresses::Short, "203.0.113.7", "203.0.113.0/24"),
            (LogAddresses::Short, "::ffff:203.0.113.7", "203.0.113.0/24"),
            (LogAddresses::Short, "2001:db8:1:2::3", "2001:db8:1::/48"),
            (LogAddresses::Full, "203.0.113.7", "203.0.113.7"),
            (LogAddresses::Full, "2001:db8:1:2::3", "2001:db8:1:2::3"),
            (LogAddresses::Off, "203.0.113.7", "-"),
        ] {
            let log = ClientLog::new(addresses);
            assert_eq!(log.shown(address(given)).to_string(), shown);
            log.turned_away(address(given), "full");
            assert_eq!(log.summary().unwrap().contains(shown), addresses != LogAddresses::Off, "{shown}");
        }
    }

    #[test]
    fn a_crowd_of_networks_does_not_hide_the_one_with_the_most() {
        let log = ClientLog::new(LogAddresses::Full);
        let client = log.came(address("198.51.100.1"));
        for number in 0..10_000u32 {
            log.turned_away(IpAddr::V4((0x0a00_0000 + number).into()), "full");
            if number % 10 == 0 {
                client.refused("EVENT", "rate-limited: slow down");
            }
        }
        assert!(log.counts.lock().refused.len() <= WATCHED);
        assert!(log.summary().unwrap().contains("refused most to 198.51.100.1 "));
    }
}
