//! Which blocks of rooms are to be carried to nostr: what rooms know of the bridge.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::config::{self, Bridge};
use super::gossip::PeerNumber;
use super::mempool::Offered;
use super::repo::RoomName;
use crate::event::PublicKey;
use crate::store::carry::Origin;

/// How the rooms are bridged.
#[derive(Clone, Debug, Default)]
pub struct Modes {
    declared: HashMap<String, Bridge>,
    /// `None`: nothing is bridged.
    undeclared: Option<Bridge>,
}

impl Modes {
    /// As configured; `undeclared` holds for rooms that are not.
    pub fn new(config: &config::Pico, undeclared: Bridge) -> Self {
        let rooms = config.room.iter().filter(|_| config.enabled);
        Self {
            declared: rooms.map(|room| (room.name.clone(), room.bridge)).collect(),
            undeclared: config.enabled.then_some(undeclared),
        }
    }

    /// How this room is.
    pub fn of(&self, room: &str) -> Bridge {
        self.declared.get(room).copied().or(self.undeclared).unwrap_or(Bridge::Off)
    }

    /// What is to be remembered of blocks that are merged into a room, if anything.
    pub fn origins(&self, room: &RoomName, blocks: &[Offered]) -> Vec<Origin> {
        match self.of(room.as_str()) {
            Bridge::Off => Vec::new(),
            Bridge::Wrap | Bridge::Copies => blocks.iter().map(origin).collect(),
        }
    }
}

/// Numbers of those who bring blocks and are no peers begin here: nobody is told under them.
const NO_PEERS: PeerNumber = 1 << 63;

/// The relay itself, as who brings a block.
pub const RELAY: PeerNumber = NO_PEERS - 1;

/// Who signed an event, as who brings the block in it: each has a share of what may wait for its parent.
pub fn signer(key: &PublicKey) -> PeerNumber {
    NO_PEERS | key.prefix().cast_unsigned()
}

/// Who brought it first says where it came from.
fn origin(offered: &Offered) -> Origin {
    match offered.brought_by.first() {
        Some(number) if *number >= NO_PEERS => Origin::Event,
        _ => Origin::Peer,
    }
}

/// Tells the bridge of new blocks.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    /// How the rooms are bridged.
    pub modes: Arc<Modes>,
    /// Told when a block was stored that is to be carried.
    pub stored: Arc<Notify>,
}
