//! What may be used in a minute.

use std::time::{Duration, Instant};

use crate::config::Limits;

/// What a message costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Budget {
    /// One for each message.
    Message,
    /// One for each that makes the store work.
    Query,
    /// One for each byte.
    Bytes,
}

/// The budgets of a connection, of an address, or of a key: a minute's worth may be used at once, and refills evenly.
#[derive(Debug)]
pub struct Budgets {
    messages: Bucket,
    queries: Bucket,
    bytes: Bucket,
}

/// One of them.
#[derive(Debug)]
pub struct Bucket {
    /// 0: no limit.
    per_minute: f64,
    used: f64,
    at: Option<Instant>,
}

impl Budgets {
    /// From `limits`, `factor` times as much as one connection has. 0 is no limit; without one for messages there is none
    /// for bytes.
    pub fn new(limits: &Limits, factor: u32) -> Self {
        let bytes = if limits.messages_per_minute == 0 { 0 } else { limits.message_bytes_per_minute };
        let factor = f64::from(factor);
        Self {
            messages: Bucket::new(f64::from(limits.messages_per_minute) * factor),
            queries: Bucket::new(f64::from(limits.queries_per_minute) * factor),
            bytes: Bucket::new(f64::from(bytes) * factor),
        }
    }

    /// Takes something from a budget. The error is how long it will be until there is enough.
    pub fn take(&mut self, budget: Budget, amount: usize, now: Instant) -> Result<(), Duration> {
        match budget {
            Budget::Message => &mut self.messages,
            Budget::Query => &mut self.queries,
            Budget::Bytes => &mut self.bytes,
        }
        .take(amount, now)
    }

    /// Whether there is no limit to it.
    pub fn is_unlimited(&self, budget: Budget) -> bool {
        let bucket = match budget {
            Budget::Message => &self.messages,
            Budget::Query => &self.queries,
            Budget::Bytes => &self.bytes,
        };
        bucket.per_minute <= 0.0
    }
}

impl Bucket {
    /// A full one. 0: no limit.
    pub fn new(per_minute: f64) -> Self {
        Self { per_minute, used: 0.0, at: None }
    }

    /// Takes so much. The error is how long it will be until there is enough. More than the whole is taken when nothing is
    /// used.
    pub fn take(&mut self, amount: usize, now: Instant) -> Result<(), Duration> {
        if self.per_minute <= 0.0 {
            return Ok(());
        }
        if let Some(at) = self.at {
            let refilled = now.saturating_duration_since(at).as_secs_f64() * self.per_minute / 60.0;
            self.used = (self.used - refilled).max(0.0);
        }
        self.at = Some(now);
        let amount = amount as f64;
        let over = self.used + amount - self.per_minute;
        if over > 0.0 && self.used > 0.0 {
            let wait = over.min(self.used) * 60.0 / self.per_minute;
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        self.used += amount;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_at_once_then_evenly() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut bucket = Bucket::new(60.0);
        for _ in 0..60 {
            bucket.take(1, at(0.0)).unwrap();
        }
        assert_eq!(bucket.take(1, at(0.0)), Err(Duration::from_secs(1)));
        assert!(bucket.take(1, at(0.5)).unwrap_err() <= Duration::from_millis(501));
        bucket.take(1, at(1.01)).unwrap();
        bucket.take(1, at(1.02)).unwrap_err();
        assert!(bucket.take(30, at(1.02)).unwrap_err() > Duration::from_secs(29));
        bucket.take(30, at(31.5)).unwrap();
        // Never more than a minute's worth.
        (0..60).for_each(|_| bucket.take(1, at(1_000.0)).unwrap());
        bucket.take(1, at(1_000.0)).unwrap_err();
    }

    #[test]
    fn more_than_the_whole_passes_alone() {
        let start = Instant::now();
        let mut bucket = Bucket::new(60.0);
        bucket.take(100, start).unwrap();
        let wait = bucket.take(100, start).unwrap_err();
        bucket.take(100, start + wait).unwrap();
    }

    #[test]
    fn none_for_messages_is_none_for_bytes() {
        let limits = Limits { messages_per_minute: 0, queries_per_minute: 1, ..Limits::default() };
        let mut budgets = Budgets::new(&limits, 2);
        let now = Instant::now();
        for _ in 0..10 {
            budgets.take(Budget::Bytes, 1 << 30, now).unwrap();
            budgets.take(Budget::Message, 1, now).unwrap();
        }
        for fits in [true, true, false] {
            assert_eq!(budgets.take(Budget::Query, 1, now).is_ok(), fits);
        }
    }
}
