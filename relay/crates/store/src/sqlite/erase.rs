//! Putting an event in its place and taking it out of every table.

use rusqlite::{Connection, OptionalExtension};

use super::key;
use super::tables::Tables;
use crate::StoreError;
use crate::event::{Event, Id};
use crate::rarely::rarely;
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
        .query_row([pos], |row| Ok((row.get(0)?, super::body::json(row.get_ref(1)?)?)))
        .optional()?;
    let Some((seq, json)) = found else { return Ok(None) };
    match Event::parse(&json) {
        Ok(event) => Ok(Some(Held { pos, seq, event: crate::read_back(event) })),
        Err(error) => {
            rarely!(error, pos, error, "a stored event cannot be read");
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

/// Puts an event in its place, pushing down those of its second whose ids begin alike and are higher.
///
/// Two events of one second can share the 29 bits that a position has of their ids. The lower id stays, the other moves
/// down, and may push the next: positions keep the exact order.
pub(super) fn place(tables: &mut Tables<'_>, mut moving: Held) -> Result<(), StoreError> {
    let mut is_moved = false;
    while let Some(mut other) = occupant(tables.db, moving.pos)? {
        let before = (other.event.created_at, std::cmp::Reverse(other.event.id))
            > (moving.event.created_at, std::cmp::Reverse(moving.event.id));
        if !before {
            tables.has_moved = true;
            tables.unindex(&other)?;
            tables.index(&moving)?;
            std::mem::swap(&mut moving, &mut other);
            is_moved = true;
        }
        moving.pos -= 1;
    }
    tables.index(&moving)?;
    settle(tables, is_moved)
}

/// Rows of indexes wait for the end of the transaction. Those of an event that was moved must not: it was there before,
/// and what else happens in the transaction has to find it.
fn settle(tables: &mut Tables<'_>, is_moved: bool) -> Result<(), StoreError> {
    if is_moved { tables.flush() } else { Ok(()) }
}

/// Removes an event altogether.
pub(super) fn erase(tables: &mut Tables<'_>, held: &Held) -> Result<(), StoreError> {
    tables.unindex(held)?;
    tables.db.prepare_cached("DELETE FROM body WHERE seq = ?1")?.execute([held.seq])?;
    close_gap(tables, held.pos)
}

/// Moves up the events that were pushed down past `gap`: with it open, a later one could come to lie before them.
fn close_gap(tables: &mut Tables<'_>, mut gap: i64) -> Result<(), StoreError> {
    let mut is_moved = false;
    while let Some(mut next) = occupant(tables.db, gap - 1)? {
        if key::home(next.event.created_at, &next.event.id) < gap {
            break;
        }
        tables.relocate(&mut next, gap)?;
        gap -= 1;
        is_moved = true;
    }
    settle(tables, is_moved)
}

/// The event at a position, when mostly there is none.
fn occupant(db: &Connection, pos: i64) -> Result<Option<Held>, StoreError> {
    let taken = db.prepare_cached("SELECT 1 FROM event WHERE pos = ?1")?.query_row([pos], |_| Ok(())).optional()?;
    if taken.is_none() { Ok(None) } else { at(db, pos) }
}
