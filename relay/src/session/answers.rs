//! What becomes of a client's events: their OKs, and what is known of who sends them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Challenge;
use crate::account::Account;
use crate::clientlog;
use crate::event::Id;
use crate::ingest::Answers;
use crate::message::reply;
use crate::metrics;
use crate::outbox::{Closing, Outbox};
use crate::outcome::Outcome;

/// Turns outcomes into OKs.
pub(super) struct ClientAnswers {
    pub(super) outbox: Arc<Outbox>,
    log: clientlog::Client,
    account: Arc<Account>,
    challenge: Arc<Challenge>,
    /// Events that wait for their OK.
    pub(super) in_flight: AtomicUsize,
    /// What those that are in flight hold.
    pub(super) bytes: Arc<AtomicUsize>,
    /// Whether a true event came, and no false one since.
    is_proven: AtomicBool,
}

impl ClientAnswers {
    pub(super) fn new(
        outbox: Arc<Outbox>,
        account: Arc<Account>,
        log: clientlog::Client,
        challenge: Arc<Challenge>,
    ) -> Self {
        Self {
            outbox,
            log,
            challenge,
            account,
            in_flight: AtomicUsize::new(0),
            bytes: Arc::default(),
            is_proven: AtomicBool::new(false),
        }
    }

    /// Whether a true event came, and no false one since.
    pub(super) fn sends_true_events(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    /// What was seen of its events: that some are false, or that some are true.
    fn judge(&self, false_events: u32, is_any_true: bool) {
        let is_proven = false_events == 0 && (is_any_true || self.sends_true_events());
        if self.is_proven.swap(is_proven, Ordering::Relaxed) != is_proven {
            self.account.is_proven(is_proven);
        }
        if false_events > 0 {
            let now = Instant::now();
            let is_too_much = self.account.false_events(false_events, now);
            if is_too_much {
                tell_of_refusal(self.account.address(), now);
            }
            if is_too_much || self.account.refused_for(now).is_some() {
                self.outbox.close(Closing::FalseEvents);
            }
        }
    }
}

impl Drop for ClientAnswers {
    fn drop(&mut self) {
        if self.sends_true_events() {
            self.account.is_proven(false);
        }
    }
}

/// Tells the operator that an address sends false events, and what to set if it is the address of many.
fn tell_of_refusal(address: IpAddr, now: Instant) {
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
    let mut told = TOLD.lock();
    if told.is_some_and(|told| now.saturating_duration_since(told) < Duration::from_secs(60)) {
        return;
    }
    *told = Some(now);
    let is_private = match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unspecified(),
    };
    if is_private {
        tracing::warn!(
            "an address of this machine or network sends false events and is refused for a while: if it is a proxy, set \
             server.trusted_proxies; if all clients come from it, as with Tor, set limits.refused_seconds_max to 0"
        );
    } else {
        tracing::info!("an address sends false events and is refused for a while");
    }
}

impl Answers for ClientAnswers {
    fn answer(&self, outcomes: Vec<(Id, Outcome)>) {
        let count = outcomes.len();
        let (mut false_events, mut is_any_true) = (0, false);
        for (_, outcome) in &outcomes {
            let (label, reason) = outcome.labels();
            metrics::event(label, reason);
            false_events += u32::from(outcome.is_forged());
            is_any_true |= outcome.is_of_true_event();
        }
        self.log.events(&outcomes);
        self.judge(false_events, is_any_true);
        self.outbox.texts(outcomes.iter().flat_map(|(id, outcome)| {
            let challenge = match outcome {
                Outcome::Refused(why) => self.challenge.before_refusal(why.prefix),
                _ => None,
            };
            challenge.into_iter().chain([ok(id, outcome)])
        }));
        self.in_flight.fetch_sub(count, Ordering::AcqRel);
        self.outbox.wake();
    }
}

fn ok(id: &Id, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Saved(saved) => reply::saved(id, *saved),
        Outcome::Passed | Outcome::Shadowed => reply::ok(&id.to_hex(), true, ""),
        Outcome::Refused(why) => reply::ok(&id.to_hex(), false, &why.to_string()),
    }
}
