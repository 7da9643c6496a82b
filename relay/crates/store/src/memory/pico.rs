//! Pico rooms as plain lists: every rule is a walk over everything.

use std::collections::{BTreeMap, HashMap};

use picofeed::{Block, Feed, Format, Id, Key};

use super::state::States;
use crate::clock::Timestamp;
use crate::repo::{
    Bounds, CHAIN_BLOCKS_MAX, Candidate, Chain, Change, Changed, Full, Merged, Merging, Part, Quota, RolledBack,
    RoomName, Run, Usage, pick,
};

/// All rooms.
#[derive(Default, Debug)]
pub(super) struct Rooms(BTreeMap<RoomName, Room>, pub(super) States);

#[derive(Default, Debug)]
pub(super) struct Room {
    /// In order of creation.
    pub(super) lines: Vec<Line>,
    /// The last block each author wrote.
    latest: BTreeMap<(Format, Key), Id>,
    /// When it got its last new block.
    used: Timestamp,
}

/// A chain.
#[derive(Debug)]
pub(super) struct Line {
    /// Never empty.
    pub(super) blocks: Vec<Block>,
    pub(super) changed: u64,
}

impl Rooms {
    pub(super) fn change(&mut self, change: &Change, now: Timestamp) -> Changed {
        let name = match change {
            Change::GiveWay { keep } => return Changed::GaveWay(self.give_way(keep)),
            Change::Merge { room, .. } | Change::Rollback { room, .. } | Change::Shadow { room, .. } => room,
            Change::Dispatch(dispatch) => &dispatch.scope.room,
            Change::CarriedOut(_) | Change::CarriedIn(_) => return Changed::Carried,
        };
        let changed = match change {
            Change::Dispatch(dispatch) => Changed::Dispatched(self.dispatch(dispatch)),
            Change::Shadow { room, adopt } => {
                self.end_shadow(room, *adopt);
                Changed::Shadow
            }
            Change::Merge { room, bounds, blocks, .. } => {
                let merging = self.merge(room, bounds, blocks);
                if let Some(room) = self.0.get_mut(room).filter(|_| merging.merged.contains(&Merged::New)) {
                    room.used = now;
                }
                Changed::Merged(merging)
            }
            Change::Rollback { room, chain, stop_at } => {
                Changed::RolledBack(self.0.entry(room.clone()).or_default().rollback(chain, stop_at.as_ref()))
            }
            Change::GiveWay { .. } | Change::CarriedOut(_) | Change::CarriedIn(_) => Changed::Carried,
        };
        if self.0.get(name).is_some_and(|room| room.lines.is_empty()) {
            self.0.remove(name);
        }
        self.forget_lost_state(name);
        changed
    }

    fn give_way(&mut self, keep: &[RoomName]) -> Option<RoomName> {
        let others = self.0.iter().filter(|(name, room)| !keep.contains(name) && !room.lines.is_empty());
        let emptiest = others
            .min_by_key(|(name, room)| (room.usage().bytes.checked_ilog2().unwrap_or(0), room.used, *name))
            .map(|(name, _)| name.clone())?;
        self.0.remove(&emptiest);
        self.forget_lost_state(&emptiest);
        Some(emptiest)
    }

    pub(super) fn merge(&mut self, name: &RoomName, bounds: &Bounds, blocks: &[Block]) -> Merging {
        let mut merging = Merging::default();
        let mut refused: HashMap<Id, Merged> = HashMap::new();
        for block in blocks {
            let total: u64 = self.0.values().map(|room| room.usage().bytes).sum();
            let others = self.0.iter().filter(|(other, room)| *other != name && !room.lines.is_empty()).count() as u64;
            let room = self.0.entry(name.clone()).or_default();
            let outcome = match room.place(block) {
                Ok(_) if room.lines.is_empty() && others + 1 > bounds.rooms_max => Merged::OverQuota(Quota::Rooms),
                Ok(_) if total + block.bytes().len() as u64 > bounds.total_bytes_max => {
                    Merged::OverQuota(Quota::TotalBytes)
                }
                Ok(owner) => room.store(owner, block, bounds, &mut merging.discarded),
                Err(Merged::Orphan) => {
                    let parent = block.parent().and_then(|parent| refused.get(&parent));
                    parent.copied().unwrap_or(Merged::Orphan)
                }
                Err(outcome) => outcome,
            };
            if matches!(outcome, Merged::New | Merged::Known) {
                refused.remove(&block.id());
            } else {
                refused.insert(block.id(), outcome);
            }
            merging.merged.push(outcome);
        }
        merging
    }
}

