//! The streams of a scan, one a filter, merged newest first.

use rusqlite::Connection;

use super::bound;
use super::cursor::Span;
use super::plan::{self, Kept, Opened, Plan, Wanted};
use super::rows::{Found, Rows};
use super::source::{Next, Source};
use crate::Turn;
use crate::clock::Timestamp;
use crate::rarely::rarely;
use crate::{End, Row, Scan, Step, StoreError, TagSearch};

/// Once a limit is reached, how many more candidates are looked at to learn whether there is more (NIP-67).
const LOOK_AHEAD: u8 = 16;

/// Candidates that may fail to match, beside some for each that matches, before only those are looked at that every index
/// of the filter has.
const MISSES_MAX: u32 = 64;
const MISSES_MAX_IN_TESTS: u32 = 2;
const MISSES_PER_HIT: u32 = 8;

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
    /// Whether its positions were looked up in an earlier slice.
    is_old: bool,
    /// Candidates that did not match, less those that make up for it.
    misses: u32,
}

/// The streams of a scan that are still going, merged by position.
pub(super) struct Merge<'a, 't, 's> {
    rows: Rows<'a>,
    db: &'a Connection,
    plan: Plan<'a>,
    open: Vec<Open>,
    /// Streams that are not open yet, and what is known of them.
    halfway: Vec<(usize, Kept)>,
    turn: &'t mut Turn<'s>,
}

/// How a slice ended, and how far each stream is.
pub(super) type Ended = (Step, Vec<Option<Kept>>);

impl<'a, 't, 's> Merge<'a, 't, 's> {
    pub(super) fn new(rows: Rows<'a>, plan: Plan<'a>, turn: &'t mut Turn<'s>) -> Self {
        Self { db: rows.db, rows, plan, open: Vec::new(), halfway: Vec::new(), turn }
    }

    /// The events of one slice. `None`: memory named an event that the snapshot has no more.
    pub(super) fn answer(
        mut self,
        scan: &mut Scan,
        walks: Vec<Option<(Vec<i64>, i64)>>,
        kept: Vec<Option<Kept>>,
        rows: &mut Vec<Row>,
    ) -> Result<Option<Ended>, StoreError> {
        let step = if self.open(scan, walks, kept)? { self.run(scan, rows)? } else { Some(Step::Again) };
        Ok(step.map(|step| match step {
            Step::Again => (step, self.keep(scan.streams.len())),
            Step::Done => (step, Vec::new()),
        }))
    }

    /// Opens the streams. False when the slice is over before all are open.
    fn open(
        &mut self,
        scan: &mut Scan,
        walks: Vec<Option<(Vec<i64>, i64)>>,
        kept: Vec<Option<Kept>>,
    ) -> Result<bool, StoreError> {
        self.open.reserve(scan.streams.len());
        let streams = scan.streams.iter_mut().zip(scan.query.filters.iter()).zip(walks);
        let kept = kept.into_iter().chain(std::iter::repeat(None));
        let mut are_all_open = true;
        for (number, (((stream, filter), walk), kept)) in streams.zip(kept).enumerate() {
            if stream.end.is_none() && stream.left == 0 && scan.after.is_none() {
                stream.end = Some(End::Unknown);
            }
            if stream.end.is_some() {
                continue;
            }
            let span = plan::span(filter, scan.after.as_ref());
            let (is_walk, is_old) = (walk.is_some(), kept.is_some());
            let (source, rest) = match (walk, kept) {
                (Some((mut newest, down_to)), _) => {
                    newest.reverse();
                    (Source::List(newest), (down_to > span.low).then_some(down_to))
                }
                // Others cannot be merged with it before it is open. What is known of it is not lost.
                (None, kept) if self.turn.is_over() => {
                    are_all_open = false;
                    self.halfway.extend(kept.map(|kept| (number, kept)));
                    continue;
                }
                (None, kept) => {
                    let wanted = Wanted { filter, span, left: stream.left, bodies: scan.query.bodies };
                    match plan::source(self.plan, &self.rows, &wanted, kept, self.turn)? {
                        Opened::Source(source) => (source, None),
                        Opened::Halfway(kept) => {
                            are_all_open = false;
                            self.halfway.push((number, kept));
                            continue;
                        }
                    }
                }
            };
            self.open.push(Open {
                number,
                source,
                tags: TagSearch::default(),
                look_ahead: LOOK_AHEAD,
                rest,
                is_walk,
                is_old,
                misses: 0,
            });
        }
        self.turn.is_open();
        Ok(are_all_open)
    }

    /// How far each stream is.
    fn keep(self, streams: usize) -> Vec<Option<Kept>> {
        let mut all = vec![None; streams];
        let open = self.open.into_iter().filter(|open| !open.is_walk).map(|Open { number, source, .. }| {
            let meets = matches!(source, Source::Meet(..));
            let kept = match source.bounds() {
                Some((covers, bounds)) => Kept::Walks { covers, bounds, meets },
                None => match source {
                    Source::List(list) => Kept::List(list),
                    Source::Walks(..) | Source::Meet(..) => return (number, None),
                },
            };
            (number, Some(kept))
        });
        let halfway = self.halfway.into_iter().map(|(number, kept)| (number, Some(kept)));
        for (number, kept) in open.chain(halfway) {
            if let Some(slot) = all.get_mut(number) {
                *slot = kept;
            }
        }
        all
    }

