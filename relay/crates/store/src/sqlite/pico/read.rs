//! Reading pico rooms.

use picofeed::{Feed, Format, Id, Key};
use rusqlite::{Connection, OptionalExtension, params};

use super::{ChainRow, block, chain_of, code, find, height_of, position, room, select_chain, usage};
use crate::StoreError;
use crate::repo::{Candidate, Chain, Part, RepoReader, RoomName, Run, Usage, pick};
use crate::sqlite::read::SqliteReader;
use crate::sqlite::snapshot::Snapshot;

impl RepoReader for SqliteReader {
    fn rooms(&mut self) -> Result<Vec<(RoomName, Usage)>, StoreError> {
        let mut rooms = Vec::new();
        let mut select = self.db.prepare_cached("SELECT name, blocks, bytes, chains FROM pico_room ORDER BY name")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str().unwrap_or_default().parse();
            rooms.push((name.map_err(|_| StoreError::Damaged("a pico room has no name"))?, usage(row, 1)?));
        }
        Ok(rooms)
    }

    fn usage(&mut self, name: &RoomName) -> Result<Usage, StoreError> {
        Ok(room(&self.db, name)?.map(|room| room.usage).unwrap_or_default())
    }

    fn chains(
        &mut self,
        name: &RoomName,
        format: Format,
        after: Option<&Key>,
        max: usize,
    ) -> Result<Vec<Chain>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some(room) = room(&snapshot, name)? else { return Ok(Vec::new()) };
        let sql = select_chain!("WHERE room = ?1 AND format = ?2 AND owner > ?3 ORDER BY owner LIMIT ?4");
        let after = after.map_or(&[][..], |after| after.as_bytes());
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        snapshot
            .prepare_cached(sql)?
            .query_map(params![room.number, code(format), after, max], ChainRow::read)?
            .map(|row| Ok(row?.chain))
            .collect::<Result<_, StoreError>>()
    }

    fn find(&mut self, name: &RoomName, id: &Id) -> Result<Option<(Chain, u64)>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some(room) = room(&snapshot, name)? else { return Ok(None) };
        let Some(pos) = find(&snapshot, room.number, id)? else { return Ok(None) };
        let found = ChainRow::by_number(&snapshot, chain_of(pos))?.map(|row| (row.chain, height_of(pos)));
        Ok(found)
    }

    fn load(&mut self, name: &RoomName, run: Run, part: Part) -> Result<Option<Feed>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some(room) = room(&snapshot, name)? else { return Ok(None) };
        let Some((row, heights)) = resolve(&snapshot, room.number, run)? else { return Ok(None) };
        let feed = load(&snapshot, &row, heights.start.saturating_add(part.skip)..heights.end, part)?;
        Ok(feed)
    }

    fn pick(&mut self, name: &RoomName, bytes_max: u64) -> Result<Vec<(Format, Key)>, StoreError> {
        let snapshot = Snapshot::open(&self.db)?;
        let Some(room) = room(&snapshot, name)? else { return Ok(Vec::new()) };
        let candidates: Vec<Candidate> = snapshot
            .prepare_cached(select_chain!("WHERE room = ?1"))?
            .query_map([room.number], |row| ChainRow::read(row).map(|row| Candidate::from(&row.chain)))?
            .collect::<Result<_, _>>()?;
        Ok(pick(&candidates, bytes_max))
    }
}

/// The chain of a run, and which heights of it.
fn resolve(db: &Connection, room: i64, run: Run) -> Result<Option<(ChainRow, std::ops::Range<u64>)>, StoreError> {
    let (pos, blocks) = match run {
        Run::Owned(format, owner) => {
            return Ok(ChainRow::by_owner(db, room, format, &owner)?.map(|row| {
                let height = row.chain.height;
                (row, 0..height)
            }));
        }
        Run::Latest(format, author) => {
            let pos = db
                .prepare_cached("SELECT pos FROM pico_latest WHERE room = ?1 AND format = ?2 AND author = ?3")?
                .query_row(params![room, code(format), author.as_bytes()], |row| row.get(0))
                .optional()?;
            (pos, u64::MAX)
        }
        Run::UpTo(id, blocks) => (find(db, room, &id)?, blocks),
        Run::Around(id) => (find(db, room, &id)?, u64::MAX),
    };
    let Some(pos) = pos else { return Ok(None) };
    let Some(row) = ChainRow::by_number(db, chain_of(pos))? else { return Ok(None) };
    let end = if matches!(run, Run::Around(_)) { row.chain.height } else { height_of(pos) + 1 };
    Ok(Some((row, end.saturating_sub(blocks)..end)))
}

fn load(
    db: &Connection,
    row: &ChainRow,
    heights: std::ops::Range<u64>,
    part: Part,
) -> Result<Option<Feed>, StoreError> {
    if heights.is_empty() {
        return Ok(None);
    }
    let mut blocks = Vec::new();
    let mut bytes = 0;
    let mut select =
        db.prepare_cached("SELECT author, raw FROM pico_block WHERE pos >= ?1 AND pos < ?2 ORDER BY pos")?;
    let mut rows = select.query([position(row.number, heights.start), position(row.number, heights.end)])?;
    while let Some(stored) = rows.next()? {
        bytes += stored.get_ref(1)?.as_blob().unwrap_or_default().len() as u64;
        if !blocks.is_empty() && (blocks.len() as u64 >= part.blocks_max || bytes > part.bytes_max) {
            break;
        }
        blocks.push(block(&row.chain, stored.get(0)?, stored.get(1)?)?);
    }
    Feed::from_blocks(blocks).map(Some).map_err(|_| StoreError::Damaged("a pico chain has a gap"))
}
