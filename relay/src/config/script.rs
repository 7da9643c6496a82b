//! Options of slices that are scripts, and of programs that judge events.

use serde::{Deserialize, Serialize};

/// What a script may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Bytes of memory of one file of slices. Files for nostr events run once on each thread that checks signatures.
    pub memory_bytes_max: usize,
    /// Bytes of its stack.
    pub stack_bytes_max: usize,
    /// Loops and function calls of one call of a slice, roughly.
    pub call_steps_max: u64,
    /// Milliseconds of one call of a slice.
    pub call_ms_max: u64,
    /// Milliseconds after which a call that does not come to an end is given up: a built-in function can be so slow that the
    /// call cannot be stopped. The file is not run any more until it changes.
    pub stuck_ms_max: u64,
    /// Milliseconds in which a file is loaded.
    pub load_ms_max: u64,
    /// Bytes of source of a file with all that it imports.
    pub source_bytes_max: usize,
    /// Bytes of one value that a slice keeps: an object, or all the state of a slice that has only one.
    pub value_bytes_max: usize,
    /// Levels of arrays and objects in such a value, or in the body of a block that a slice reads; 256 at the most.
    pub value_depth_max: usize,
    /// Stopped calls in a row after which a slice is not asked for a while. Exceptions count as well until it has worked once.
    pub failures_max: u32,
    /// Seconds of that while.
    pub pause_seconds: u64,
    /// Seconds between two looks whether files for nostr events changed. 0: only at SIGHUP.
    pub reload_seconds: u64,
    /// Seconds after which changed state of slices for nostr events is written.
    pub state_seconds: u64,
    /// Batches of events that may wait for a slice for nostr events that has state.
    pub state_queue_max: usize,
    /// Events that such a slice takes into its state in between two copies of it. After a call that had to be stopped the
    /// state is computed from the copy and these.
    pub state_events_max: usize,
}

/// Programs that judge events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// A program and its arguments that reads events as JSON lines and answers with `accept`, `reject` or `shadowReject`, as
    /// the write policy plugins of strfry. Empty: none.
    pub plugin: Vec<String>,
    /// Milliseconds for which an answer of it is awaited.
    pub plugin_ms_max: u64,
    /// Batches of events that may wait for it.
    pub plugin_queue_max: usize,
    /// Bytes of one line of its answers.
    pub plugin_line_bytes_max: usize,
    /// Seconds to wait, at the most, before it is started again when it ended. The first time it is one second.
    pub plugin_restart_seconds_max: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            stack_bytes_max: 256 << 10,
            call_steps_max: 5_000_000,
            call_ms_max: 250,
            stuck_ms_max: 5_000,
            load_ms_max: 2_000,
            source_bytes_max: 4 << 20,
            value_bytes_max: 4 << 20,
            value_depth_max: 100,
            failures_max: 20,
            pause_seconds: 60,
            reload_seconds: 2,
            state_seconds: 10,
            state_queue_max: 1_000,
            state_events_max: 1_000,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            plugin: Vec::new(),
            plugin_ms_max: 2_000,
            plugin_queue_max: 1_000,
            plugin_line_bytes_max: 64 << 10,
            plugin_restart_seconds_max: 60,
        }
    }
}
