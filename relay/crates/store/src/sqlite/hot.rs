//! What is asked for again and again, in memory: rows by position, and the order of the newest events.
//!
//! The writer tells every change after its commit and before anybody learns that it succeeded, so what is found here is
//! never older than what a client was told. Readers look here first and open their snapshot of the database after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::{Mutex, RwLock};
use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use smallvec::SmallVec;

use super::cursor::Span;
use super::erase::Held;
use crate::Body;
use crate::event::{Id, PublicKey};
use crate::filter::Filter;

/// A row as readers want it.
#[derive(Clone)]
pub(super) struct HotRow {
    pub(super) id: Id,
    pub(super) pubkey: PublicKey,
    pub(super) kind: u16,
    pub(super) seq: i64,
    pub(super) expires_at: Option<i64>,
    pub(super) body: Body,
}

/// What the writer did, in order.
pub(super) enum Op {
    Put(i64, HotRow),
    Remove(i64),
}

/// What a row weighs in all, usually: only a guess of how many there will be.
const ROW_BYTES_USUAL: usize = 1_500;

/// Of the cached rows, those that were asked for twice; the rest came last.
const HOT_SHARE: f64 = 0.5;

/// Shared by the writer and all readers of a database.
pub(super) struct Hot {
    rows: Mutex<Rows>,
    newest: RwLock<Newest>,
    moves: AtomicU64,
}

/// Events after which a walk looks whether it finds enough.
const PROBE: usize = 512;

/// Beside its body, what a cached row costs.
const ROW_BYTES: usize = 256;

impl Hot {
    /// `bytes_max`: of cached rows. `newest_max`: events whose order is known without the database.
    pub(super) fn new(bytes_max: usize, newest_max: usize) -> Self {
        Self {
            rows: Mutex::new(Rows::new(bytes_max)),
            newest: RwLock::new(Newest { max: newest_max, from: i64::MAX, entries: BTreeMap::new() }),
            moves: AtomicU64::new(0),
        }
    }

    /// Fills the order of the newest events, newest first. `all`: there are no others.
    pub(super) fn fill(&self, entries: impl Iterator<Item = (i64, i64, u16)>, all: bool) {
        let mut newest = self.newest.write();
        for (pos, author, kind) in entries {
            newest.entries.insert(pos, (author, kind));
        }
        newest.from = if all { i64::MIN } else { newest.entries.keys().next().copied().unwrap_or(i64::MAX) };
    }

    /// Learns of a commit.
    pub(super) fn apply(&self, ops: Vec<Op>) {
        let mut newest = self.newest.write();
        let mut rows = self.rows.lock();
        for op in ops {
            match op {
                Op::Put(pos, row) => {
                    newest.insert(pos, row.pubkey.prefix(), row.kind);
                    rows.put(pos, row);
                }
                Op::Remove(pos) => {
                    newest.entries.remove(&pos);
                    rows.remove(pos);
                }
            }
        }
    }

    /// Where the event with this id is, if it is among the cached rows.
    pub(super) fn find(&self, id: &Id) -> Option<i64> {
        self.rows.lock().find(id)
    }

    /// The row at a position.
    pub(super) fn row(&self, pos: i64) -> Option<HotRow> {
        self.rows.lock().get(pos)
    }

    /// How many removals there were. See [`Hot::keep`].
    pub(super) fn removals(&self) -> u64 {
        self.rows.lock().removals
    }

    /// Keeps a row read from a snapshot that was opened when there were `removals`. If there have been more since, the
    /// row may be gone, and is not kept.
    pub(super) fn keep(&self, pos: i64, row: HotRow, removals: u64) {
        let mut rows = self.rows.lock();
        if rows.removals == removals {
            rows.put(pos, row);
        }
    }

    /// How often rows went to other places, times two, and odd while that goes on. Who asks before one snapshot and within a
    /// later one, and finds the same even number, finds rows where they were, unless they are gone.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// The next commit moves rows.
    pub(super) fn is_moving(&self) {
        self.moves.fetch_or(1, Ordering::AcqRel);
    }

