//! The reading half: the slices of a scan, and what of it is kept between two of them.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;

use super::key::TagHash;
use super::merge::Merge;
use super::plan::{self, Kept, Plan};
use super::rows::Rows;
use super::snapshot::Snapshot;
use super::vanishing::{Job, Request};
use super::{Options, Shared, damage, erase, searching};
use crate::Turn;
use crate::config::Search;
use crate::event::Id;
use crate::metrics::QUERY_EXAMINED;
use crate::{Reader, Row, Scan, Slice, Step, StoreError};

/// How many authors make it worth to look through the newest events in memory rather than through an index of each.
const MANY_AUTHORS: usize = 16;

/// Newest events that a filter looks through in memory before the indexes are asked.
const WALK_MAX: usize = 4_000;

pub(super) struct SqliteReader {
    pub(super) db: Connection,
    path: PathBuf,
    hash: TagHash,
    pub(super) shared: Arc<Shared>,
    /// Whether another process may write meanwhile, of which memory knows nothing.
    is_beside: bool,
    examined: metrics::Counter,
    pub(super) search: Search,
}

impl SqliteReader {
    pub(super) fn new(
        db: Connection,
        path: PathBuf,
        hash: TagHash,
        options: &Options,
        shared: Arc<Shared>,
        is_beside: bool,
    ) -> Self {
        let (examined, search) = (metrics::counter!(QUERY_EXAMINED), options.search.clone());
        Self { db, path, hash, shared, is_beside, examined, search }
    }
}

impl Reader for SqliteReader {
    fn scan(&mut self, scan: &mut Scan, slice: Slice<'_>, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        self.slice(scan, slice, rows).map_err(|error| damage::named(error, &self.path))
    }

    fn contains(&mut self, id: &Id) -> Result<bool, StoreError> {
        let vanishing = self.vanishing()?;
        let Some(pos) = erase::find(&self.db, id)? else { return Ok(false) };
        if vanishing.is_empty() {
            return Ok(true);
        }
        let held = erase::at(&self.db, pos)?;
        Ok(held.is_some_and(|held| !vanishing.iter().any(|request| request.takes(held.seq, &held.event))))
    }

    fn len_estimate(&mut self) -> Result<u64, StoreError> {
        // The kinds index is the smallest that has every event.
        let count: i64 = self.db.query_row("SELECT count(*) FROM event_kind", [], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }
}

/// What is kept of a scan between two slices.
struct KeptScan {
    /// See `Hot::moves`.
    moves: u64,
    streams: Vec<Option<Kept>>,
}

impl SqliteReader {
    fn slice(&self, scan: &mut Scan, slice: Slice<'_>, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        if scan.after.is_none() && scan.searching.is_none() {
            scan.search_only(&self.search.kinds);
        }
        let mut turn = Turn::new(slice);
        // The writer starts the log afresh when nobody reads.
        let _reading = self.shared.reading.read();
        let step = self.go_on(scan, &mut turn, rows);
        scan.examined += turn.examined() as u64;
        self.examined.increment(turn.examined() as u64);
        step
    }

    fn go_on(&self, scan: &mut Scan, turn: &mut Turn<'_>, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        let searches = scan.query.filters.iter().any(|filter| filter.search.is_some());
        if searches && searching::go_on(self, scan, turn, rows)? == Step::Again {
            return Ok(Step::Again);
        }
        if searches && scan.streams.iter().all(|stream| stream.end.is_some()) {
            return Ok(Step::Done);
        }
        if turn.is_over() {
            return Ok(Step::Again);
        }
        self.walks(scan, turn, rows)
    }

