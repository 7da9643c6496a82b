//! What a backend keeps of the state that slices compute: objects, and what binds them to blocks and to time.
//!
//! All of it belongs to a [`Scope`], as a rule a room. It is only ever changed by a [`Dispatch`], together with the blocks
//! that changed it. What slices mean by it is said in the engine.

use bytes::Bytes;
use picofeed::{Block, Id, Key};

use super::StoreError;
use super::carry::Origin;
use super::repo::{Bounds, Chain, Merged, RoomName};
pub use crate::clock::Millis;

/// Whose state.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Scope {
    /// The room.
    pub room: RoomName,
    /// A second state of the room, computed from its stored blocks while the first one stays.
    pub shadow: bool,
}

impl From<RoomName> for Scope {
    fn from(room: RoomName) -> Self {
        Self { room, shadow: false }
    }
}

/// An object as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// As the slice wrote it.
    pub value: Bytes,
    /// Rises with every change in the scope.
    pub version: u64,
    /// When it is due.
    pub expires: Option<Millis>,
}

/// How much state there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// The largest version of an object.
    pub version: u64,
    /// The number of the last block.
    pub step: u64,
    /// Objects and marks.
    pub objects: u64,
    /// Bytes of them, and of their ids.
    pub bytes: u64,
}

/// A change of state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Writes an object.
    Put {
        /// Whose.
        slice: String,
        /// Which.
        id: String,
        /// What.
        stored: Stored,
    },
    /// Removes an object and its references. Chains stay.
    Remove {
        /// Whose.
        slice: String,
        /// Which.
        id: String,
    },
    /// Removes an object whose time has come, and its references. A chain that loses its last reference by that is
    /// removed, and remembered as evicted; in a shadow it is only named in the answer.
    Sweep {
        /// Whose.
        slice: String,
        /// Which.
        id: String,
    },
    /// Gives an object another time.
    Reschedule {
        /// Whose.
        slice: String,
        /// Which.
        id: String,
        /// When it is due.
        expires: Option<Millis>,
        /// Its new version.
        version: u64,
    },
    /// The object keeps the chain that begins with this block. Without the object or the chain, nothing happens.
    Refer {
        /// Whose.
        slice: String,
        /// Which.
        id: String,
        /// First block of the chain.
        chain: Id,
    },
    /// A chain is kept by more than objects.
    Hold {
        /// First block of the chain.
        chain: Id,
    },
    /// The key finds this block, which is stored.
    Index {
        /// Whose.
        slice: String,
        /// The key.
        key: Bytes,
        /// The block.
        block: Id,
    },
    /// Sets a mark.
    Mark(Mark),
    /// Removes a mark.
    Unmark(u64),
    /// Keeps a block to be asked about again; the same block is kept once.
    Postpone(Postponed),
    /// Does not keep such a block any more.
    Settle(Id),
    /// Removes a chain, and objects that have no reference left by that. Without the chain, nothing happens.
    Evict {
        /// First block of the chain.
        chain: Id,
        /// Whether to remember it as evicted.
        remember: bool,
    },
    /// Removes the end of a chain. Without the chain or the block, nothing happens.
    Truncate {
        /// Any block of the chain.
        chain: Id,
        /// Its new head.
        stop_at: Id,
    },
}

/// A time at which a slice wants to be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Whose.
    pub slice: String,
    /// When.
    pub at: Millis,
    /// As the slice wrote it.
    pub payload: Bytes,
    /// The block that set it.
    pub block: Id,
    /// First block of its chain.
    pub chain: Id,
    /// Author of that.
    pub owner: Key,
}

/// A block to be asked about again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Postponed {
    /// The block.
    pub block: Block,
    /// When.
    pub due: Millis,
    /// How often it was postponed.
    pub tries: u32,
    /// As in [`Step`].
    pub origin: Option<Origin>,
}

/// A block, if there is one, and what it changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// To be merged.
    pub block: Option<Block>,
    /// Where it came from, if it is then to be carried to nostr ([`super::carry`]).
    pub origin: Option<Origin>,
    /// In order.
    pub edits: Vec<Edit>,
}

