//! Whether a slice still runs: one that has to be stopped too often in a row, or that never worked, is not asked for a
//! while.
//!
//! What a slice is asked about comes from strangers. So an exception refuses the block or event that brought it about, and
//! nothing else, once the slice has worked; else one stranger could turn the rules off. A call that has to be stopped
//! costs everybody: it counts whenever it happens.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use super::error::ScriptError;
use super::fault::FaultKind;
use super::limits::Limits;
use crate::metrics::{SLICE_FAULTS, SLICES_DISABLED};
use crate::pulse::Watched;

/// Between two lines of the log about failures of one slice.
const SAY_EVERY_MILLIS: u64 = 10_000;

/// Failures of one slice of a room. Shared by the threads that run it.
#[derive(Debug)]
pub struct Health {
    room: String,
    slice: String,
    /// A call has come to its end since it was loaded.
    has_worked: AtomicBool,
    /// Failures that count, since a call came to its end.
    in_a_row: AtomicU32,
    /// Failures that the log does not have yet.
    unsaid: AtomicU32,
    /// Milliseconds; 0: the log has none.
    said_at: AtomicU64,
    /// Milliseconds; 0: it runs.
    paused_until: AtomicU64,
    failures_max: u32,
    pause_millis: u64,
    /// Milliseconds are counted from here.
    born: Instant,
}

impl Health {
    /// Of a slice that is being loaded. The rooms of a relay that have slices are few, and so are their slices: both are
    /// labels of metrics.
    pub fn new(room: &str, slice: &str, limits: &Limits) -> Self {
        Self {
            room: room.to_owned(),
            slice: slice.to_owned(),
            has_worked: AtomicBool::new(false),
            in_a_row: AtomicU32::new(0),
            unsaid: AtomicU32::new(0),
            said_at: AtomicU64::new(0),
            paused_until: AtomicU64::new(0),
            failures_max: limits.failures,
            pause_millis: u64::try_from(limits.pause.as_millis()).unwrap_or(u64::MAX),
            born: Instant::now(),
        }
    }

    /// Name of the slice.
    #[inline]
    pub fn slice(&self) -> &str {
        &self.slice
    }

    /// True when it is to be asked. After its pause it is tried again; one more failure that counts is enough then.
    #[inline]
    pub fn runs(&self) -> bool {
        let until = self.paused_until.load(Ordering::Relaxed);
        if until == 0 || self.age() < until {
            return until == 0;
        }
        if self.paused_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.in_a_row.store(self.failures_max.saturating_sub(1), Ordering::Relaxed);
            self.count_disabled(-1.0);
            tracing::info!(room = %self.room, slice = %self.slice, "the slice is tried again");
        }
        true
    }

    /// A call has come to its end.
    #[inline]
    pub fn worked(&self) {
        if !self.has_worked.load(Ordering::Relaxed) {
            self.has_worked.store(true, Ordering::Relaxed);
        }
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a failure, and says it to the operator: those that are many, only once in a while.
    pub fn failed(&self, error: &ScriptError) {
        self.count_fault();
        self.say(error);
        let was_stopped = matches!(error.kind, FaultKind::Time | FaultKind::Memory);
        if self.has_worked.load(Ordering::Relaxed) && !was_stopped {
            return;
        }
        let failures = self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let until = self.age().saturating_add(self.pause_millis).max(1);
        if failures >= self.failures_max
            && self.paused_until.compare_exchange(0, until, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.count_disabled(1.0);
            tracing::error!(
                room = %self.room, slice = %self.slice, %error,
                "the slice failed {failures} times in a row and is not asked for {} seconds",
                self.pause_millis / 1000
            );
        }
    }

    fn say(&self, error: &ScriptError) {
        let unsaid = self.unsaid.fetch_add(1, Ordering::Relaxed);
        let (said, now) = (self.said_at.load(Ordering::Relaxed), self.age().max(1));
        let is_time = said == 0 || now >= said.saturating_add(SAY_EVERY_MILLIS);
        if is_time && self.said_at.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.unsaid.store(0, Ordering::Relaxed);
            let failures = unsaid.saturating_add(1);
            tracing::warn!(room = %self.room, slice = %self.slice, %error, failures, "a slice failed");
        }
    }

    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn count_fault(&self) {
        metrics::counter!(SLICE_FAULTS, "room" => self.room.clone(), "slice" => self.slice.clone()).increment(1);
    }

    fn count_disabled(&self, by: f64) {
        metrics::gauge!(SLICES_DISABLED, "room" => self.room.clone(), "slice" => self.slice.clone()).increment(by);
    }
}

impl Watched for Health {
    /// It is not asked any more, until its files change: a call does not come to an end.
    fn stuck(&self, took: std::time::Duration) {
        self.count_fault();
        if self.paused_until.swap(u64::MAX, Ordering::Relaxed) == 0 {
            self.count_disabled(1.0);
        }
        let seconds = took.as_secs_f32();
        tracing::error!(
            room = %self.room, slice = %self.slice,
            "a call has taken {seconds:.1} seconds and cannot be stopped; the slice is not asked any more until its file changes"
        );
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        if *self.paused_until.get_mut() != 0 {
            self.count_disabled(-1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn health() -> Health {
        let config = config::Script { failures_max: 3, pause_seconds: 1_000, ..config::Script::default() };
        Health::new("chess", "moves", &Limits::from(&config))
    }

    fn error(kind: FaultKind) -> ScriptError {
        ScriptError::new(kind, "chess.js", "no")
    }

    #[test]
    fn exceptions_turn_off_only_what_never_worked() {
        for (kinds, has_worked, runs) in [
            ([FaultKind::Threw; 3], false, false),
            ([FaultKind::Threw; 3], true, true),
            ([FaultKind::Result; 3], true, true),
            ([FaultKind::Time; 3], true, false),
            ([FaultKind::Memory; 3], true, false),
            ([FaultKind::Time, FaultKind::Threw, FaultKind::Time], true, true),
            ([FaultKind::Time, FaultKind::Threw, FaultKind::Memory], false, false),
        ] {
            let health = health();
            if has_worked {
                health.worked();
            }
            kinds.iter().for_each(|kind| health.failed(&error(*kind)));
            assert_eq!(health.runs(), runs, "{kinds:?} {has_worked}");
        }
    }

    #[test]
    fn a_call_that_works_begins_the_row_anew() {
        let health = health();
        for _ in 0..9 {
            health.failed(&error(FaultKind::Time));
            health.failed(&error(FaultKind::Time));
            health.worked();
        }
        assert!(health.runs());
    }
}
