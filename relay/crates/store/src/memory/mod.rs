//! The plain backend: everything in one sorted list, every rule written the obvious way.
//!
//! It is what tests compare the real backend with, and a store for tests that need one. Nothing is indexed and nothing
//! is written to disk.

mod carry;
mod pico;
mod rules;
mod scan;
mod state;

use std::sync::Arc;

use parking_lot::RwLock;
use picofeed::{Feed, Format, Key};

use self::rules::State;
use crate::carry::{CarryReader, Incoming, Interest, Located, Outgoing};
use crate::clock::Timestamp;
use crate::config::Search;
use crate::event::Id;
use crate::repo::{Chain, Change, Part, RepoReader, RoomName, Run, Usage};
use crate::state::{DueItem, Millis, Postponed, Scope, Stamp, Standing, StateReader, Stored};
use crate::vanish::RelayUrls;
use crate::verify::Verified;
use crate::{Backend, Batch, Reader, Row, Saved, Scan, Seq, Slice, Step, StoreError, Writer};

/// A backend that lives as long as its handles; clones share the events.
#[derive(Clone, Debug)]
pub struct Memory {
    events: Arc<RwLock<State>>,
    rooms: Arc<RwLock<pico::Rooms>>,
    carrying: Arc<RwLock<carry::Carrying>>,
}

impl Memory {
    /// An empty store of the relay with these URLs, which searches the kinds that are searched by default.
    pub fn new(urls: RelayUrls) -> Self {
        Self::with_search(urls, Search::default())
    }

    /// An empty store that searches as `search` says (NIP-50).
    pub fn with_search(urls: RelayUrls, search: Search) -> Self {
        Self {
            events: Arc::new(RwLock::new(State::new(urls, search))),
            rooms: Arc::default(),
            carrying: Arc::default(),
        }
    }

    /// The same store; from now on it remembers new events that are wanted.
    pub fn with_interest(self, interest: Arc<dyn Interest>) -> Self {
        self.carrying.write().interest = Some(interest);
        self
    }
}

impl Backend for Memory {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer for Memory {
    fn commit(&mut self, events: &[Verified], changes: &[Change], now: Timestamp) -> Result<Batch, StoreError> {
        let mut state = self.events.write();
        let mut removed = Vec::new();
        let mut rooms = self.rooms.write();
        let mut carrying = self.carrying.write();
        let mut saved = Vec::with_capacity(events.len());
        for event in events {
            let mut gone = Vec::new();
            let outcome = state.save(event, now, &mut gone);
            if let Saved::New(seq) = outcome {
                carrying.saved(event, seq);
            }
            gone.iter().for_each(|event| carrying.lost(event, now));
            removed.extend(gone.iter().map(|event| event.id));
            saved.push(outcome);
        }
        let mut changed = Vec::with_capacity(changes.len());
        for change in changes {
            let outcome = rooms.change(change, now);
            carrying.changed(change, &outcome, now);
            changed.push(outcome);
        }
        Ok(Batch { saved, removed, changed })
    }

    fn sweep_expired(&mut self, now: Timestamp, max: usize) -> Result<Vec<Id>, StoreError> {
        Ok(self.events.write().sweep_expired(now, max))
    }

