//! The reading half: answers filters by merging index walks.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::cursor::Source;
use super::key::{self, TagHash};
use super::{Options, erase, plan, search};
use crate::clock::Timestamp;
use crate::event::{Id, PublicKey};
use crate::filter::Filter;
use crate::store::{After, Body, End, Query, Reader, Row, Scan, Slice, Step, StoreError, stored_tags};

/// Once a limit is reached, how many more candidates are looked at to learn whether there is more (NIP-67).
const LOOK_AHEAD: u8 = 16;

pub(super) struct SqliteReader {
    pub(super) db: Connection,
    hash: TagHash,
    search_candidates_max: usize,
    search_enabled: bool,
}

impl SqliteReader {
    pub(super) fn new(db: Connection, hash: TagHash, options: &Options) -> Self {
        Self { db, hash, search_candidates_max: options.search.candidates_max, search_enabled: options.search.enabled }
    }
}

impl Reader for SqliteReader {
    fn scan(&mut self, scan: &mut Scan, slice: Slice, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        let snapshot = self.db.unchecked_transaction()?;
        let before = rows.len();
        if scan.after.is_none() {
            for (number, filter) in scan.query.filters.iter().enumerate() {
                let Some(words) = filter.search.as_deref().and_then(search::query) else { continue };
                let Some(stream) = scan.streams.get_mut(number) else { continue };
                if stream.end.is_none() && stream.left > 0 && self.search_enabled {
                    let limit = usize::try_from(stream.left).unwrap_or(usize::MAX);
                    find_words(&snapshot, &scan.query, filter, &words, limit, self.search_candidates_max, rows)?;
                }
                stream.end = Some(End::Unknown);
            }
        }
        scan.searched.extend(rows.get(before..).unwrap_or_default().iter().map(|row| row.id));
        let step = Merge::open(&snapshot, self.hash, scan)?.run(scan, slice, rows)?;
        snapshot.finish()?;
        Ok(step)
    }

    fn contains(&mut self, id: &Id) -> Result<bool, StoreError> {
        Ok(erase::find(&self.db, id)?.is_some())
    }

    fn len_estimate(&mut self) -> Result<u64, StoreError> {
        // The kinds index is the smallest that has every event.
        let count: i64 = self.db.query_row("SELECT count(*) FROM event_kind", [], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }
}

/// The streams of a scan that are still going, merged by position.
struct Merge<'a> {
    db: &'a Connection,
    /// Stream number, where its positions come from, and how far it may still look ahead.
    open: Vec<(usize, Source, u8)>,
    examined: usize,
}

impl<'a> Merge<'a> {
    fn open(db: &'a Connection, hash: TagHash, scan: &mut Scan) -> Result<Self, StoreError> {
        let mut merge = Self { db, open: Vec::with_capacity(scan.streams.len()), examined: 0 };
        // Others can push an event down from its home between two slices, never up past it.
        let before = scan.after.map(|after| key::home(after.created_at, &after.id).saturating_add(1));
        for (number, (stream, filter)) in scan.streams.iter_mut().zip(scan.query.filters.iter()).enumerate() {
            if stream.end.is_none() && stream.left == 0 && scan.after.is_none() {
                stream.end = Some(End::Unknown);
            }
            if stream.end.is_none() {
                let source = plan::source(db, hash, filter, stream.left, before, &mut merge.examined)?;
                merge.open.push((number, source, LOOK_AHEAD));
            }
        }
        Ok(merge)
    }

    fn run(mut self, scan: &mut Scan, slice: Slice, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        let (mut given, mut bytes) = (0, 0);
        // However small the slice, each goes past one event at least.
        let mut moved = false;
        loop {
            let Some(pos) = self.newest(scan)? else { return Ok(Step::Done) };
            if !moved {
                // Opening long lists is not charged to the slice: it would never get further.
                self.examined = 0;
            } else if given >= slice.rows || bytes >= slice.bytes || self.examined >= slice.examined {
                return Ok(Step::Again);
            }
            let Some((place, found)) = load(self.db, pos, &scan.query)? else {
                tracing::error!(pos, "an index names an event that is not there");
                self.offer(pos, None, scan)?;
                continue;
            };
            if scan.after.is_some_and(|after| !place.follows(&after)) {
                self.skip(pos)?;
                continue;
            }
            moved = true;
            scan.after = Some(place);
            if self.offer(pos, found.as_ref(), scan)?
                && let Some(found) = found
                && !scan.searched.contains(&found.row.id)
            {
                given += 1;
                bytes += found.row.body.as_str().len();
                rows.push(found.row);
            }
        }
    }

