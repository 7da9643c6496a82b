//! Blocks that came before their parents.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};
use picofeed::{Block, Id};
use smallvec::SmallVec;

/// Tells connections apart.
pub type PeerNumber = u64;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Blocks of all peers.
    pub blocks_max: usize,
    /// Bytes of all blocks.
    pub bytes_max: usize,
    /// Blocks of one peer.
    pub peer_blocks_max: usize,
}

/// Those who brought a block, the first one first.
pub type Peers = SmallVec<[PeerNumber; 2]>;

/// Peers that are remembered for one block that waits.
const PEERS_MAX: usize = 32;

/// A block, and who brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Verified.
    pub block: Block,
    /// They have it, and need not be told.
    pub brought_by: Peers,
}

impl Offered {
    /// A block of one peer.
    pub fn by(block: Block, peer: PeerNumber) -> Self {
        Self { block, brought_by: [peer].into_iter().collect() }
    }
}

/// Blocks by the parent they wait for. When there are too many, the oldest goes: of the peer that brought too many, else
/// of all.
#[derive(Debug)]
pub struct Mempool {
    bounds: Bounds,
    waiting: BTreeMap<u64, Offered>,
    by_parent: HashMap<Id, Vec<u64>>,
    by_peer: HashMap<Option<PeerNumber>, BTreeSet<u64>>,
    ids: HashSet<Id>,
    bytes: usize,
    next: u64,
}

impl Mempool {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: BTreeMap::new(),
            by_parent: HashMap::new(),
            by_peer: HashMap::new(),
            ids: HashSet::new(),
            bytes: 0,
            next: 0,
        }
    }

    /// Keeps a block for later, in memory of its own, and gives how many others had to go. Genesis blocks wait for
    /// nothing and are not kept.
    pub fn park(&mut self, offered: &Offered) -> usize {
        let Some(parent) = offered.block.parent() else { return 0 };
        let len = offered.block.bytes().len();
        if let Some(number) = self.find(&offered.block) {
            if let Some(waiting) = self.waiting.get_mut(&number).filter(|waiting| waiting.brought_by.len() < PEERS_MAX)
            {
                waiting.brought_by.extend_from_slice(&offered.brought_by);
            }
            return 0;
        }
        if len > self.bounds.bytes_max {
            return 0;
        }
        self.ids.insert(offered.block.id());
        let number = self.next;
        self.next += 1;
        self.bytes += len;
        self.by_parent.entry(parent).or_default().push(number);
        self.by_peer.entry(offered.brought_by.first().copied()).or_default().insert(number);
        let waiting = Offered { block: offered.block.detached(), brought_by: offered.brought_by.clone() };
        self.waiting.insert(number, waiting);
        let mut gone = 0;
        while let Some(oldest) = self.surplus(offered.brought_by.first().copied()) {
            self.remove(oldest);
            gone += 1;
        }
        gone
    }

    fn surplus(&self, from: Option<PeerNumber>) -> Option<u64> {
        let of_peer = self.by_peer.get(&from).filter(|numbers| numbers.len() > self.bounds.peer_blocks_max);
        if let Some(numbers) = of_peer {
            return numbers.first().copied();
        }
        let is_full = self.waiting.len() > self.bounds.blocks_max || self.bytes > self.bounds.bytes_max;
        if is_full { self.waiting.keys().next().copied() } else { None }
    }

    /// Takes out what can be merged after `parent`, and what after that, parents first.
    pub fn take_after(&mut self, parent: &Block) -> Vec<Offered> {
        let mut taken = Vec::new();
        let mut parents = vec![(parent.id(), parent.author())];
        while let Some((parent, author)) = parents.pop() {
            let mut numbers = self.by_parent.get(&parent).cloned().unwrap_or_default();
            // Only one finds a place. Whoever wrote the block before goes first, and not whoever was quicker.
            numbers.sort_by_key(|number| self.waiting.get(number).is_none_or(|it| it.block.author() != author));
            for number in numbers {
                if let Some(offered) = self.remove(number) {
                    parents.push((offered.block.id(), offered.block.author()));
                    taken.push(offered);
                }
            }
        }
        taken
    }

    /// Who brought a block, if it waits here.
    pub fn brought_by(&self, block: &Block) -> &[PeerNumber] {
        let waiting = self.find(block).and_then(|number| self.waiting.get(&number));
        waiting.map(|offered| offered.brought_by.as_slice()).unwrap_or_default()
    }

    fn find(&self, block: &Block) -> Option<u64> {
        let id = block.id();
        let parent = block.parent().filter(|_| self.ids.contains(&id))?;
        let is_it = |number: &&u64| self.waiting.get(*number).is_some_and(|offered| offered.block.id() == id);
        self.by_parent.get(&parent)?.iter().find(is_it).copied()
    }

    /// How many blocks wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn remove(&mut self, number: u64) -> Option<Offered> {
        let offered = self.waiting.remove(&number)?;
        self.bytes -= offered.block.bytes().len();
        self.ids.remove(&offered.block.id());
        if let Some(parent) = offered.block.parent()
            && let Some(children) = self.by_parent.get_mut(&parent)
        {
            children.retain(|child| *child != number);
            if children.is_empty() {
                self.by_parent.remove(&parent);
            }
        }
        if let Some(numbers) = self.by_peer.get_mut(&offered.brought_by.first().copied()) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_peer.remove(&offered.brought_by.first().copied());
            }
        }
        Some(offered)
    }
}

