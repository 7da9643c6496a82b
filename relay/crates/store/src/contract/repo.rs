//! What a backend keeps of pico: rooms, in each room chains, in each chain blocks.
//!
//! The rules are those of picorepo 2.2.5 without `allowDetached` and without a merge strategy: of each generation of the
//! format, one line of blocks for each author of a genesis block, and what was seen first stays. `pico::repo` is
//! the handle for everybody else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use picofeed::{Block, Feed, Format, Id, Key};

use super::carry::Origin;
use super::state::{Dispatch, Dispatched};
use super::{Seq, StoreError};

/// Blocks in one chain; none can be appended after that.
pub const CHAIN_BLOCKS_MAX: u64 = 1 << 24;

/// Name of a room: 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`, the first a letter or digit. Not `nostr`, which is reserved.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

/// The text cannot be the name of a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the name of a room: 1 to 64 of a-z, 0-9, '.', '_', '-', the first a letter or digit, and not \"nostr\"")]
pub struct NotARoom;

/// What became of a block. An outcome, not an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merged {
    /// Stored now: it begins a chain or extends one.
    New,
    /// Was already stored in this room.
    Known,
    /// Its parent is not stored in this room, at least in no block of the same format. May fit later.
    Orphan,
    /// Its parent is stored, but is not the head of its chain: somebody else was first.
    Fork,
    /// Its author has already begun another chain of this format in this room.
    SecondGenesis,
    /// There is no room left.
    OverQuota(Quota),
}

/// Which of the [`Bounds`] was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quota {
    /// `rooms_max`.
    Rooms,
    /// `total_bytes_max`.
    TotalBytes,
    /// `chains_max`.
    Chains,
    /// `blocks_max`, or [`CHAIN_BLOCKS_MAX`].
    Blocks,
    /// `bytes_max`.
    Bytes,
}

/// How much may be stored. Bytes are those of [`Block::bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Blocks in the room.
    pub blocks_max: u64,
    /// Bytes in the room.
    pub bytes_max: u64,
    /// Chains in the room, of all formats.
    pub chains_max: u64,
    /// Rooms that hold anything.
    pub rooms_max: u64,
    /// Bytes in all rooms together.
    pub total_bytes_max: u64,
    /// What happens at one of the three bounds of the room.
    pub full: Full,
}

/// What a room does that is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// It takes no more.
    Refuse,
    /// It discards whole chains until the block fits, the one that has gone longest without a new block first, but never
    /// the chain that the block belongs to. If the block would not fit even into a room with that chain alone, nothing
    /// is discarded and the block is refused.
    Discard,
}

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Blocks.
    pub blocks: u64,
    /// Bytes of blocks.
    pub bytes: u64,
    /// Chains.
    pub chains: u64,
}

/// A chain as a whole. What picorepo lists as heads, tails and feeds are pairs of these fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Format of all its blocks.
    pub format: Format,
    /// Author of its first block. Others may have written later ones.
    pub owner: Key,
    /// Its first block. Names the chain.
    pub genesis: Id,
    /// Its last block.
    pub head: Id,
    /// Number of blocks, at least 1.
    pub height: u64,
    /// Bytes of its blocks.
    pub bytes: u64,
    /// Blocks that others than the owner wrote.
    pub foreign: u64,
    /// Orders the chains of a room by when they last got a block: the larger, the later. Says nothing else.
    pub changed: u64,
}

