//! Options of the engine: what the slices of a room may cost.

use serde::{Deserialize, Serialize};

use super::Limits;
use super::slice::Pace;

/// Options for which 0 has a meaning.
pub const MAY_BE_ZERO: &[&str] = &[
    "engine.postponed_blocks_max",
    "engine.retries_max",
    "engine.evicted_ids_max",
    "engine.cache_bytes_max",
    "engine.watchers_max",
    "engine.reload_seconds",
];

/// What the slices of one room may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Bytes of the state of one room. A block that would need more is rejected.
    pub state_bytes_max: u64,
    /// Bytes of one object of a state.
    pub object_bytes_max: usize,
    /// Objects, keys, signals and marks that one block may bring about.
    pub effects_max: usize,
    /// Blocks of one room that wait to be asked about again.
    pub postponed_blocks_max: usize,
    /// Seconds for which a slice may postpone a block, each time.
    pub postpone_seconds_max: u64,
    /// How often a block is asked about again.
    pub retries_max: u32,
    /// Chains of one room that have expired and are remembered, so that nobody brings them back.
    pub evicted_ids_max: usize,
    /// Bytes of the state of one room that are held in memory. The rest is read when it is needed.
    pub cache_bytes_max: usize,
    /// Blocks in one transaction.
    pub batch_blocks_max: usize,
    /// Objects and marks that are swept in one transaction.
    pub batch_timers_max: usize,
    /// Chains that are compared when a room is full and the lesser ones have to go.
    pub lesser_chains_max: usize,
    /// Objects in one answer to `/pico/<room>/state/<slice>`.
    pub page_objects_max: usize,
    /// Bytes of values in one such answer, roughly.
    pub page_bytes_max: usize,
    /// Connections that watch states.
    pub watchers_max: usize,
    /// Transactions of a room that may wait for one who watches it. One who is slower is closed.
    pub watch_queue_max: usize,
    /// Seconds between two looks whether files of slices have changed. 0: only on SIGHUP.
    pub reload_seconds: u64,
    /// The slice `rate`: blocks of one author in a minute, in the long run.
    pub rate_blocks_per_minute: u32,
    /// The slice `rate`: blocks of one author at once.
    pub rate_burst: u32,
}

impl Default for Engine {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            state_bytes_max: limits.state_bytes_max,
            object_bytes_max: limits.object_bytes_max,
            effects_max: limits.effects_max,
            postponed_blocks_max: limits.postponed_blocks_max,
            postpone_seconds_max: 86_400,
            retries_max: limits.retries_max,
            evicted_ids_max: limits.evicted_ids_max,
            cache_bytes_max: limits.cache_bytes_max,
            batch_blocks_max: limits.batch_blocks_max,
            batch_timers_max: limits.batch_timers_max,
            lesser_chains_max: limits.lesser_chains_max,
            page_objects_max: 1_000,
            page_bytes_max: 4 << 20,
            watchers_max: 1_000,
            watch_queue_max: 256,
            reload_seconds: 2,
            rate_blocks_per_minute: 60,
            rate_burst: 120,
        }
    }
}

impl Engine {
    /// For the engine of a room.
    pub fn limits(&self) -> Limits {
        Limits {
            state_bytes_max: self.state_bytes_max,
            object_bytes_max: self.object_bytes_max,
            effects_max: self.effects_max,
            postponed_blocks_max: self.postponed_blocks_max,
            postpone_max: i64::try_from(self.postpone_seconds_max.saturating_mul(1_000)).unwrap_or(i64::MAX),
            retries_max: self.retries_max,
            evicted_ids_max: self.evicted_ids_max,
            cache_bytes_max: self.cache_bytes_max,
            batch_blocks_max: self.batch_blocks_max,
            batch_timers_max: self.batch_timers_max,
            lesser_chains_max: self.lesser_chains_max,
        }
    }

    /// For the slice `rate`.
    pub fn pace(&self) -> Pace {
        Pace { blocks_per_minute: self.rate_blocks_per_minute, burst: self.rate_burst }
    }

    /// Tells what is wrong: the option, and a sentence.
    pub fn check(&self, problem: &mut dyn FnMut(&str, String)) {
        if self.object_bytes_max as u64 > self.state_bytes_max {
            problem("engine.object_bytes_max", "is more than engine.state_bytes_max".to_owned());
        }
    }
}
