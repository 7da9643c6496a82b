//! Pico rooms: rows and how they are found.

mod carry;
mod merge;
mod read;
mod remove;
mod state;
mod state_read;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use picofeed::{Block, Format, Id, Key, Limits};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) use self::carry::{remember, remember_event};
use crate::StoreError;
use crate::clock::Timestamp;
use crate::repo::{Chain, Change, Changed, Merged, RoomName, Usage};

/// Sums over all rooms. The writer keeps them, so that no merge has to add up the rooms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    rooms: u64,
    bytes: u64,
}

impl Totals {
    pub(super) fn read(db: &Connection) -> Result<Self, StoreError> {
        let totals = db.query_row("SELECT count(*), ifnull(sum(bytes), 0) FROM pico_room", [], |row| {
            Ok(Self { rooms: number(row, 0)?, bytes: number(row, 1)? })
        })?;
        Ok(totals)
    }
}

/// Makes a change within the transaction that is open.
pub(super) fn change(
    db: &Connection,
    totals: &mut Totals,
    change: &Change,
    now: Timestamp,
) -> Result<Changed, StoreError> {
    match change {
        Change::Merge { room, bounds, blocks, origins } => {
            let merging = merge::merge(db, totals, room, bounds, blocks, now)?;
            for ((block, merged), origin) in blocks.iter().zip(&merging.merged).zip(origins) {
                if *merged == Merged::New {
                    carry::remember(db, room, &block.id(), *origin, now)?;
                }
            }
            Ok(Changed::Merged(merging))
        }
        Change::Rollback { room, chain, stop_at } => {
            Ok(Changed::RolledBack(remove::rollback(db, totals, room, chain, stop_at.as_ref())?))
        }
        Change::Dispatch(dispatch) => Ok(Changed::Dispatched(state::dispatch(db, totals, dispatch, now)?)),
        Change::Shadow { room, adopt } => {
            state::end_shadow(db, room, *adopt)?;
            Ok(Changed::Shadow)
        }
        Change::GiveWay { keep } => Ok(Changed::GaveWay(remove::give_way(db, totals, keep)?)),
        Change::CarriedOut(number) => carry::forget_blocks(db, *number).map(|()| Changed::Carried),
        Change::CarriedIn(seq) => carry::forget_events(db, *seq).map(|()| Changed::Carried),
    }
}

/// Bits of a position that count the blocks of a chain.
const HEIGHT_BITS: u32 = 24;

/// Position of the block of a chain that has `height` blocks before it.
fn position(chain: i64, height: u64) -> i64 {
    chain << HEIGHT_BITS | height.cast_signed()
}

fn chain_of(pos: i64) -> i64 {
    pos >> HEIGHT_BITS
}

fn height_of(pos: i64) -> u64 {
    (pos & ((1 << HEIGHT_BITS) - 1)).cast_unsigned()
}

/// A room and its number.
#[derive(Clone, Copy, Debug)]
struct RoomRow {
    number: i64,
    usage: Usage,
}

/// A chain and its number.
#[derive(Clone, Debug)]
struct ChainRow {
    number: i64,
    chain: Chain,
}

/// `SELECT` of what [`ChainRow::read`] expects, and what follows.
macro_rules! select_chain {
    ($rest:literal) => {
        concat!("SELECT chain, format, owner, genesis, head, height, bytes, by_other, changed FROM pico_chain ", $rest)
    };
}
use select_chain;

