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
    /// Seconds that others have to publish the head of a chain whose blocks came in events, before this relay does.
    pub head_seconds: u64,
    /// Chains that wait for that. More are found when all are looked at.
    pub head_chains_max: usize,
    /// Seconds between two looks at the heads of all chains.
    pub heads_seconds: u64,
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
    /// Other nostr relays through which rooms are shared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<Upstream>,
}

/// A nostr relay that gets the events of our rooms, and gives us those it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Where it is: `ws://` or `wss://`. It need not know anything of pico.
    pub url: String,
    /// The rooms that are shared through it. Empty: all that are bridged.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// `both`; `down`: nothing is sent there; `up`: nothing is taken from there.
    #[serde(default)]
    pub direction: Direction,
}

/// Which way events go between this relay and another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Send and fetch.
    #[default]
    Both,
    /// Fetch only.
    Down,
    /// Send only.
    Up,
}

impl Direction {
    /// True when events are fetched.
    pub fn is_down(self) -> bool {
        self != Self::Up
    }

    /// True when events are sent.
    pub fn is_up(self) -> bool {
        self != Self::Down
    }
}

impl Default for BridgeSection {
    fn default() -> Self {
        Self {
            undeclared: Bridge::Wrap,
            batch_max: 100,
            batch_bytes_max: 4 << 20,
            head_seconds: 60,
            head_chains_max: 10_000,
            heads_seconds: 3_600,
            frame_bytes_max: 64 << 10,
            note_bytes_max: 16 << 10,
            notes_per_minute: 60,
            silo: String::new(),
            page_authors_max: 100,
            upstream: Vec::new(),
        }
    }
}
