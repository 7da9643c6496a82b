//! Answers filters with `search`, a slice at a time: first what the index may not have, then what it has, then the best of
//! that.

use rusqlite::{Connection, params};

use super::read::SqliteReader;
use super::rows::{Found, Rows};
use super::search::{id_of, kind_of};
use super::snapshot::Snapshot;
use super::{body, bound, erase};
use crate::Turn;
use crate::event::Event;
use crate::filter::Filter;
use crate::search::Text;
use crate::{End, Query, Row, Scan, Seq, Step, StoreError};
use crate::{Match, Searching, Stage};

/// Events that are looked through at a time in the part that is not indexed.
const UNINDEXED_STEP: i64 = 500;
const UNINDEXED_STEP_IN_TESTS: i64 = 2;

/// Events that are read at a time to be given.
const GIVEN_STEP: usize = 500;

/// Goes on with the filters that have `search` until it is the turn of others. Without bodies only with what the index may
/// not have: the rest is no different from other filters then.
pub(super) fn go_on(
    reader: &SqliteReader,
    scan: &mut Scan,
    turn: &mut Turn<'_>,
    rows: &mut Vec<Row>,
) -> Result<Step, StoreError> {
    let mut state = scan.searching.take().unwrap_or_default();
    let mut step = Step::Again;
    while step == Step::Again {
        step = Work { reader, scan, state: &mut state, turn }.go_on(rows)?;
        if turn.is_over() {
            break;
        }
    }
    scan.searching = Some(state);
    Ok(step)
}

/// A bit of the work.
struct Work<'w, 's> {
    reader: &'w SqliteReader,
    scan: &'w mut Scan,
    state: &'w mut Searching,
    turn: &'w mut Turn<'s>,
}

impl Work<'_, '_> {
    fn go_on(&mut self, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        let number = self.state.number;
        let (Some(filter), Some(stream)) = (self.scan.query.filters.get(number), self.scan.streams.get_mut(number))
        else {
            return Ok(Step::Done);
        };
        let is_new = matches!(self.state.stage, Stage::Begin);
        if is_new && filter.search.is_some() && (stream.left == 0 || !self.reader.search.enabled) {
            stream.end.get_or_insert(End::Unknown);
        }
        if stream.end.is_some() || filter.search.is_none() {
            self.next();
            return Ok(Step::Again);
        }
        match std::mem::take(&mut self.state.stage) {
            Stage::Begin => self.begin()?,
            Stage::Unindexed { after, last } => self.unindexed(after, last, rows)?,
            Stage::Indexed(inner) => self.indexed(inner)?,
            Stage::Give(end) => self.give(end, rows)?,
        }
        Ok(Step::Again)
    }

    /// The next filter's turn.
    fn next(&mut self) {
        self.turn.advance();
        self.state.number += 1;
        self.state.stage = Stage::Begin;
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        let snapshot = Snapshot::open(&self.reader.db)?;
        let [indexed, last] = ["search_seq", "last_seq"].map(|name| number(&snapshot, name));
        let (indexed, last) = (indexed?, last?);
        let after = indexed.max(last.saturating_sub(self.reader.search.unindexed_max as Seq));
        self.state.stage = Stage::Unindexed { after, last };
        Ok(())
    }

    /// Whether the best matches are looked for, or all the same in any order.
    fn ranks(&self) -> bool {
        self.scan.query.bodies
    }

    fn limits(&self) -> (usize, usize) {
        let left = self.scan.streams.get(self.state.number).map_or(0, |stream| stream.left);
        let limit = usize::try_from(left).unwrap_or(usize::MAX);
        (limit, limit.max(self.reader.search.candidates_max))
    }

    fn unindexed(&mut self, after: Seq, last: Seq, rows: &mut Vec<Row>) -> Result<(), StoreError> {
        let (removals, vanishing) = (self.reader.shared.hot.removals(), self.reader.vanishing()?);
        let snapshot = Snapshot::open(&self.reader.db)?;
        let source = Rows::new(&snapshot, &self.reader.shared.hot, removals, &vanishing);
        let Some(filter) = self.scan.query.filters.get(self.state.number).cloned() else { return Ok(()) };
        let step = bound(UNINDEXED_STEP, UNINDEXED_STEP_IN_TESTS);
        let mut bodies =
            snapshot.prepare_cached("SELECT seq, json FROM body WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3")?;
        let mut bodies = bodies.query(params![after.cast_signed(), last.cast_signed(), step])?;
        let (mut at, mut at_end) = (last, true);
        while let Some(body) = bodies.next()? {
            at_end = false;
            at = body.get::<_, i64>(0)?.cast_unsigned();
            let json = body::json(body.get_ref(1)?)?;
            self.turn.examine_body(json.len());
            if let Some((row, found)) = look(&source, &self.scan.query, &filter, &json, self.turn)? {
                self.found(row, found, rows);
            }
            self.turn.advance();
            if self.turn.is_over() {
                break;
            }
            at_end = at >= last;
        }
        drop(bodies);
        let dry = at_end || self.scan.streams.get(self.state.number).is_none_or(|stream| stream.left == 0);
        if !dry {
            self.state.stage = Stage::Unindexed { after: at, last };
        } else if self.ranks() {
            let (_, candidates) = self.limits();
            let candidates = u64::try_from(candidates).unwrap_or(u64::MAX);
            let (limit_default, limit_max) = (candidates, candidates);
            let filters = [Filter { limit: None, ..filter }].into();
            let mut inner = Scan::new(Query { filters, limit_default, limit_max, ..self.scan.query.clone() });
            inner.searched = self.state.matches.iter().map(|found| found.id).collect();
            self.state.stage = Stage::Indexed(Box::new(inner));
        } else {
            self.next();
        }
        Ok(())
    }

