//! What goes into one commit.

use std::sync::mpsc;

use picofeed::Id;

use super::*;
use crate::clock::Timestamp;
use crate::repo::{Merged, Merging, RolledBack, RoomName};
use crate::testing::Draft;

/// A writer that keeps nothing: of each commit it gives what the function says.
struct Told<F>(F);

impl<F: FnMut(&[Verified], &[Change]) -> Result<Batch, StoreError> + Send> Writer for Told<F> {
    fn commit(&mut self, events: &[Verified], changes: &[Change], _: Timestamp) -> Result<Batch, StoreError> {
        (self.0)(events, changes)
    }

    fn sweep_expired(&mut self, _: Timestamp, _: usize) -> Result<Vec<crate::event::Id>, StoreError> {
        Ok(Vec::new())
    }

    fn tend(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn tend_under_load(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn last_seq(&self) -> Seq {
        0
    }
}

/// Tells of each commit how many events and changes it has, and begins each only when told.
fn gated(begin: mpsc::Receiver<()>, commits: mpsc::Sender<(usize, usize)>) -> impl Writer {
    let answer = |change: &Change| match change {
        Change::Merge { blocks, .. } => {
            Changed::Merged(Merging { merged: vec![Merged::Orphan; blocks.len()], discarded: Vec::new() })
        }
        Change::GiveWay { .. } => Changed::GaveWay(None),
        Change::CarriedOut(_) | Change::CarriedIn(_) => Changed::Carried,
        _ => Changed::RolledBack(RolledBack::ChainUnknown),
    };
    Told(move |events: &[Verified], changes: &[Change]| {
        commits.send((events.len(), changes.len())).unwrap();
        begin.recv().unwrap();
        let changed = changes.iter().map(answer).collect();
        Ok(Batch { saved: vec![Saved::Duplicate; events.len()], removed: Vec::new(), changed })
    })
}

/// Cannot write events of kind 7 and rollbacks of chains that begin with 7. Tells of each commit how much it has.
fn picky(error: fn() -> StoreError, commits: mpsc::Sender<usize>) -> impl Writer {
    Told(move |events: &[Verified], changes: &[Change]| {
        commits.send(events.len() + changes.len()).unwrap();
        let is_bad = |change: &Change| matches!(change, Change::Rollback { chain, .. } if *chain == Id::from([7; 64]));
        if events.iter().any(|event| event.kind == 7) || changes.iter().any(is_bad) {
            return Err(error());
        }
        let saved = events.iter().map(|event| Saved::New(event.created_at)).collect();
        let changed = changes.iter().map(|_| Changed::RolledBack(RolledBack::ChainUnknown)).collect();
        Ok(Batch { saved, removed: Vec::new(), changed })
    })
}

fn rollback() -> Change {
    Change::Rollback { room: RoomName::main(), chain: Id::from([0; 64]), stop_at: None }
}

#[test]
fn the_queue_is_as_wide_as_events_need() {
    assert_eq!(size_of::<Job>(), size_of::<Saving>());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_changes_that_wait_are_committed_together() {
    let (begin, gate) = mpsc::channel();
    let (commits, committed) = mpsc::channel();
    let pace = Pace { queue_max: 100, batch_max: 100, wait: Duration::ZERO, sweep: Duration::from_secs(3600) };
    let (writer, thread) = WriterHandle::start(Box::new(gated(gate, commits)), Box::new(()), pace).unwrap();
    let (saved, saves) = mpsc::channel();
    let save = |events: usize| {
        let event = Draft { author: 1, kind: 1, created_at: 10, ..Draft::default() }.sign();
        let saved = saved.clone();
        let done = Box::new(move |events: Vec<Verified>, outcome: &[Option<Saved>]| {
            saved.send((events.len(), outcome.iter().flatten().count())).unwrap();
        });
        writer.save(Saving { account: 0, events: vec![event; events], done });
    };

    save(1);
    assert_eq!(committed.recv().unwrap(), (1, 0), "what comes alone does not wait");
    save(2);
    let changes: Vec<_> = (0..3)
        .map(|_| {
            let writer = writer.clone();
            tokio::spawn(async move { writer.change(rollback()).await })
        })
        .collect();
    while writer.queue.len() < 4 {
        tokio::task::yield_now().await;
    }
    save(5);
    begin.send(()).unwrap();
    // What rooms want has a turn of its own, after what clients send.
    assert_eq!(committed.recv().unwrap(), (7, 0));
    begin.send(()).unwrap();
    assert_eq!(committed.recv().unwrap(), (0, 3));
    begin.send(()).unwrap();
    for change in changes {
        assert_eq!(change.await.unwrap().unwrap(), Changed::RolledBack(RolledBack::ChainUnknown));
    }
    let saved: Vec<_> = (0..3).map(|_| saves.recv().unwrap()).collect();
    assert_eq!(saved, [(1, 1), (2, 2), (5, 5)]);

    drop(writer);
    thread.join();
}

/// What becomes of a batch in which some cannot be written: of events of these kinds, and of rollbacks of these chains. And
/// how many transactions were tried.
fn written(error: fn() -> StoreError, kinds: &[u16], chains: &[u8]) -> (Vec<bool>, Vec<bool>, usize) {
    let (commits, committed) = mpsc::channel();
    let mut work = Work {
        writer: Box::new(picky(error, commits)),
        commits: Box::new(()),
        pace: Pace { queue_max: 1, batch_max: 1, wait: Duration::ZERO, sweep: Duration::MAX },
        jobs: crossbeam_channel::never(),
        later: VecDeque::new(),
        coming: Coming::default(),
        swept: None,
        tended: Instant::now(),
        failing: false,
    };
    let draft = |(number, kind): (usize, &u16)| {
        Draft { author: 1, kind: *kind, created_at: number as u64, ..Draft::default() }.sign()
    };
    let events: Vec<_> = kinds.iter().enumerate().map(draft).collect();
    let rollback =
        |chain: &u8| Change::Rollback { room: RoomName::main(), chain: Id::from([*chain; 64]), stop_at: None };
    let changes: Vec<_> = chains.iter().map(rollback).collect();
    let mut written = Written { divisions: DIVISIONS_MAX, ..Written::default() };
    work.write(&events, &changes, &mut written);
    let saved = written.saved.iter().enumerate();
    let saved = saved.map(|(number, saved)| {
        assert!(saved.is_none_or(|saved| saved == Saved::New(number as u64)), "outcomes are in order");
        saved.is_some()
    });
    (saved.collect(), written.changed.iter().map(Result::is_ok).collect(), committed.try_iter().count())
}

#[test]
fn what_cannot_be_written_is_refused_by_itself() {
    let damaged = || StoreError::Damaged("on purpose");
    assert_eq!(written(damaged, &[1, 1, 7, 1, 1], &[1, 7, 1]).0, [true, true, false, true, true]);
    assert_eq!(written(damaged, &[1, 1, 7, 1, 1], &[1, 7, 1]).1, [true, false, true]);
    assert_eq!(written(damaged, &[1, 1], &[7]), (vec![true, true], vec![false], 3));
    let mut kinds = vec![1; 1_000];
    for bad in [0, 333, 999] {
        kinds[bad] = 7;
    }
    let (saved, _, transactions) = written(damaged, &kinds, &[]);
    assert!(saved.iter().zip(&kinds).all(|(saved, kind)| *saved == (*kind == 1)));
    assert!(transactions < 70, "{transactions}");
    // Where all is wrong it ends soon.
    let (saved, _, transactions) = written(damaged, &[7; 1_000], &[]);
    assert!(saved.iter().all(|saved| !saved));
    assert_eq!(transactions, 1 + 2 * DIVISIONS_MAX as usize);
}

#[test]
fn a_full_disk_is_not_looked_for_in_halves() {
    let full = || {
        StoreError::Database(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
            None,
        ))
    };
    assert_eq!(written(full, &[1, 7, 1], &[1]), (vec![false; 3], vec![false], 1));
}
