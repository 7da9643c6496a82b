//! What must hold of pico rooms, as cases.

use std::sync::Arc;

use picofeed::{Block, Format, Id, Key, Secret};

use super::Make;
use crate::repo::{
    Bounds, Chain, Change, Changed, Full, Merged, Merging, Part, Quota, RolledBack, RoomName, Run, Usage,
};
use crate::testing::Draft;
use crate::vanish::RelayUrls;
use crate::{Backend, Reader, Writer};

/// Runs everything.
pub(super) fn run(make: Make<'_>) {
    what_follows_a_refused_block_shares_its_fate(make);
    generations_are_kept_apart(make);
    a_full_room_refuses(make);
    rooms_and_bytes_of_all_are_bounded(make);
    the_emptiest_room_gives_way(make);
    a_full_archive_discards_what_changed_longest_ago(make);
    what_cannot_fit_discards_nothing(make);
    a_chain_can_be_loaded_in_parts(make);
    a_rolled_back_chain_can_grow_another_way(make);
    the_last_block_of_an_author_is_forgotten_when_removed(make);
    what_is_picked_fits(make);
    events_and_blocks_are_committed_together(make);
}

fn what_follows_a_refused_block_shares_its_fate(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let (a, other) = (chain(Format::V8, 1, "a", 4), chain(Format::V8, 1, "b", 3));
    let mut fork = a[..2].to_vec();
    extend(&mut fork, Format::V8, 1, "fork", 2);
    assert_eq!(bench.merge(&a[1..]), [Merged::Orphan; 3]);
    assert_eq!(bench.merge(&a), [Merged::New; 4]);
    assert_eq!(bench.merge(&fork), [Merged::Known, Merged::Known, Merged::Fork, Merged::Fork]);
    assert_eq!(bench.merge(&fork[3..]), [Merged::Orphan], "its parent was never stored");
    assert_eq!(bench.merge(&other), [Merged::SecondGenesis; 3]);
    let [b, c] = [2, 3].map(|author| chain(Format::V8, author, "c", 2));
    let mixed = [&b[1], &c[0], &b[0], &b[1], &c[1], &c[0]].map(Clone::clone);
    let [orphan, new, known] = [Merged::Orphan, Merged::New, Merged::Known];
    assert_eq!(bench.merge(&mixed), [orphan, new, new, new, new, known]);
    assert_eq!(bench.usage(), usage(&[&a, &b, &c]));
}

fn generations_are_kept_apart(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let (old, new) = (chain(Format::V3, 1, "x", 2), chain(Format::V8, 1, "x", 2));
    let across = Block::sign(Format::V8, Some(&old[1].id()), b"across", &secret(1)).unwrap();
    assert_eq!(bench.merge(&old), [Merged::New; 2]);
    assert_eq!(bench.merge(std::slice::from_ref(&across)), [Merged::Orphan]);
    assert_eq!(bench.merge(&new), [Merged::New; 2]);
    assert_eq!(bench.owners(Format::V3), bench.owners(Format::V8));
    assert_eq!(bench.load(Run::Owned(Format::V3, old[0].author())).unwrap(), old);
    assert_eq!(bench.load(Run::Owned(Format::V8, old[0].author())).unwrap(), new);
    assert_eq!(bench.load(Run::Owned(Format::Pop02, old[0].author())), None);
}

