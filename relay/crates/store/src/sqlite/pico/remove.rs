//! Taking blocks out again.

use std::collections::BTreeSet;

use picofeed::{Block, Id};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    ChainRow, RoomRow, Totals, block, chain_of, code, find, height_of, position, room, select_chain, signature,
    write_room,
};
use crate::StoreError;
use crate::repo::{Chain, RolledBack, RoomName};

/// Removes the blocks of a chain after `stop_at`, or all.
pub(super) fn rollback(
    db: &Connection,
    totals: &mut Totals,
    name: &RoomName,
    chain: &Id,
    stop_at: Option<&Id>,
) -> Result<RolledBack, StoreError> {
    let Some(mut room) = room(db, name)? else { return Ok(RolledBack::ChainUnknown) };
    let Some(pos) = find(db, room.number, chain)? else { return Ok(RolledBack::ChainUnknown) };
    let Some(row) = ChainRow::by_number(db, chain_of(pos))? else { return Ok(RolledBack::ChainUnknown) };
    let mut removed = Vec::new();
    match stop_at {
        None => discard(db, totals, &mut room, &row, Some(&mut removed))?,
        Some(stop_at) => {
            let Some(stop) = find(db, room.number, stop_at)?.filter(|stop| chain_of(*stop) == row.number) else {
                return Ok(RolledBack::BlockUnknown);
            };
            truncate(db, totals, &mut room, &row, (stop_at, height_of(stop) + 1), &mut removed)?;
        }
    }
    write_room(db, totals, &room)?;
    Ok(RolledBack::Removed(removed))
}

/// Removes the emptiest room of those that are not to be kept.
pub(super) fn give_way(
    db: &Connection,
    totals: &mut Totals,
    keep: &[RoomName],
) -> Result<Option<RoomName>, StoreError> {
    let mut emptiest: Option<((u32, i64, RoomName), RoomRow)> = None;
    {
        let mut select = db.prepare_cached("SELECT name, used, room, blocks, bytes, chains FROM pico_room")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let name: RoomName = match row.get_ref(0)?.as_str().map(str::parse) {
                Ok(Ok(name)) => name,
                _ => return Err(StoreError::Damaged("a room has no name")),
            };
            let room = RoomRow { number: row.get(2)?, usage: super::usage(row, 3)? };
            let order = (room.usage.bytes.checked_ilog2().unwrap_or(0), row.get(1)?, name);
            if !keep.contains(&order.2) && emptiest.as_ref().is_none_or(|(least, _)| order < *least) {
                emptiest = Some((order, room));
            }
        }
    }
    let Some(((_, _, name), mut room)) = emptiest else { return Ok(None) };
    while let Some(row) = db
        .prepare_cached(select_chain!("WHERE room = ?1 LIMIT 1"))?
        .query_row([room.number], ChainRow::read)
        .optional()?
    {
        discard(db, totals, &mut room, &row, None)?;
    }
    write_room(db, totals, &room)?;
    Ok(Some(name))
}

/// Removes a whole chain. The sums in `room` are changed, not written.
pub(super) fn discard(
    db: &Connection,
    totals: &mut Totals,
    room: &mut RoomRow,
    row: &ChainRow,
    removed: Option<&mut Vec<Block>>,
) -> Result<(), StoreError> {
    remove_blocks(db, room.number, row, 0, removed)?;
    db.prepare_cached("DELETE FROM pico_chain WHERE chain = ?1")?.execute([row.number])?;
    db.prepare_cached("DELETE FROM pico_reference WHERE chain = ?1")?.execute([row.number])?;
    room.usage.chains -= 1;
    room.usage.blocks -= row.chain.height;
    room.usage.bytes -= row.chain.bytes;
    totals.bytes -= row.chain.bytes;
    Ok(())
}

/// Removes what comes after a block: its id, and how many blocks stay.
fn truncate(
    db: &Connection,
    totals: &mut Totals,
    room: &mut RoomRow,
    row: &ChainRow,
    (head, height): (&Id, u64),
    removed: &mut Vec<Block>,
) -> Result<(), StoreError> {
    remove_blocks(db, room.number, row, height, Some(removed))?;
    let Chain { owner, bytes, foreign, .. } = row.chain;
    let gone: u64 = removed.iter().map(|block| block.bytes().len() as u64).sum();
    let by_other = removed.iter().filter(|block| block.author() != owner).count() as u64;
    db.prepare_cached("UPDATE pico_chain SET head = ?2, height = ?3, bytes = ?4, by_other = ?5 WHERE chain = ?1")?
        .execute(params![
            row.number,
            head.as_bytes(),
            height.cast_signed(),
            (bytes - gone).cast_signed(),
            (foreign - by_other).cast_signed()
        ])?;
    room.usage.blocks -= removed.len() as u64;
    room.usage.bytes -= gone;
    totals.bytes -= gone;
    Ok(())
}

/// Removes the rows of the blocks from a height on, and gives the blocks if they are wanted.
fn remove_blocks(
    db: &Connection,
    room: i64,
    row: &ChainRow,
    from: u64,
    mut removed: Option<&mut Vec<Block>>,
) -> Result<(), StoreError> {
    let ChainRow { number, chain } = row;
    let (first, end) = (position(*number, from), position(*number, chain.height));
    let mut authors: BTreeSet<[u8; 32]> = BTreeSet::new();
    {
        let mut select = db.prepare_cached("SELECT pos, author, raw FROM pico_block WHERE pos >= ?1 AND pos < ?2")?;
        let mut unindex = db.prepare_cached("DELETE FROM pico_block_id WHERE room = ?1 AND id = ?2 AND pos = ?3")?;
        let mut rows = select.query([first, end])?;
        while let Some(stored) = rows.next()? {
            let pos: i64 = stored.get(0)?;
            let author: Option<[u8; 32]> = stored.get(1)?;
            authors.insert(author.unwrap_or(*chain.owner.as_bytes()));
            let id = signature(stored.get_ref(2)?.as_blob().unwrap_or_default(), chain.format);
            let id = id.first_chunk().copied().map(i64::from_be_bytes);
            unindex.execute(params![room, id, pos])?;
            if let Some(removed) = &mut removed {
                removed.push(block(chain, author, stored.get(2)?)?);
            }
        }
    }
    db.prepare_cached("DELETE FROM pico_block WHERE pos >= ?1 AND pos < ?2")?.execute([first, end])?;
    db.prepare_cached("DELETE FROM pico_index WHERE pos >= ?1 AND pos < ?2")?.execute([first, end])?;
    let mut forget = db.prepare_cached(
        "DELETE FROM pico_latest WHERE room = ?1 AND format = ?2 AND author = ?3 AND pos >= ?4 AND pos < ?5",
    )?;
    for author in authors {
        forget.execute(params![room, code(chain.format), author, first, end])?;
    }
    Ok(())
}
