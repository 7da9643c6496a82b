//! The reading half: answers filters by merging index walks.

use std::sync::Arc;

use rusqlite::Connection;

use super::cursor::Span;
use super::hot::Hot;
use super::key::TagHash;
use super::rows::{Found, Rows};
use super::source::Source;
use super::{Options, erase, plan, search};
use crate::event::Id;
use crate::store::{End, Reader, Row, Scan, Slice, Step, StoreError, TagSearch};

/// Once a limit is reached, how many more candidates are looked at to learn whether there is more (NIP-67).
const LOOK_AHEAD: u8 = 16;

/// How many authors make it worth to look through the newest events in memory rather than through an index of each.
const MANY_AUTHORS: usize = 16;

/// Newest events that a filter looks through in memory before the indexes are asked.
const WALK_MAX: usize = 4_000;

/// Candidates that may fail to match, beside some for each that matches, before only those are looked at that every index
/// of the filter has.
const MISSES_MAX: u32 = if cfg!(test) { 2 } else { 64 };
const MISSES_PER_HIT: u32 = 8;

pub(super) struct SqliteReader {
    pub(super) db: Connection,
    hash: TagHash,
    hot: Arc<Hot>,
    search_candidates_max: usize,
    search_enabled: bool,
}

impl SqliteReader {
    pub(super) fn new(db: Connection, hash: TagHash, options: &Options, hot: Arc<Hot>) -> Self {
        Self {
            db,
            hash,
            hot,
            search_candidates_max: options.search.candidates_max,
            search_enabled: options.search.enabled,
        }
    }
}

impl Reader for SqliteReader {
    fn scan(&mut self, scan: &mut Scan, slice: Slice, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        // What memory knows is looked at before the snapshot is opened: see `hot`.
        let removals = self.hot.removals();
        let walks: Vec<_> = (0..scan.streams.len()).map(|number| self.walk(scan, number)).collect();
        let snapshot = self.db.unchecked_transaction()?;
        let rows_of = Rows { db: &snapshot, hot: &self.hot, removals };
        let before = rows.len();
        if scan.after.is_none() {
            for (number, filter) in scan.query.filters.iter().enumerate() {
                let Some(words) = filter.search.as_deref().and_then(search::query) else { continue };
                let Some(stream) = scan.streams.get_mut(number) else { continue };
                if stream.end.is_none() && stream.left > 0 && self.search_enabled {
                    let limit = usize::try_from(stream.left).unwrap_or(usize::MAX);
                    search::find(&rows_of, &scan.query, filter, &words, limit, self.search_candidates_max, rows)?;
                }
                stream.end = Some(End::Unknown);
            }
        }
        scan.searched.extend(rows.get(before..).unwrap_or_default().iter().map(|row| row.id));
        // Between the look at memory and the snapshot an event may have been replaced: memory had the old one, the snapshot
        // has the new one, and an answer from both would have neither. Then the snapshot alone answers.
        let start = walks.iter().any(Option::is_some).then(|| (scan.after, scan.streams.clone(), rows.len()));
        let mut step = Merge::open(rows_of, self.hash, scan, walks)?.run(scan, slice, rows)?;
        if step.is_none()
            && let Some((after, streams, len)) = start
        {
            (scan.after, scan.streams) = (after, streams);
            rows.truncate(len);
            let walks = vec![None; scan.streams.len()];
            step = Merge::open(rows_of, self.hash, scan, walks)?.run(scan, slice, rows)?;
        }
        snapshot.finish()?;
        Ok(step.unwrap_or(Step::Again))
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

impl SqliteReader {
    /// The newest positions for a stream, if looking through the newest events is likely the shortest way to them, and
    /// the position from which on the indexes must be asked.
    fn walk(&self, scan: &Scan, number: usize) -> Option<(Vec<i64>, i64)> {
        let (filter, stream) = (scan.query.filters.get(number)?, scan.streams.get(number)?);
        let many = filter.authors.as_ref().is_none_or(|authors| authors.len() >= MANY_AUTHORS);
        if stream.end.is_some() || stream.left == 0 || !many || filter.ids.is_some() || !filter.tags.is_empty() {
            return None;
        }
        let span = plan::span(filter, scan.after.as_ref());
        let wanted = usize::try_from(stream.left).unwrap_or(usize::MAX).saturating_add(1).min(WALK_MAX);
        Some(self.hot.walk(filter, span.low, span.high, wanted, WALK_MAX))
    }
}

/// A stream that is still going.
struct Open {
    number: usize,
    source: Source,
    tags: TagSearch,
    /// Candidates it may still look at after its limit.
    look_ahead: u8,
    /// Once the source is dry, the indexes are asked from here on.
    rest: Option<i64>,
    /// What memory knew, as it was before the snapshot.
    is_walk: bool,
    /// Candidates that did not match, less those that make up for it.
    misses: u32,
}

/// The streams of a scan that are still going, merged by position.
struct Merge<'a> {
    rows: Rows<'a>,
    db: &'a Connection,
    hash: TagHash,
    open: Vec<Open>,
    examined: usize,
}

impl<'a> Merge<'a> {
    fn open(
        rows: Rows<'a>,
        hash: TagHash,
        scan: &mut Scan,
        walks: Vec<Option<(Vec<i64>, i64)>>,
    ) -> Result<Self, StoreError> {
        let mut merge = Self { rows, db: rows.db, hash, open: Vec::with_capacity(scan.streams.len()), examined: 0 };
        let streams = scan.streams.iter_mut().zip(scan.query.filters.iter()).zip(walks);
        for (number, ((stream, filter), walk)) in streams.enumerate() {
            if stream.end.is_none() && stream.left == 0 && scan.after.is_none() {
                stream.end = Some(End::Unknown);
            }
            if stream.end.is_some() {
                continue;
            }
            let span = plan::span(filter, scan.after.as_ref());
            let is_walk = walk.is_some();
            let (source, rest) = match walk {
                Some((mut newest, down_to)) => {
                    newest.reverse();
                    (Source::List(newest), (down_to > span.low).then_some(down_to))
                }
                None => (
                    plan::source(&rows, hash, filter, span, stream.left, scan.query.bodies, &mut merge.examined)?,
                    None,
                ),
            };
            merge.open.push(Open {
                number,
                source,
                tags: TagSearch::of(filter),
                look_ahead: LOOK_AHEAD,
                rest,
                is_walk,
                misses: 0,
            });
        }
        Ok(merge)
    }