fn the_emptiest_room_gives_way(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let mut fill = |name: &str, author: u8, blocks: usize, now: u64| {
        let blocks = chain(Format::V8, author, name, blocks);
        let change = Change::Merge { room: name.parse().unwrap(), bounds: Bounds::NONE, blocks, origins: Vec::new() };
        bench.writer.commit(&[], &[change], now).unwrap();
    };
    fill("large", 1, 40, 1);
    fill("small-new", 2, 1, 30);
    fill("small-old", 3, 1, 20);
    fill("small-kept", 4, 1, 10);
    // Its second block is newer than the one of `small-old`.
    fill("small-grown", 5, 1, 5);
    fill("small-grown", 5, 1, 40);
    let names = |bench: &mut Bench| -> Vec<String> {
        bench.reader.rooms().unwrap().into_iter().map(|(name, _)| name.to_string()).collect()
    };
    let keep: Arc<[RoomName]> = ["small-kept".parse().unwrap(), "absent".parse().unwrap()].into();
    let mut went = Vec::new();
    while let Changed::GaveWay(Some(room)) = bench.change(Change::GiveWay { keep: Arc::clone(&keep) }) {
        assert!(!names(&mut bench).contains(&room.to_string()));
        bench.room = room.clone();
        assert_eq!(bench.usage(), Usage::default());
        assert_eq!(bench.owners(Format::V8), []);
        went.push(room.to_string());
    }
    // What is known already is nothing new: `small-grown` was last used at 5.
    assert_eq!(went, ["small-grown", "small-old", "small-new", "large"]);
    assert_eq!(names(&mut bench), ["small-kept"]);
    bench.room = "small-old".parse().unwrap();
    assert_eq!(bench.merge(&chain(Format::V8, 3, "small-old", 1)), [Merged::New], "it can come back");
}

fn a_full_room_refuses(make: Make<'_>) {
    let a = chain(Format::V8, 1, "a", 3);
    let b = chain(Format::V3, 2, "b", 1);
    let bytes = bytes(&a[..2]);
    for (bounds, quota) in [
        (Bounds { blocks_max: 2, ..Bounds::NONE }, Quota::Blocks),
        (Bounds { bytes_max: bytes, ..Bounds::NONE }, Quota::Bytes),
        (Bounds { chains_max: 1, blocks_max: 2, bytes_max: bytes, ..Bounds::NONE }, Quota::Chains),
    ] {
        let mut bench = Bench::new(make);
        bench.bounds = bounds;
        assert_eq!(bench.merge(&a[..2]), [Merged::New; 2]);
        assert_eq!(bench.merge(&b), [Merged::OverQuota(quota)]);
        assert_eq!(bench.merge(&a[..2]), [Merged::Known; 2], "what is stored costs nothing");
        let more = if quota == Quota::Chains { Quota::Blocks } else { quota };
        assert_eq!(bench.merge(&a[2..]), [Merged::OverQuota(more)]);
        assert_eq!(bench.usage(), usage(&[&a[..2]]));
        bench.bounds = Bounds::NONE;
        assert_eq!(bench.merge(&[&a[2..], &b].concat()), [Merged::New; 2]);
    }
}

fn rooms_and_bytes_of_all_are_bounded(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let (a, b) = (chain(Format::V8, 1, "a", 2), chain(Format::V8, 2, "b", 1));
    bench.bounds.rooms_max = 1;
    assert_eq!(bench.merge(&a), [Merged::New; 2]);
    bench.room = "second".parse().unwrap();
    assert_eq!(bench.merge(&a), [Merged::OverQuota(Quota::Rooms); 2]);
    assert_eq!(bench.usage(), Usage::default());
    bench.bounds = Bounds { total_bytes_max: bytes(&a) + bytes(&b), full: Full::Discard, ..Bounds::NONE };
    assert_eq!(bench.merge(&[b.clone(), a.clone()].concat())[..2], [Merged::New, Merged::OverQuota(Quota::TotalBytes)]);
    let rooms = [(RoomName::main(), usage(&[&a])), (bench.room.clone(), usage(&[&b]))];
    assert_eq!(bench.reader.rooms().unwrap(), rooms);
    assert_eq!(bench.rollback(b[0].id(), None), RolledBack::Removed(b));
    assert_eq!(bench.reader.rooms().unwrap(), rooms[..1]);
    bench.bounds.rooms_max = 2;
    assert_eq!(bench.merge(&a[..1]), [Merged::New], "an empty room does not count");
}

