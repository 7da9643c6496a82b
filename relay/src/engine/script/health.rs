//! Whether a script still runs: one that fails too often in a row is not asked for a while.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use super::limits::Limits;
use crate::http::metrics::{SLICE_FAULTS, SLICES_DISABLED};

/// Failures of one script. Shared by the threads that run it.
#[derive(Debug)]
pub(super) struct Health {
    name: String,
    in_a_row: AtomicU32,
    /// Milliseconds; 0: it runs.
    paused_until: AtomicU64,
    failures_max: u32,
    pause_millis: u64,
    /// Pauses are counted from here.
    born: Instant,
}

impl Health {
    pub(super) fn new(name: &str, limits: &Limits) -> Self {
        Self {
            name: name.to_owned(),
            in_a_row: AtomicU32::new(0),
            paused_until: AtomicU64::new(0),
            failures_max: limits.failures,
            pause_millis: u64::try_from(limits.pause.as_millis()).unwrap_or(u64::MAX),
            born: Instant::now(),
        }
    }

    /// True when it is to be asked. After its pause it is tried again; one more failure is enough then.
    pub(super) fn runs(&self) -> bool {
        let until = self.paused_until.load(Ordering::Relaxed);
        if until == 0 || self.age() < until {
            return until == 0;
        }
        if self.paused_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.in_a_row.store(self.failures_max.saturating_sub(1), Ordering::Relaxed);
            metrics::gauge!(SLICES_DISABLED).decrement(1.0);
            tracing::info!(slice = %self.name, "the slice is tried again");
        }
        true
    }

    /// It is not asked any more, until its files change: a call does not come to an end.
    pub(super) fn stuck(&self, took: std::time::Duration) {
        metrics::counter!(SLICE_FAULTS).increment(1);
        if self.paused_until.swap(u64::MAX, Ordering::Relaxed) == 0 {
            metrics::gauge!(SLICES_DISABLED).increment(1.0);
        }
        let seconds = took.as_secs_f32();
        tracing::error!(
            slice = %self.name,
            "a call has taken {seconds:.1} seconds and cannot be stopped; the slice is not asked any more until its file changes"
        );
    }

    fn age(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn worked(&self) {
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a failure, and says it to the operator: those that are many, only once in a while.
    pub(super) fn failed(&self, error: &super::error::ScriptError) {
        metrics::counter!(SLICE_FAULTS).increment(1);
        let failures = self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures == 1 || failures.is_power_of_two() {
            tracing::warn!(slice = %self.name, %error, failures, "a slice failed");
        }
        let until = self.age().saturating_add(self.pause_millis).max(1);
        if failures >= self.failures_max
            && self.paused_until.compare_exchange(0, until, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            metrics::gauge!(SLICES_DISABLED).increment(1.0);
            tracing::error!(
                slice = %self.name, %error,
                "the slice failed {failures} times in a row and is not asked for {} seconds",
                self.pause_millis / 1000
            );
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        if *self.paused_until.get_mut() != 0 {
            metrics::gauge!(SLICES_DISABLED).decrement(1.0);
        }
    }
}
