//! What must hold of what is to be carried between rooms and events.

use std::sync::Arc;

use picofeed::{Block, Feed, Format, Id, Secret};

use crate::carry::{Interest, Origin};
use crate::event::Event;
use crate::repo::{Bounds, Change, RoomName};
use crate::testing::Draft;
use crate::verify::Verified;
use crate::{Backend, Reader};

/// Wants events of kind 7.
#[derive(Debug)]
struct Sevens;

impl Interest for Sevens {
    fn wants(&self, event: &Event) -> bool {
        event.kind == 7
    }

    /// Events of kind 8 are about the block that they name.
    fn lost(&self, event: &Event) -> Option<(RoomName, Id)> {
        let block = event.tags.values("i").next().filter(|_| event.kind == 8)?;
        Some((RoomName::main(), block.parse().ok()?))
    }
}

/// What the backends are to be made with.
pub(super) fn interest() -> Arc<dyn Interest> {
    Arc::new(Sevens)
}

/// `open` opens the same data again.
pub(super) fn run(open: &dyn Fn() -> Arc<dyn Backend>) {
    let event = |kind, created_at| Draft { author: 1, kind, created_at, ..Draft::default() }.sign();
    let (note, first, second) = (event(1, 10), event(7, 11), event(7, 12));
    let blocks = feed(3);
    let merge = |blocks: &[Block], origins: &[Origin]| Change::Merge {
        room: RoomName::main(),
        bounds: Bounds::NONE,
        blocks: blocks.to_vec(),
        origins: origins.to_vec(),
    };
    {
        let backend = open();
        let mut writer = backend.writer().unwrap();
        let changes =
            [merge(&blocks[..1], &[Origin::Peer]), merge(&blocks[..2], &[Origin::Event; 2]), merge(&blocks[2..], &[])];
        writer.commit(&[note, first.clone(), first.clone(), second.clone()], &changes, 1_234).unwrap();
    }
    {
        let backend = open();
        let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
        assert_eq!(events(&mut *reader, 9), [Some(first.id), Some(second.id)], "each once, and only those wanted");
        assert_eq!(events(&mut *reader, 1), [Some(first.id)]);
        let outgoing = reader.outgoing(9, usize::MAX).unwrap();
        let seen: Vec<_> = outgoing.iter().map(|one| (one.id, one.accepted, one.origin)).collect();
        let expected = [(blocks[0].id(), 1_234, Origin::Peer), (blocks[1].id(), 1_234, Origin::Event)];
        assert_eq!(seen, expected, "new ones with an origin");
        let found = outgoing[1].found.as_ref().unwrap();
        assert_eq!((&found.block, found.before, found.chain.height), (&blocks[1], 1, 3));
        assert_eq!(found.chain.genesis, blocks[0].id());
        assert_eq!(reader.outgoing(9, 1).unwrap().len(), 1, "bytes are bounded, but one goes always");
        assert_eq!(reader.authors(&RoomName::main(), None, 9).unwrap(), [blocks[0].author()]);
        assert_eq!(reader.authors(&RoomName::main(), Some(&blocks[0].author()), 9).unwrap(), []);

        // What is gone is not carried, and nothing waits for it.
        let deletion = Draft { author: 1, kind: 5, created_at: 20, tags: vec![e(&first)], ..Draft::default() }.sign();
        let gone = Change::Rollback { room: RoomName::main(), chain: blocks[0].id(), stop_at: None };
        writer.commit(&[deletion], &[gone, Change::CarriedOut(outgoing[0].number)], 0).unwrap();
        assert_eq!(events(&mut *reader, 9), [None, Some(second.id)]);
        let outgoing = reader.outgoing(9, usize::MAX).unwrap();
        assert_eq!((outgoing.len(), outgoing[0].id, &outgoing[0].found), (1, blocks[1].id(), &None));
        let seq = reader.incoming(1).unwrap()[0].0;
        writer.commit(&[], &[Change::CarriedIn(seq)], 0).unwrap();
    }
    let mut reader = open().reader().unwrap();
    assert_eq!(events(&mut *reader, 9), [Some(second.id)]);
    assert_eq!(ids(&mut *reader), [blocks[1].id()]);
    what_lost_its_event_is_carried(open, &blocks);
}

/// By a deletion and by a request to vanish, each in the same transaction; by its author only.
fn what_lost_its_event_is_carried(open: &dyn Fn() -> Arc<dyn Backend>, blocks: &[Block]) {
    let about = |author, block: &Block| {
        let tags = vec![vec!["i".to_owned(), block.id().to_string()]];
        Draft { author, kind: 8, created_at: 30, tags, ..Draft::default() }.sign()
    };
    let (one, two, other) = (about(1, &blocks[0]), about(2, &blocks[1]), about(3, &blocks[2]));
    let delete = |author, event: &Verified| {
        Draft { author, kind: 5, created_at: 40, tags: vec![e(event)], ..Draft::default() }.sign()
    };
    let everywhere = vec![vec!["relay".to_owned(), "ALL_RELAYS".to_owned()]];
    let vanish = Draft { author: 2, kind: 62, created_at: 50, tags: everywhere, ..Draft::default() }.sign();
    let backend = open();
    let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
    let waiting = reader.outgoing(9, usize::MAX).unwrap().last().unwrap().number;
    writer.commit(&[one.clone(), two, other.clone()], &[Change::CarriedOut(waiting)], 0).unwrap();
    writer.commit(&[delete(1, &one), delete(1, &other)], &[], 60).unwrap();
    writer.commit(&[vanish], &[], 61).unwrap();
    let outgoing = reader.outgoing(9, usize::MAX).unwrap();
    let seen: Vec<_> = outgoing.iter().map(|one| (one.id, one.accepted, one.origin)).collect();
    assert_eq!(seen, [(blocks[0].id(), 60, Origin::Lost), (blocks[1].id(), 61, Origin::Lost)]);
}

fn events(reader: &mut dyn Reader, max: usize) -> Vec<Option<crate::event::Id>> {
    let incoming = reader.incoming(max).unwrap();
    assert!(incoming.is_sorted_by_key(|(seq, _)| *seq));
    incoming.into_iter().map(|(_, event)| event.map(|event| event.id)).collect()
}

fn ids(reader: &mut dyn Reader) -> Vec<Id> {
    reader.outgoing(9, usize::MAX).unwrap().into_iter().map(|one| one.id).collect()
}

fn e(event: &Verified) -> Vec<String> {
    vec!["e".to_owned(), event.id.to_hex()]
}

fn feed(len: usize) -> Vec<Block> {
    let mut feed = Feed::new(Format::V8);
    for n in 0..len {
        feed.append(format!("{n}").as_bytes(), &Secret::ed25519([1; 32])).unwrap();
    }
    feed.into_blocks()
}