    fn tend(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn tend_under_load(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn last_seq(&self) -> Seq {
        self.events.read().last_seq
    }
}

impl Reader for Memory {
    fn scan(&mut self, scan: &mut Scan, slice: Slice<'_>, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        Ok(scan::scan(&self.events.read(), scan, slice, rows))
    }

    fn contains(&mut self, id: &Id) -> Result<bool, StoreError> {
        Ok(self.events.read().contains(id))
    }

    fn len_estimate(&mut self) -> Result<u64, StoreError> {
        Ok(self.events.read().events.len() as u64)
    }
}

impl CarryReader for Memory {
    fn outgoing(&mut self, max: usize, bytes_max: usize) -> Result<Vec<Outgoing>, StoreError> {
        let (carrying, rooms) = (self.carrying.read(), self.rooms.read());
        let mut outgoing = Vec::new();
        let mut bytes = 0;
        for waiting in carrying.blocks.iter().take(max) {
            let carry::Waiting { number, room, id, accepted, origin } = waiting;
            let found = rooms.find(room, id).and_then(|(chain, before)| {
                let part = Part { blocks_max: 1, ..Part::ALL };
                let block = rooms.load(room, Run::UpTo(*id, 1), part)?.into_blocks().pop()?;
                Some(Located { block, chain, before })
            });
            bytes += found.as_ref().map_or(0, |found| found.block.bytes().len());
            outgoing.push(Outgoing {
                number: *number,
                room: room.clone(),
                id: *id,
                accepted: *accepted,
                origin: *origin,
                found,
            });
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(outgoing)
    }

    fn incoming(&mut self, max: usize) -> Result<Vec<Incoming>, StoreError> {
        let (carrying, state) = (self.carrying.read(), self.events.read());
        let event = |id| state.events.iter().find(|stored| stored.event.id == id).map(|stored| stored.event.clone());
        Ok(carrying.events.iter().take(max).map(|(seq, id)| (*seq, event(*id))).collect())
    }

    fn authors(&mut self, room: &RoomName, after: Option<&Key>, max: usize) -> Result<Vec<Key>, StoreError> {
        Ok(self.rooms.read().authors(room, after, max))
    }
}

impl RepoReader for Memory {
    fn rooms(&mut self) -> Result<Vec<(RoomName, Usage)>, StoreError> {
        Ok(self.rooms.read().rooms())
    }

    fn usage(&mut self, room: &RoomName) -> Result<Usage, StoreError> {
        Ok(self.rooms.read().usage(room))
    }

    fn chains(
        &mut self,
        room: &RoomName,
        format: Format,
        after: Option<&Key>,
        max: usize,
    ) -> Result<Vec<Chain>, StoreError> {
        Ok(self.rooms.read().chains(room, format, after, max))
    }

    fn find(&mut self, room: &RoomName, block: &picofeed::Id) -> Result<Option<(Chain, u64)>, StoreError> {
        Ok(self.rooms.read().find(room, block))
    }

    fn load(&mut self, room: &RoomName, run: Run, part: Part) -> Result<Option<Feed>, StoreError> {
        Ok(self.rooms.read().load(room, run, part))
    }

    fn pick(&mut self, room: &RoomName, bytes_max: u64) -> Result<Vec<(Format, Key)>, StoreError> {
        Ok(self.rooms.read().pick(room, bytes_max))
    }
}

impl StateReader for Memory {
    fn standing(&mut self, scope: &Scope) -> Result<Option<Standing>, StoreError> {
        Ok(self.rooms.read().standing(scope))
    }

    fn object(&mut self, scope: &Scope, slice: &str, id: &str) -> Result<Option<Stored>, StoreError> {
        Ok(self.rooms.read().object(scope, slice, id))
    }

    fn objects(
        &mut self,
        scope: &Scope,
        slice: &str,
        after: Option<&str>,
        max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(String, Stored)>, StoreError> {
        Ok(self.rooms.read().objects(scope, slice, after, max, bytes_max))
    }

    fn object_ids(
        &mut self,
        scope: &Scope,
        slice: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<String>, StoreError> {
        let objects = self.rooms.read().objects(scope, slice, after, max, usize::MAX);
        Ok(objects.into_iter().map(|(id, _)| id).collect())
    }

    fn lookup(&mut self, scope: &Scope, slice: &str, key: &[u8]) -> Result<Option<picofeed::Id>, StoreError> {
        Ok(self.rooms.read().lookup(scope, slice, key))
    }

    fn due(&mut self, scope: &Scope, now: Millis, max: usize) -> Result<Vec<DueItem>, StoreError> {
        Ok(self.rooms.read().due(scope, now, max))
    }

    fn next_due(&mut self, scope: &Scope) -> Result<Option<Millis>, StoreError> {
        Ok(self.rooms.read().next_due(scope))
    }

    fn postponed_due(&mut self, scope: &Scope, now: Millis, max: usize) -> Result<Vec<Postponed>, StoreError> {
        Ok(self.rooms.read().postponed_due(scope, now, max))
    }

    fn postponed(&mut self, scope: &Scope, block: &picofeed::Id) -> Result<Option<Postponed>, StoreError> {
        Ok(self.rooms.read().postponed(scope, block))
    }

    fn postponed_len(&mut self, scope: &Scope) -> Result<usize, StoreError> {
        Ok(self.rooms.read().postponed_due(scope, Millis::MAX, usize::MAX).len())
    }

    fn is_evicted(&mut self, scope: &Scope, chain: &picofeed::Id) -> Result<bool, StoreError> {
        Ok(self.rooms.read().is_evicted(scope, chain))
    }

    fn references(&mut self, scope: &Scope, chain: &picofeed::Id) -> Result<u64, StoreError> {
        Ok(self.rooms.read().references(scope, chain))
    }

    fn stamps(&mut self, room: &RoomName) -> Result<Vec<Stamp>, StoreError> {
        Ok(self.rooms.read().stamps(room))
    }

    fn oldest_chains(&mut self, room: &RoomName, max: usize) -> Result<Vec<Chain>, StoreError> {
        Ok(self.rooms.read().oldest_chains(room, max))
    }
}
