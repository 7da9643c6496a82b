//! The same for pico rooms: random merges and rollbacks with few authors, small bounds and everything that does not fit.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use picofeed::Format;
use rand::RngExt as _;

use super::number;
use super::room_story::{ROOMS, Story, room};
use crate::memory::Memory;
use crate::repo::{Chain, Change, Changed, Merged, Merging, Quota, RolledBack, RoomName, Usage};
use crate::vanish::RelayUrls;
use crate::{Backend, Reader, Writer, testing};

const STORIES: u64 = 40;
const STEPS: usize = 60;

#[test]
fn sqlite_agrees_with_memory_in_rooms() {
    if let Some(seed) = number("PICORELAY_DIFFERENTIAL_SEED") {
        tell(seed);
        return;
    }
    let Some(seconds) = number("PICORELAY_DIFFERENTIAL_SECONDS") else {
        let happened: BTreeSet<&str> = (0..STORIES).flat_map(tell).collect();
        assert_eq!(happened.len(), 18, "not everything happens in the stories: {happened:?}");
        return;
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut seed = crate::clock::now() << 20;
    while Instant::now() < until {
        tell(seed);
        seed += 1;
    }
}

/// Tells a story, and says on failure which it was. Gives what happened in it.
fn tell(seed: u64) -> BTreeSet<&'static str> {
    // In memory where that is possible: a story waits for a hundred disk flushes otherwise.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut pair = Pair::open(folder.path());
    let mut story = Story::new(seed);
    let mut happened = BTreeSet::new();
    for step in 0..STEPS {
        let case = format!("PICORELAY_DIFFERENTIAL_SEED={seed}, step {step}");
        if story.rng.random_bool(0.05) {
            pair.reopen(folder.path());
        }
        let changes: Vec<Change> = (0..story.below(3)).map(|_| story.change()).collect();
        happened.extend(pair.change(&changes, &case).iter().flat_map(names));
        pair.look(&mut story, &case);
    }
    happened
}

/// What kinds of things a change did.
fn names(changed: &Changed) -> Vec<&'static str> {
    match changed {
        Changed::RolledBack(RolledBack::Removed(blocks)) if blocks.is_empty() => vec!["kept"],
        Changed::RolledBack(RolledBack::Removed(_)) => vec!["removed"],
        Changed::RolledBack(RolledBack::ChainUnknown) => vec!["chain unknown"],
        Changed::RolledBack(RolledBack::BlockUnknown) => vec!["block unknown"],
        Changed::Merged(Merging { merged, discarded }) => {
            let discarded = (!discarded.is_empty()).then_some("discarded");
            merged.iter().map(name).chain(discarded).collect()
        }
        Changed::GaveWay(None) => vec!["nobody gave way"],
        Changed::GaveWay(Some(_)) => vec!["gave way"],
        Changed::Carried => vec!["carried"],
        other => panic!("{other:?}"),
    }
}

fn name(merged: &Merged) -> &'static str {
    match merged {
        Merged::New => "new",
        Merged::Known => "known",
        Merged::Orphan => "orphan",
        Merged::Fork => "fork",
        Merged::SecondGenesis => "second genesis",
        Merged::OverQuota(Quota::Rooms) => "rooms",
        Merged::OverQuota(Quota::TotalBytes) => "total bytes",
        Merged::OverQuota(Quota::Chains) => "chains",
        Merged::OverQuota(Quota::Blocks) => "blocks",
        Merged::OverQuota(Quota::Bytes) => "bytes",
    }
}

/// Both backends.
struct Pair {
    oracle: Memory,
    database: Option<Open>,
}

struct Open {
    writer: Box<dyn Writer>,
    reader: Box<dyn Reader>,
    /// Last, so that it goes after its halves.
    _backend: Arc<dyn Backend>,
}

impl Open {
    fn new(backend: Arc<dyn Backend>) -> Self {
        Self { writer: backend.writer().unwrap(), reader: backend.reader().unwrap(), _backend: backend }
    }
}

impl Pair {
    fn open(folder: &Path) -> Self {
        let oracle = Memory::new(RelayUrls::default());
        Self { oracle, database: Some(Open::new(testing::sqlite_in(folder, RelayUrls::default()))) }
    }

    fn reopen(&mut self, folder: &Path) {
        self.database = None;
        self.database = Some(Open::new(testing::sqlite_in(folder, RelayUrls::default())));
    }

