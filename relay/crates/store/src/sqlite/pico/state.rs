//! Writing the state of slices: the edits of a [`Dispatch`], one after the other.

use std::collections::HashMap;

use picofeed::Id;
use rusqlite::{Connection, OptionalExtension, params};

use super::{ChainRow, Totals, carry, chain_of, code, find, merge, remove, room, write_room};
use crate::StoreError;
use crate::clock::Timestamp;
use crate::repo::{Chain, RoomName};
use crate::state::{Dispatch, Dispatched, Edit, Mark, Millis, Postponed, Scope, Standing, Stored};

/// The name under which a scope is stored.
pub(super) fn name(scope: &Scope) -> String {
    format!("{}{}", scope.room, if scope.shadow { "*" } else { "" })
}

pub(super) fn dispatch(
    db: &Connection,
    totals: &mut Totals,
    dispatch: &Dispatch,
    accepted: Timestamp,
) -> Result<Dispatched, StoreError> {
    let Dispatch { scope, bounds, now, steps, evicted_max } = dispatch;
    let (number, mut standing) = match read(db, scope)? {
        Some(found) => found,
        None => {
            db.prepare_cached("INSERT INTO pico_state (name, version, step, objects, bytes) VALUES (?1, 0, 0, 0, 0)")?
                .execute([name(scope)])?;
            (db.last_insert_rowid(), Standing::default())
        }
    };
    let (mut done, mut refused) = (steps.len(), None);
    if !scope.shadow {
        let mut step = standing.step.cast_signed();
        let mut at = steps.iter().enumerate().filter_map(|(at, step)| Some((at, step.block.as_ref()?)));
        let blocks = at.clone().map(|(_, block)| block);
        if at.next().is_some() {
            let (taken, outcome) = merge::take(db, totals, &scope.room, bounds, (&mut step, *now), blocks)?;
            if outcome.is_some() {
                let mut blocks = steps.iter().enumerate().filter(|(_, step)| step.block.is_some());
                done = blocks.nth(taken).map_or(done, |(at, _)| at);
                refused = outcome;
            }
        }
        standing.step = step.cast_unsigned();
        for step in steps.iter().take(done) {
            if let (Some(block), Some(origin)) = (&step.block, step.origin) {
                carry::remember(db, &scope.room, &block.id(), origin, accepted)?;
            }
        }
    }
    let mut state = State {
        db,
        totals,
        scope,
        number,
        standing,
        evicted_max: *evicted_max,
        evicted: Vec::new(),
        removed: Vec::new(),
        chains: HashMap::new(),
    };
    for edit in steps.iter().take(done).flat_map(|step| &step.edits) {
        state.edit(edit)?;
    }
    let State { standing, evicted, removed, .. } = state;
    db.prepare_cached("UPDATE pico_state SET version = ?2, step = ?3, objects = ?4, bytes = ?5 WHERE state = ?1")?
        .execute(params![
            number,
            standing.version.cast_signed(),
            standing.step.cast_signed(),
            standing.objects.cast_signed(),
            standing.bytes.cast_signed()
        ])?;
    Ok(Dispatched { done, refused, evicted, removed, standing })
}

/// The number of a scope, and how much there is.
pub(super) fn read(db: &Connection, scope: &Scope) -> Result<Option<(i64, Standing)>, StoreError> {
    let found = db
        .prepare_cached("SELECT state, version, step, objects, bytes FROM pico_state WHERE name = ?1")?
        .query_row([name(scope)], |row| {
            let standing = Standing {
                version: super::number(row, 1)?,
                step: super::number(row, 2)?,
                objects: super::number(row, 3)?,
                bytes: super::number(row, 4)?,
            };
            Ok((row.get(0)?, standing))
        })
        .optional()?;
    Ok(found)
}

