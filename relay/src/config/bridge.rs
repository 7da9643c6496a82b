//! Options of the bridge between pico rooms and nostr events.

use serde::{Deserialize, Serialize};

use super::Bridge;

/// Between pico rooms and nostr events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeSection {
    /// What nostr clients see of rooms that are not declared above: `wrap`, `copies` or `off`.
    pub undeclared: Bridge,
    /// Blocks that become events at a time, and events that go into rooms at a time.
    pub batch_max: usize,
    /// Bytes of blocks that become events at a time.
    pub batch_bytes_max: usize,
    /// Bytes of a live frame (kind 27420), before base64.
    pub frame_bytes_max: usize,
    /// Bytes of a nostr event that goes into a room as a block.
    pub note_bytes_max: usize,
    /// Nostr events that go into one room in a minute. More are left out.
    pub notes_per_minute: u32,
    /// Address of a silo that shows the pages in rooms, such as `https://relay.example/silo`. Copies link to it. Empty: pages
    /// are not copied.
    pub silo: String,
    /// Authors that the page of a room lists at a time.
    pub page_authors_max: usize,
}

impl Default for BridgeSection {
    fn default() -> Self {
        Self {
            undeclared: Bridge::Wrap,
            batch_max: 100,
            batch_bytes_max: 4 << 20,
            frame_bytes_max: 64 << 10,
            note_bytes_max: 16 << 10,
            notes_per_minute: 60,
            silo: String::new(),
            page_authors_max: 100,
        }
    }
}
