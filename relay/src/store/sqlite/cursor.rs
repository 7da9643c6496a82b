//! Walking an index newest first, a chunk at a time.

use rusqlite::{Connection, params};

/// Which index a cursor walks, and at which key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Along {
    /// All events.
    Time,
    Kind(u16),
    Author(i64),
    AuthorKind(i64, u16),
    Tag(i64),
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

/// One walk. Fetches small chunks first, since most walks of a merge end early.
pub(super) struct Cursor {
    along: Along,
    span: Span,
    chunk: i64,
    /// Fetched and not yet taken, lowest first.
    ready: Vec<i64>,
    dry: bool,
}

impl Cursor {
    pub(super) fn new(along: Along, span: Span, chunk: i64) -> Self {
        Self { along, span, chunk: chunk.clamp(1, CHUNK_MAX), ready: Vec::new(), dry: span.low >= span.high }
    }

    /// The newest position not yet taken. Counts what it fetched.
    pub(super) fn peek(&mut self, db: &Connection, examined: &mut usize) -> rusqlite::Result<Option<i64>> {
        if self.ready.is_empty() && !self.dry {
            self.fetch(db)?;
            *examined += 1 + self.ready.len() / 8;
        }
        Ok(self.ready.last().copied())
    }

    /// The same walk afresh, with another chunk.
    pub(super) fn probe(&self, chunk: i64) -> Self {
        Self::new(self.along, self.span, chunk)
    }

    pub(super) fn take(&mut self) {
        self.ready.pop();
    }

    /// Leaves out what is newer than `pos`, without fetching it.
    pub(super) fn skip_to(&mut self, pos: i64) {
        let keep = self.ready.partition_point(|ready| *ready <= pos);
        self.ready.truncate(keep);
        if self.ready.is_empty() && !self.dry {
            // What was fetched ahead was of no use.
            self.chunk = (self.chunk / 4).max(CHUNK_MIN);
            self.span.high = self.span.high.min(pos.saturating_add(1));
            self.dry = self.span.low >= self.span.high;
        }
    }

    /// True when what is fetched is all there is.
    pub(super) fn is_short(&mut self, db: &Connection, examined: &mut usize) -> rusqlite::Result<bool> {
        self.peek(db, examined)?;
        Ok(self.dry)
    }

    fn fetch(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let Span { low, high } = self.span;
        let limit = self.chunk;
        match self.along {
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
