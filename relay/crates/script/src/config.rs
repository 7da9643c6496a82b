//! Options of slices that are scripts.

use serde::{Deserialize, Serialize};

use super::reader::DEPTH_CEILING;

/// Options for which 0 has a meaning.
pub const MAY_BE_ZERO: &[&str] = &["script.reload_seconds"];

/// Threads have 2 MiB, of which the relay itself needs some.
const STACK_BYTES_MAX: usize = 1 << 20;
/// With much less QuickJS cannot even begin, and does not survive that.
const MEMORY_BYTES_MIN: usize = 1 << 20;

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

impl Script {
    /// Tells what is wrong: the option, and a sentence.
    pub fn check(&self, problem: &mut dyn FnMut(&str, String)) {
        if self.memory_bytes_max < MEMORY_BYTES_MIN {
            let why = format!("must be at least {MEMORY_BYTES_MIN}: an empty file needs a third of that");
            problem("script.memory_bytes_max", why);
        }
        if self.stack_bytes_max > STACK_BYTES_MAX {
            problem("script.stack_bytes_max", format!("must be at most {STACK_BYTES_MAX}, half of what a thread has"));
        }
        if self.stuck_ms_max <= self.call_ms_max.max(self.load_ms_max) {
            let why = "must be more than script.call_ms_max and script.load_ms_max";
            problem("script.stuck_ms_max", why.to_owned());
        }
        if self.value_bytes_max > self.memory_bytes_max {
            problem("script.value_bytes_max", "is more than script.memory_bytes_max".to_owned());
        }
        if self.value_depth_max > DEPTH_CEILING {
            problem("script.value_depth_max", format!("is more than {DEPTH_CEILING}"));
        }
    }
}
