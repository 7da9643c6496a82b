//! Walking an index newest first, a chunk at a time.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{bound, search};
use crate::Turn;

/// Which index a cursor walks, and at which key.
#[derive(Clone, Debug)]
pub(super) enum Along {
    /// All events.
    Time,
    Kind(u16),
    Author(i64),
    AuthorKind(i64, u16),
    Tag(i64),
    /// A term of the search index, as FTS5 is asked for it.
    Term(Arc<str>),
}

impl Along {
    /// Along this term.
    pub(super) fn term(term: &str) -> Self {
        Self::Term(search::quoted(term).into())
    }

    fn is_term(&self) -> bool {
        matches!(self, Self::Term(_))
    }
}

/// Positions between which a walk goes: `low..high`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) low: i64,
    pub(super) high: i64,
}

/// The most positions fetched at once.
const CHUNK_MAX: i64 = 512;

/// The fewest that are fetched after a leap.
const CHUNK_MIN: i64 = 4;

/// The same along a term. To find the place there takes as long as fetching many.
const TERM_CHUNK_MIN: i64 = 256;
const TERM_CHUNK_MIN_IN_TESTS: i64 = 2;

/// How many index entries it counts for to find a place along a term.
const TERM_FETCH: usize = 32;

/// One walk. Fetches small chunks first, since most walks of a merge end early, and none before it is needed.
pub(super) struct Cursor {
    along: Along,
    span: Span,
    chunk: i64,
    /// Fetched and not yet taken, lowest first.
    ready: Vec<i64>,
    dry: bool,
    /// Whether an earlier slice, or this one, has fetched from it: doing so again gets a scan no further.
    is_begun: bool,
}

/// Stands for a walk that an earlier slice found dry.
pub(super) const DRY: i64 = i64::MIN;
/// Stands for a walk that nobody has begun.
pub(super) const NOT_BEGUN: i64 = i64::MAX;

impl Cursor {
    pub(super) fn new(along: Along, span: Span, chunk: i64) -> Self {
        let dry = span.low >= span.high;
        Self { along, span, chunk: chunk.clamp(1, CHUNK_MAX), ready: Vec::new(), dry, is_begun: false }
    }

    /// One that an earlier slice found dry.
    pub(super) fn dry() -> Self {
        Self::new(Along::Time, Span { low: 0, high: 0 }, 1)
    }

    /// Goes on where an earlier slice was: see [`Cursor::bound`].
    pub(super) fn resume(&mut self, bound: i64) {
        self.is_begun = bound != NOT_BEGUN;
        self.span.high = self.span.high.min(bound);
        self.dry = self.span.low >= self.span.high;
    }

    /// What follows lies below this position, as far as is known without fetching more.
    pub(super) fn bound(&self) -> i64 {
        match self.ready.last() {
            Some(pos) => pos.saturating_add(1),
            None if self.dry => DRY,
            None if self.is_begun => self.span.high,
            None => NOT_BEGUN,
        }
    }

    /// The newest position not yet taken, if it is fetched.
    pub(super) fn ready(&self) -> Option<i64> {
        self.ready.last().copied()
    }

    /// Where to stand in an order by positions: the newest one, or one that is not below it. `None` when there is none.
    pub(super) fn rank(&self) -> Option<i64> {
        self.ready().or_else(|| (!self.dry).then(|| self.span.high.saturating_sub(1)))
    }

    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// The newest position not yet taken. Counts what it fetched.
    pub(super) fn peek(&mut self, db: &Connection, turn: &mut Turn<'_>) -> rusqlite::Result<Option<i64>> {
        if self.ready.is_empty() && !self.dry {
            self.fetch(db)?;
            let finding = if self.along.is_term() { TERM_FETCH } else { 1 };
            turn.examine(finding + self.ready.len() / 8);
            if !self.is_begun {
                self.is_begun = true;
                turn.advance();
            }
        }
        Ok(self.ready())
    }