fn a_full_archive_discards_what_changed_longest_ago(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.bounds.full = Full::Discard;
    let [a, b, c, d] = [1, 2, 3, 4].map(|author| chain(Format::V8, author, "x", 3));
    bench.merge(&a[..2]);
    bench.merge(&b[..2]);
    bench.merge(&c[..2]);
    bench.merge(&a[2..]);
    assert_eq!(bench.by_age(), [b[0].id(), c[0].id(), a[0].id()]);
    // Blocks: c is longer than need be, but only whole chains go.
    bench.bounds.blocks_max = 7;
    let Merging { merged, discarded } = bench.merging(&d[..2]);
    assert_eq!(merged, [Merged::New; 2]);
    let gone: Vec<Id> = discarded.iter().map(|chain| chain.genesis).collect();
    assert_eq!((gone, discarded[0].height), (vec![b[0].id()], 2));
    assert_eq!(bench.merge(&b[2..]), [Merged::Orphan]);
    // Chains, and of the other generation too.
    bench.bounds = Bounds { chains_max: 3, full: Full::Discard, ..Bounds::NONE };
    let old = chain(Format::V3, 1, "x", 1);
    assert_eq!(bench.merging(&old).discarded[0].genesis, c[0].id());
    // A chain never makes room for itself: its own blocks stay, however long ago they came.
    bench.bounds = Bounds { bytes_max: bytes(&a) + bytes(&old), full: Full::Discard, ..Bounds::NONE };
    let mut longer = a.clone();
    extend(&mut longer, Format::V8, 1, "longer", 1);
    bench.bounds.bytes_max = bytes(&longer) + 1;
    assert_eq!(bench.merging(&longer).discarded.len(), 2);
    assert_eq!(bench.usage(), usage(&[&longer]));
    assert_eq!(bench.load(Run::Latest(Format::V8, d[0].author())), None);
    assert_eq!(bench.load(Run::Latest(Format::V8, a[0].author())).unwrap(), longer);
}

fn what_cannot_fit_discards_nothing(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let (a, b) = (chain(Format::V8, 1, "a", 2), chain(Format::V8, 2, "b", 4));
    bench.merge(&a);
    for (bounds, quota) in [
        (Bounds { bytes_max: bytes(&a), full: Full::Discard, ..Bounds::NONE }, Quota::Bytes),
        (Bounds { chains_max: 0, full: Full::Discard, ..Bounds::NONE }, Quota::Chains),
        (Bounds { blocks_max: 0, full: Full::Discard, ..Bounds::NONE }, Quota::Blocks),
    ] {
        let mut big = Vec::new();
        extend(&mut big, Format::V8, 3, &"x".repeat(1_000), 1);
        bench.bounds = bounds;
        assert_eq!(bench.merging(&big), Merging { merged: vec![Merged::OverQuota(quota)], discarded: vec![] });
    }
    bench.bounds = Bounds { blocks_max: 3, full: Full::Discard, ..Bounds::NONE };
    let Merging { merged, discarded } = bench.merging(&b);
    let [new, full] = [Merged::New, Merged::OverQuota(Quota::Blocks)];
    assert_eq!((merged, discarded.len()), (vec![new, new, new, full], 1), "it fitted as long as it was alone");
}

fn a_chain_can_be_loaded_in_parts(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let a = chain(Format::V3, 1, "a", 9);
    bench.merge(&a);
    for part in [
        Part { blocks_max: 2, ..Part::ALL },
        Part { bytes_max: bytes(&a[..3]), ..Part::ALL },
        Part { bytes_max: 0, ..Part::ALL },
        Part { blocks_max: 0, ..Part::ALL },
        Part::ALL,
    ] {
        let mut parts: Vec<Block> = Vec::new();
        let mut part = part;
        while let Some(feed) = bench.reader.load(&bench.room, Run::Around(a[4].id()), part).unwrap() {
            assert_eq!(feed.is_partial(), !parts.is_empty());
            parts.extend(feed);
            part.skip = parts.len() as u64;
        }
        assert_eq!(parts, a);
    }
    assert_eq!(bench.load(Run::UpTo(a[4].id(), 2)).unwrap(), a[3..=4]);
    assert_eq!(bench.load(Run::UpTo(a[4].id(), 0)), None);
    assert_eq!(bench.load(Run::UpTo(a[4].id(), u64::MAX)).unwrap(), a[..=4]);
    let found = bench.reader.find(&bench.room, &a[4].id()).unwrap().unwrap();
    assert_eq!((found.0.genesis, found.0.head, found.0.height, found.1), (a[0].id(), a[8].id(), 9, 4));
    let elsewhere: RoomName = "elsewhere".parse().unwrap();
    assert_eq!(bench.reader.load(&elsewhere, Run::Around(a[4].id()), Part::ALL).unwrap(), None);
}

