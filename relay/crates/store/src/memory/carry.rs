//! What is still to be carried between rooms and events, as plain lists.

use std::sync::Arc;

use picofeed::Id;

use crate::Seq;
use crate::carry::{Interest, Origin};
use crate::clock::Timestamp;
use crate::repo::{Change, Changed, Merged, RoomName};
use crate::verify::Verified;

/// Everything there is.
#[derive(Default, Debug)]
pub(super) struct Carrying {
    pub(super) interest: Option<Arc<dyn Interest>>,
    pub(super) blocks: Vec<Waiting>,
    pub(super) events: Vec<(Seq, crate::event::Id)>,
}

/// A block that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) room: RoomName,
    pub(super) id: Id,
    pub(super) accepted: Timestamp,
    pub(super) origin: Origin,
}

impl Carrying {
    pub(super) fn saved(&mut self, event: &Verified, seq: Seq) {
        if self.interest.as_ref().is_some_and(|interest| interest.wants(event)) {
            self.events.push((seq, event.id));
        }
    }

    pub(super) fn lost(&mut self, event: &Verified, now: Timestamp) {
        if let Some((room, block)) = self.interest.as_ref().and_then(|interest| interest.lost(event)) {
            self.wait(&room, block, Origin::Lost, now);
        }
    }

    pub(super) fn changed(&mut self, change: &Change, changed: &Changed, now: Timestamp) {
        match (change, changed) {
            (Change::Merge { room, blocks, origins, .. }, Changed::Merged(merging)) => {
                for ((block, merged), origin) in blocks.iter().zip(&merging.merged).zip(origins) {
                    if *merged == Merged::New {
                        self.wait(room, block.id(), *origin, now);
                    }
                }
            }
            (Change::Dispatch(dispatch), Changed::Dispatched(dispatched)) if !dispatch.scope.shadow => {
                for step in dispatch.steps.iter().take(dispatched.done) {
                    if let (Some(block), Some(origin)) = (&step.block, step.origin) {
                        self.wait(&dispatch.scope.room, block.id(), origin, now);
                    }
                }
            }
            (Change::CarriedOut(up_to), _) => self.blocks.retain(|waiting| waiting.number > *up_to),
            (Change::CarriedIn(up_to), _) => self.events.retain(|(seq, _)| seq > up_to),
            _ => {}
        }
    }

    fn wait(&mut self, room: &RoomName, id: Id, origin: Origin, accepted: Timestamp) {
        let number = self.blocks.last().map_or(0, |last| last.number) + 1;
        self.blocks.push(Waiting { number, room: room.clone(), id, accepted, origin });
    }
}
