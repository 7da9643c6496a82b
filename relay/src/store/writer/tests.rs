//! What goes into one commit.

use std::sync::mpsc;

use picofeed::Id;

use super::*;
use crate::clock::Timestamp;
use crate::store::repo::{Merged, Merging, RolledBack, RoomName};
use crate::store::testing::Draft;

/// A writer that tells of each commit how many events and changes it has, and begins each only when told.
struct Gated {
    begin: mpsc::Receiver<bool>,
    commits: mpsc::Sender<(usize, usize)>,
}

impl Writer for Gated {
    fn commit(&mut self, events: &[Verified], changes: &[Change], _: Timestamp) -> Result<Batch, StoreError> {
        self.commits.send((events.len(), changes.len())).unwrap();
        if !self.begin.recv().unwrap() {
            return Err(StoreError::Damaged("on purpose"));
        }
        let answer = |change: &Change| match change {
            Change::Merge { blocks, .. } => {
                Changed::Merged(Merging { merged: vec![Merged::Orphan; blocks.len()], discarded: Vec::new() })
            }
            Change::GiveWay { .. } => Changed::GaveWay(None),
            Change::CarriedOut(_) | Change::CarriedIn(_) => Changed::Carried,
            _ => Changed::RolledBack(RolledBack::ChainUnknown),
        };
        let changed = changes.iter().map(answer).collect();
        Ok(Batch { saved: vec![Saved::Duplicate; events.len()], removed: Vec::new(), changed })
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
    let (writer, thread) = WriterHandle::start(Box::new(Gated { begin: gate, commits }), Box::new(()), pace).unwrap();
    let (saved, saves) = mpsc::channel();
    let save = |events: usize| {
        let event = Draft { author: 1, kind: 1, created_at: 10, ..Draft::default() }.sign();
        let saved = saved.clone();
        let done = Box::new(move |events: Vec<Verified>, outcome: Result<&[Saved], &StoreError>| {
            saved.send((events.len(), outcome.ok().map(<[Saved]>::len))).unwrap();
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
    begin.send(true).unwrap();
    assert_eq!(committed.recv().unwrap(), (7, 3));
    begin.send(true).unwrap();
    for change in changes {
        assert_eq!(change.await.unwrap().unwrap(), Changed::RolledBack(RolledBack::ChainUnknown));
    }
    let saved: Vec<_> = (0..3).map(|_| saves.recv().unwrap()).collect();
    assert_eq!(saved, [(1, Some(1)), (2, Some(2)), (5, Some(5))]);

    save(1);
    committed.recv().unwrap();
    let change = tokio::spawn({
        let writer = writer.clone();
        async move { writer.change(rollback()).await }
    });
    while writer.queue.is_empty() {
        tokio::task::yield_now().await;
    }
    save(1);
    begin.send(true).unwrap();
    begin.send(false).unwrap();
    assert!(matches!(change.await.unwrap(), Err(ChangeError::Failed(_))), "all who are in a batch hear that it failed");
    let saved: Vec<_> = (0..2).map(|_| saves.recv().unwrap()).collect();
    assert_eq!(saved, [(1, Some(1)), (1, None)]);
    drop(writer);
    thread.join();
}