#[cfg(test)]
mod tests {
    use picofeed::{Feed, Format, Secret};

    use super::*;

    fn chain(seed: u8, len: usize) -> Vec<Block> {
        let mut feed = Feed::new(Format::V8);
        for n in 0..len {
            feed.append(format!("block {n}").as_bytes(), &Secret::ed25519([seed; 32])).unwrap();
        }
        feed.into_blocks()
    }

    fn by(from: PeerNumber, block: &Block) -> Offered {
        Offered::by(block.clone(), from)
    }

    fn pool(blocks_max: usize, bytes_max: usize, peer_blocks_max: usize) -> Mempool {
        Mempool::new(Bounds { blocks_max, bytes_max, peer_blocks_max })
    }

    #[test]
    fn children_come_out_behind_their_parents_whatever_the_order() {
        let blocks = chain(1, 6);
        let mut pool = pool(100, 1 << 20, 100);
        for n in [5, 2, 4, 1, 3, 3] {
            assert_eq!(pool.park(&by(7, &blocks[n])), 0);
        }
        assert_eq!(pool.park(&by(7, &blocks[0])), 0, "genesis waits for nobody");
        assert_eq!(pool.len(), 5);
        assert_eq!(pool.take_after(&blocks[5]), []);
        let taken: Vec<Block> = pool.take_after(&blocks[0]).into_iter().map(|offered| offered.block).collect();
        assert_eq!(taken, blocks[1..]);
        assert!(pool.is_empty() && pool.bytes == 0 && pool.ids.is_empty());
        assert!(pool.by_parent.is_empty() && pool.by_peer.is_empty());
    }

    #[test]
    fn who_wrote_the_block_before_goes_first() {
        let blocks = chain(1, 3);
        let stranger = |n: u8| {
            let mut feed = Feed::from_blocks(blocks[..2].to_vec()).unwrap();
            feed.append(b"me first", &Secret::ed25519([n; 32])).unwrap();
            feed.into_blocks().remove(2)
        };
        let mut pool = pool(100, 1 << 20, 100);
        for block in [&stranger(2), &blocks[2], &stranger(3), &blocks[1]] {
            pool.park(&by(7, block));
        }
        let taken: Vec<Block> = pool.take_after(&blocks[0]).into_iter().map(|offered| offered.block).collect();
        assert_eq!(taken, [blocks[1].clone(), blocks[2].clone(), stranger(2), stranger(3)]);
    }

    #[test]
    fn the_oldest_goes() {
        let blocks = chain(1, 10);
        let mut pool = pool(3, 1 << 20, 100);
        let gone: usize = blocks.iter().map(|block| pool.park(&by(1, block))).sum();
        assert_eq!((pool.len(), gone), (3, 6));
        assert_eq!(pool.take_after(&blocks[5]), [], "it is gone");
        assert_eq!(pool.take_after(&blocks[6]).len(), 3);
    }

    #[test]
    fn one_peer_cannot_push_out_the_others() {
        let (kept, flood) = (chain(1, 3), chain(2, 50));
        let mut pool = pool(10, 1 << 20, 5);
        pool.park(&by(1, &kept[1]));
        for block in &flood {
            pool.park(&by(2, block));
        }
        assert_eq!(pool.len(), 6);
        assert_eq!(pool.take_after(&kept[0]).len(), 1);
    }

    #[test]
    fn bytes_count() {
        let blocks = chain(1, 10);
        let len = blocks[1].bytes().len();
        let mut pool = pool(100, 4 * len, 100);
        for block in &blocks {
            pool.park(&by(1, block));
        }
        assert_eq!((pool.len(), pool.bytes), (4, 4 * len));
        let mut tiny = super::tests::pool(100, len - 1, 100);
        tiny.park(&by(1, &blocks[1]));
        assert!(tiny.is_empty(), "what does not fit at all is not kept");
    }
}