impl Room {
    fn usage(&self) -> Usage {
        Usage {
            blocks: self.lines.iter().map(|line| line.blocks.len() as u64).sum(),
            bytes: self.lines.iter().map(|line| line.chain().bytes).sum(),
            chains: self.lines.len() as u64,
        }
    }

    /// The chain that holds a block, and where in it.
    pub(super) fn find(&self, id: &Id) -> Option<(&Line, usize)> {
        self.lines.iter().find_map(|line| {
            let at = line.blocks.iter().position(|block| block.id() == *id)?;
            Some((line, at))
        })
    }

    fn owned(&self, format: Format, owner: Key) -> Option<&Line> {
        self.lines.iter().find(|line| line.chain().format == format && line.chain().owner == owner)
    }

    /// The owner of the chain to which a block is to be added, or why it is not.
    fn place(&self, block: &Block) -> Result<Key, Merged> {
        if self.find(&block.id()).is_some() {
            return Err(Merged::Known);
        }
        let Some(parent) = block.parent() else {
            return match self.owned(block.format(), block.author()) {
                Some(_) => Err(Merged::SecondGenesis),
                None => Ok(block.author()),
            };
        };
        match self.find(&parent) {
            Some((line, _)) if line.chain().format != block.format() => Err(Merged::Orphan),
            Some((line, _)) if line.chain().head == parent => Ok(line.chain().owner),
            Some(_) => Err(Merged::Fork),
            None => Err(Merged::Orphan),
        }
    }

    /// Stores a block on the chain of `owner` if the bounds allow.
    fn store(&mut self, owner: Key, block: &Block, bounds: &Bounds, discarded: &mut Vec<Chain>) -> Merged {
        let format = block.format();
        let line = self.owned(format, owner).map(Line::chain);
        if line.as_ref().is_some_and(|line| line.height >= CHAIN_BLOCKS_MAX) {
            return Merged::OverQuota(Quota::Blocks);
        }
        let bytes = block.bytes().len() as u64;
        let alone = Usage {
            blocks: line.as_ref().map_or(0, |line| line.height) + 1,
            bytes: line.as_ref().map_or(0, |line| line.bytes) + bytes,
            chains: 1,
        };
        let new_chain = u64::from(line.is_none());
        let after = |usage: Usage| Usage {
            blocks: usage.blocks + 1,
            bytes: usage.bytes + bytes,
            chains: usage.chains + new_chain,
        };
        while let Some(quota) = bounds.exceeded(after(self.usage())) {
            if bounds.full == Full::Refuse {
                return Merged::OverQuota(quota);
            }
            if let Some(hopeless) = bounds.exceeded(alone) {
                return Merged::OverQuota(hopeless);
            }
            let others = self.lines.iter().filter(|line| (line.chain().format, line.chain().owner) != (format, owner));
            let Some(oldest) = others.min_by_key(|line| line.changed).map(Line::chain) else {
                return Merged::OverQuota(quota);
            };
            self.lines.retain(|line| line.chain().genesis != oldest.genesis);
            self.forget_lost();
            discarded.push(oldest);
        }
        let newest = self.lines.iter().map(|line| line.changed).max().unwrap_or(0);
        self.latest.insert((format, block.author()), block.id());
        match self.lines.iter_mut().find(|line| line.chain().format == format && line.chain().owner == owner) {
            Some(line) => {
                line.blocks.push(block.detached());
                line.changed = newest + 1;
            }
            None => self.lines.push(Line { blocks: vec![block.detached()], changed: newest + 1 }),
        }
        Merged::New
    }

    pub(super) fn rollback(&mut self, chain: &Id, stop_at: Option<&Id>) -> RolledBack {
        let Some(line) = self.lines.iter_mut().find(|line| line.blocks.iter().any(|block| block.id() == *chain)) else {
            return RolledBack::ChainUnknown;
        };
        let keep = match stop_at {
            None => 0,
            Some(stop_at) => match line.blocks.iter().position(|block| block.id() == *stop_at) {
                Some(at) => at + 1,
                None => return RolledBack::BlockUnknown,
            },
        };
        let removed = line.blocks.split_off(keep);
        self.lines.retain(|line| !line.blocks.is_empty());
        self.forget_lost();
        RolledBack::Removed(removed)
    }