/// Puts the shadow in the place of the state, or removes it.
pub(super) fn end_shadow(db: &Connection, room: &RoomName, adopt: bool) -> Result<(), StoreError> {
    let live = Scope::from(room.clone());
    let Some((new, _)) = read(db, &Scope { shadow: true, ..live.clone() })? else { return Ok(()) };
    if !adopt {
        return remove_state(db, new);
    }
    if let Some((old, standing)) = read(db, &live)? {
        for table in ["pico_postponed", "pico_evicted"] {
            db.execute(&format!("DELETE FROM {table} WHERE state = ?1"), [new])?;
            db.execute(&format!("UPDATE {table} SET state = ?2 WHERE state = ?1"), [old, new])?;
        }
        db.execute("UPDATE pico_state SET step = ?2 WHERE state = ?1", [new, standing.step.cast_signed()])?;
        remove_state(db, old)?;
    }
    db.execute("UPDATE pico_state SET name = ?2 WHERE state = ?1", params![new, name(&live)])?;
    Ok(())
}

fn remove_state(db: &Connection, state: i64) -> Result<(), StoreError> {
    db.execute("DELETE FROM pico_reference WHERE object = -?1", [state])?;
    let objects = "DELETE FROM pico_reference WHERE object IN (SELECT object FROM pico_object WHERE state = ?1)";
    db.execute(objects, [state])?;
    for table in ["pico_object", "pico_index", "pico_mark", "pico_postponed", "pico_evicted", "pico_state"] {
        db.execute(&format!("DELETE FROM {table} WHERE state = ?1"), [state])?;
    }
    Ok(())
}

/// A dispatch under way.
struct State<'a> {
    db: &'a Connection,
    totals: &'a mut Totals,
    scope: &'a Scope,
    number: i64,
    standing: Standing,
    evicted_max: usize,
    evicted: Vec<Chain>,
    removed: Vec<(String, String)>,
    /// Numbers of chains that were looked up.
    chains: HashMap<Id, Option<i64>>,
}