fn a_rolled_back_chain_can_grow_another_way(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let a = chain(Format::V8, 1, "a", 4);
    let mut fork = a[..2].to_vec();
    extend(&mut fork, Format::V8, 2, "fork", 2);
    bench.merge(&a);
    assert_eq!(bench.rollback(a[2].id(), Some(a[3].id())), RolledBack::Removed(vec![]));
    assert_eq!(bench.rollback(fork[3].id(), None), RolledBack::ChainUnknown);
    assert_eq!(bench.rollback(a[2].id(), Some(fork[2].id())), RolledBack::BlockUnknown);
    assert_eq!(bench.rollback(a[3].id(), Some(a[1].id())), RolledBack::Removed(a[2..].to_vec()));
    assert_eq!(bench.merge(&a[3..]), [Merged::Orphan]);
    assert_eq!(bench.merge(&fork[2..]), [Merged::New; 2]);
    assert_eq!(bench.merge(&a[2..]), [Merged::Fork; 2]);
    assert_eq!(bench.usage(), usage(&[&fork]));
    let chains = bench.reader.chains(&bench.room, Format::V8, None, 9).unwrap();
    assert_eq!((chains[0].foreign, chains[0].head), (2, fork[3].id()));
}

fn the_last_block_of_an_author_is_forgotten_when_removed(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let (mut a, b) = (chain(Format::V8, 1, "a", 2), chain(Format::V8, 2, "b", 2));
    extend(&mut a, Format::V8, 2, "guest", 1);
    let latest = |bench: &mut Bench| bench.load(Run::Latest(Format::V8, b[0].author()));
    bench.merge(&b);
    bench.merge(&a);
    assert_eq!(latest(&mut bench).unwrap(), a);
    bench.rollback(a[0].id(), Some(a[1].id()));
    assert_eq!(latest(&mut bench), None, "as in picorepo, nobody looks for an earlier one");
    bench.merge(&a);
    bench.rollback(b[0].id(), Some(b[0].id()));
    assert_eq!(latest(&mut bench).unwrap(), a);
}

fn what_is_picked_fits(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let mut chains: Vec<Vec<Block>> = (1..=4).map(|author| chain(Format::V8, author, "x", 3)).collect();
    extend(&mut chains[0], Format::V8, 9, "guest", 2);
    extend(&mut chains[1], Format::V8, 9, "guest", 1);
    chains.iter().for_each(|chain| assert!(bench.merge(chain).iter().all(|merged| *merged == Merged::New)));
    let mut picked = |bytes_max: u64| {
        let mut authors: Vec<usize> = Vec::new();
        for (_, owner) in bench.reader.pick(&bench.room, bytes_max).unwrap() {
            authors.push(chains.iter().position(|chain| chain[0].author() == owner).unwrap());
        }
        authors
    };
    assert!(picked(0).is_empty());
    assert_eq!(picked(bytes(&chains[3])), [3], "the newest first");
    assert_eq!(picked(bytes(&chains[3]) + bytes(&chains[0])), [3, 0], "then the one with the most guests");
    assert_eq!(picked(bytes(&chains[3]) + bytes(&chains[2])), [3, 2], "what does not fit is skipped");
    assert_eq!(picked(u64::MAX), [3, 0, 2, 1], "in turns");
}

