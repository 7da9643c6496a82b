//! Options of programs that judge events.

use serde::{Deserialize, Serialize};

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
