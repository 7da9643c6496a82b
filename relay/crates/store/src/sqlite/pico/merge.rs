//! Adding blocks: the rules of [`Change`](crate::repo::Change), a block at a time.

use std::collections::HashMap;

use picofeed::{Block, Id, Key};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    ChainRow, RoomRow, Totals, chain_of, code, find, position, prefix, remove, room, select_chain, touch, write_room,
};
use crate::StoreError;
use crate::clock::Timestamp;
use crate::repo::{Bounds, CHAIN_BLOCKS_MAX, Chain, Full, Merged, Merging, Quota, RoomName, Usage};

pub(super) fn merge(
    db: &Connection,
    totals: &mut Totals,
    name: &RoomName,
    bounds: &Bounds,
    blocks: &[Block],
    at: Timestamp,
) -> Result<Merging, StoreError> {
    let room = room(db, name)?;
    let newest = match room {
        Some(room) => newest(db, room.number)?,
        None => 0,
    };
    let written = room.map(|room| room.usage).unwrap_or_default();
    let mut merge =
        Merge { db, totals, name, bounds, room, written, newest, line: None, discarded: Vec::new(), stamp: None };
    let mut refused: HashMap<Id, Merged> = HashMap::new();
    let mut merged = Vec::with_capacity(blocks.len());
    for block in blocks {
        let outcome = match merge.add(block)? {
            Merged::Orphan => {
                let parent = block.parent().and_then(|parent| refused.get(&parent));
                parent.copied().unwrap_or(Merged::Orphan)
            }
            outcome => outcome,
        };
        if matches!(outcome, Merged::New | Merged::Known) {
            refused.remove(&block.id());
        } else {
            refused.insert(block.id(), outcome);
        }
        merged.push(outcome);
    }
    let room = merge.room;
    let discarded = merge.finish()?;
    if let Some(room) = room.filter(|_| merged.contains(&Merged::New)) {
        touch(db, &room, at)?;
    }
    Ok(Merging { merged, discarded })
}

/// Merges blocks in order up to the first one that is not new; gives how many were, and what became of that one. Each is
/// stamped with the next step and the time.
pub(super) fn take<'a>(
    db: &Connection,
    totals: &mut Totals,
    name: &RoomName,
    bounds: &Bounds,
    (step, now): (&mut i64, i64),
    blocks: impl Iterator<Item = &'a Block>,
) -> Result<(usize, Option<Merged>), StoreError> {
    let room = room(db, name)?;
    let newest = match room {
        Some(room) => newest(db, room.number)?,
        None => 0,
    };
    let written = room.map(|room| room.usage).unwrap_or_default();
    let bounds = Bounds { full: Full::Refuse, ..*bounds };
    let mut merge = Merge {
        db,
        totals,
        name,
        bounds: &bounds,
        room,
        written,
        newest,
        line: None,
        discarded: Vec::new(),
        stamp: None,
    };
    let (mut done, mut refused) = (0, None);
    for block in blocks {
        merge.stamp = Some((*step + 1, now));
        match merge.add(block)? {
            Merged::New => {
                *step += 1;
                done += 1;
            }
            outcome => {
                refused = Some(outcome);
                break;
            }
        }
    }
    merge.finish()?;
    Ok((done, refused))
}

/// A merge under way.
struct Merge<'a> {
    db: &'a Connection,
    totals: &'a mut Totals,
    name: &'a RoomName,
    bounds: &'a Bounds,
    /// With sums that are not written yet.
    room: Option<RoomRow>,
    /// The sums as they are written.
    written: Usage,
    /// The largest `changed` in the room.
    newest: u64,
    /// The chain that got the last block. Most blocks that come together belong to one chain.
    line: Option<Line>,
    discarded: Vec<Chain>,
    /// Step and time of the next block, in a room with slices.
    stamp: Option<(i64, i64)>,
}

/// A chain whose row, and whose authors' last blocks, are not written yet.
struct Line {
    row: ChainRow,
    latest: HashMap<Key, i64>,
}