    /// That commit is done, or has failed.
    pub(super) fn has_moved(&self) {
        if self.moves() % 2 == 1 {
            self.moves.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Looks through the newest events below `high` and not below `low` for authors and kinds of `filter`, whose other
    /// conditions are not looked at, leaving out those of `hidden` kinds. Stops after `wanted` finds or `walk_max` events. Gives the positions found, newest
    /// first, and the position down to which nothing is missing.
    pub(super) fn walk(
        &self,
        filter: &Filter,
        hidden: &[u16],
        span: Span,
        wanted: usize,
        walk_max: usize,
    ) -> (Vec<i64>, i64) {
        let Span { low, high } = span;
        let authors: Option<hashbrown::HashSet<i64>> =
            filter.authors.as_ref().map(|authors| authors.iter().map(PublicKey::prefix).collect());
        let newest = self.newest.read();
        let from = newest.from.max(low);
        let mut found = Vec::new();
        if from >= high {
            return (found, high);
        }
        let mut down_to = from;
        for (walked, (pos, (author, kind))) in newest.entries.range(from..high).rev().enumerate() {
            // Where finds are rare an index of them is shorter.
            let hopeless = walked == PROBE && found.len() * walk_max < wanted * PROBE / 2;
            if walked >= walk_max || found.len() >= wanted || hopeless {
                down_to = pos + 1;
                break;
            }
            if filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(kind))
                && !hidden.contains(kind)
                && authors.as_ref().is_none_or(|authors| authors.contains(author))
            {
                found.push(*pos);
            }
        }
        (found, down_to)
    }
}

/// The order of the newest events: complete from `from` upwards.
struct Newest {
    max: usize,
    from: i64,
    /// Position to the first eight bytes of the author, and kind.
    entries: BTreeMap<i64, (i64, u16)>,
}

impl Newest {
    fn insert(&mut self, pos: i64, author: i64, kind: u16) {
        if pos < self.from {
            return;
        }
        self.entries.insert(pos, (author, kind));
        if self.entries.len() > self.max
            && let Some((oldest, _)) = self.entries.pop_first()
        {
            self.from = oldest + 1;
        }
    }
}

/// Rows by position and by id.
struct Rows {
    by_pos: Cache<i64, HotRow, Weigh, DefaultHashBuilder, Forget>,
    /// From the first eight bytes of an id to a position; of two such ids it knows one.
    by_id: HashMap<i64, i64>,
    removals: u64,
}

/// A row weighs its bytes.
#[derive(Clone)]
struct Weigh;

impl Weighter<i64, HotRow> for Weigh {
    fn weight(&self, _: &i64, row: &HotRow) -> u64 {
        row.bytes() as u64
    }
}

/// Collects the ids and positions of rows that had to make room.
struct Forget;

impl Lifecycle<i64, HotRow> for Forget {
    type RequestState = SmallVec<[(i64, i64); 4]>;

    fn on_evict(&self, gone: &mut Self::RequestState, pos: i64, row: HotRow) {
        gone.push((row.id.prefix(), pos));
    }
}

impl Rows {
    fn new(bytes_max: usize) -> Self {
        let (rows, bytes) = (bytes_max / ROW_BYTES_USUAL, bytes_max as u64);
        let hash = DefaultHashBuilder::default();
        let options = OptionsBuilder::new()
            .estimated_items_capacity(rows)
            .weight_capacity(bytes)
            .hot_allocation(HOT_SHARE)
            .build();
        Self {
            by_pos: match options {
                Ok(options) => Cache::with_options(options, Weigh, hash, Forget),
                Err(_) => Cache::with(rows, bytes, Weigh, hash, Forget),
            },
            by_id: HashMap::new(),
            removals: 0,
        }
    }

    fn get(&self, pos: i64) -> Option<HotRow> {
        self.by_pos.get(&pos).cloned()
    }

    fn find(&self, id: &Id) -> Option<i64> {
        let pos = *self.by_id.get(&id.prefix())?;
        self.by_pos.peek(&pos).filter(|row| row.id == *id).map(|_| pos)
    }

    fn put(&mut self, pos: i64, row: HotRow) {
        let id = row.id.prefix();
        let mut gone = SmallVec::new();
        self.by_id.insert(id, pos);
        self.by_pos.insert_with_lifecycle(pos, row, &mut gone);
        for (id, pos) in gone {
            self.forget(id, pos);
        }
    }

    fn remove(&mut self, pos: i64) {
        self.removals += 1;
        if let Some((_, row)) = self.by_pos.remove(&pos) {
            self.forget(row.id.prefix(), pos);
        }
    }

    fn forget(&mut self, id: i64, pos: i64) {
        if self.by_id.get(&id) == Some(&pos) {
            self.by_id.remove(&id);
        }
    }
}

impl HotRow {
    /// What it costs to keep.
    fn bytes(&self) -> usize {
        ROW_BYTES
            + match &self.body {
                Body::Event(event) => event.heap_bytes(),
                Body::Json(json) => json.len(),
            }
    }

    pub(super) fn of(held: &Held) -> Self {
        Self {
            id: held.event.id,
            pubkey: held.event.pubkey,
            kind: held.event.kind,
            seq: held.seq,
            expires_at: held.event.expires_at().and_then(|at| i64::try_from(at).ok()),
            // Half as large as the event with its tags taken apart.
            body: Body::Json(Arc::from(held.event.json())),
        }
    }
}