    /// Forgets last blocks that are not stored any more.
    fn forget_lost(&mut self) {
        let latest = std::mem::take(&mut self.latest);
        self.latest = latest.into_iter().filter(|(_, id)| self.find(id).is_some()).collect();
    }

    fn run(&self, run: Run) -> Option<&[Block]> {
        let up_to = |id: &Id| self.find(id).and_then(|(line, at)| line.blocks.get(..=at));
        match run {
            Run::Around(id) => self.find(&id).map(|(line, _)| line.blocks.as_slice()),
            Run::Owned(format, owner) => self.owned(format, owner).map(|line| line.blocks.as_slice()),
            Run::UpTo(id, blocks) => {
                let run = up_to(&id)?;
                run.get(run.len().saturating_sub(usize::try_from(blocks).unwrap_or(usize::MAX))..)
            }
            Run::Latest(format, author) => up_to(self.latest.get(&(format, author))?),
        }
    }
}

impl Line {
    pub(super) fn chain(&self) -> Chain {
        let (genesis, head) = match self.blocks.as_slice() {
            [only] => (only, only),
            [first, .., last] => (first, last),
            [] => unreachable!("a chain has blocks"),
        };
        Chain {
            format: genesis.format(),
            owner: genesis.author(),
            genesis: genesis.id(),
            head: head.id(),
            height: self.blocks.len() as u64,
            bytes: self.blocks.iter().map(|block| block.bytes().len() as u64).sum(),
            foreign: self.blocks.iter().filter(|block| block.author() != genesis.author()).count() as u64,
            changed: self.changed,
        }
    }
}

/// What [`RepoReader`](crate::repo::RepoReader) asks.
impl Rooms {
    pub(super) fn room_mut(&mut self, name: &RoomName) -> Option<&mut Room> {
        self.0.get_mut(name)
    }

    pub(super) fn room(&self, name: &RoomName) -> Option<&Room> {
        self.0.get(name)
    }

    pub(super) fn rooms(&self) -> Vec<(RoomName, Usage)> {
        self.0.iter().map(|(name, room)| (name.clone(), room.usage())).collect()
    }

    pub(super) fn usage(&self, room: &RoomName) -> Usage {
        self.0.get(room).map(Room::usage).unwrap_or_default()
    }

    pub(super) fn chains(&self, room: &RoomName, format: Format, after: Option<&Key>, max: usize) -> Vec<Chain> {
        let lines = self.0.get(room).into_iter().flat_map(|room| &room.lines);
        let mut chains: Vec<Chain> = lines
            .map(Line::chain)
            .filter(|chain| chain.format == format && after.is_none_or(|after| chain.owner > *after))
            .collect();
        chains.sort_by_key(|chain| chain.owner);
        chains.truncate(max);
        chains
    }

    pub(super) fn authors(&self, room: &RoomName, after: Option<&Key>, max: usize) -> Vec<Key> {
        let latest = self.0.get(room).into_iter().flat_map(|room| room.latest.keys());
        let authors: std::collections::BTreeSet<Key> = latest.map(|(_, author)| *author).collect();
        authors.into_iter().filter(|author| after.is_none_or(|after| author > after)).take(max).collect()
    }

    pub(super) fn find(&self, room: &RoomName, block: &Id) -> Option<(Chain, u64)> {
        self.0.get(room).and_then(|room| room.find(block)).map(|(line, at)| (line.chain(), at as u64))
    }

    pub(super) fn load(&self, room: &RoomName, run: Run, part: Part) -> Option<Feed> {
        let blocks = self.0.get(room)?.run(run)?;
        let mut taken: Vec<Block> = Vec::new();
        for block in blocks.iter().skip(usize::try_from(part.skip).unwrap_or(usize::MAX)) {
            let bytes: u64 = taken.iter().chain([block]).map(|block| block.bytes().len() as u64).sum();
            if !taken.is_empty() && (taken.len() as u64 >= part.blocks_max || bytes > part.bytes_max) {
                break;
            }
            taken.push(block.clone());
        }
        Feed::from_blocks(taken).ok()
    }

    pub(super) fn pick(&self, room: &RoomName, bytes_max: u64) -> Vec<(Format, Key)> {
        let lines = self.0.get(room).into_iter().flat_map(|room| &room.lines);
        let candidates: Vec<Candidate> = lines.map(|line| Candidate::from(&line.chain())).collect();
        pick(&candidates, bytes_max)
    }
}