    /// Goes past an event that an earlier slice has looked at.
    fn skip(&mut self, pos: i64) -> Result<(), StoreError> {
        for (_, source, _) in &mut self.open {
            if source.peek(self.db, &mut self.examined)? == Some(pos) {
                source.pass(pos, self.db, &mut self.examined)?;
            }
        }
        Ok(())
    }

    /// The newest position that a stream is at. Closes streams that have run dry.
    fn newest(&mut self, scan: &mut Scan) -> Result<Option<i64>, StoreError> {
        let mut newest = None;
        let mut dry = Vec::new();
        for (at, (_, source, _)) in self.open.iter_mut().enumerate() {
            match source.peek(self.db, &mut self.examined)? {
                Some(pos) => newest = newest.max(Some(pos)),
                None => dry.push(at),
            }
        }
        for at in dry.into_iter().rev() {
            let (number, ..) = self.open.swap_remove(at);
            end(scan, number, End::Finish);
        }
        Ok(newest)
    }

    /// Shows the event at `pos` to every stream that is there, and moves them on. True when one of them gives it.
    fn offer(&mut self, pos: i64, found: Option<&Found>, scan: &mut Scan) -> Result<bool, StoreError> {
        self.examined += 1;
        let mut give = false;
        let mut at = 0;
        while let Some((number, source, look_ahead)) = self.open.get_mut(at) {
            let number = *number;
            at += 1;
            if source.peek(self.db, &mut self.examined)? != Some(pos) {
                continue;
            }
            source.pass(pos, self.db, &mut self.examined)?;
            let (Some(stream), Some(filter)) = (scan.streams.get_mut(number), scan.query.filters.get(number)) else {
                continue;
            };
            let matches = found.is_some_and(|found| found.matches(filter));
            let over = match (matches, stream.left) {
                (true, 0) => Some(End::More),
                (true, _) => {
                    stream.left -= 1;
                    give = true;
                    None
                }
                (false, 0) => {
                    *look_ahead = look_ahead.saturating_sub(1);
                    (*look_ahead == 0).then_some(End::Unknown)
                }
                (false, _) => None,
            };
            if let Some(how) = over {
                at -= 1;
                self.open.swap_remove(at);
                end(scan, number, how);
            }
        }
        Ok(give)
    }
}

fn end(scan: &mut Scan, number: usize, how: End) {
    if let Some(stream) = scan.streams.get_mut(number) {
        stream.end = Some(how);
    }
}

/// A candidate, already known to be visible to the viewer.
struct Found {
    row: Row,
    /// The JSON, also when the answer wants no bodies.
    json: Option<Arc<str>>,
}

impl Found {
    fn matches(&self, filter: &Filter) -> bool {
        let row = &self.row;
        filter.matches_head(&row.id, &row.pubkey, row.created_at, row.kind)
            && (filter.tags.is_empty()
                || self.json.as_ref().is_some_and(|json| filter.matches_tags(|| stored_tags(json))))
    }
}

/// The event at `pos`: where it stands in the order, and itself unless the query may not see it.
fn load(db: &Connection, pos: i64, query: &Query) -> Result<Option<(After, Option<Found>)>, StoreError> {
    let wants_json = query.bodies || query.filters.iter().any(|filter| !filter.tags.is_empty());
    let mut statement = db.prepare_cached(if wants_json {
        "SELECT head, kind, expires_at, event.seq, json FROM event JOIN body ON body.seq = event.seq WHERE pos = ?1"
    } else {
        "SELECT head, kind, expires_at, seq FROM event WHERE pos = ?1"
    })?;
    Ok(statement.query_row([pos], |row| seen(db, row, pos, query, wants_json)).optional()?)
}