    fn found(&mut self, row: Row, found: Match, rows: &mut Vec<Row>) {
        if self.ranks() {
            self.state.matches.push(found);
        } else if let Some(stream) = self.scan.streams.get_mut(self.state.number).filter(|stream| stream.left > 0) {
            stream.left -= 1;
            if self.scan.searched.insert(row.id) {
                self.turn.give(row.body.as_str().len());
                rows.push(row);
            }
        }
    }

    fn indexed(&mut self, mut inner: Box<Scan>) -> Result<(), StoreError> {
        let mut found = Vec::new();
        let step = self.reader.walks(&mut inner, self.turn, &mut found)?;
        let search = self.scan.query.filters.get(self.state.number).and_then(|filter| filter.search.as_ref());
        self.state.matches.extend(found.iter().filter_map(|row| {
            let score = search?.score(&Text::of_event(row.body.as_str(), row.kind))?;
            Some(Match { score, created_at: row.created_at, id: row.id })
        }));
        if step == Step::Again {
            self.state.stage = Stage::Indexed(inner);
            return Ok(());
        }
        let (limit, candidates) = self.limits();
        let more = self.state.rank(candidates, limit);
        self.state.stage = Stage::Give(if more { End::More } else { inner.end() });
        Ok(())
    }

    fn give(&mut self, end: End, rows: &mut Vec<Row>) -> Result<(), StoreError> {
        let (removals, vanishing) = (self.reader.shared.hot.removals(), self.reader.vanishing()?);
        let snapshot = Snapshot::open(&self.reader.db)?;
        let source = Rows::new(&snapshot, &self.reader.shared.hot, removals, &vanishing);
        for _ in 0..GIVEN_STEP {
            if self.turn.is_over() {
                break;
            }
            let Some(best) = self.state.matches.pop() else {
                if let Some(stream) = self.scan.streams.get_mut(self.state.number) {
                    stream.end = Some(end);
                }
                self.next();
                return Ok(());
            };
            self.turn.examine(1);
            self.turn.pass();
            // It can be gone by now.
            let Some(pos) = source.find(&best.id, true, &self.scan.query.viewer)? else { continue };
            let Some((_, Some(found))) = source.load(pos, &self.scan.query)? else { continue };
            if let Some(stream) = self.scan.streams.get_mut(self.state.number) {
                stream.left = stream.left.saturating_sub(1);
            }
            if found.row.id == best.id && self.scan.searched.insert(best.id) {
                self.turn.give(found.row.body.as_str().len());
                rows.push(found.row);
            }
        }
        self.state.stage = Stage::Give(end);
        Ok(())
    }
}

/// The event with this JSON, if it matches and may be seen.
fn look(
    source: &Rows<'_>,
    query: &Query,
    filter: &Filter,
    json: &str,
    turn: &mut Turn<'_>,
) -> Result<Option<(Row, Match)>, StoreError> {
    let (Some(search), Some(kind)) = (&filter.search, kind_of(json)) else { return Ok(None) };
    if filter.kinds.as_ref().is_some_and(|kinds| kinds.binary_search(&kind).is_err()) {
        return Ok(None);
    }
    turn.examine(Found::reading_of(json.len()));
    let Ok(event) = Event::parse(json) else { return Ok(None) };
    if !filter.matches_all_but_search(&event) {
        return Ok(None);
    }
    let Some(score) = search.score(&Text::of_event(json, kind)) else { return Ok(None) };
    let Some(pos) = id_of(json).map(|id| erase::find(source.db, &id)).transpose()?.flatten() else { return Ok(None) };
    let Some((_, Some(found))) = source.load(pos, query)? else { return Ok(None) };
    let found = found.row;
    Ok((found.id == event.id).then(|| {
        let matched = Match { score, created_at: found.created_at, id: found.id };
        (found, matched)
    }))
}

fn number(db: &Connection, name: &str) -> Result<Seq, StoreError> {
    let mut value = db.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(value.query_row([name], |row| row.get::<_, i64>(0))?.cast_unsigned())
}

#[cfg(test)]
mod tests;