    /// The same walk afresh, with another chunk.
    pub(super) fn probe(&self, chunk: i64) -> Self {
        Self::new(self.along.clone(), self.span, chunk)
    }

    /// Goes past `pos`.
    pub(super) fn pass(&mut self, pos: i64) {
        while self.ready.pop_if(|last| *last >= pos).is_some() {}
        if self.ready.is_empty() {
            self.span.high = self.span.high.min(pos);
            self.dry |= self.span.low >= self.span.high;
        }
    }

    /// Leaves out what is newer than `pos`, without fetching it.
    pub(super) fn skip_to(&mut self, pos: i64) {
        let keep = self.ready.partition_point(|ready| *ready <= pos);
        self.ready.truncate(keep);
        if self.ready.is_empty() && !self.dry {
            // What was fetched ahead was of no use.
            let least = bound(TERM_CHUNK_MIN, TERM_CHUNK_MIN_IN_TESTS);
            self.chunk = (self.chunk / 4).max(if self.along.is_term() { least } else { CHUNK_MIN });
            self.span.high = self.span.high.min(pos.saturating_add(1));
            self.dry = self.span.low >= self.span.high;
        }
    }

    /// True when what is fetched is all there is.
    pub(super) fn is_short(&mut self, db: &Connection, turn: &mut Turn<'_>) -> rusqlite::Result<bool> {
        self.peek(db, turn)?;
        Ok(self.dry)
    }

    /// How many positions a chunk has, and the newest and oldest of them. Counts what it fetched.
    pub(super) fn sample(
        &mut self,
        db: &Connection,
        turn: &mut Turn<'_>,
    ) -> rusqlite::Result<Option<(usize, i64, i64)>> {
        self.peek(db, turn)?;
        Ok(self.ready.last().zip(self.ready.first()).map(|(newest, oldest)| (self.ready.len(), *newest, *oldest)))
    }

    fn fetch(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let Span { low, high } = self.span;
        let limit = self.chunk;
        match self.along.clone() {
            Along::Time => self.run(
                db,
                "SELECT pos FROM event WHERE pos >= ?1 AND pos < ?2 ORDER BY pos DESC LIMIT ?3",
                params![low, high, limit],
            ),
            Along::Kind(kind) => self.run(
                db,
                "SELECT pos FROM event_kind WHERE kind = ?4 AND pos >= ?1 AND pos < ?2 ORDER BY pos DESC LIMIT ?3",
                params![low, high, limit, kind],
            ),
            Along::Author(author) => self.run(
                db,
                "SELECT pos FROM event_author WHERE author = ?4 AND pos >= ?1 AND pos < ?2 ORDER BY pos DESC LIMIT ?3",
                params![low, high, limit, author],
            ),
            Along::AuthorKind(author, kind) => self.run(
                db,
                "SELECT pos FROM event_author_kind WHERE author = ?4 AND kind = ?5 AND pos >= ?1 AND pos < ?2
                 ORDER BY pos DESC LIMIT ?3",
                params![low, high, limit, author, kind],
            ),
            Along::Tag(tag) => self.run(
                db,
                "SELECT pos FROM event_tag WHERE tag = ?4 AND pos >= ?1 AND pos < ?2 ORDER BY pos DESC LIMIT ?3",
                params![low, high, limit, tag],
            ),
            Along::Term(term) => self.run(
                db,
                "SELECT rowid FROM search WHERE search MATCH ?4 AND rowid >= ?1 AND rowid < ?2
                 ORDER BY rowid DESC LIMIT ?3",
                params![low, high, limit, term],
            ),
        }?;
        self.dry = i64::try_from(self.ready.len()).unwrap_or(i64::MAX) < limit;
        if let Some(&oldest) = self.ready.first() {
            self.span.high = oldest;
        }
        self.chunk = (self.chunk * 2).min(CHUNK_MAX);
        Ok(())
    }

    fn run(&mut self, db: &Connection, sql: &str, params: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<()> {
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            self.ready.push(row.get(0)?);
        }
        self.ready.reverse();
        Ok(())
    }
}
