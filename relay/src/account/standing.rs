//! What false events cost the address that they come from: it is slowed down, then its connections that sent them are
//! closed, then it gets no new ones for a while.

use std::time::{Duration, Instant};

use crate::config::Limits;

/// Parts of the minute that is looked at.
const PARTS: usize = 12;
/// How long one is.
const PART: Duration = Duration::from_secs(5);
/// After so long without a refusal the next one is as short as the first.
const FORGIVEN: Duration = Duration::from_secs(600);

/// How false events are answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Penalties {
    /// As many in a minute end in a refusal. 0: false events are only refused.
    per_minute: u32,
    delay_max: Duration,
    refuse_min: Duration,
    refuse_max: Duration,
}

/// How an address stands.
#[derive(Debug)]
pub(super) struct Standing {
    /// False events of the last minute, each part's with its number.
    parts: [(u64, u32); PARTS],
    since: Instant,
    refused_until: Option<Instant>,
    /// Refusals in a row.
    refusals: u32,
}

impl Penalties {
    /// From `limits`.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            per_minute: limits.false_events_per_minute,
            delay_max: Duration::from_millis(limits.false_events_delay_ms_max),
            refuse_min: Duration::from_secs(limits.refused_seconds_min),
            refuse_max: Duration::from_secs(limits.refused_seconds_max),
        }
    }
}

impl Standing {
    /// A good one.
    pub(super) fn new(now: Instant) -> Self {
        Self { parts: [(0, 0); PARTS], since: now, refused_until: None, refusals: 0 }
    }

    /// False events have come. True if the address is to be refused from now on. `is_shared`: others behind that address
    /// send what is true, so a refusal hits them, too, and gets no longer.
    pub(super) fn false_events(&mut self, count: u32, is_shared: bool, now: Instant, penalties: &Penalties) -> bool {
        // What was under way before a refusal has been paid for.
        if self.refused_for(now).is_some() {
            return false;
        }
        let number = self.number(now);
        if let Some(part) = usize::try_from(number).ok().and_then(|number| self.parts.get_mut(number % PARTS)) {
            if part.0 != number {
                *part = (number, 0);
            }
            part.1 = part.1.saturating_add(count);
        }
        if penalties.per_minute == 0 || self.in_a_minute(now) < penalties.per_minute || self.refused_for(now).is_some()
        {
            return false;
        }
        if self.refused_until.is_some_and(|until| now.saturating_duration_since(until) > FORGIVEN) {
            self.refusals = 0;
        }
        let refused = penalties.refuse_min.saturating_mul(1_u32 << self.refusals.min(20)).min(penalties.refuse_max);
        if !is_shared {
            self.refusals += 1;
        }
        self.refused_until = Some(now + refused);
        self.parts = [(0, 0); PARTS];
        true
    }

    /// False events in the last minute.
    pub(super) fn in_a_minute(&self, now: Instant) -> u32 {
        let number = self.number(now);
        let recent = |part: &&(u64, u32)| part.0 + PARTS as u64 > number;
        self.parts.iter().filter(recent).map(|part| part.1).fold(0, u32::saturating_add)
    }

    /// How long reading waits after an event of a connection that is not known to send true ones: the longer, the more were
    /// false in the last minute; and longest while the address is refused.
    pub(super) fn delay(&self, now: Instant, penalties: &Penalties) -> Duration {
        if self.refused_for(now).is_some() {
            return penalties.delay_max;
        }
        let count = self.in_a_minute(now);
        if penalties.per_minute == 0 || count <= penalties.per_minute / 10 {
            return Duration::ZERO;
        }
        penalties.delay_max.mul_f64(f64::from(count.min(penalties.per_minute)) / f64::from(penalties.per_minute))
    }

    /// How long the address still gets no new connections, if it is refused.
    pub(super) fn refused_for(&self, now: Instant) -> Option<Duration> {
        self.refused_until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
    }

    fn number(&self, now: Instant) -> u64 {
        // The first part has a number that no part begins with.
        now.saturating_duration_since(self.since).as_secs() / PART.as_secs() + PARTS as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn penalties() -> Penalties {
        let limits = Limits {
            false_events_per_minute: 100,
            false_events_delay_ms_max: 1_000,
            refused_seconds_min: 10,
            refused_seconds_max: 60,
            ..Limits::default()
        };
        Penalties::new(&limits)
    }

    #[test]
    fn slower_then_refused_for_longer_each_time() {
        let (start, penalties) = (Instant::now(), penalties());
        let mut now = start;
        let mut standing = Standing::new(start);
        let mut delays = Vec::new();
        for _ in 0..99 {
            assert!(!standing.false_events(1, false, now, &penalties));
            delays.push(standing.delay(now, &penalties));
        }
        assert!(delays.is_sorted() && delays[5].is_zero());
        assert_eq!((delays[49], delays[98]), (Duration::from_millis(500), Duration::from_millis(990)));
        for refused in [10, 20, 40, 60, 60] {
            assert!(standing.false_events(100, false, now, &penalties));
            assert_eq!(standing.refused_for(now), Some(Duration::from_secs(refused)));
            // What was under way does not make it longer.
            assert!(!standing.false_events(1_000, false, now, &penalties));
            now += Duration::from_secs(refused);
            assert_eq!(standing.refused_for(now), None);
            now += Duration::from_secs(61);
        }
        now += FORGIVEN;
        assert!(standing.false_events(100, false, now, &penalties));
        assert_eq!(standing.refused_for(now), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_shared_address_is_refused_shortly() {
        let (mut now, penalties) = (Instant::now(), penalties());
        let mut standing = Standing::new(now);
        for _ in 0..10 {
            assert!(standing.false_events(100, true, now, &penalties));
            assert_eq!(standing.refused_for(now), Some(Duration::from_secs(10)));
            now += Duration::from_secs(11);
        }
    }

    #[test]
    fn a_minute_slides() {
        let (start, penalties) = (Instant::now(), penalties());
        let mut standing = Standing::new(start);
        // Never a hundred in a minute, for an hour.
        for second in 0..3_600 {
            assert!(!standing.false_events(1, false, start + Duration::from_secs(second), &penalties));
        }
        assert!((50..=65).contains(&standing.in_a_minute(start + Duration::from_secs(3_600))));
        assert_eq!(standing.in_a_minute(start + Duration::from_secs(3_700)), 0);
        // And never refused where that is switched off.
        let off = Penalties { per_minute: 0, ..penalties };
        assert!(!standing.false_events(10_000, false, start, &off));
        assert!(standing.delay(start, &off).is_zero());
    }
}