/// A change to be made. It is made wholly or not at all, and on disk before anybody is told.
///
/// A merge does for each block, as if those before it were stored:
/// 1. it is stored in the room: [`Merged::Known`];
/// 2. it is a genesis: if its author owns a chain of this format, [`Merged::SecondGenesis`], else it begins a chain;
/// 3. its parent is not stored with the same format: if the parent was refused before in this merge, what the parent
///    got, else [`Merged::Orphan`];
/// 4. its parent is the head of a chain: it is appended, whoever wrote it. Else [`Merged::Fork`].
///
/// Where a block would be stored, the bounds are asked first, in the order of [`Quota`].
///
/// A rollback leaves [`Chain::changed`] alone, and forgets the last block of each author ([`Run::Latest`]) if it is among
/// those removed, without looking for an earlier one. Discarding a chain does the same.
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds blocks, answered with [`Changed::Merged`].
    Merge {
        /// Where to. The room comes to be with its first block and goes with its last.
        room: RoomName,
        /// How much may be stored.
        bounds: Bounds,
        /// In order, of any chains and formats.
        blocks: Vec<Block>,
        /// Where the blocks came from, one for each, if those that are new are to be carried to nostr; else empty.
        origins: Vec<Origin>,
    },
    /// Removes the end of a chain, answered with [`Changed::RolledBack`].
    Rollback {
        /// Where.
        room: RoomName,
        /// The chain, named by any of its blocks.
        chain: Id,
        /// The block that becomes the head. None: everything goes.
        stop_at: Option<Id>,
    },
    /// Adds blocks and what slices compute of them, answered with [`Changed::Dispatched`].
    Dispatch(Box<Dispatch>),
    /// Puts the shadow of a room's state in its place, or removes the shadow. What is postponed, and what is remembered as
    /// evicted, stays as it is. Without a shadow nothing happens. Answered with [`Changed::Shadow`].
    Shadow {
        /// Which room.
        room: RoomName,
        /// Whether the shadow takes the place of the state.
        adopt: bool,
    },
    /// Removes one whole room, with all its chains, to make a place for another. Of the rooms that are not in `keep` the
    /// emptiest goes: those with the fewest bytes, rounded down to a power of two, and among them the one that has gone
    /// longest without a new block, and of equal ones the first by name. Answered with [`Changed::GaveWay`].
    GiveWay {
        /// Rooms that stay.
        keep: Arc<[RoomName]>,
    },
    /// Blocks up to and with this number were carried to nostr, answered with [`Changed::Carried`].
    CarriedOut(u64),
    /// Events up to and with this number were carried into rooms, answered with [`Changed::Carried`].
    CarriedIn(Seq),
}

/// The answer to a [`Change`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Changed {
    /// To a dispatch.
    Dispatched(Dispatched),
    /// To the end of a shadow.
    Shadow,
    /// To a merge.
    Merged(Merging),
    /// To a rollback.
    RolledBack(RolledBack),
    /// The room that was removed, if there was one to remove.
    GaveWay(Option<RoomName>),
    /// What was carried is forgotten.
    Carried,
}

/// What a merge did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Merging {
    /// One for each block, in order.
    pub merged: Vec<Merged>,
    /// Chains that had to make room, as they were. With tiny quotas this can be a chain that got a block in this very
    /// merge.
    pub discarded: Vec<Chain>,
}

/// What a rollback did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RolledBack {
    /// These blocks are gone, in the order of the chain. None if the head was to stay.
    Removed(Vec<Block>),
    /// The chain is not stored; nothing was done.
    ChainUnknown,
    /// `stop_at` is no block of the chain; nothing was done.
    BlockUnknown,
}

/// Which run of blocks to load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    /// The whole chain that holds this block.
    Around(Id),
    /// The whole chain of this owner.
    Owned(Format, Key),
    /// The last so many blocks up to and with this one.
    UpTo(Id, u64),
    /// From genesis up to the last block that this author wrote on anybody's chain. As in picorepo 2.2.5 there is none
    /// after that block was rolled back, until the author writes again.
    Latest(Format, Key),
}

/// Which part of a run to load: it skips blocks, then takes one, and more while they stay within the bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Blocks to skip.
    pub skip: u64,
    /// The most blocks.
    pub blocks_max: u64,
    /// The most bytes of blocks; a single block may be larger.
    pub bytes_max: u64,
}

/// The pico half of a [`super::Reader`]: each call sees a consistent state.
pub trait RepoReader {
    /// Rooms that hold anything, by name.
    fn rooms(&mut self) -> Result<Vec<(RoomName, Usage)>, StoreError>;

    /// How much a room holds.
    fn usage(&mut self, room: &RoomName) -> Result<Usage, StoreError>;

    /// At most `max` chains in the order of their owners' keys, from the first owner after `after`.
    fn chains(
        &mut self,
        room: &RoomName,
        format: Format,
        after: Option<&Key>,
        max: usize,
    ) -> Result<Vec<Chain>, StoreError>;

    /// The chain that holds a block, and how many blocks come before it.
    fn find(&mut self, room: &RoomName, block: &Id) -> Result<Option<(Chain, u64)>, StoreError>;

    /// Blocks in order. None if there is no such run, or nothing of it left after `part.skip`.
    fn load(&mut self, room: &RoomName, run: Run, part: Part) -> Result<Option<Feed>, StoreError>;

    /// The chains to take along if there is space for `bytes_max` bytes of blocks; see [`pick`].
    fn pick(&mut self, room: &RoomName, bytes_max: u64) -> Result<Vec<(Format, Key)>, StoreError>;
}

/// A chain to be picked or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// As in [`Chain`].
    pub format: Format,
    /// As in [`Chain`].
    pub owner: Key,
    /// As in [`Chain`].
    pub bytes: u64,
    /// As in [`Chain`].
    pub foreign: u64,
    /// As in [`Chain`].
    pub changed: u64,
}

