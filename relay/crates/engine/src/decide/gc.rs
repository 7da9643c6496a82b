//! Time passes: objects expire, marks come due, and chains go that nobody refers to.
//!
//! What is due is visited in the order of its time, and each visit happens at that time, however late it is. So it makes no
//! difference how often anybody looks.

use std::collections::BTreeMap;

use picofeed::Block;

use super::ask::{About, Draft, Phase};
use super::layers::Key;
use super::{Engine, EngineError, Rejection};
use crate::rarely::rarely;
use crate::slice::{Due, Millis, Removal};
use crate::store::repo::{Chain, Part, Run};
use crate::store::state::{DueItem, Edit, Mark, Step, Stored};

/// A slice that fails to say when an object expires is asked again so much later.
const FAILED_RETRY: Millis = 3_600_000;

/// Transactions of one look at what is due. Slices whose marks follow each other without end are visited again later.
const ROUNDS_MAX: usize = 64;

/// What is due, in order.
struct Agenda {
    items: BTreeMap<(Millis, u64), DueItem>,
    next: u64,
    /// Until when it is complete.
    until: Millis,
}

impl Agenda {
    fn push(&mut self, at: Millis, item: DueItem) {
        if at <= self.until {
            self.items.insert((at, self.next), item);
            self.next += 1;
        }
    }
}

impl Engine {
    /// Sweeps what is due at `now`, and gives the chains that went.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub fn gc(&mut self, now: Millis) -> Result<Vec<Chain>, EngineError> {
        let mut evicted = Vec::new();
        if !self.is_loaded() {
            return Ok(evicted);
        }
        for _ in 0..ROUNDS_MAX {
            if self.next_due.is_none_or(|due| due > now) {
                break;
            }
            let max = self.limits.batch_timers_max.max(2);
            let due = self.store.reader.due(&self.scope, now, max)?;
            let complete = due.len() < max;
            let last = due.last().map_or(now, DueItem::at);
            let mut agenda = Agenda { items: BTreeMap::new(), next: 0, until: if complete { now } else { last } };
            due.into_iter()
                .filter(|item| !self.waits_a_little(item, now))
                .for_each(|item| agenda.push(item.at(), item));
            let mut edits = Vec::new();
            while let Some(((at, _), item)) = agenda.items.pop_first() {
                let visited = match item {
                    DueItem::Object { slice, id, .. } => self.visit((slice, id), at, &mut agenda)?,
                    DueItem::Mark(number, mark) => self.call_back(number, &mark, at)?,
                };
                self.layers.keep_block();
                edits.extend(visited);
            }
            if edits.is_empty() {
                break;
            }
            evicted.extend(self.commit(vec![Step { edits, ..Step::default() }], now)?.evicted);
        }
        Ok(evicted)
    }

    /// As in picostore 3, the object whose time was set last does not go in the very millisecond in which it expires.
    fn waits_a_little(&self, item: &DueItem, now: Millis) -> bool {
        match (item, &self.newest_timer) {
            (DueItem::Object { slice, id, stored }, Some((newest, due))) => {
                newest.0 == *slice && newest.1 == *id && stored.expires == Some(*due) && *due == now
            }
            _ => false,
        }
    }

    /// Asks whether an object still expires when it is due.
    fn visit(&mut self, key: Key, at: Millis, agenda: &mut Agenda) -> Result<Vec<Edit>, EngineError> {
        let stored = self.layers.get(&mut *self.store.reader, &key.0, &key.1)?;
        let Some(stored) = stored.filter(|stored| stored.expires == Some(at)) else { return Ok(Vec::new()) };
        let expires = match self.slices.iter().position(|slice| slice.name() == key.0) {
            Some(of) => match self.try_slice(of, |slice, view| slice.expires_at(&key.1, &stored.value, view))? {
                Ok(expires) => expires,
                Err(failed) => {
                    log_failure(&self.scope.room, &failed);
                    Some(at.saturating_add(FAILED_RETRY))
                }
            },
            // The slice is not in the room any more.
            None => None,
        };
        let (slice, id) = key.clone();
        if expires.is_some_and(|expires| expires <= at) {
            self.layers.block.objects.insert(key, None);
            return Ok(vec![Edit::Sweep { slice, id }]);
        }
        self.version += 1;
        let version = self.version;
        let stored = Stored { expires, version, ..stored };
        if let Some(due) = expires {
            agenda.push(due, DueItem::Object { slice: slice.clone(), id: id.clone(), stored: stored.clone() });
        }
        self.layers.block.objects.insert(key, Some(stored));
        Ok(vec![Edit::Reschedule { slice, id, expires, version }])
    }

    /// Calls a slice whose mark is due.
    fn call_back(&mut self, number: u64, mark: &Mark, at: Millis) -> Result<Vec<Edit>, EngineError> {
        let mut edits = vec![Edit::Unmark(number)];
        let Some(of) = self.slices.iter().position(|slice| slice.name() == mark.slice) else { return Ok(edits) };
        let stored = self.store.reader.load(&self.scope.room, Run::UpTo(mark.block, 2), Part::ALL)?;
        let blocks: Vec<Block> = stored.map(|feed| feed.into_blocks()).unwrap_or_default();
        let (block, parent) = match blocks.as_slice() {
            [parent, block] => (Some(block), Some(parent)),
            [block] => (Some(block), None),
            _ => (None, None),
        };
        let due = Due {
            payload: &mark.payload,
            at: mark.at,
            now: at.saturating_add(1),
            id: mark.block,
            block,
            parent,
            owner: mark.owner,
            chain: mark.chain,
        };
        let about = About { block: mark.block, chain: mark.chain, owner: mark.owner };
        let mut draft = Draft::default();
        let swept = match self.try_slice(of, |slice, view| slice.sweep(&due, view))? {
            Ok(mut effects) => {
                effects.marks.iter_mut().for_each(|mark| mark.at = mark.at.max(due.now));
                self.apply(of, effects, Phase::Sweep, &about, &mut draft)?
            }
            Err(failed) => Err(failed),
        };
        let swept = match swept {
            Ok(()) => self.ask_expiries(&mut draft)?,
            failed => failed,
        };
        let drops = std::mem::take(&mut draft.drops);
        let swept = match swept {
            Ok(()) => self.finish(draft, &about)?,
            Err(failed) => Err(failed),
        };
        match swept {
            Ok(more) => edits.extend(more),
            Err(failed) => {
                self.layers.drop_block();
                log_failure(&self.scope.room, &failed);
                return Ok(edits);
            }
        }
        for Removal { chain, stop_at } in drops {
            let Some((chain, _)) = self.store.reader.find(&self.scope.room, &chain)? else { continue };
            edits.push(match stop_at {
                None => Edit::Evict { chain: chain.genesis, remember: true },
                Some(stop_at) => Edit::Truncate { chain: chain.genesis, stop_at },
            });
        }
        Ok(edits)
    }
}

fn log_failure(room: &crate::store::repo::RoomName, failed: &Rejection) {
    rarely!(warn, %room, slice = %failed.slice, reason = %failed.reason, "a slice failed while time passed");
}