impl Merge<'_> {
    fn add(&mut self, block: &Block) -> Result<Merged, StoreError> {
        if let Err(outcome) = self.place(block)? {
            return Ok(outcome);
        }
        let bytes = block.bytes().len() as u64;
        let (number, height, chain_bytes) =
            self.line.as_ref().map_or((0, 0, 0), |Line { row, .. }| (row.number, row.chain.height, row.chain.bytes));
        let alone = Usage { blocks: height + 1, bytes: chain_bytes + bytes, chains: 1 };
        let more = Usage { blocks: 1, bytes, chains: u64::from(self.line.is_none()) };
        if let Some(quota) = self.make_space(number, alone, more)? {
            return Ok(Merged::OverQuota(quota));
        }
        self.store(block)?;
        Ok(Merged::New)
    }

    /// Takes the chain to which a block is to be appended at hand, or none for one that begins a chain. Or says why it is
    /// not to be stored.
    fn place(&mut self, block: &Block) -> Result<Result<(), Merged>, StoreError> {
        let Some(RoomRow { number: room, .. }) = self.room else {
            return Ok(if block.is_genesis() { Ok(()) } else { Err(Merged::Orphan) });
        };
        if find(self.db, room, &block.id())?.is_some() {
            return Ok(Err(Merged::Known));
        }
        let Some(parent) = block.parent() else {
            if ChainRow::by_owner(self.db, room, block.format(), &block.author())?.is_some() {
                return Ok(Err(Merged::SecondGenesis));
            }
            self.flush()?;
            return Ok(Ok(()));
        };
        let joins = |line: &Line| line.row.chain.head == parent && line.row.chain.format == block.format();
        if self.line.as_ref().is_some_and(joins) {
            return Ok(Ok(()));
        }
        let Some(pos) = find(self.db, room, &parent)? else { return Ok(Err(Merged::Orphan)) };
        self.flush()?;
        match ChainRow::by_number(self.db, chain_of(pos))? {
            Some(row) if row.chain.format == block.format() && row.chain.head == parent => {
                self.line = Some(Line { row, latest: HashMap::new() });
                Ok(Ok(()))
            }
            Some(row) if row.chain.format == block.format() => Ok(Err(Merged::Fork)),
            _ => Ok(Err(Merged::Orphan)),
        }
    }

    /// Makes sure that the bounds allow what is to come: `more` on the chain `number`, which is then `alone` without the
    /// others. Gives the bound that does not.
    fn make_space(&mut self, number: i64, alone: Usage, more: Usage) -> Result<Option<Quota>, StoreError> {
        if self.room.is_none() && self.totals.rooms >= self.bounds.rooms_max {
            return Ok(Some(Quota::Rooms));
        }
        if self.totals.bytes + more.bytes > self.bounds.total_bytes_max {
            return Ok(Some(Quota::TotalBytes));
        }
        if alone.blocks > CHAIN_BLOCKS_MAX {
            return Ok(Some(Quota::Blocks));
        }
        let full = |usage: Usage| {
            self.bounds.exceeded(Usage {
                blocks: usage.blocks + more.blocks,
                bytes: usage.bytes + more.bytes,
                chains: usage.chains + more.chains,
            })
        };
        let Some(room) = &mut self.room else { return Ok(full(Usage::default())) };
        while let Some(quota) = full(room.usage) {
            if self.bounds.full == Full::Refuse {
                return Ok(Some(quota));
            }
            if let Some(hopeless) = self.bounds.exceeded(alone) {
                return Ok(Some(hopeless));
            }
            let oldest = self
                .db
                .prepare_cached(select_chain!("WHERE room = ?1 AND chain != ?2 ORDER BY changed LIMIT 1"))?
                .query_row([room.number, number], ChainRow::read)
                .optional()?;
            let Some(oldest) = oldest else { return Ok(Some(quota)) };
            remove::discard(self.db, self.totals, room, &oldest, None)?;
            self.discarded.push(oldest.chain);
        }
        Ok(None)
    }

    fn store(&mut self, block: &Block) -> Result<(), StoreError> {
        let mut room = match self.room {
            Some(room) => room,
            None => self.begin_room()?,
        };
        let author = block.author();
        let mut line = match self.line.take() {
            Some(line) => line,
            None => {
                room.usage.chains += 1;
                begin_chain(self.db, room.number, block)?
            }
        };
        let ChainRow { number, chain } = &mut line.row;
        let pos = position(*number, chain.height);
        let by_other = author != chain.owner;
        let (step, at) = self.stamp.unzip();
        self.db
            .prepare_cached("INSERT INTO pico_block (pos, author, raw, step, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![pos, by_other.then_some(author.as_bytes()), block.bytes().as_ref(), step, at])?;
        self.db.prepare_cached("INSERT INTO pico_block_id VALUES (?1, ?2, ?3)")?.execute(params![
            room.number,
            prefix(&block.id()),
            pos
        ])?;
        line.latest.insert(author, pos);
        let bytes = block.bytes().len() as u64;
        chain.head = block.id();
        chain.height += 1;
        chain.bytes += bytes;
        chain.foreign += u64::from(by_other);
        if chain.changed != self.newest || self.newest == 0 {
            self.newest += 1;
            chain.changed = self.newest;
        }
        room.usage.blocks += 1;
        room.usage.bytes += bytes;
        self.totals.bytes += bytes;
        self.line = Some(line);
        self.room = Some(room);
        Ok(())
    }

    fn begin_room(&mut self) -> Result<RoomRow, StoreError> {
        self.db
            .prepare_cached("INSERT INTO pico_room (name, blocks, bytes, chains) VALUES (?1, 0, 0, 0)")?
            .execute([self.name.as_str()])?;
        self.totals.rooms += 1;
        Ok(RoomRow { number: self.db.last_insert_rowid(), usage: Usage::default() })
    }

    /// Writes the chain at hand, and lets go of it.
    fn flush(&mut self) -> Result<(), StoreError> {
        let (Some(Line { row, latest }), Some(room)) = (self.line.take(), self.room) else { return Ok(()) };
        if latest.is_empty() {
            return Ok(());
        }
        let Chain { head, height, bytes, foreign, changed, format, .. } = row.chain;
        self.db
            .prepare_cached(
                "UPDATE pico_chain SET head = ?2, height = ?3, bytes = ?4, by_other = ?5, changed = ?6 WHERE chain = ?1",
            )?
            .execute(params![
                row.number,
                head.as_bytes(),
                height.cast_signed(),
                bytes.cast_signed(),
                foreign.cast_signed(),
                changed.cast_signed()
            ])?;
        let mut write = self.db.prepare_cached(
            "INSERT INTO pico_latest VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET pos = excluded.pos",
        )?;
        for (author, pos) in latest {
            write.execute(params![room.number, code(format), author.as_bytes(), pos])?;
        }
        Ok(())
    }

    /// Writes what is not written yet, and gives what was discarded.
    fn finish(mut self) -> Result<Vec<Chain>, StoreError> {
        self.flush()?;
        if let Some(room) = &self.room
            && room.usage != self.written
        {
            write_room(self.db, self.totals, room)?;
        }
        Ok(self.discarded)
    }
}

/// A chain without blocks, about to get its first.
fn begin_chain(db: &Connection, room: i64, genesis: &Block) -> Result<Line, StoreError> {
    let (format, owner, id) = (genesis.format(), genesis.author(), genesis.id());
    db.prepare_cached(
        "INSERT INTO pico_chain (room, format, owner, genesis, head, height, bytes, by_other, changed)
         VALUES (?1, ?2, ?3, ?4, ?4, 0, 0, 0, 0)",
    )?
    .execute(params![room, code(format), owner.as_bytes(), id.as_bytes()])?;
    let chain = Chain { format, owner, genesis: id, head: id, height: 0, bytes: 0, foreign: 0, changed: 0 };
    Ok(Line { row: ChainRow { number: db.last_insert_rowid(), chain }, latest: HashMap::new() })
}

fn newest(db: &Connection, room: i64) -> Result<u64, StoreError> {
    let newest = db
        .prepare_cached("SELECT ifnull(max(changed), 0) FROM pico_chain WHERE room = ?1")?
        .query_row([room], |row| row.get::<_, i64>(0))?;
    Ok(newest.cast_unsigned())
}
