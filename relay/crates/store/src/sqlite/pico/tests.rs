//! What only a database on disk can get wrong.

use std::fs;
use std::path::Path;
use std::time::Instant;

use picofeed::{Block, Feed, Format, Secret};
use rusqlite::Connection;

use crate::repo::{Bounds, Chain, Change, Full, Part, RoomName, Run, Usage};
use crate::sqlite::FILE;
use crate::testing::{Draft, sqlite_in};
use crate::vanish::RelayUrls;
use crate::{Reader, Writer};

fn chain(author: u32, blocks: usize, body_bytes: usize) -> Vec<Block> {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&author.to_be_bytes());
    let secret = Secret::ed25519(seed);
    let mut feed = Feed::new(Format::V8);
    for number in 0..blocks {
        feed.append(format!("{number:0body_bytes$}").as_bytes(), &secret).unwrap();
    }
    feed.into_blocks()
}

fn merge(blocks: &[Block], bounds: Bounds) -> Change {
    Change::Merge { room: RoomName::main(), bounds, blocks: blocks.to_vec(), origins: Vec::new() }
}

/// Rooms, chains, their blocks, and how many authors of chains have a last block.
type State = (Vec<(RoomName, Usage)>, Vec<Chain>, Vec<Feed>, usize);

/// Everything that is stored; the indexes agree with it.
fn state(reader: &mut dyn Reader) -> State {
    let main = RoomName::main();
    let chains = reader.chains(&main, Format::V8, None, usize::MAX).unwrap();
    let feeds: Vec<Feed> = chains
        .iter()
        .map(|chain| {
            let feed = reader.load(&main, Run::Owned(chain.format, chain.owner), Part::ALL).unwrap().unwrap();
            assert_eq!(feed.last().unwrap().id(), chain.head);
            assert_eq!(feed.len() as u64, chain.height);
            for (height, block) in feed.iter().enumerate() {
                assert_eq!(reader.find(&main, &block.id()).unwrap().unwrap(), (chain.clone(), height as u64));
            }
            feed
        })
        .collect();
    let latest = chains
        .iter()
        .filter(|chain| reader.load(&main, Run::Latest(Format::V8, chain.owner), Part::ALL).unwrap().is_some());
    let latest = latest.count();
    (reader.rooms().unwrap(), chains, feeds, latest)
}

#[test]
fn a_batch_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let backend = sqlite_in(folder.path(), RelayUrls::default());
    let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
    let (a, b) = (chain(1, 4, 1), chain(2, 6, 1));
    writer.commit(&[], &[merge(&a[..2], Bounds::NONE)], 0).unwrap();
    let before = state(&mut *reader);

    let saboteur = Connection::open(folder.path().join(FILE)).unwrap();
    saboteur
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON pico_block_id WHEN (new.pos & 0xffffff) = 4
             BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
        )
        .unwrap();
    let event = Draft { author: 1, kind: 1, created_at: 10, ..Draft::default() }.sign();
    let discard = Bounds { chains_max: 1, full: Full::Discard, ..Bounds::NONE };
    let changes = [merge(&a, Bounds::NONE), merge(&b, discard)];
    assert!(writer.commit(std::slice::from_ref(&event), &changes, 10).is_err());
    assert_eq!(state(&mut *reader), before, "neither the change that failed nor those beside it");
    assert!(!reader.contains(&event.id).unwrap());

    saboteur.execute_batch("DROP TRIGGER full").unwrap();
    // The sums that the writer keeps were put back, too.
    let exactly: u64 = a.iter().chain(&b).map(|block| block.bytes().len() as u64).sum();
    let bounds = Bounds { rooms_max: 1, total_bytes_max: exactly, ..Bounds::NONE };
    writer.commit(&[event], &[merge(&a, bounds), merge(&b, bounds)], 10).unwrap();
    assert_eq!(reader.usage(&RoomName::main()).unwrap().blocks, 10);
}

#[test]
fn a_log_that_is_cut_anywhere_holds_whole_changes() {
    let folder = tempfile::tempdir().unwrap();
    let backend = sqlite_in(folder.path(), RelayUrls::default());
    let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
    let log = |folder: &Path| folder.join(format!("{FILE}-wal"));
    let len = || fs::metadata(log(folder.path())).unwrap().len();
    let (a, b, c) = (chain(1, 40, 50), chain(2, 30, 300), chain(3, 3, 1));
    let bounds = Bounds { blocks_max: 60, full: Full::Discard, ..Bounds::NONE };
    let back = Change::Rollback { room: RoomName::main(), chain: b[0].id(), stop_at: Some(b[3].id()) };
    let mut states = vec![(len(), state(&mut *reader))];
    for change in [merge(&a[..10], bounds), merge(&c, bounds), merge(&a, bounds), merge(&b, bounds), back] {
        writer.commit(&[], &[change], 0).unwrap();
        states.push((len(), state(&mut *reader)));
    }
    assert!(states.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1));

    let end = states.last().unwrap().0;
    let step = usize::try_from((end - states[0].0) / 60).unwrap() | 1;
    let cuts = (states[0].0..=end).step_by(step).chain(states.iter().flat_map(|(at, _)| [*at, at.saturating_sub(1)]));
    for cut in cuts.filter(|cut| *cut >= states[0].0) {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(folder.path().join(FILE), copy.path().join(FILE)).unwrap();
        fs::copy(log(folder.path()), log(copy.path())).unwrap();
        fs::File::options().write(true).open(log(copy.path())).unwrap().set_len(cut).unwrap();
        let (_, expected) = states.iter().rev().find(|(at, _)| *at <= cut).unwrap();
        let copy = sqlite_in(copy.path(), RelayUrls::default());
        assert_eq!(state(&mut *copy.reader().unwrap()), *expected, "cut at {cut} of {end}");
        // And what was lost can be stored again.
        copy.writer().unwrap().commit(&[], &[merge(&a, Bounds::NONE), merge(&c, Bounds::NONE)], 0).unwrap();
        assert_eq!(copy.reader().unwrap().find(&RoomName::main(), &a[39].id()).unwrap().unwrap().1, 39);
    }
}

