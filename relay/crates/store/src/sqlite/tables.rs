//! The tables of events while one transaction writes them.
//!
//! Rows of the indexes wait until the end of the transaction and go in sorted, many with one statement: that halves what
//! they cost, for most of it is finding the page. Whoever reads an index in between flushes first.

use hashbrown::HashMap;
use rusqlite::{Connection, params};

use super::apart::Apart;
use super::erase::{self, Held};
use super::hot::{Hot, HotRow, Op};
use super::key::TagHash;
use super::search;
use crate::StoreError;
use crate::event::{Class, Event, Id};

/// The tables of one transaction, and what was done to them.
pub(super) struct Tables<'a> {
    pub(super) db: &'a Connection,
    pub(super) hash: TagHash,
    apart: &'a Apart,
    /// Up to where the search index has come, and of which kinds events are in it.
    search_seq: i64,
    search_kinds: &'a [u16],
    ops: Vec<Op>,
    waiting: Waiting,
    /// Whether an event was moved to another position.
    pub(super) has_moved: bool,
}

/// Rows that are not in their tables yet.
#[derive(Default)]
struct Waiting {
    /// Whose rows they are, and where these events are.
    events: HashMap<Id, i64>,
    ids: Vec<[i64; 2]>,
    kinds: Vec<[i64; 2]>,
    authors: Vec<[i64; 2]>,
    /// But for those of replaceable kinds, which are looked up all the time.
    author_kinds: Vec<[i64; 3]>,
    tags: Vec<[i64; 2]>,
}

/// Rows that go in with one statement.
const TOGETHER: usize = 32;

impl<'a> Tables<'a> {
    pub(super) fn new(
        db: &'a Connection,
        hash: TagHash,
        apart: &'a Apart,
        search_seq: i64,
        search_kinds: &'a [u16],
    ) -> Self {
        let waiting = Waiting::default();
        Self { db, hash, apart, search_seq, search_kinds, ops: Vec::new(), waiting, has_moved: false }
    }

    /// Writes what waits, and gives what the caches must learn. Without it the indexes lack rows. Tells those who keep
    /// positions, before the commit, if some are not where they were.
    pub(super) fn finish(mut self, hot: &Hot) -> Result<Vec<Op>, StoreError> {
        self.flush()?;
        if self.has_moved {
            hot.is_moving();
        }
        Ok(self.ops)
    }

    /// Puts an event at another position.
    pub(super) fn relocate(&mut self, held: &mut Held, pos: i64) -> Result<(), StoreError> {
        self.has_moved = true;
        self.unindex(held)?;
        held.pos = pos;
        self.index(held)
    }

    /// The position of the event with this id.
    pub(super) fn find(&self, id: &Id) -> Result<Option<i64>, StoreError> {
        match self.waiting.events.get(id) {
            Some(pos) => Ok(Some(*pos)),
            None => erase::find(self.db, id),
        }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let Waiting { events, ids, kinds, authors, author_kinds, tags } = &mut self.waiting;
        events.clear();
        insert(self.db, "event_id", ids)?;
        insert(self.db, "event_kind", kinds)?;
        insert(self.db, "event_author", authors)?;
        insert(self.db, "event_author_kind", author_kinds)?;
        insert(self.db, "event_tag", tags)
    }