/// Blocks and what they change, in one transaction.
///
/// First the blocks are merged in order, as by [`super::repo::Change::Merge`], up to the first one that is not
/// [`Merged::New`]. Then the edits of the steps before that one are made, in order. In a shadow no block is merged; they
/// are stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dispatch {
    /// Where.
    pub scope: Scope,
    /// For the blocks.
    pub bounds: Bounds,
    /// The time, which is kept with each block.
    pub now: Millis,
    /// In order.
    pub steps: Vec<Step>,
    /// Evicted chains that are remembered; of more, the oldest are forgotten.
    pub evicted_max: usize,
}

/// What a dispatch did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dispatched {
    /// How many steps were done.
    pub done: usize,
    /// What became of the block of the next one.
    pub refused: Option<Merged>,
    /// Chains that were removed, as they were.
    pub evicted: Vec<Chain>,
    /// Objects that went with them: slice and id.
    pub removed: Vec<(String, String)>,
    /// After it.
    pub standing: Standing,
}

/// Something whose time has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DueItem {
    /// An object.
    Object {
        /// Whose.
        slice: String,
        /// Which.
        id: String,
        /// What.
        stored: Stored,
    },
    /// A mark, and its number.
    Mark(u64, Mark),
}

impl DueItem {
    /// When it is due.
    #[inline]
    pub fn at(&self) -> Millis {
        match self {
            Self::Object { stored, .. } => stored.expires.unwrap_or(Millis::MAX),
            Self::Mark(_, mark) => mark.at,
        }
    }
}

/// Where a block was in the order of all blocks of a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Its number; none if no engine took it.
    pub step: Option<u64>,
    /// The time then.
    pub at: Millis,
    /// First block of its chain.
    pub chain: Id,
    /// Blocks of the chain before it.
    pub height: u64,
}

/// The state half of a [`super::Reader`]: each call sees a consistent state.
pub trait StateReader {
    /// How much there is; none if there has never been a dispatch.
    fn standing(&mut self, scope: &Scope) -> Result<Option<Standing>, StoreError>;

    /// An object.
    fn object(&mut self, scope: &Scope, slice: &str, id: &str) -> Result<Option<Stored>, StoreError>;

    /// Objects of a slice in the order of the bytes of their ids, from the first after `after`: at most `max`, and no more
    /// when they have reached `bytes_max` bytes of values.
    fn objects(
        &mut self,
        scope: &Scope,
        slice: &str,
        after: Option<&str>,
        max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(String, Stored)>, StoreError>;

    /// Ids of objects of a slice in the order of their bytes: at most `max`, from the first after `after`.
    fn object_ids(
        &mut self,
        scope: &Scope,
        slice: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<String>, StoreError>;

    /// The block that a key finds.
    fn lookup(&mut self, scope: &Scope, slice: &str, key: &[u8]) -> Result<Option<Id>, StoreError>;

    /// What is due at `now`: at most `max` of it, by time, objects before marks, those that were set first before others.
    fn due(&mut self, scope: &Scope, now: Millis, max: usize) -> Result<Vec<DueItem>, StoreError>;

    /// When the next object, mark or postponed block is due.
    fn next_due(&mut self, scope: &Scope) -> Result<Option<Millis>, StoreError>;

    /// Postponed blocks that are due at `now`: at most `max`, by time.
    fn postponed_due(&mut self, scope: &Scope, now: Millis, max: usize) -> Result<Vec<Postponed>, StoreError>;

    /// A postponed block.
    fn postponed(&mut self, scope: &Scope, block: &Id) -> Result<Option<Postponed>, StoreError>;

    /// How many blocks are postponed.
    fn postponed_len(&mut self, scope: &Scope) -> Result<usize, StoreError>;

    /// Whether a chain is remembered as evicted.
    fn is_evicted(&mut self, scope: &Scope, chain: &Id) -> Result<bool, StoreError>;

    /// How many references a chain has.
    fn references(&mut self, scope: &Scope, chain: &Id) -> Result<u64, StoreError>;

    /// All blocks of a room in the order in which they were taken; those that no engine took come first, chain by chain.
    fn stamps(&mut self, room: &RoomName) -> Result<Vec<Stamp>, StoreError>;

    /// At most `max` chains of the room, the one that has gone longest without a new block first.
    fn oldest_chains(&mut self, room: &RoomName, max: usize) -> Result<Vec<Chain>, StoreError>;
}