fn events_and_blocks_are_committed_together(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let a = chain(Format::V8, 1, "a", 2);
    let event = Draft { author: 1, kind: 1, created_at: 10, ..Draft::default() }.sign();
    let room = bench.room.clone();
    let merge = |blocks: &[Block]| Change::Merge {
        room: room.clone(),
        bounds: Bounds::NONE,
        blocks: blocks.to_vec(),
        origins: Vec::new(),
    };
    let changes = [merge(&a), merge(&a), Change::Rollback { room: room.clone(), chain: a[0].id(), stop_at: None }];
    let batch = bench.writer.commit(std::slice::from_ref(&event), &changes, 10).unwrap();
    assert_eq!((batch.saved.len(), batch.changed.len()), (1, 3));
    assert_eq!(batch.changed[1], Changed::Merged(Merging { merged: vec![Merged::Known; 2], discarded: vec![] }));
    assert_eq!(batch.changed[2], Changed::RolledBack(RolledBack::Removed(a)));
    assert!(bench.reader.contains(&event.id).unwrap());
    assert_eq!(bench.usage(), Usage::default());
}

/// A backend, and where its blocks go.
struct Bench {
    writer: Box<dyn Writer>,
    reader: Box<dyn Reader>,
    room: RoomName,
    bounds: Bounds,
    /// Last, so that it goes after its halves.
    _backend: Arc<dyn Backend>,
}

impl Bench {
    fn new(make: Make<'_>) -> Self {
        let backend = make(RelayUrls::default());
        let (writer, reader) = (backend.writer().unwrap(), backend.reader().unwrap());
        Self { writer, reader, room: RoomName::main(), bounds: Bounds::NONE, _backend: backend }
    }

    fn change(&mut self, change: Change) -> Changed {
        self.writer.commit(&[], &[change], 0).unwrap().changed.remove(0)
    }

    fn merging(&mut self, blocks: &[Block]) -> Merging {
        let room = self.room.clone();
        let change = Change::Merge { room, bounds: self.bounds, blocks: blocks.to_vec(), origins: Vec::new() };
        match self.change(change) {
            Changed::Merged(merging) => merging,
            other => panic!("{other:?}"),
        }
    }

    fn merge(&mut self, blocks: &[Block]) -> Vec<Merged> {
        self.merging(blocks).merged
    }

    fn rollback(&mut self, chain: Id, stop_at: Option<Id>) -> RolledBack {
        match self.change(Change::Rollback { room: self.room.clone(), chain, stop_at }) {
            Changed::RolledBack(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn load(&mut self, run: Run) -> Option<Vec<Block>> {
        self.reader.load(&self.room, run, Part::ALL).unwrap().map(|feed| feed.into_blocks())
    }

    fn usage(&mut self) -> Usage {
        self.reader.usage(&self.room).unwrap()
    }

    fn owners(&mut self, format: Format) -> Vec<Key> {
        self.reader.chains(&self.room, format, None, 99).unwrap().iter().map(|chain| chain.owner).collect()
    }

    /// Genesis ids, the chain first that changed longest ago.
    fn by_age(&mut self) -> Vec<Id> {
        let mut chains: Vec<Chain> = self.reader.chains(&self.room, Format::V8, None, 99).unwrap();
        chains.sort_by_key(|chain| chain.changed);
        chains.iter().map(|chain| chain.genesis).collect()
    }
}

fn secret(author: u8) -> Secret {
    Secret::ed25519([author; 32])
}

fn chain(format: Format, author: u8, text: &str, blocks: usize) -> Vec<Block> {
    let mut chain = Vec::new();
    extend(&mut chain, format, author, text, blocks);
    chain
}

fn extend(chain: &mut Vec<Block>, format: Format, author: u8, text: &str, blocks: usize) {
    for number in 0..blocks {
        let parent = chain.last().map(Block::id);
        let body = format!("{text} {number}");
        chain.push(Block::sign(format, parent.as_ref(), body.as_bytes(), &secret(author)).unwrap());
    }
}

fn bytes(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| block.bytes().len() as u64).sum()
}

fn usage(chains: &[&[Block]]) -> Usage {
    Usage {
        blocks: chains.iter().map(|chain| chain.len() as u64).sum(),
        bytes: chains.iter().map(|chain| bytes(chain)).sum(),
        chains: chains.len() as u64,
    }
}
