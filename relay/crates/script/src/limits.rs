//! What a script may use.

use std::time::Duration;

use crate::config;

/// What a script may use. Each is an option in `[script]`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory of one file of slices.
    pub memory_bytes: usize,
    /// Bytes of its stack.
    pub stack_bytes: usize,
    /// Loops and function calls of one call, roughly.
    pub steps: u64,
    /// How long one call may take.
    pub call: Duration,
    /// How long it may take to load a file.
    pub load: Duration,
    /// Bytes of source of a file, with all that it imports.
    pub source_bytes: usize,
    /// Bytes of one value that is kept.
    pub value_bytes: usize,
    /// Levels of arrays and objects in such a value, or in the body of a block.
    pub value_depth: usize,
    /// Events that a state takes in between two copies of it.
    pub state_events: usize,
    /// Failures in a row after which a slice is not asked any more.
    pub failures: u32,
    /// For how long.
    pub pause: Duration,
}

impl From<&config::Script> for Limits {
    fn from(config: &config::Script) -> Self {
        Self {
            memory_bytes: config.memory_bytes_max,
            stack_bytes: config.stack_bytes_max,
            steps: config.call_steps_max,
            call: Duration::from_millis(config.call_ms_max),
            load: Duration::from_millis(config.load_ms_max),
            source_bytes: config.source_bytes_max,
            value_bytes: config.value_bytes_max,
            value_depth: config.value_depth_max,
            state_events: config.state_events_max,
            failures: config.failures_max,
            pause: Duration::from_secs(config.pause_seconds),
        }
    }
}