    /// Adds the index rows of an event, the event row included, its body not.
    pub(super) fn index(&mut self, held: &Held) -> Result<(), StoreError> {
        let Held { pos, seq, event } = held;
        let (pos, author, kind) = (*pos, event.pubkey.prefix(), event.kind);
        self.ops.push(Op::Put(pos, HotRow::of(held)));
        let mut head = [0; 64];
        head[..32].copy_from_slice(&event.id.0);
        head[32..].copy_from_slice(&event.pubkey.0);
        self.db.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            pos,
            seq,
            head,
            kind,
            event.expires_at().and_then(|at| i64::try_from(at).ok())
        ])?;
        let Waiting { events, ids, kinds, authors, author_kinds, tags } = &mut self.waiting;
        events.insert(event.id, pos);
        ids.push([event.id.prefix(), pos]);
        kinds.push([kind.into(), pos]);
        let is_apart = self.apart.has(kind);
        if !is_apart {
            authors.push([author, pos]);
        }
        match event.class() {
            Class::Replaceable => {
                self.db
                    .prepare_cached("INSERT INTO event_author_kind VALUES (?1, ?2, ?3)")?
                    .execute(params![author, kind, pos])?;
            }
            Class::Addressable => {
                let d = self.hash.of(b'd', event.d());
                self.db
                    .prepare_cached("INSERT INTO event_address VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![author, kind, d, pos])?;
                author_kinds.push([author, kind.into(), pos]);
            }
            Class::Regular | Class::Ephemeral => author_kinds.push([author, kind.into(), pos]),
        }
        tags.extend(tag_keys(self.hash, event, is_apart).into_iter().map(|key| [key, pos]));
        // A new event comes into that index later; this one was there, and moves.
        if self.is_searched(held) {
            search::put(self.db, pos, event)?;
        }
        Ok(())
    }

    /// Whether the event is in the search index.
    fn is_searched(&self, held: &Held) -> bool {
        held.seq <= self.search_seq && self.search_kinds.contains(&held.event.kind)
    }

    /// Removes the index rows of an event, the event row included, its body not.
    pub(super) fn unindex(&mut self, held: &Held) -> Result<(), StoreError> {
        let Held { pos, event, .. } = held;
        if self.waiting.events.contains_key(&event.id) {
            self.flush()?;
        }
        if self.is_searched(held) {
            search::remove(self.db, *pos)?;
        }
        let Self { db, hash, apart, ops, .. } = self;
        ops.push(Op::Remove(*pos));
        let (author, kind) = (event.pubkey.prefix(), event.kind);
        db.prepare_cached("DELETE FROM event WHERE pos = ?1")?.execute([pos])?;
        db.prepare_cached("DELETE FROM event_id WHERE id = ?1 AND pos = ?2")?
            .execute(params![event.id.prefix(), pos])?;
        db.prepare_cached("DELETE FROM event_kind WHERE kind = ?1 AND pos = ?2")?.execute(params![kind, pos])?;
        db.prepare_cached("DELETE FROM event_author WHERE author = ?1 AND pos = ?2")?.execute(params![author, pos])?;
        db.prepare_cached("DELETE FROM event_author_kind WHERE author = ?1 AND kind = ?2 AND pos = ?3")?
            .execute(params![author, kind, pos])?;
        if event.class() == Class::Addressable {
            let d = hash.of(b'd', event.d());
            db.prepare_cached("DELETE FROM event_address WHERE author = ?1 AND kind = ?2 AND d = ?3 AND pos = ?4")?
                .execute(params![author, kind, d, pos])?;
        }
        let mut tag = db.prepare_cached("DELETE FROM event_tag WHERE tag = ?1 AND pos = ?2")?;
        let is_apart = apart.has(kind);
        for is_apart in [is_apart].into_iter().chain((is_apart && apart.is_filing()).then_some(false)) {
            for key in tag_keys(*hash, event, is_apart) {
                tag.execute(params![key, pos])?;
            }
        }
        Ok(())
    }
}

/// Inserts rows in order, and empties the list.
fn insert<const COLUMNS: usize>(
    db: &Connection,
    table: &str,
    rows: &mut Vec<[i64; COLUMNS]>,
) -> Result<(), StoreError> {
    rows.sort_unstable();
    let (many, few) = rows.as_chunks::<TOGETHER>();
    for (rows, together) in [(many.as_flattened().chunks(TOGETHER), TOGETHER), (few.chunks(1), 1)] {
        if rows.len() == 0 {
            continue;
        }
        let row = format!("({})", ["?"; COLUMNS].join(","));
        let sql = format!("INSERT INTO {table} VALUES {}", vec![row; together].join(","));
        let mut statement = db.prepare_cached(&sql)?;
        for rows in rows {
            for (number, value) in (1..).zip(rows.as_flattened()) {
                statement.raw_bind_parameter(number, value)?;
            }
            statement.raw_execute()?;
        }
    }
    rows.clear();
    Ok(())
}

/// The tag keys of an event, each once.
pub(super) fn tag_keys(hash: TagHash, event: &Event, is_apart: bool) -> Vec<i64> {
    let key = |(letter, value)| {
        if is_apart { hash.of_kind(letter, value, event.kind) } else { hash.of(letter, value) }
    };
    let mut keys: Vec<i64> = event.tags.indexed().map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