impl From<&Chain> for Candidate {
    fn from(chain: &Chain) -> Self {
        let Chain { format, owner, bytes, foreign, changed, .. } = *chain;
        Self { format, owner, bytes, foreign, changed }
    }
}

/// Chooses chains for `bytes_max` bytes: in turns the one changed last and the one most written on by others (of equal
/// ones that changed last), skipping what does not fit any more. Whole chains, in the order in which they were chosen.
pub fn pick(candidates: &[Candidate], bytes_max: u64) -> Vec<(Format, Key)> {
    let mut newest: Vec<&Candidate> = candidates.iter().collect();
    newest.sort_by_key(|chain| std::cmp::Reverse(chain.changed));
    let mut busiest = newest.clone();
    busiest.sort_by_key(|chain| std::cmp::Reverse(chain.foreign));
    let mut left = bytes_max;
    let mut seen = std::collections::BTreeSet::new();
    let mut picked = Vec::new();
    for chain in newest.into_iter().zip(busiest).flat_map(|(newest, busiest)| [newest, busiest]) {
        if seen.insert((chain.format, chain.owner)) && chain.bytes <= left {
            left -= chain.bytes;
            picked.push((chain.format, chain.owner));
        }
    }
    picked
}

impl RoomName {
    /// The room that always exists, `main`.
    pub fn main() -> Self {
        Self("main".into())
    }

    /// The name.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoomName {
    type Err = NotARoom;

    fn from_str(text: &str) -> Result<Self, NotARoom> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = text.bytes().all(|byte| letter(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if good && text.bytes().next().is_some_and(letter) && text.len() <= 64 && text != "nostr" {
            Ok(Self(text.into()))
        } else {
            Err(NotARoom)
        }
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Bounds {
    /// For a room that is declared: there is always a place for it.
    pub fn of_declared(self) -> Self {
        Self { rooms_max: u64::MAX, ..self }
    }

    /// None at all.
    pub const NONE: Self = Self {
        blocks_max: u64::MAX,
        bytes_max: u64::MAX,
        chains_max: u64::MAX,
        rooms_max: u64::MAX,
        total_bytes_max: u64::MAX,
        full: Full::Refuse,
    };

    /// The bound of the room that this much would exceed.
    pub fn exceeded(&self, usage: Usage) -> Option<Quota> {
        if usage.chains > self.chains_max {
            Some(Quota::Chains)
        } else if usage.blocks > self.blocks_max {
            Some(Quota::Blocks)
        } else if usage.bytes > self.bytes_max {
            Some(Quota::Bytes)
        } else {
            None
        }
    }
}

impl Part {
    /// Everything.
    pub const ALL: Self = Self { skip: 0, blocks_max: u64::MAX, bytes_max: u64::MAX };
}

impl Change {
    /// About how many events it is as much work as.
    #[inline]
    pub fn weight(&self) -> usize {
        match self {
            Self::Merge { blocks, .. } => {
                blocks.iter().map(|block| 1 + block.bytes().len() / WEIGHT_BYTES).sum::<usize>().max(1)
            }
            Self::Rollback { .. } | Self::CarriedOut(_) | Self::CarriedIn(_) => 1,
            Self::Dispatch(dispatch) => {
                let weight = |step: &super::state::Step| {
                    step.block.as_ref().map_or(0, |block| 1 + block.bytes().len() / WEIGHT_BYTES) + step.edits.len()
                };
                dispatch.steps.iter().map(weight).sum::<usize>().max(1)
            }
            // As much as there is state: whoever asks for it is alone.
            Self::Shadow { .. } => 1,
            // The room that goes is the emptiest one.
            Self::GiveWay { .. } => 16,
        }
    }
}

/// Bytes of a block that weigh as much as an event.
const WEIGHT_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rooms() {
        for good in ["main", "0", "chess.v2", "a-b_c", "nostr2", &"x".repeat(64)] {
            assert_eq!(good.parse::<RoomName>().unwrap().as_str(), good);
        }
        for bad in ["", "nostr", "Main", "-a", ".a", "_a", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert_eq!(bad.parse::<RoomName>(), Err(NotARoom), "{bad}");
        }
    }

    #[test]
    fn large_blocks_weigh_more() {
        let secret = picofeed::Secret::ed25519([1; 32]);
        let block = |bytes: usize| Block::sign(Format::V8, None, &vec![1; bytes], &secret).unwrap();
        let weight = |blocks: Vec<Block>| {
            Change::Merge { room: RoomName::main(), bounds: Bounds::NONE, blocks, origins: Vec::new() }.weight()
        };
        assert_eq!(weight(vec![]), 1);
        assert_eq!(weight(vec![block(1), block(100)]), 2);
        assert_eq!(weight(vec![block(1 << 20)]), 257);
    }
}
