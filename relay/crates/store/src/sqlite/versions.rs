//! The last versions of replaceable and addressable events that left without a newer one: while they were there they kept
//! older ones away, and they go on to do so.

use std::cmp::Reverse;

use rusqlite::{Connection, OptionalExtension, params};

use super::key::TagHash;
use crate::StoreError;
use crate::event::{Class, Event, Id};

/// Remembers that this version was the last one.
pub(super) fn remember(db: &Connection, hash: TagHash, event: &Event) -> Result<(), StoreError> {
    let Some(d) = d_of(event) else { return Ok(()) };
    db.prepare_cached("INSERT OR REPLACE INTO last_version VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        event.pubkey.0,
        event.kind,
        hash.of(b'd', d),
        i64::try_from(event.created_at).unwrap_or(i64::MAX),
        event.id.0
    ])?;
    Ok(())
}

/// False when the last version was newer. Else that one is forgotten, since `event` takes its place.
pub(super) fn outlast(db: &Connection, hash: TagHash, event: &Event) -> Result<bool, StoreError> {
    let Some(d) = d_of(event) else { return Ok(true) };
    let address = params![event.pubkey.0, event.kind, hash.of(b'd', d)];
    let last: Option<(i64, [u8; 32])> = db
        .prepare_cached("SELECT created_at, id FROM last_version WHERE pubkey = ?1 AND kind = ?2 AND d = ?3")?
        .query_row(address, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((created_at, id)) = last else { return Ok(true) };
    if (created_at.cast_unsigned(), Reverse(Id(id))) >= (event.created_at, Reverse(event.id)) {
        return Ok(false);
    }
    db.prepare_cached("DELETE FROM last_version WHERE pubkey = ?1 AND kind = ?2 AND d = ?3")?.execute(address)?;
    Ok(true)
}

/// Forgets those of the author of a request to vanish, which itself keeps them away.
pub(super) fn forget(db: &Connection, request: &Event) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM last_version WHERE pubkey = ?1 AND created_at <= ?2")?
        .execute(params![request.pubkey.0, i64::try_from(request.created_at).unwrap_or(i64::MAX)])?;
    Ok(())
}

fn d_of(event: &Event) -> Option<&str> {
    match event.class() {
        Class::Replaceable => Some(""),
        Class::Addressable => Some(event.d()),
        Class::Regular | Class::Ephemeral => None,
    }
}