    /// `None`: memory named an event that the snapshot has no more.
    fn run(mut self, scan: &mut Scan, slice: Slice, rows: &mut Vec<Row>) -> Result<Option<Step>, StoreError> {
        let (mut given, mut bytes) = (0, 0);
        // However small the slice, each goes past one event at least.
        let mut moved = false;
        loop {
            let Some(pos) = self.newest(scan)? else { return Ok(Some(Step::Done)) };
            if !moved {
                // Opening long lists is not charged to the slice: it would never get further.
                self.examined = 0;
            } else if given >= slice.rows || bytes >= slice.bytes || self.examined >= slice.examined {
                return Ok(Some(Step::Again));
            }
            let Some((place, found)) = self.rows.load(pos, &scan.query)? else {
                if self.is_of_memory(pos)? {
                    return Ok(None);
                }
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

    /// Whether memory named this position.
    fn is_of_memory(&mut self, pos: i64) -> Result<bool, StoreError> {
        for Open { source, is_walk, .. } in &mut self.open {
            if *is_walk && source.peek(self.db, &mut self.examined)? == Some(pos) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes past an event that an earlier slice has looked at.
    fn skip(&mut self, pos: i64) -> Result<(), StoreError> {
        for Open { source, .. } in &mut self.open {
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
        for (at, open) in self.open.iter_mut().enumerate() {
            let mut pos = open.source.peek(self.db, &mut self.examined)?;
            if pos.is_none()
                && let Some(high) = open.rest.take()
                && let (Some(filter), Some(stream)) =
                    (scan.query.filters.get(open.number), scan.streams.get(open.number))
            {
                let span = plan::span(filter, scan.after.as_ref());
                let span = Span { high: span.high.min(high), ..span };
                (open.is_walk, open.misses) = (false, 0);
                open.source = plan::source(
                    &self.rows,
                    self.hash,
                    filter,
                    span,
                    stream.left,
                    scan.query.bodies,
                    &mut self.examined,
                )?;
                pos = open.source.peek(self.db, &mut self.examined)?;
            }
            match pos {
                Some(pos) => newest = newest.max(Some(pos)),
                None => dry.push(at),
            }
        }
        for at in dry.into_iter().rev() {
            let open = self.open.swap_remove(at);
            end(scan, open.number, End::Finish);
        }
        Ok(newest)
    }

    /// Shows the event at `pos` to every stream that is there, and moves them on. True when one of them gives it.
    fn offer(&mut self, pos: i64, found: Option<&Found>, scan: &mut Scan) -> Result<bool, StoreError> {
        self.examined += 1;
        let mut give = false;
        let mut at = 0;
        while let Some(Open { number, source, look_ahead, tags, misses, .. }) = self.open.get_mut(at) {
            let number = *number;
            at += 1;
            if source.peek(self.db, &mut self.examined)? != Some(pos) {
                continue;
            }
            source.pass(pos, self.db, &mut self.examined)?;
            let (Some(stream), Some(filter)) = (scan.streams.get_mut(number), scan.query.filters.get(number)) else {
                continue;
            };
            let matches = found.is_some_and(|found| found.matches(filter, tags));
            *misses = if matches { misses.saturating_sub(MISSES_PER_HIT) } else { misses.saturating_add(1) };
            if *misses == MISSES_MAX
                && let Source::Walks(_, covers) = &*source
            {
                let covers = *covers;
                let span = Span { high: pos, ..plan::span(filter, None) };
                source.meet(plan::others(self.hash, filter, span, covers));
            }
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