    /// `None`: memory named an event that the snapshot has no more.
    fn run(&mut self, scan: &mut Scan, rows: &mut Vec<Row>) -> Result<Option<Step>, StoreError> {
        loop {
            let pos = match self.newest(scan)? {
                Next::At(pos) => pos,
                Next::Dry => return Ok(Some(Step::Done)),
                Next::Later => return Ok(Some(Step::Again)),
            };
            if self.turn.is_over() {
                return Ok(Some(Step::Again));
            }
            let Some((place, found)) = self.rows.load(pos, &scan.query)? else {
                if self.is_at(pos, |open| open.is_walk)? {
                    return Ok(None);
                }
                if !self.is_at(pos, |open| open.is_old)? {
                    rarely!(error, pos, "an index names an event that is not there");
                }
                self.offer(pos, None, 0, scan)?;
                continue;
            };
            if scan.after.is_some_and(|after| !place.follows(&after)) {
                self.skip(pos)?;
                continue;
            }
            self.turn.pass();
            scan.after = Some(place);
            if self.offer(pos, found.as_ref(), place.created_at, scan)?
                && let Some(found) = found
                && !scan.searched.contains(&found.row.id)
            {
                self.turn.give(found.row.body.as_str().len());
                rows.push(found.row);
            }
        }
    }

    /// Whether such a stream named this position.
    fn is_at(&mut self, pos: i64, which: impl Fn(&Open) -> bool) -> Result<bool, StoreError> {
        for open in &mut self.open {
            if which(open) && open.source.peek(self.db, self.turn)? == Next::At(pos) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes past an event that an earlier slice has looked at.
    fn skip(&mut self, pos: i64) -> Result<(), StoreError> {
        for Open { source, .. } in &mut self.open {
            if source.peek(self.db, self.turn)? == Next::At(pos) {
                source.pass(pos);
            }
        }
        Ok(())
    }

    /// The newest position that a stream is at. Closes streams that have run dry.
    fn newest(&mut self, scan: &mut Scan) -> Result<Next, StoreError> {
        let mut newest = None;
        let mut dry = Vec::new();
        for (at, open) in self.open.iter_mut().enumerate() {
            let mut next = open.source.peek(self.db, self.turn)?;
            if next == Next::Dry
                && let Some(high) = open.rest.take()
                && let (Some(filter), Some(stream)) =
                    (scan.query.filters.get(open.number), scan.streams.get(open.number))
            {
                let span = plan::span(filter, scan.after.as_ref());
                let span = Span { high: span.high.min(high), ..span };
                let wanted = Wanted { filter, span, left: stream.left, bodies: scan.query.bodies };
                (open.is_walk, open.misses) = (false, 0);
                if let Opened::Source(source) = plan::source(self.plan, &self.rows, &wanted, None, self.turn)? {
                    open.source = source;
                }
                next = open.source.peek(self.db, self.turn)?;
            }
            match next {
                Next::At(pos) => newest = newest.max(Some(pos)),
                Next::Dry => dry.push(at),
                Next::Later => return Ok(Next::Later),
            }
        }
        for at in dry.into_iter().rev() {
            let open = self.open.swap_remove(at);
            end(scan, open.number, End::Finish);
        }
        Ok(newest.map_or(Next::Dry, Next::At))
    }

    /// Shows the event at `pos`, of that time, to every stream that is there, and moves them on. True when one of them gives
    /// it.
    fn offer(
        &mut self,
        pos: i64,
        found: Option<&Found>,
        created_at: Timestamp,
        scan: &mut Scan,
    ) -> Result<bool, StoreError> {
        self.turn.examine_body(found.map_or(0, Found::bytes));
        // The only one is where the position came from.
        let is_only = self.open.len() == 1;
        let mut give = false;
        let mut at = 0;
        while let Some(Open { number, source, look_ahead, tags, misses, .. }) = self.open.get_mut(at) {
            let number = *number;
            at += 1;
            if !is_only && source.peek(self.db, self.turn)? != Next::At(pos) {
                continue;
            }
            source.pass(pos);
            let (Some(stream), Some(filter)) = (scan.streams.get_mut(number), scan.query.filters.get(number)) else {
                continue;
            };
            let matches = found.is_some_and(|found| found.matches(filter, tags));
            if filter.search.is_some() {
                self.turn.examine(found.map_or(0, Found::reading));
            }
            *misses = if matches { misses.saturating_sub(MISSES_PER_HIT) } else { misses.saturating_add(1) };
            if *misses == bound(MISSES_MAX, MISSES_MAX_IN_TESTS)
                && let Source::Walks(..) = source
            {
                let span = Span { high: pos, ..plan::span(filter, None) };
                self.plan.meet(self.db, filter, span, source, self.turn)?;
            }
            let over = match (matches, stream.left) {
                (true, _) if stream.give(created_at) => {
                    give = true;
                    None
                }
                (true, _) => Some(End::More),
                (false, 0) if stream.may_give_more(created_at) => None,
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
