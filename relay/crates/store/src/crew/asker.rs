//! Who asks the reader threads, and what they have had of them lately.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Time after which what somebody has used of the threads counts half.
const HALF_LIFE: Duration = Duration::from_secs(1);

/// What short queries cost is divided by this before it is counted.
const SHORT_PART: u32 = 5;

/// All who share what one party may use of the reader threads: the clients of an address, or the relay itself.
#[derive(Debug)]
pub struct Party {
    number: u64,
    /// Under the lock of the standard library, as the queues are: see there.
    used: Mutex<Used>,
    places: OnceLock<Arc<Semaphore>>,
    searches: OnceLock<Arc<Semaphore>>,
}

/// Less time than this is not looked at: nearly nothing is forgotten in it.
const MOMENT: Duration = Duration::from_millis(1);

/// What everybody is taken to have used at least, in seconds.
const USED_MIN: f64 = 1e-5;

/// Parts of a half-life that ranks are told apart by.
const RANKS: f64 = 1_000.0;

#[derive(Debug)]
struct Used {
    seconds: f64,
    at: Instant,
}

impl Used {
    fn decay(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        if passed >= MOMENT {
            self.seconds *= (-passed.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
            self.at = now;
        }
    }
}

impl Party {
    /// What the relay itself asks, for example to export.
    pub const RELAY: u64 = 0;
    /// What must be known of the store before an event is accepted.
    pub const ADMISSION: u64 = 1;
    /// What pico rooms ask.
    pub const ROOMS: u64 = 2;
    /// The first number of an address.
    pub const ADDRESS: u64 = 16;

    /// One that has used nothing. The number tells it from others.
    pub fn new(number: u64) -> Arc<Self> {
        let used = Mutex::new(Used { seconds: 0.0, at: Instant::now() });
        Arc::new(Self { number, used, places: OnceLock::new(), searches: OnceLock::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Pieces of work that it may have in the queues.
    pub(super) fn places(&self, max: usize) -> &Arc<Semaphore> {
        self.places.get_or_init(|| Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Slices of searches that it may have there.
    pub(super) fn searches(&self, max: usize) -> &Arc<Semaphore> {
        self.searches.get_or_init(|| Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Work for this party has cost so much. Short work counts a fifth: who asks for little at a time may ask more often.
    pub(super) fn charge(&self, cost: Duration, is_long: bool, now: Instant) {
        let cost = if is_long { cost } else { cost / SHORT_PART };
        let mut used = self.lock();
        used.decay(now);
        used.seconds += cost.as_secs_f64();
    }

    /// What it has used lately, as a rank among others that stays the same while time passes: what all have used is halved
    /// alike.
    #[expect(clippy::cast_possible_truncation, reason = "seconds since the start, times a thousand")]
    pub(super) fn rank(&self, now: Instant) -> i64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let mut used = self.lock();
        used.decay(now);
        let (seconds, at) = (used.seconds.max(USED_MIN), used.at.max(now));
        drop(used);
        let halvings = at.saturating_duration_since(*START).as_secs_f64() / HALF_LIFE.as_secs_f64();
        ((seconds.log2() + halvings) * RANKS) as i64
    }

    /// What it has used lately.
    pub(super) fn used(&self, now: Instant) -> Duration {
        let mut used = self.lock();
        used.decay(now);
        Duration::try_from_secs_f64(used.seconds).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_forgotten_with_time() {
        let party = Party::new(1);
        let now = Instant::now();
        let used_after = |seconds| (party.used(now + Duration::from_secs(seconds)).as_secs_f64() * 1000.0).round();
        party.charge(Duration::from_millis(800), true, now);
        assert_eq!(used_after(0), 800.0);
        assert_eq!(used_after(1), 400.0);
        assert_eq!(used_after(4), 50.0);
        party.charge(Duration::from_millis(500), false, now + Duration::from_secs(4));
        assert_eq!(used_after(4), 150.0);
        assert_eq!(used_after(30), 0.0);
    }

    #[test]
    fn ranks_stay_while_time_passes() {
        let now = Instant::now();
        let (little, much) = (Party::new(1), Party::new(2));
        little.rank(now);
        little.charge(Duration::from_millis(50), true, now);
        much.charge(Duration::from_millis(60), true, now);
        let first = little.rank(now);
        for seconds in 0..5 {
            let later = now + Duration::from_secs(seconds);
            assert!(little.rank(later).abs_diff(first) <= 1 && first + 1 < much.rank(later));
        }
        let later = now + Duration::from_secs(60);
        assert_eq!(little.rank(later), much.rank(later), "what was used long ago is forgotten");
    }
}
