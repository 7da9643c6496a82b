//! Taking an event out of every table.

use rusqlite::{Connection, OptionalExtension, params};

use super::hot::{HotRow, Op};
use super::key::{self, TagHash};
use crate::event::{Class, Event, Id};
use crate::store::StoreError;
use crate::verify::Verified;

/// A stored event as the writer needs it.
pub(super) struct Held {
    pub(super) pos: i64,
    pub(super) seq: i64,
    pub(super) event: Verified,
}

/// The event at a position.
pub(super) fn at(db: &Connection, pos: i64) -> Result<Option<Held>, StoreError> {
    let found = db
        .prepare_cached("SELECT event.seq, json FROM event JOIN body ON body.seq = event.seq WHERE pos = ?1")?
        .query_row([pos], |row| Ok((row.get(0)?, super::read::json_text(row.get_ref(1)?)?)))
        .optional()?;
    let Some((seq, json)) = found else { return Ok(None) };
    match Event::parse(&json) {
        Ok(event) => Ok(Some(Held { pos, seq, event: Verified::from_store(event) })),
        Err(error) => {
            tracing::error!(pos, error, "a stored event cannot be read");
            Ok(None)
        }
    }
}

/// The position of the event with this id.
pub(super) fn find(db: &Connection, id: &Id) -> Result<Option<i64>, StoreError> {
    let mut same = db.prepare_cached(
        "SELECT event.pos, head FROM event_id JOIN event ON event.pos = event_id.pos WHERE event_id.id = ?1",
    )?;
    let mut rows = same.query([id.prefix()])?;
    while let Some(row) = rows.next()? {
        if row.get_ref(1)?.as_blob().is_ok_and(|head| head.starts_with(&id.0)) {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

/// The tag keys of an event, each once.
pub(super) fn tag_keys(hash: TagHash, event: &Event) -> Vec<i64> {
    let mut keys: Vec<i64> = event.tags.indexed().map(|(letter, value)| hash.of(letter, value)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The tables of one transaction, and what was done to them.
pub(super) struct Tables<'a> {
    pub(super) db: &'a Connection,
    pub(super) hash: TagHash,
    /// Up to where the search index has come.
    pub(super) search_seq: i64,
    pub(super) ops: Vec<Op>,
}

/// Writes the index rows of an event, the event row included, its body not.
fn index(tables: &mut Tables<'_>, held: &Held) -> Result<(), StoreError> {
    let Held { pos, seq, event } = held;
    let Tables { db, hash, ops, .. } = tables;
    let hash = *hash;
    ops.push(Op::Put(*pos, HotRow::of(held)));
    let (author, kind) = (event.pubkey.prefix(), event.kind);
    let mut head = [0; 64];
    head[..32].copy_from_slice(&event.id.0);
    head[32..].copy_from_slice(&event.pubkey.0);
    db.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        pos,
        seq,
        head,
        kind,
        event.expires_at().and_then(|at| i64::try_from(at).ok())
    ])?;
    db.prepare_cached("INSERT INTO event_id VALUES (?1, ?2)")?.execute(params![event.id.prefix(), pos])?;
    db.prepare_cached("INSERT INTO event_kind VALUES (?1, ?2)")?.execute(params![kind, pos])?;
    db.prepare_cached("INSERT INTO event_author VALUES (?1, ?2)")?.execute(params![author, pos])?;
    db.prepare_cached("INSERT INTO event_author_kind VALUES (?1, ?2, ?3)")?.execute(params![author, kind, pos])?;
    if event.class() == Class::Addressable {
        let d = hash.of(b'd', event.d());
        db.prepare_cached("INSERT INTO event_address VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![author, kind, d, pos])?;
    }
    let mut tag = db.prepare_cached("INSERT INTO event_tag VALUES (?1, ?2)")?;
    for key in tag_keys(hash, event) {
        tag.execute(params![key, pos])?;
    }
    Ok(())
}

/// Removes the index rows of an event, the event row included, its body not.
fn unindex(tables: &mut Tables<'_>, held: &Held) -> Result<(), StoreError> {
    let Held { pos, event, .. } = held;
    let Tables { db, hash, ops, .. } = tables;
    let hash = *hash;
    ops.push(Op::Remove(*pos));
    let (author, kind) = (event.pubkey.prefix(), event.kind);
    db.prepare_cached("DELETE FROM event WHERE pos = ?1")?.execute([pos])?;
    db.prepare_cached("DELETE FROM event_id WHERE id = ?1 AND pos = ?2")?.execute(params![event.id.prefix(), pos])?;
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
    for key in tag_keys(hash, event) {
        tag.execute(params![key, pos])?;
    }
    Ok(())
}

/// Puts an event in its place, pushing down those of its second whose ids begin alike and are higher.
///
/// Two events of one second can share the 29 bits that a position has of their ids. The lower id stays, the other moves
/// down, and may push the next: positions keep the exact order.
pub(super) fn place(tables: &mut Tables<'_>, mut moving: Held) -> Result<(), StoreError> {
    while let Some(mut other) = occupant(tables.db, moving.pos)? {
        let before = (other.event.created_at, std::cmp::Reverse(other.event.id))
            > (moving.event.created_at, std::cmp::Reverse(moving.event.id));
        if !before {
            unindex(tables, &other)?;
            index(tables, &moving)?;
            std::mem::swap(&mut moving, &mut other);
        }
        moving.pos -= 1;
    }
    index(tables, &moving)
}

/// Removes an event altogether.
pub(super) fn erase(tables: &mut Tables<'_>, held: &Held) -> Result<(), StoreError> {
    unindex(tables, held)?;
    tables.db.prepare_cached("DELETE FROM body WHERE seq = ?1")?.execute([held.seq])?;
    if held.seq <= tables.search_seq {
        tables.db.prepare_cached("DELETE FROM search WHERE rowid = ?1")?.execute([held.seq])?;
    }
    close_gap(tables, held.pos)
}

/// Moves up the events that were pushed down past `gap`: with it open, a later one could come to lie before them.
fn close_gap(tables: &mut Tables<'_>, mut gap: i64) -> Result<(), StoreError> {
    while let Some(mut next) = occupant(tables.db, gap - 1)? {
        if key::home(next.event.created_at, &next.event.id) < gap {
            break;
        }
        unindex(tables, &next)?;
        next.pos = gap;
        index(tables, &next)?;
        gap -= 1;
    }
    Ok(())
}

/// The event at a position, when mostly there is none.
fn occupant(db: &Connection, pos: i64) -> Result<Option<Held>, StoreError> {
    let taken = db.prepare_cached("SELECT 1 FROM event WHERE pos = ?1")?.query_row([pos], |_| Ok(())).optional()?;
    if taken.is_none() { Ok(None) } else { at(db, pos) }
}