    fn change(&mut self, changes: &[Change], case: &str) -> Vec<Changed> {
        let expected = self.oracle.writer().unwrap().commit(&[], changes, 0).unwrap().changed;
        let changed = self.database.as_mut().unwrap().writer.commit(&[], changes, 0).unwrap().changed;
        let plain = |changed: Vec<Changed>| changed.into_iter().map(without_numbers).collect::<Vec<_>>();
        let expected = plain(expected);
        assert_eq!(plain(changed), expected, "{case}: {changes:#?}");
        expected
    }

    /// Asks everything there is to ask.
    fn look(&mut self, story: &mut Story, case: &str) {
        let oracle = &mut *self.oracle.reader().unwrap();
        let database = &mut *self.database.as_mut().unwrap().reader;
        let rooms = oracle.rooms().unwrap();
        assert_eq!(database.rooms().unwrap(), rooms, "{case}");
        let (max, bytes_max) = (story.below(20), story.below(4_000));
        let outgoing = |reader: &mut dyn Reader| {
            let mut outgoing = reader.outgoing(max, bytes_max).unwrap();
            for standing in outgoing.iter_mut().filter_map(|outgoing| outgoing.found.as_mut()) {
                standing.chain.changed = 0;
            }
            outgoing
        };
        assert_eq!(outgoing(database), outgoing(oracle), "{case}: outgoing {max} {bytes_max}");
        for room in ROOMS.map(room) {
            let usage = oracle.usage(&room).unwrap();
            assert_eq!(database.usage(&room).unwrap(), usage, "{case}");
            let mut ages = [Vec::new(), Vec::new()];
            let mut sums = Usage::default();
            for format in Format::ALL {
                let expected = oracle.chains(&room, format, None, usize::MAX).unwrap();
                let chains = paged(database, &room, format, story.below(3) + 1);
                ages[0].extend(expected.iter().map(|chain| (chain.changed, chain.genesis)));
                ages[1].extend(chains.iter().map(|chain| (chain.changed, chain.genesis)));
                for chain in &chains {
                    sums.blocks += chain.height;
                    sums.bytes += chain.bytes;
                    sums.chains += 1;
                }
                let plain = |chains: Vec<Chain>| chains.into_iter().map(without_number).collect::<Vec<_>>();
                assert_eq!(plain(chains), plain(expected), "{case}");
            }
            assert_eq!(sums, usage, "{case}: sums of {room}");
            let ages = ages.map(|mut ages| {
                ages.sort_unstable();
                ages.into_iter().map(|(_, genesis)| genesis).collect::<Vec<_>>()
            });
            assert_eq!(ages[0], ages[1], "{case}: ages");
            for _ in 0..8 {
                let id = story.block().id();
                let find = |reader: &mut dyn Reader| {
                    let found = reader.find(&room, &id).unwrap();
                    found.map(|(chain, height)| (without_number(chain), height))
                };
                assert_eq!(find(database), find(oracle), "{case}: find {id}");
                let (run, part) = story.run();
                let expected = oracle.load(&room, run, part).unwrap();
                assert_eq!(database.load(&room, run, part).unwrap(), expected, "{case}: {run:?} {part:?}");
            }
            let authors = |reader: &mut dyn Reader| reader.authors(&room, None, usize::MAX).unwrap();
            assert_eq!(authors(database), authors(oracle), "{case}: authors");
            let budget = story.below(6_000) as u64;
            assert_eq!(database.pick(&room, budget).unwrap(), oracle.pick(&room, budget).unwrap(), "{case}: pick");
        }
    }
}

fn paged(reader: &mut dyn Reader, room: &RoomName, format: Format, max: usize) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    loop {
        let after = chains.last().map(|chain| chain.owner);
        let page = reader.chains(room, format, after.as_ref(), max).unwrap();
        assert!(page.len() <= max);
        if page.is_empty() {
            return chains;
        }
        chains.extend(page);
    }
}

/// The numbers of `changed` are each backend's own; only their order is compared.
fn without_number(chain: Chain) -> Chain {
    Chain { changed: 0, ..chain }
}

fn without_numbers(changed: Changed) -> Changed {
    match changed {
        Changed::Merged(Merging { merged, discarded }) => {
            Changed::Merged(Merging { merged, discarded: discarded.into_iter().map(without_number).collect() })
        }
        other => other,
    }
}