    /// One slice of the walks along indexes: of all filters that have not ended.
    pub(super) fn walks(&self, scan: &mut Scan, turn: &mut Turn<'_>, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        let hot = &self.shared.hot;
        let kept = scan.kept.take().and_then(|kept| (kept as Box<dyn Any>).downcast::<KeptScan>().ok());
        // What memory knows is looked at before the snapshot is opened: see `hot`.
        let (removals, moves) = (hot.removals(), hot.moves());
        let vanishing = self.vanishing()?;
        let is_begun =
            |number: usize| kept.as_ref().is_some_and(|kept| matches!(kept.streams.get(number), Some(Some(_))));
        let walks: Vec<_> = (0..scan.streams.len())
            .map(|number| if is_begun(number) { None } else { self.walk(scan, number) })
            .collect();
        let snapshot = Snapshot::open(&self.db)?;
        let kept = match kept {
            Some(kept) => {
                snapshot.prepare_cached("SELECT 1 FROM meta LIMIT 1")?.exists([])?;
                if kept.moves.is_multiple_of(2) && kept.moves == hot.moves() {
                    kept.streams
                } else {
                    // What was kept cannot be trusted. It must not take as long as that to get further.
                    turn.must_pass();
                    Vec::new()
                }
            }
            None => Vec::new(),
        };
        let rows_of = Rows::new(&snapshot, hot, removals, &vanishing);
        // Between the look at memory and the snapshot an event may have been replaced: memory had the old one, the snapshot
        // has the new one, and an answer from both would have neither. Then the snapshot alone answers.
        let start =
            walks.iter().any(Option::is_some).then(|| (scan.after, scan.streams.clone(), rows.len(), kept.clone()));
        let (viewer, filters) = (scan.query.viewer.clone(), scan.query.filters.len());
        let plan = Plan { hash: self.hash, apart: &self.shared.apart, viewer: &viewer, filters };
        let mut result = Merge::new(rows_of.clone(), plan, turn).answer(scan, walks, kept, rows)?;
        if result.is_none()
            && let Some((after, streams, len, kept)) = start
        {
            (scan.after, scan.streams) = (after, streams);
            rows.truncate(len);
            let walks = vec![None; scan.streams.len()];
            result = Merge::new(rows_of, plan, turn).answer(scan, walks, kept, rows)?;
        }
        let (step, streams) = result.unwrap_or((Step::Again, Vec::new()));
        if step == Step::Again {
            scan.kept = Some(Box::new(KeptScan { moves, streams }));
        }
        Ok(step)
    }

    /// The requests to vanish whose events are still being removed.
    pub(super) fn vanishing(&self) -> Result<Arc<[Request]>, StoreError> {
        if self.is_beside {
            return Ok(Job::read(&self.db)?.into_iter().map(|job| job.request).collect());
        }
        Ok(self.shared.vanishing.requests())
    }

    /// The newest positions for a stream, if looking through the newest events is likely the shortest way to them, and
    /// the position from which on the indexes must be asked.
    fn walk(&self, scan: &Scan, number: usize) -> Option<(Vec<i64>, i64)> {
        let (filter, stream) = (scan.query.filters.get(number)?, scan.streams.get(number)?);
        let many = filter.authors.as_ref().is_none_or(|authors| authors.len() >= MANY_AUTHORS);
        let plain = filter.ids.is_none() && filter.tags.is_empty() && filter.search.is_none();
        if stream.end.is_some() || stream.left == 0 || !many || !plain {
            return None;
        }
        let viewer = &scan.query.viewer;
        // Who sees no private events is not made to wait for them. Who sees some finds them by the indexes, when it would tell
        // how many there are of the authors.
        let hidden: &[u16] = match &filter.kinds {
            _ if viewer.sees_all => &[],
            Some(kinds) if kinds.iter().all(|kind| !viewer.is_restricted(*kind)) => &[],
            _ if viewer.keys.is_empty() => &viewer.restricted,
            _ if filter.authors.is_none() => &[],
            _ => return None,
        };
        let span = plan::span(filter, scan.after.as_ref());
        let wanted = usize::try_from(stream.left).unwrap_or(usize::MAX).saturating_add(1).min(WALK_MAX);
        Some(self.shared.hot.walk(filter, hidden, span, wanted, WALK_MAX))
    }
}
