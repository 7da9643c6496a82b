//! What is still to be carried between rooms and events.

use picofeed::{Id, Key};
use rusqlite::{Connection, OptionalExtension, params};

use super::{ChainRow, block, chain_of, find, height_of, room};
use crate::carry::{CarryReader, Incoming, Located, Origin, Outgoing};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::repo::RoomName;
use crate::sqlite::body;
use crate::sqlite::read::SqliteReader;
use crate::sqlite::snapshot::Snapshot;
use crate::{Seq, StoreError};

/// How an origin is stored.
pub(super) fn code(origin: Origin) -> i64 {
    match origin {
        Origin::Peer => 0,
        Origin::Event => 1,
        Origin::Lost => 2,
    }
}

/// A stored origin.
pub(super) fn origin(code: i64) -> Origin {
    match code {
        0 => Origin::Peer,
        1 => Origin::Event,
        _ => Origin::Lost,
    }
}

/// Remembers a block that was stored.
pub(in crate::sqlite) fn remember(
    db: &Connection,
    room: &RoomName,
    block: &Id,
    origin: Origin,
    now: Timestamp,
) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO bridge_out (room, block, accepted, origin) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![room.as_str(), block.as_bytes(), now.cast_signed(), code(origin)])?;
    Ok(())
}

/// Remembers an event that was stored.
pub(in crate::sqlite) fn remember_event(db: &Connection, seq: i64) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO bridge_in VALUES (?1)")?.execute([seq])?;
    Ok(())
}

/// Forgets blocks up to and with this number.
pub(super) fn forget_blocks(db: &Connection, up_to: u64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM bridge_out WHERE number <= ?1")?.execute([up_to.cast_signed()])?;
    Ok(())
}

/// Forgets events up to and with this number.
pub(super) fn forget_events(db: &Connection, up_to: Seq) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM bridge_in WHERE seq <= ?1")?.execute([up_to.cast_signed()])?;
    Ok(())
}

impl CarryReader for SqliteReader {
    fn outgoing(&mut self, max: usize, bytes_max: usize) -> Result<Vec<Outgoing>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let mut outgoing = Vec::new();
        let mut bytes = 0;
        {
            let mut select = snapshot.prepare_cached(
                "SELECT number, room, block, accepted, origin FROM bridge_out ORDER BY number LIMIT ?1",
            )?;
            let mut rows = select.query([i64::try_from(max).unwrap_or(i64::MAX)])?;
            while let Some(row) = rows.next()? {
                let name = row.get_ref(1)?.as_str().unwrap_or_default().parse();
                let name: RoomName = name.map_err(|_| StoreError::Damaged("a block waits in no room"))?;
                let id = Id::from(row.get::<_, [u8; 64]>(2)?);
                let found = standing(&snapshot, &name, &id)?;
                bytes += found.as_ref().map_or(0, |found| found.block.bytes().len());
                outgoing.push(Outgoing {
                    number: row.get::<_, i64>(0)?.cast_unsigned(),
                    room: name,
                    id,
                    accepted: row.get::<_, i64>(3)?.cast_unsigned(),
                    origin: self::origin(row.get(4)?),
                    found,
                });
                if bytes >= bytes_max {
                    break;
                }
            }
        }
        Ok(outgoing)
    }

    fn incoming(&mut self, max: usize) -> Result<Vec<Incoming>, StoreError> {
        let mut select = self.db.prepare_cached(
            "SELECT bridge_in.seq, json FROM bridge_in LEFT JOIN body ON body.seq = bridge_in.seq
             ORDER BY bridge_in.seq LIMIT ?1",
        )?;
        let mut rows = select.query([i64::try_from(max).unwrap_or(i64::MAX)])?;
        let mut incoming = Vec::new();
        while let Some(row) = rows.next()? {
            let json = row.get_ref(1)?;
            let event = match json {
                rusqlite::types::ValueRef::Null => None,
                json => Event::parse(&body::json(json)?).ok().map(crate::read_back),
            };
            incoming.push((row.get::<_, i64>(0)?.cast_unsigned(), event));
        }
        Ok(incoming)
    }

    fn authors(&mut self, name: &RoomName, after: Option<&Key>, max: usize) -> Result<Vec<Key>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some(room) = room(&snapshot, name)? else { return Ok(Vec::new()) };
        let after = after.map_or(&[][..], |after| after.as_bytes());
        // One range of the index for each format.
        let authors = snapshot
            .prepare_cached(
                "SELECT DISTINCT author FROM pico_latest
                 WHERE room = ?1 AND format IN (3, 4, 8) AND author > ?2 ORDER BY author LIMIT ?3",
            )?
            .query_map(params![room.number, after, i64::try_from(max).unwrap_or(i64::MAX)], |row| {
                Ok(Key::from(row.get::<_, [u8; 32]>(0)?))
            })?
            .collect::<Result<_, _>>()?;
        Ok(authors)
    }
}

fn standing(db: &Connection, name: &RoomName, id: &Id) -> Result<Option<Located>, StoreError> {
    let Some(room) = room(db, name)? else { return Ok(None) };
    let Some(pos) = find(db, room.number, id)? else { return Ok(None) };
    let Some(ChainRow { chain, .. }) = ChainRow::by_number(db, chain_of(pos))? else { return Ok(None) };
    let stored = db
        .prepare_cached("SELECT author, raw FROM pico_block WHERE pos = ?1")?
        .query_row([pos], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((author, raw)) = stored else { return Ok(None) };
    let block = block(&chain, author, raw)?;
    Ok(Some(Located { block, chain, before: height_of(pos) }))
}