/// Not a test of anything: `cargo test --release -- --ignored --nocapture blocks_per_second`.
#[test]
#[ignore = "a measurement"]
fn blocks_per_second() {
    for (chains, blocks) in [(1, 20_000), (100, 200), (2_000, 10), (100_000, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let backend = sqlite_in(folder.path(), RelayUrls::default());
        let mut writer = backend.writer().unwrap();
        let all: Vec<Vec<Block>> = (0..chains).map(|author| chain(author, blocks, 100)).collect();
        measure(&mut *writer, &format!("{chains} chains whole, 1,000 blocks a merge"), &all, 1_000);
        writer.tend().unwrap();
        let mut reader = backend.reader().unwrap();
        let started = Instant::now();
        let mut loaded = 0;
        for chain in reader.chains(&RoomName::main(), Format::V8, None, usize::MAX).unwrap() {
            let run = Run::Owned(chain.format, chain.owner);
            loaded += reader.load(&RoomName::main(), run, Part::ALL).unwrap().unwrap().len();
        }
        eprintln!("  loaded at {:.0} blocks/s", loaded as f64 / started.elapsed().as_secs_f64());
        let (started, mut after, mut pages) = (Instant::now(), None, 0);
        while let Some(last) = reader.chains(&RoomName::main(), Format::V8, after.as_ref(), 100).unwrap().last() {
            (after, pages) = (Some(last.owner), pages + 1);
        }
        eprintln!("  {pages} pages of 100 chains in {:?}", started.elapsed());
    }
    let folder = tempfile::tempdir().unwrap();
    let backend = sqlite_in(folder.path(), RelayUrls::default());
    let all: Vec<Vec<Block>> = (0..200).map(|author| chain(author, 100, 100)).collect();
    let turns: Vec<Vec<Block>> = (0..100).map(|turn| all.iter().map(|chain| chain[turn].clone()).collect()).collect();
    measure(&mut *backend.writer().unwrap(), "200 chains in turns, 200 merges of one block a commit", &turns, 1);
}

fn measure(writer: &mut dyn Writer, what: &str, batches: &[Vec<Block>], merge_blocks: usize) {
    let started = Instant::now();
    for batch in batches {
        let merges: Vec<Change> = batch.chunks(merge_blocks).map(|blocks| merge(blocks, Bounds::NONE)).collect();
        writer.commit(&[], &merges, 0).unwrap();
    }
    let blocks: usize = batches.iter().map(Vec::len).sum();
    eprintln!("{what}: {:.0} blocks/s", blocks as f64 / started.elapsed().as_secs_f64());
}

/// Blocks of all formats that were there before the bridge are carried, too.
#[test]
fn what_rooms_held_before_is_to_be_carried() {
    let folder = tempfile::tempdir().unwrap();
    let pop02 = Secret::secp256k1([1; 32]).unwrap();
    let old = Block::sign(Format::V3, None, b"old", &Secret::ed25519([1; 32])).unwrap();
    let other = Block::sign(Format::Pop02, None, b"other", &pop02).unwrap();
    let blocks = [chain(1, 3, 8), vec![old, other]].concat();
    {
        let backend = sqlite_in(folder.path(), RelayUrls::default());
        backend.writer().unwrap().commit(&[], &[merge(&blocks, Bounds::NONE)], 0).unwrap();
    }
    let database = Connection::open(folder.path().join(FILE)).unwrap();
    database
        .execute_batch("ALTER TABLE pico_postponed DROP COLUMN origin; DROP TABLE bridge_out; DROP TABLE bridge_in")
        .unwrap();
    database.execute_batch(include_str!("../../../../../../migrations/sqlite/0004_bridge.sql")).unwrap();
    drop(database);
    let backend = sqlite_in(folder.path(), RelayUrls::default());
    let outgoing = backend.reader().unwrap().outgoing(99, usize::MAX).unwrap();
    let found: Vec<Block> = outgoing.into_iter().map(|one| one.found.unwrap().block).collect();
    assert_eq!(found, blocks);
}
