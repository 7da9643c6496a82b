//! Requests to vanish (NIP-62). Who has much here is forgotten in parts, so that nobody waits behind that for long; until it
//! is done, readers leave out what is to go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rusqlite::{Connection, params};

use super::change::Change;
use super::erase;
use super::key;
use crate::clock::Timestamp;
use crate::event::{Event, PublicKey};
use crate::guard::GIFT_WRAP;
use crate::vanish::VANISH;
use crate::{Body, StoreError, stored_tags};

/// What one person asked to have forgotten: their events, and gift wraps to them, made no later than this and here already.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Its number. Later events are not meant: gift wraps are dated back.
    pub(super) seq: i64,
    pub(super) pubkey: PublicKey,
    pub(super) until: Timestamp,
}

impl Request {
    /// True when the event that was saved as number `seq` is to go.
    pub(super) fn takes(&self, seq: i64, event: &Event) -> bool {
        self.takes_head(seq, event.kind, event.created_at)
            && (event.pubkey == self.pubkey || (event.kind == GIFT_WRAP && self.is_named(event.tags.indexed())))
    }

    /// The same for a row.
    pub(super) fn takes_row(&self, seq: i64, kind: u16, pubkey: &PublicKey, at: Timestamp, body: &Body) -> bool {
        self.takes_head(seq, kind, at)
            && (*pubkey == self.pubkey
                || (kind == GIFT_WRAP
                    && match body {
                        Body::Event(event) => self.is_named(event.tags.indexed()),
                        Body::Json(json) => self.is_named(stored_tags(json)),
                    }))
    }

    fn takes_head(&self, seq: i64, kind: u16, created_at: Timestamp) -> bool {
        seq < self.seq && created_at <= self.until && kind != VANISH
    }

    fn is_named<'t>(&self, mut tags: impl Iterator<Item = (u8, impl AsRef<str> + 't)>) -> bool {
        tags.any(|(letter, value)| letter == b'p' && PublicKey::from_hex(value.as_ref()) == Some(self.pubkey))
    }
}

/// The requests that are under way, as readers see them.
#[derive(Default)]
pub(super) struct Vanishing {
    any: AtomicBool,
    requests: RwLock<Arc<[Request]>>,
}

impl Vanishing {
    /// To be asked before the snapshot is opened.
    pub(super) fn requests(&self) -> Arc<[Request]> {
        if self.any.load(Ordering::Acquire) { Arc::clone(&self.requests.read()) } else { Arc::default() }
    }

    /// To be told after the commit that begins or ends one.
    pub(super) fn set(&self, jobs: &[Job]) {
        *self.requests.write() = jobs.iter().map(|job| job.request.clone()).collect();
        self.any.store(!jobs.is_empty(), Ordering::Release);
    }
}

/// A request that is under way, and how far.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    /// Which of the walks.
    walk: usize,
    after: i64,
}

/// Events that are looked up at once.
const LOOKED_UP: i64 = 500;

/// Events looked at for each that may be removed: those that a walk passes and that stay.
const LOOKS_PER_REMOVAL: usize = 5;

impl Job {
    pub(super) fn new(request: Request) -> Self {
        Self { request, walk: 0, after: i64::MIN }
    }

    /// The requests that were under way when the database was closed.
    pub(super) fn read(db: &Connection) -> Result<Vec<Self>, StoreError> {
        // A process that only reads may find the database as an older version left it.
        let is_there = "SELECT 1 FROM sqlite_schema WHERE name = 'vanishing'";
        if !db.prepare_cached(is_there)?.exists([])? {
            return Ok(Vec::new());
        }
        let mut all = db.prepare_cached("SELECT seq, pubkey, until FROM vanishing ORDER BY seq")?;
        let jobs = all.query_map([], |row| {
            let (seq, pubkey, until): (i64, [u8; 32], i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Self::new(Request { seq, pubkey: PublicKey(pubkey), until: until.cast_unsigned() }))
        })?;
        Ok(jobs.collect::<Result<_, _>>()?)
    }

    /// Removes at most `max` events. True when none is left.
    ///
    /// Oldest first: what a removal moves has been seen.
    pub(super) fn remove_some(&mut self, change: &mut Change<'_>, max: usize) -> Result<bool, StoreError> {
        let (mut removed, mut looks) = (0, 0);
        while let Some(walk) = self.walk(change) {
            // A removal may have moved an event that another walk has, too.
            change.tables.flush()?;
            let places = walk.places(change.db, self.after, key::highest(self.request.until))?;
            for pos in &places {
                if removed >= max || looks >= max.saturating_mul(LOOKS_PER_REMOVAL) {
                    return Ok(false);
                }
                looks += 1;
                self.after = *pos;
                let Some(held) = erase::at(change.db, *pos)? else { continue };
                if self.request.takes(held.seq, &held.event) {
                    change.erase(&held)?;
                    removed += 1;
                    if held.event.pubkey != self.request.pubkey {
                        change.forget_wrap(&held.event.id)?;
                    }
                }
            }
            if places.is_empty() {
                (self.walk, self.after) = (self.walk + 1, i64::MIN);
            }
        }
        Ok(true)
    }

    /// Begins anew: what was done was not kept.
    pub(super) fn restart(&mut self) {
        (self.walk, self.after) = (0, i64::MIN);
    }

    fn walk(&self, change: &Change<'_>) -> Option<Walk> {
        let (author, kinds) = (self.request.pubkey.prefix(), change.apart.kinds());
        let recipient = self.request.pubkey.to_hex();
        let Some(number) = self.walk.checked_sub(1) else { return Some(Walk::Author(author)) };
        if let Some(kind) = kinds.get(number) {
            return Some(Walk::AuthorKind(author, *kind));
        }
        match number - kinds.len() {
            0 => Some(Walk::Tag(change.tables.hash.of_kind(b'p', &recipient, GIFT_WRAP))),
            1 if change.apart.is_filing() => Some(Walk::Tag(change.tables.hash.of(b'p', &recipient))),
            _ => None,
        }
    }
}

/// An index that has events that are to go.
enum Walk {
    Author(i64),
    AuthorKind(i64, u16),
    Tag(i64),
}

impl Walk {
    fn places(&self, db: &Connection, after: i64, last: i64) -> rusqlite::Result<Vec<i64>> {
        let place = |row: &rusqlite::Row<'_>| row.get(0);
        match self {
            Self::Author(author) => db
                .prepare_cached(
                    "SELECT pos FROM event_author WHERE author = ?1 AND pos > ?2 AND pos <= ?3 ORDER BY pos LIMIT ?4",
                )?
                .query_map(params![author, after, last, LOOKED_UP], place)?
                .collect(),
            Self::AuthorKind(author, kind) => db
                .prepare_cached(
                    "SELECT pos FROM event_author_kind WHERE author = ?1 AND kind = ?5 AND pos > ?2 AND pos <= ?3
                     ORDER BY pos LIMIT ?4",
                )?
                .query_map(params![author, after, last, LOOKED_UP, kind], place)?
                .collect(),
            Self::Tag(tag) => db
                .prepare_cached(
                    "SELECT pos FROM event_tag WHERE tag = ?1 AND pos > ?2 AND pos <= ?3 ORDER BY pos LIMIT ?4",
                )?
                .query_map(params![tag, after, last, LOOKED_UP], place)?
                .collect(),
        }
    }
}