impl State<'_> {
    fn edit(&mut self, edit: &Edit) -> Result<(), StoreError> {
        match edit {
            Edit::Put { slice, id, stored } => self.put(slice, id, stored),
            Edit::Remove { slice, id } => self.remove(slice, id).map(drop),
            Edit::Sweep { slice, id } => self.sweep(slice, id),
            Edit::Reschedule { slice, id, expires, version } => {
                self.db
                    .prepare_cached(
                        "UPDATE pico_object SET expires = ?4, version = ?5 WHERE state = ?1 AND slice = ?2 AND id = ?3",
                    )?
                    .execute(params![self.number, slice, id, expires, version.cast_signed()])?;
                self.standing.version = self.standing.version.max(*version);
                Ok(())
            }
            Edit::Refer { slice, id, chain } => match (self.chain(chain)?, self.object(slice, id)?) {
                (Some(chain), Some((object, _))) => self.refer(chain, object),
                _ => Ok(()),
            },
            Edit::Hold { chain } => match self.chain(chain)? {
                Some(chain) => self.refer(chain, -self.number),
                None => Ok(()),
            },
            Edit::Index { slice, key, block } => self.index(slice, key, block),
            Edit::Mark(mark) => self.mark(mark),
            Edit::Unmark(mark) => self.unmark(mark.cast_signed()),
            Edit::Postpone(postponed) => self.postpone(postponed),
            Edit::Settle(id) => {
                let mut delete = self.db.prepare_cached("DELETE FROM pico_postponed WHERE state = ?1 AND id = ?2")?;
                delete.execute(params![self.number, id.as_bytes()])?;
                Ok(())
            }
            Edit::Evict { chain, remember } => match self.chain(chain)? {
                Some(number) => self.evict(number, *remember),
                None => Ok(()),
            },
            Edit::Truncate { chain, stop_at } => {
                if !self.scope.shadow {
                    remove::rollback(self.db, self.totals, &self.scope.room, chain, Some(stop_at))?;
                }
                Ok(())
            }
        }
    }

    fn put(&mut self, slice: &str, id: &str, stored: &Stored) -> Result<(), StoreError> {
        let before = self.object(slice, id)?;
        let Stored { value, version, expires } = stored;
        let weight = (value.len() + id.len()) as u64;
        match before {
            Some((object, before)) => {
                self.db
                    .prepare_cached("UPDATE pico_object SET version = ?2, expires = ?3, value = ?4 WHERE object = ?1")?
                    .execute(params![object, version.cast_signed(), expires, value.as_ref()])?;
                self.standing.bytes = self.standing.bytes + weight - before;
            }
            None => {
                self.db
                    .prepare_cached(
                        "INSERT INTO pico_object (state, slice, id, version, expires, value)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![self.number, slice, id, version.cast_signed(), expires, value.as_ref()])?;
                self.standing.objects += 1;
                self.standing.bytes += weight;
            }
        }
        self.standing.version = self.standing.version.max(*version);
        Ok(())
    }

    /// Number and bytes of an object.
    fn object(&self, slice: &str, id: &str) -> Result<Option<(i64, u64)>, StoreError> {
        let found = self
            .db
            .prepare_cached(
                "SELECT object, length(value) FROM pico_object WHERE state = ?1 AND slice = ?2 AND id = ?3",
            )?
            .query_row(params![self.number, slice, id], |row| Ok((row.get(0)?, super::number(row, 1)?)))
            .optional()?;
        Ok(found.map(|(object, bytes)| (object, bytes + id.len() as u64)))
    }

    /// Removes an object and its references, and gives the chains that had them.
    fn remove(&mut self, slice: &str, id: &str) -> Result<Vec<i64>, StoreError> {
        let Some((object, bytes)) = self.object(slice, id)? else { return Ok(Vec::new()) };
        self.db.prepare_cached("DELETE FROM pico_object WHERE object = ?1")?.execute([object])?;
        self.standing.objects -= 1;
        self.standing.bytes -= bytes;
        let chains = self
            .db
            .prepare_cached("SELECT chain FROM pico_reference WHERE object = ?1 ORDER BY chain")?
            .query_map([object], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        self.db.prepare_cached("DELETE FROM pico_reference WHERE object = ?1")?.execute([object])?;
        Ok(chains)
    }

    fn sweep(&mut self, slice: &str, id: &str) -> Result<(), StoreError> {
        for chain in self.remove(slice, id)? {
            if references(self.db, self.number, chain)? > 0 {
                continue;
            }
            if self.scope.shadow {
                self.evicted.extend(ChainRow::by_number(self.db, chain)?.map(|row| row.chain));
            } else {
                self.evict(chain, true)?;
            }
        }
        Ok(())
    }

    /// The number of the chain that begins with this block.
    fn chain(&mut self, genesis: &Id) -> Result<Option<i64>, StoreError> {
        if let Some(known) = self.chains.get(genesis) {
            return Ok(*known);
        }
        let chain = match room(self.db, &self.scope.room)? {
            Some(room) => find(self.db, room.number, genesis)?.map(chain_of),
            None => None,
        };
        self.chains.insert(*genesis, chain);
        Ok(chain)
    }

    fn refer(&mut self, chain: i64, object: i64) -> Result<(), StoreError> {
        self.db
            .prepare_cached("INSERT INTO pico_reference (chain, object) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute([chain, object])?;
        Ok(())
    }

    fn index(&mut self, slice: &str, key: &[u8], block: &Id) -> Result<(), StoreError> {
        let Some(room) = room(self.db, &self.scope.room)? else { return Ok(()) };
        let Some(pos) = find(self.db, room.number, block)? else { return Ok(()) };
        self.db
            .prepare_cached(
                "INSERT INTO pico_index (state, slice, key, pos) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET pos = excluded.pos",
            )?
            .execute(params![self.number, slice, key, pos])?;
        Ok(())
    }

    fn mark(&mut self, mark: &Mark) -> Result<(), StoreError> {
        let Mark { slice, at, payload, block, chain, owner } = mark;
        self.db
            .prepare_cached(
                "INSERT INTO pico_mark (state, at, slice, payload, block, chain, owner)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                self.number,
                at,
                slice,
                payload.as_ref(),
                block.as_bytes(),
                chain.as_bytes(),
                owner.as_bytes()
            ])?;
        self.standing.objects += 1;
        self.standing.bytes += payload.len() as u64;
        Ok(())
    }

    fn unmark(&mut self, mark: i64) -> Result<(), StoreError> {
        let bytes = self
            .db
            .prepare_cached("DELETE FROM pico_mark WHERE mark = ?1 AND state = ?2 RETURNING length(payload)")?
            .query_row([mark, self.number], |row| super::number(row, 0))
            .optional()?;
        if let Some(bytes) = bytes {
            self.standing.objects -= 1;
            self.standing.bytes -= bytes;
        }
        Ok(())
    }

    fn postpone(&mut self, postponed: &Postponed) -> Result<(), StoreError> {
        let Postponed { block, due, tries, origin } = postponed;
        self.db
            .prepare_cached(
                "INSERT INTO pico_postponed (state, id, due, tries, format, author, raw, origin)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT DO UPDATE SET due = excluded.due, tries = excluded.tries",
            )?
            .execute(params![
                self.number,
                block.id().as_bytes(),
                due,
                tries,
                code(block.format()),
                block.author().as_bytes(),
                block.bytes().as_ref(),
                origin.map(carry::code)
            ])?;
        Ok(())
    }

    /// Removes a chain, and what only it refers to.
    fn evict(&mut self, number: i64, remember: bool) -> Result<(), StoreError> {
        let Some(row) = ChainRow::by_number(self.db, number)? else { return Ok(()) };
        let only_here: Vec<(String, String)> = self
            .db
            .prepare_cached(
                "SELECT slice, id FROM pico_reference AS here JOIN pico_object USING (object)
                 WHERE chain = ?1 AND state = ?2 AND NOT EXISTS
                   (SELECT 1 FROM pico_reference WHERE object = here.object AND chain != ?1)
                 ORDER BY slice, id",
            )?
            .query_map([number, self.number], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (slice, id) in only_here {
            self.remove(&slice, &id)?;
            self.removed.push((slice, id));
        }
        self.chains.insert(row.chain.genesis, None);
        if !self.scope.shadow {
            let Some(mut room) = room(self.db, &self.scope.room)? else { return Ok(()) };
            remove::discard(self.db, self.totals, &mut room, &row, None)?;
            write_room(self.db, self.totals, &room)?;
        }
        if remember {
            self.remember(&row.chain.genesis)?;
        }
        self.evicted.push(row.chain);
        Ok(())
    }

    fn remember(&self, chain: &Id) -> Result<(), StoreError> {
        self.db
            .prepare_cached("INSERT INTO pico_evicted (state, chain) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![self.number, chain.as_bytes()])?;
        self.db
            .prepare_cached(
                "DELETE FROM pico_evicted WHERE state = ?1 AND evicted IN
                 (SELECT evicted FROM pico_evicted WHERE state = ?1 ORDER BY evicted DESC LIMIT -1 OFFSET ?2)",
            )?
            .execute(params![self.number, i64::try_from(self.evicted_max).unwrap_or(i64::MAX)])?;
        Ok(())
    }
}

/// How many references a chain has in a scope.
pub(super) fn references(db: &Connection, state: i64, chain: i64) -> Result<u64, StoreError> {
    let count = db
        .prepare_cached(
            "SELECT count(*) FROM pico_reference LEFT JOIN pico_object USING (object)
             WHERE chain = ?1 AND (state = ?2 OR object = -?2)",
        )?
        .query_row([chain, state], |row| super::number(row, 0))?;
    Ok(count)
}

/// The smallest of the times at which something is due.
pub(super) fn next_due(db: &Connection, state: i64) -> Result<Option<Millis>, StoreError> {
    let due = db
        .prepare_cached(
            "SELECT min(due) FROM (
               SELECT min(expires) AS due FROM pico_object WHERE state = ?1 AND expires IS NOT NULL
               UNION ALL SELECT min(at) FROM pico_mark WHERE state = ?1
               UNION ALL SELECT min(due) FROM pico_postponed WHERE state = ?1)",
        )?
        .query_row([state], |row| row.get(0))?;
    Ok(due)
}
