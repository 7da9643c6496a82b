//! What is asked for again and again, in memory: rows by position, and the order of the newest events.
//!
//! The writer tells every change after its commit and before anybody learns that it succeeded, so what is found here is
//! never older than what a client was told. Readers look here first and open their snapshot of the database after.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::erase::Held;
use crate::event::{Id, PublicKey};
use crate::filter::Filter;
use crate::store::Body;

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

/// Shared by the writer and all readers of a database.
pub(super) struct Hot {
    rows: Mutex<Rows>,
    newest: RwLock<Newest>,
}

/// Events after which a walk looks whether it finds enough.
const PROBE: usize = 512;

/// Beside its body, what a cached row costs.
const ROW_BYTES: usize = 320;

impl Hot {
    /// `bytes_max`: of cached rows. `newest_max`: events whose order is known without the database.
    pub(super) fn new(bytes_max: usize, newest_max: usize) -> Self {
        Self {
            rows: Mutex::new(Rows { bytes_max, ..Rows::default() }),
            newest: RwLock::new(Newest { max: newest_max, from: i64::MAX, entries: BTreeMap::new() }),
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
        let rows = self.rows.lock();
        rows.young.find(id).or_else(|| rows.old.find(id))
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

    /// Looks through the newest events below `high` and not below `low` for authors and kinds of `filter`, whose other
    /// conditions are not looked at. Stops after `wanted` finds or `walk_max` events. Gives the positions found, newest
    /// first, and the position down to which nothing is missing.
    pub(super) fn walk(&self, filter: &Filter, low: i64, high: i64, wanted: usize, walk_max: usize) -> (Vec<i64>, i64) {
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

/// Rows by position and by id, the least recently used half of which goes when there are too many bytes.
#[derive(Default)]
struct Rows {
    bytes_max: usize,
    young: Half,
    old: Half,
    removals: u64,
}

#[derive(Default)]
struct Half {
    rows: HashMap<i64, HotRow>,
    /// From the first eight bytes of an id to a position; of two such ids it knows one.
    by_id: HashMap<i64, i64>,
    bytes: usize,
}

impl Half {
    fn insert(&mut self, pos: i64, row: HotRow) {
        self.remove(pos);
        self.bytes += row.bytes();
        self.by_id.insert(row.id.prefix(), pos);
        self.rows.insert(pos, row);
    }

    fn remove(&mut self, pos: i64) -> Option<HotRow> {
        let row = self.rows.remove(&pos)?;
        self.bytes -= row.bytes();
        if self.by_id.get(&row.id.prefix()) == Some(&pos) {
            self.by_id.remove(&row.id.prefix());
        }
        Some(row)
    }

    fn find(&self, id: &Id) -> Option<i64> {
        let pos = self.by_id.get(&id.prefix())?;
        self.rows.get(pos).filter(|row| row.id == *id).map(|_| *pos)
    }
}

impl Rows {
    fn get(&mut self, pos: i64) -> Option<HotRow> {
        if let Some(row) = self.young.rows.get(&pos) {
            return Some(row.clone());
        }
        let row = self.old.remove(pos)?;
        self.put(pos, row.clone());
        Some(row)
    }

    fn put(&mut self, pos: i64, row: HotRow) {
        let bytes = row.bytes();
        if self.young.bytes + bytes > self.bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        if bytes <= self.bytes_max / 2 {
            self.young.insert(pos, row);
        }
    }

    fn remove(&mut self, pos: i64) {
        self.removals += 1;
        self.old.remove(pos);
        self.young.remove(pos);
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
            body: Body::Event(held.event.clone()),
        }
    }
}
