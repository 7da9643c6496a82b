//! Time, as an argument.
//!
//! Everything that depends on the time takes a [`Timestamp`]; this is the one place that reads the machine's clock.

/// Seconds since 1970-01-01 UTC, as in `created_at` (NIP-01).
pub type Timestamp = u64;

/// The time now. Called at the edges (a connection, the writer, a sweep), never in rules.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn now() -> Timestamp {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same in milliseconds, as pico counts.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
