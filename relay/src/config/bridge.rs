//! Options of the bridge between pico rooms and nostr events.

use serde::{Deserialize, Serialize};

/// Between pico rooms and nostr events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeSection {
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
}
