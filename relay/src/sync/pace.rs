//! How fast an upstream is read: it may have valid events without end.

use std::time::Duration;

use tokio::time::Instant;

use crate::config;

/// What may come at once, as the time in which it would come evenly.
const BURST: Duration = Duration::from_secs(10);

/// Says how long to pause after what came.
#[derive(Debug)]
pub struct Pace {
    /// Whom the log names.
    pub name: String,
    events_per_minute: u32,
    bytes_per_second: usize,
    /// When all that came would have come, had it come evenly.
    even: Instant,
    /// The log has told of it.
    pub is_told: bool,
}

impl Pace {
    /// As configured. Zero is no limit.
    pub fn new(name: String, config: &config::Sync, now: Instant) -> Self {
        let (events_per_minute, bytes_per_second) = (config.events_per_minute, config.bytes_per_second);
        Self { name, events_per_minute, bytes_per_second, even: now, is_told: false }
    }

    /// Events to be read before the next look: what may come in a second, so that pauses are short.
    pub fn events_max(&self) -> usize {
        if self.events_per_minute == 0 { usize::MAX } else { (self.events_per_minute as usize / 60).max(1) }
    }

    /// The pause after so much.
    pub fn after(&mut self, events: usize, bytes: usize, now: Instant) -> Duration {
        let share = |count: usize, limit: f64| if limit > 0.0 { count as f64 / limit } else { 0.0 };
        let by_events = share(events, f64::from(self.events_per_minute) / 60.0);
        let by_bytes = share(bytes, self.bytes_per_second as f64);
        self.even = self.even.max(now) + Duration::from_secs_f64(by_events.max(by_bytes));
        self.even.saturating_duration_since(now + BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_is_read_slower() {
        let began = Instant::now();
        let pace = |events_per_minute, bytes_per_second| {
            let config = config::Sync { events_per_minute, bytes_per_second, ..Default::default() };
            Pace::new(String::new(), &config, began)
        };
        // An even minute, however it comes.
        for (events, bytes, seconds) in
            [(600, 0, 50), (0, 60_000, 50), (100, 60_000, 50), (600, 1_000, 50), (100, 1, 0)]
        {
            let mut pace = pace(600, 1_000);
            let paused: f64 = (0..10).map(|_| pace.after(events / 10, bytes / 10, began).as_secs_f64()).last().unwrap();
            assert!((paused - f64::from(seconds)).abs() < 0.5, "{events} {bytes}: {paused}");
            assert_eq!(pace.events_max(), 10);
            // Later it may come again.
            assert_eq!(pace.after(100, 0, began + Duration::from_secs(60)), Duration::ZERO);
        }
        let mut unlimited = pace(0, 0);
        assert_eq!(unlimited.after(1 << 30, 1 << 40, began), Duration::ZERO);
        assert_eq!(unlimited.events_max(), usize::MAX);
        assert_eq!(pace(1, 0).events_max(), 1);
    }
}
