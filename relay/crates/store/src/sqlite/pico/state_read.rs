//! Reading the state of slices.

use bytes::Bytes;
use picofeed::{Block, Id, Key, Limits};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::state::{next_due, read, references};
use super::{ChainRow, carry, chain_of, find, format_of, height_of, room, select_chain, signature};
use crate::StoreError;
use crate::repo::{Chain, RoomName};
use crate::sqlite::read::SqliteReader;
use crate::sqlite::snapshot::Snapshot;
use crate::state::{DueItem, Mark, Millis, Postponed, Scope, Stamp, Standing, StateReader, Stored};

/// Objects of a slice from an id on.
macro_rules! page {
    ($columns:literal, $from:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM pico_object WHERE state = ?1 AND slice = ?2 AND id ",
            $from,
            " ?3 ORDER BY id LIMIT ?4"
        )
    };
}

impl StateReader for SqliteReader {
    fn standing(&mut self, scope: &Scope) -> Result<Option<Standing>, StoreError> {
        Ok(read(&self.db, scope)?.map(|(_, standing)| standing))
    }

    fn object(&mut self, scope: &Scope, slice: &str, id: &str) -> Result<Option<Stored>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(None) };
        let found = snapshot
            .prepare_cached(
                "SELECT version, expires, value FROM pico_object WHERE state = ?1 AND slice = ?2 AND id = ?3",
            )?
            .query_row(params![state, slice, id], |row| stored(row, 0))
            .optional()?;
        Ok(found)
    }

    fn objects(
        &mut self,
        scope: &Scope,
        slice: &str,
        after: Option<&str>,
        max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(String, Stored)>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(Vec::new()) };
        let mut objects = Vec::new();
        let mut bytes = 0;
        {
            let mut select = snapshot.prepare_cached(if after.is_some() {
                page!("id, version, expires, value", ">")
            } else {
                page!("id, version, expires, value", ">=")
            })?;
            let max = i64::try_from(max).unwrap_or(i64::MAX);
            let mut rows = select.query(params![state, slice, after.unwrap_or_default(), max])?;
            while bytes < bytes_max
                && let Some(row) = rows.next()?
            {
                let object = stored(row, 1)?;
                bytes += object.value.len();
                objects.push((row.get(0)?, object));
            }
        }
        Ok(objects)
    }

    fn object_ids(
        &mut self,
        scope: &Scope,
        slice: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<String>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(Vec::new()) };
        let ids = snapshot
            .prepare_cached(if after.is_some() { page!("id", ">") } else { page!("id", ">=") })?
            .query_map(
                params![state, slice, after.unwrap_or_default(), i64::try_from(max).unwrap_or(i64::MAX)],
                |row| row.get(0),
            )?
            .collect::<Result<_, _>>()?;
        Ok(ids)
    }

    fn lookup(&mut self, scope: &Scope, slice: &str, key: &[u8]) -> Result<Option<Id>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(None) };
        let found = snapshot
            .prepare_cached(
                "SELECT format, raw FROM pico_index JOIN pico_block USING (pos) JOIN pico_chain ON chain = pos >> 24
                 WHERE state = ?1 AND slice = ?2 AND key = ?3",
            )?
            .query_row(params![state, slice, key], |row| {
                let raw = row.get_ref(1)?.as_blob().unwrap_or_default();
                let format = format_of(row.get(0)?);
                Ok(format.and_then(|format| <[u8; 64]>::try_from(signature(raw, format)).ok()).map(Id::from))
            })
            .optional()?;
        Ok(found.flatten())
    }

    fn due(&mut self, scope: &Scope, now: Millis, max: usize) -> Result<Vec<DueItem>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(Vec::new()) };
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        let mut due: Vec<DueItem> = snapshot
            .prepare_cached(
                "SELECT slice, id, version, expires, value FROM pico_object
                 WHERE state = ?1 AND expires IS NOT NULL AND expires <= ?2 ORDER BY expires, version LIMIT ?3",
            )?
            .query_map(params![state, now, limit], |row| {
                Ok(DueItem::Object { slice: row.get(0)?, id: row.get(1)?, stored: stored(row, 2)? })
            })?
            .collect::<Result<_, _>>()?;
        let marks: Vec<DueItem> = snapshot
            .prepare_cached(
                "SELECT mark, slice, at, payload, block, chain, owner FROM pico_mark
                 WHERE state = ?1 AND at <= ?2 ORDER BY at, mark LIMIT ?3",
            )?
            .query_map(params![state, now, limit], |row| {
                let mark = Mark {
                    slice: row.get(1)?,
                    at: row.get(2)?,
                    payload: row.get::<_, Vec<u8>>(3)?.into(),
                    block: Id::from(row.get::<_, [u8; 64]>(4)?),
                    chain: Id::from(row.get::<_, [u8; 64]>(5)?),
                    owner: Key::from(row.get::<_, [u8; 32]>(6)?),
                };
                Ok(DueItem::Mark(super::number(row, 0)?, mark))
            })?
            .collect::<Result<_, _>>()?;
        due.extend(marks);
        due.sort_by_key(DueItem::at);
        due.truncate(max);
        Ok(due)
    }

    fn next_due(&mut self, scope: &Scope) -> Result<Option<Millis>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(None) };
        let due = next_due(&snapshot, state)?;
        Ok(due)
    }

    fn postponed_due(&mut self, scope: &Scope, now: Millis, max: usize) -> Result<Vec<Postponed>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(Vec::new()) };
        postponed(
            &snapshot,
            "SELECT format, author, raw, due, tries, origin FROM pico_postponed WHERE state = ?1 AND due <= ?2
             ORDER BY due LIMIT ?3",
            params![state, now, i64::try_from(max).unwrap_or(i64::MAX)],
        )
    }

    fn postponed(&mut self, scope: &Scope, block: &Id) -> Result<Option<Postponed>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(None) };
        let sql = "SELECT format, author, raw, due, tries, origin FROM pico_postponed WHERE state = ?1 AND id = ?2";
        let found = postponed(&snapshot, sql, params![state, block.as_bytes()])?.pop();
        Ok(found)
    }

    fn postponed_len(&mut self, scope: &Scope) -> Result<usize, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(0) };
        let len = snapshot
            .prepare_cached("SELECT count(*) FROM pico_postponed WHERE state = ?1")?
            .query_row([state], |row| super::number(row, 0))?;
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn is_evicted(&mut self, scope: &Scope, chain: &Id) -> Result<bool, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(false) };
        let found = snapshot
            .prepare_cached("SELECT 1 FROM pico_evicted WHERE state = ?1 AND chain = ?2")?
            .exists(params![state, chain.as_bytes()])?;
        Ok(found)
    }

    fn references(&mut self, scope: &Scope, chain: &Id) -> Result<u64, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some((state, _)) = read(&snapshot, scope)? else { return Ok(0) };
        let Some(room) = room(&snapshot, &scope.room)? else { return Ok(0) };
        let Some(pos) = find(&snapshot, room.number, chain)? else { return Ok(0) };
        let count = references(&snapshot, state, chain_of(pos))?;
        Ok(count)
    }

    fn stamps(&mut self, name: &RoomName) -> Result<Vec<Stamp>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some(room) = room(&snapshot, name)? else { return Ok(Vec::new()) };
        let stamps = snapshot
            .prepare_cached(
                "SELECT step, at, genesis, pos FROM pico_chain
                 JOIN pico_block ON pos >= chain << 24 AND pos < (chain + 1) << 24
                 WHERE room = ?1 ORDER BY step IS NOT NULL, step, pos",
            )?
            .query_map([room.number], |row| {
                let step: Option<i64> = row.get(0)?;
                Ok(Stamp {
                    step: step.map(i64::cast_unsigned),
                    at: row.get::<_, Option<i64>>(1)?.unwrap_or_default(),
                    chain: Id::from(row.get::<_, [u8; 64]>(2)?),
                    height: height_of(row.get(3)?),
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(stamps)
    }

    fn oldest_chains(&mut self, name: &RoomName, max: usize) -> Result<Vec<Chain>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some(room) = room(&snapshot, name)? else { return Ok(Vec::new()) };
        snapshot
            .prepare_cached(select_chain!("WHERE room = ?1 ORDER BY changed LIMIT ?2"))?
            .query_map(params![room.number, i64::try_from(max).unwrap_or(i64::MAX)], ChainRow::read)?
            .map(|row| Ok(row?.chain))
            .collect::<Result<_, StoreError>>()
    }
}

/// Version, time and value, from a column on.
fn stored(row: &Row<'_>, first: usize) -> rusqlite::Result<Stored> {
    Ok(Stored {
        version: super::number(row, first)?,
        expires: row.get(first + 1)?,
        value: Bytes::from(row.get::<_, Vec<u8>>(first + 2)?),
    })
}

fn postponed(db: &Connection, sql: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<Postponed>, StoreError> {
    const DAMAGED: StoreError = StoreError::Damaged("a postponed block cannot be read");
    let mut select = db.prepare_cached(sql)?;
    let mut rows = select.query(params)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let format = format_of(row.get(0)?).ok_or(DAMAGED)?;
        let raw = Bytes::from(row.get::<_, Vec<u8>>(2)?);
        let block = Block::decode(format, raw, &Limits::NONE).map_err(|_| DAMAGED)?;
        let block = block.assume_verified(Key::from(row.get::<_, [u8; 32]>(1)?)).map_err(|_| DAMAGED)?;
        all.push(Postponed {
            block,
            due: row.get(3)?,
            tries: row.get(4)?,
            origin: row.get::<_, Option<i64>>(5)?.map(carry::origin),
        });
    }
    Ok(all)
}
