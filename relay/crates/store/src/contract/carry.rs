//! What is still to be carried between rooms and events: remembered in the transaction that stores it, forgotten when it
//! is done. The bridge does the carrying.

use std::fmt;

use picofeed::{Block, Id, Key};

use super::repo::{Chain, RoomName};
use super::{Seq, StoreError};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::verify::Verified;

/// Where a block came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A pico peer, a file, or the relay itself.
    Peer,
    /// A nostr event.
    Event,
    /// It is here, and an event that it was in was removed. Nothing else is to be done again than that event.
    Lost,
}

/// A block that was stored and is still to be carried to nostr.
#[derive(Clone, PartialEq, Debug)]
pub struct Outgoing {
    /// Orders such blocks: the larger, the later.
    pub number: u64,
    /// Where it was stored.
    pub room: RoomName,
    /// The block's id.
    pub id: Id,
    /// When it was stored, by the writer's clock.
    pub accepted: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// The block and where it stands now. None if it was removed since.
    pub found: Option<Located>,
}

/// A block and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Located {
    /// The block.
    pub block: Block,
    /// Its chain as it is now.
    pub chain: Chain,
    /// Blocks of the chain before it.
    pub before: u64,
}

/// An event that was stored and is still to be carried into a room. None if it was removed since.
pub type Incoming = (Seq, Option<Verified>);

/// Which events are to be carried into rooms, and which blocks out of them again. Asked on the writer's thread.
pub trait Interest: fmt::Debug + Send + Sync {
    /// Whether this event is to be remembered as [`Incoming`].
    fn wants(&self, event: &Event) -> bool;

    /// An event is removed as its author asks for it (NIP-09, NIP-62). The block in it, if there is one, is remembered as
    /// [`Outgoing`] again, as [`Origin::Lost`]: it may have lost the only event that it had.
    fn lost(&self, event: &Event) -> Option<(RoomName, Id)>;

    /// Events that were wanted are on disk, or such as were asked about by [`Interest::lost`] are removed.
    fn committed(&self) {}
}

/// The bridge's half of a [`super::Reader`].
pub trait CarryReader {
    /// The first blocks that are to be carried to nostr: at most `max`, and no more after `bytes_max` bytes of blocks.
    fn outgoing(&mut self, max: usize, bytes_max: usize) -> Result<Vec<Outgoing>, StoreError>;

    /// The first events that are to be carried into rooms: at most `max`.
    fn incoming(&mut self, max: usize) -> Result<Vec<Incoming>, StoreError>;

    /// At most `max` authors of blocks in a room, in the order of their keys, from the first one after `after`. An author
    /// whose last block was rolled back is missing until there is a new one.
    fn authors(&mut self, room: &RoomName, after: Option<&Key>, max: usize) -> Result<Vec<Key>, StoreError>;
}
