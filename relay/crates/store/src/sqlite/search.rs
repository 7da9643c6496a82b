//! The index for searches (NIP-50): which events have which terms, on FTS5, filled behind the write path.
//!
//! FTS5 is given the terms that [`crate::search`] makes of an event and stores where they are. It neither takes texts apart
//! nor ranks. The row id is the position, so that matches come newest first and time is a range of it.

use rusqlite::{Connection, TransactionBehavior, params};

use super::erase;
use crate::StoreError;
use crate::config::Search;
use crate::event::{Event, Id};
use crate::search::{TERMS_VERSION, Text};

/// Bytes of events that one step of indexing reads, about: the writer does nothing else meanwhile.
const STEP_BYTES_MAX: usize = 512 * 1024;

/// Brings the index in line with the options. True when it has to be built anew.
pub(super) fn prepare(db: &mut Connection, search: &Search) -> Result<bool, StoreError> {
    let wanted = format!("{TERMS_VERSION} {:?}", search.kinds);
    let made: String = db.query_row("SELECT value FROM meta WHERE name = 'search_made'", [], |row| row.get(0))?;
    if made == wanted {
        return Ok(false);
    }
    let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    step.execute("INSERT INTO search (search) VALUES ('delete-all')", [])?;
    step.execute("UPDATE meta SET value = 0 WHERE name = 'search_seq'", [])?;
    step.execute("UPDATE meta SET value = ?1 WHERE name = 'search_made'", [wanted])?;
    step.commit()?;
    Ok(true)
}

/// Indexes at most `max` events after `done`, and says up to where it came.
pub(super) fn index_some(
    db: &mut Connection,
    search: &Search,
    done: i64,
    last: i64,
    max: usize,
) -> Result<i64, StoreError> {
    let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut reached = last;
    let mut rows: Vec<(i64, String)> = Vec::new();
    {
        let mut bodies = step.prepare_cached("SELECT seq, json FROM body WHERE seq > ?1 ORDER BY seq")?;
        let mut bodies = bodies.query([done])?;
        let (mut seen, mut bytes) = (0, 0);
        while let Some(row) = bodies.next()? {
            if seen >= max || bytes >= STEP_BYTES_MAX {
                break;
            }
            reached = row.get(0)?;
            let json = super::body::json(row.get_ref(1)?)?;
            seen += 1;
            bytes += json.len();
            let Some(kind) = kind_of(&json).filter(|kind| search.kinds.contains(kind)) else { continue };
            let Some(pos) = id_of(&json).map(|id| erase::find(&step, &id)).transpose()?.flatten() else { continue };
            rows.push((pos, terms(&json, kind)));
        }
        if seen < max && bytes < STEP_BYTES_MAX {
            reached = last;
        }
    }
    // FTS5 writes what came out of order apart.
    rows.sort_unstable_by_key(|(pos, _)| *pos);
    rows.iter().try_for_each(|(pos, terms)| insert(&step, *pos, terms))?;
    step.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'search_seq'")?.execute([reached])?;
    step.commit()?;
    Ok(reached)
}

/// Adds an event that was indexed at another position.
pub(super) fn put(db: &Connection, pos: i64, event: &Event) -> Result<(), StoreError> {
    insert(db, pos, &terms(event.json(), event.kind))
}

/// Removes the event at a position.
pub(super) fn remove(db: &Connection, pos: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM search WHERE rowid = ?1")?.execute([pos])?;
    Ok(())
}

fn insert(db: &Connection, pos: i64, terms: &str) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO search (rowid, terms) VALUES (?1, ?2)")?.execute(params![pos, terms])?;
    Ok(())
}

fn terms(json: &str, kind: u16) -> String {
    Text::of_event(json, kind).terms().join(" ")
}

/// The id in canonical JSON.
pub(super) fn id_of(json: &str) -> Option<Id> {
    Id::from_hex(json.get(7..71)?)
}

/// The kind in canonical JSON.
pub(super) fn kind_of(json: &str) -> Option<u16> {
    let (_, kind) = json.split_once(",\"kind\":")?;
    kind.split_once(',')?.0.parse().ok()
}

/// How FTS5 is asked for a term.
pub(super) fn quoted(term: &str) -> String {
    // A term has letters and digits only.
    format!("\"{term}\"")
}