impl ChainRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let chain = Chain {
            format: format_of(row.get(1)?).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, 0))?,
            owner: Key::from(row.get::<_, [u8; 32]>(2)?),
            genesis: Id::from(row.get::<_, [u8; 64]>(3)?),
            head: Id::from(row.get::<_, [u8; 64]>(4)?),
            height: number(row, 5)?,
            bytes: number(row, 6)?,
            foreign: number(row, 7)?,
            changed: number(row, 8)?,
        };
        Ok(Self { number: row.get(0)?, chain })
    }

    fn by_number(db: &Connection, number: i64) -> Result<Option<Self>, StoreError> {
        let mut select = db.prepare_cached(select_chain!("WHERE chain = ?1"))?;
        Ok(select.query_row([number], Self::read).optional()?)
    }

    fn by_owner(db: &Connection, room: i64, format: Format, owner: &Key) -> Result<Option<Self>, StoreError> {
        let mut select = db.prepare_cached(select_chain!("WHERE room = ?1 AND format = ?2 AND owner = ?3"))?;
        Ok(select.query_row(params![room, code(format), owner.as_bytes()], Self::read).optional()?)
    }
}

fn room(db: &Connection, name: &RoomName) -> Result<Option<RoomRow>, StoreError> {
    let found = db
        .prepare_cached("SELECT room, blocks, bytes, chains FROM pico_room WHERE name = ?1")?
        .query_row([name.as_str()], |row| Ok(RoomRow { number: row.get(0)?, usage: usage(row, 1)? }))
        .optional()?;
    Ok(found)
}

/// Writes the sums of a room, or removes the room if it has no chain left.
fn write_room(db: &Connection, totals: &mut Totals, room: &RoomRow) -> Result<(), StoreError> {
    let Usage { blocks, bytes, chains } = room.usage;
    if chains == 0 {
        db.prepare_cached("DELETE FROM pico_room WHERE room = ?1")?.execute([room.number])?;
        totals.rooms -= 1;
    } else {
        db.prepare_cached("UPDATE pico_room SET blocks = ?2, bytes = ?3, chains = ?4 WHERE room = ?1")?
            .execute(params![room.number, blocks.cast_signed(), bytes.cast_signed(), chains.cast_signed()])?;
    }
    Ok(())
}

/// Remembers that a room has got a new block.
fn touch(db: &Connection, room: &RoomRow, now: Timestamp) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE pico_room SET used = ?2 WHERE room = ?1")?
        .execute(params![room.number, i64::try_from(now).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Position of a block.
fn find(db: &Connection, room: i64, id: &Id) -> Result<Option<i64>, StoreError> {
    let mut same = db.prepare_cached(
        "SELECT pico_block_id.pos, format, raw FROM pico_block_id
         JOIN pico_block ON pico_block.pos = pico_block_id.pos
         JOIN pico_chain ON chain = pico_block_id.pos >> 24
         WHERE pico_block_id.room = ?1 AND id = ?2",
    )?;
    let mut rows = same.query(params![room, prefix(id)])?;
    while let Some(row) = rows.next()? {
        let raw = row.get_ref(2)?.as_blob().unwrap_or_default();
        if format_of(row.get(1)?).is_some_and(|format| signature(raw, format) == id.as_bytes()) {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

/// The id of a stored block: where its format has the signature.
fn signature(raw: &[u8], format: Format) -> &[u8] {
    let at = usize::from(format == Format::Pop02);
    raw.get(at..at + 64).unwrap_or_default()
}

/// A stored block.
fn block(chain: &Chain, author: Option<[u8; 32]>, raw: Vec<u8>) -> Result<Block, StoreError> {
    let author = author.map_or(chain.owner, Key::from);
    let block = Block::decode(chain.format, Bytes::from(raw), &Limits::NONE);
    let block = block.map_err(|_| StoreError::Damaged("a pico block cannot be read"))?;
    block.assume_verified(author).map_err(|_| StoreError::Damaged("a pico block has another author"))
}

/// The first eight bytes.
fn prefix(id: &Id) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn code(format: Format) -> i64 {
    match format {
        Format::V8 => 8,
        Format::V3 => 3,
        Format::Pop02 => 4,
    }
}

fn format_of(code: i64) -> Option<Format> {
    Format::ALL.into_iter().find(|format| self::code(*format) == code)
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn usage(row: &Row<'_>, first: usize) -> rusqlite::Result<Usage> {
    Ok(Usage { blocks: number(row, first)?, bytes: number(row, first + 1)?, chains: number(row, first + 2)? })
}
