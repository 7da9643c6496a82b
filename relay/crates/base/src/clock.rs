//! Time, as an argument.
//!
//! Everything that depends on the time takes a [`Timestamp`]; this is the one place that reads the machine's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 UTC, as in `created_at` (NIP-01).
pub type Timestamp = u64;

/// Milliseconds since 1970-01-01 UTC, as everything in pico counts.
pub type Millis = i64;

/// The time now. Called at the edges (a connection, the writer, a sweep), never in rules.
#[inline]
pub fn now() -> Timestamp {
    since_epoch().as_secs()
}

/// The same in milliseconds, as pico counts.
#[inline]
pub fn now_ms() -> Millis {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds by which the clock is ahead.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Moves the clock of this process ahead, so that tests need not wait for days. See `config/load.rs`.
pub fn shift(milliseconds: i64) {
    AHEAD.store(milliseconds.max(0), Ordering::Relaxed);
}

#[allow(clippy::disallowed_methods, reason = "the one place")]
fn since_epoch() -> Duration {
    let ahead = Duration::from_millis(AHEAD.load(Ordering::Relaxed).unsigned_abs());
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + ahead
}