fn seen(
    db: &Connection,
    row: &rusqlite::Row<'_>,
    pos: i64,
    query: &Query,
    has_json: bool,
) -> rusqlite::Result<(After, Option<Found>)> {
    let head = row.get_ref(0)?.as_blob().map_err(|_| rusqlite::Error::InvalidQuery)?;
    let (Some(id), Some(pubkey)) = (head.first_chunk::<32>(), head.last_chunk::<32>()) else {
        return Err(rusqlite::Error::InvalidQuery);
    };
    let (id, pubkey) = (Id(*id), PublicKey(*pubkey));
    let created_at = time_of(pos, &id);
    let place = After { created_at, id, key: 0 };
    let kind: u16 = row.get(1)?;
    let expires_at: Option<i64> = row.get(2)?;
    let seq: i64 = row.get(3)?;
    if seq.cast_unsigned() > query.seq_max || expires_at.is_some_and(|at| at.cast_unsigned() <= query.now) {
        return Ok((place, None));
    }
    let restricted = query.viewer.is_restricted(kind);
    let json = if has_json {
        Some(json_text(row.get_ref(4)?)?)
    } else if restricted {
        db.prepare_cached("SELECT json FROM body WHERE seq = ?1")?
            .query_row([seq], |row| json_text(row.get_ref(0)?))
            .optional()?
    } else {
        None
    };
    if restricted && !json.as_ref().is_some_and(|json| query.viewer.is_party(kind, &pubkey, stored_tags(json))) {
        return Ok((place, None));
    }
    let body = if query.bodies { json.clone() } else { None };
    let body = Body::Json(body.unwrap_or_else(|| Arc::from("")));
    Ok((place, Some(Found { row: Row { id, pubkey, created_at, kind, body }, json })))
}

/// The time in a position. An event that was pushed down by others of its second can lie in the second before.
fn time_of(pos: i64, id: &Id) -> Timestamp {
    let second = u64::try_from(pos >> key::ID_BITS);
    match second {
        Ok(second) if (0..key::CROWD).contains(&(key::home(second, id) - pos)) => second,
        Ok(second) => second.saturating_add(1),
        Err(_) => 0,
    }
}

/// The JSON in a column of `body`.
pub(super) fn json_text(value: ValueRef<'_>) -> rusqlite::Result<Arc<str>> {
    match value {
        ValueRef::Text(text) => {
            std::str::from_utf8(text).map(Arc::from).map_err(|error| rusqlite::Error::Utf8Error(0, error))
        }
        _ => Err(rusqlite::Error::InvalidQuery),
    }
}

/// Appends the best matches of a search, by relevance, and of equal ones the newest.
fn find_words(
    db: &Connection,
    query: &Query,
    filter: &Filter,
    words: &str,
    limit: usize,
    candidates_max: usize,
    rows: &mut Vec<Row>,
) -> Result<(), StoreError> {
    let mut find =
        db.prepare_cached("SELECT rowid FROM search WHERE search MATCH ?1 ORDER BY rank, rowid DESC LIMIT ?2")?;
    let mut ranked = find.query(params![words, i64::try_from(candidates_max).unwrap_or(i64::MAX)])?;
    let before = rows.len();
    while let Some(hit) = ranked.next()? {
        let seq: i64 = hit.get(0)?;
        let Some(pos) = place(db, seq)? else { continue };
        let Some((_, Some(found))) = load(db, pos, query)? else { continue };
        if found.matches(filter) && rows.iter().all(|row| row.id != found.row.id) {
            rows.push(found.row);
        }
        if rows.len() - before >= limit {
            break;
        }
    }
    Ok(())
}

/// The position of the event that was saved as number `seq`.
fn place(db: &Connection, seq: i64) -> Result<Option<i64>, StoreError> {
    let json = db
        .prepare_cached("SELECT json FROM body WHERE seq = ?1")?
        .query_row([seq], |row| json_text(row.get_ref(0)?))
        .optional()?;
    match json.as_deref().and_then(|json| json.get(7..71)).and_then(Id::from_hex) {
        Some(id) => erase::find(db, &id),
        None => Ok(None),
    }
}
