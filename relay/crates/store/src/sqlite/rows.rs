//! Events at positions: in memory, else in the database.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::hot::{Hot, HotRow};
use super::vanishing::Request;
use super::{body, erase, key};
use crate::clock::Timestamp;
use crate::event::{Id, PublicKey};
use crate::filter::Filter;
use crate::guard::{GIFT_WRAP, Viewer};
use crate::{After, Body, Query, Row, StoreError, TagSearch, stored_tags};

/// Where rows are read: memory, else the snapshot.
#[derive(Clone)]
pub(super) struct Rows<'a> {
    pub(super) db: &'a Connection,
    pub(super) hot: &'a Hot,
    /// How often memory forgot something, as it was before the snapshot.
    pub(super) removals: u64,
    /// Requests to vanish whose events are still being removed.
    pub(super) vanishing: &'a [Request],
    /// How an id is looked up for those who ask, once that is known.
    by_id: OnceCell<String>,
}

/// A candidate, already known to be visible to the viewer.
pub(super) struct Found {
    pub(super) row: Row,
    /// The body, also when the answer wants none.
    body: Option<Body>,
}

/// Bytes of an event that take as long to read as it takes to look at an index entry, and what each event costs besides.
const READING_BYTES: usize = 128;
const READING: usize = 8;

impl Found {
    /// Bytes of what was read of it.
    pub(super) fn bytes(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.as_str().len())
    }

    /// How many index entries it counts for to read what it says.
    pub(super) fn reading(&self) -> usize {
        Self::reading_of(self.bytes())
    }

    /// The same for an event of so many bytes.
    pub(super) fn reading_of(bytes: usize) -> usize {
        READING + bytes / READING_BYTES
    }

    pub(super) fn matches(&self, filter: &Filter, tags: &TagSearch) -> bool {
        let row = &self.row;
        filter.matches_head(&row.id, &row.pubkey, row.created_at, row.kind)
            && (filter.tags.is_empty()
                || match &self.body {
                    Some(Body::Event(event)) => filter.matches_tags(|| event.tags.indexed()),
                    Some(Body::Json(json)) => tags.matches(filter, json),
                    None => false,
                })
            && filter.search.as_ref().is_none_or(|search| {
                self.body.as_ref().is_some_and(|body| search.matches_json(body.as_str(), row.kind))
            })
    }
}

impl<'a> Rows<'a> {
    /// Of memory, with `removals` as it was before, and of a snapshot that was opened after that.
    pub(super) fn new(db: &'a Connection, hot: &'a Hot, removals: u64, vanishing: &'a [Request]) -> Self {
        Self { db, hot, removals, vanishing, by_id: OnceCell::new() }
    }
}

impl Rows<'_> {
    /// The position of the event with this id. `keep`: it will be read, so what is found goes into memory; what `viewer` cannot
    /// see is not found then, and not read.
    pub(super) fn find(&self, id: &Id, keep: bool, viewer: &Viewer) -> Result<Option<i64>, StoreError> {
        if let Some(pos) = self.hot.find(id) {
            return Ok(Some(pos));
        }
        if !keep {
            return erase::find(self.db, id);
        }
        let by_id = self.by_id.get_or_init(|| {
            format!(
                "SELECT head, kind, expires_at, event.seq, json, event.pos
                 FROM event_id CROSS JOIN event ON event.pos = event_id.pos CROSS JOIN body ON body.seq = {}
                 WHERE event_id.id = ?1",
                seen(viewer)
            )
        });
        let mut same = self.db.prepare_cached(by_id)?;
        let mut rows = same.query([id.prefix()])?;
        while let Some(row) = rows.next()? {
            if row.get_ref(0)?.as_blob().is_ok_and(|head| head.starts_with(&id.0)) {
                let pos = row.get(5)?;
                self.hot.keep(pos, read(row, Body::Json(body::json(row.get_ref(4)?)?))?, self.removals);
                return Ok(Some(pos));
            }
        }
        Ok(None)
    }

    /// The event at `pos`: where it stands in the order, and itself unless the query may not see it.
    pub(super) fn load(&self, pos: i64, query: &Query) -> Result<Option<(After, Option<Found>)>, StoreError> {
        if let Some(row) = self.hot.row(pos) {
            return Ok(Some(self.visible(pos, row, query, true)));
        }
        let wants_body =
            query.bodies || query.filters.iter().any(|filter| !filter.tags.is_empty() || filter.search.is_some());
        if !wants_body {
            let mut head = self.db.prepare_cached("SELECT head, kind, expires_at, seq FROM event WHERE pos = ?1")?;
            let row = head.query_row([pos], |row| read(row, Body::Json(Arc::from("")))).optional()?;
            match row {
                Some(row) if query.viewer.sees_none_of(row.kind) => return Ok(Some((rank(pos, &row), None))),
                Some(row) if !query.viewer.is_restricted(row.kind) && !self.needs_body(row.kind) => {
                    return Ok(Some(self.visible(pos, row, query, false)));
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
        let mut whole = self.db.prepare_cached(
            "SELECT head, kind, expires_at, event.seq, json FROM event JOIN body ON body.seq = event.seq WHERE pos = ?1",
        )?;
        let mut is_seen = true;
        let row = whole.query_row([pos], |row| {
            is_seen = !query.viewer.sees_none_of(row.get(1)?);
            read(row, Body::Json(if is_seen { body::json(row.get_ref(4)?)? } else { Arc::from("") }))
        });
        let Some(row) = row.optional()? else { return Ok(None) };
        if !is_seen {
            return Ok(Some((rank(pos, &row), None)));
        }
        self.hot.keep(pos, row.clone(), self.removals);
        Ok(Some(self.visible(pos, row, query, true)))
    }

    /// True when only the tags say whether an event is to vanish.
    fn needs_body(&self, kind: u16) -> bool {
        kind == GIFT_WRAP && !self.vanishing.is_empty()
    }

    /// What of a row the query may see. `has_body`: false when the body was not read, and is not needed.
    fn visible(&self, pos: i64, row: HotRow, query: &Query, has_body: bool) -> (After, Option<Found>) {
        let place = rank(pos, &row);
        let HotRow { id, pubkey, kind, seq, expires_at, body } = row;
        let created_at = place.created_at;
        if self.vanishing.iter().any(|request| request.takes_row(seq, kind, &pubkey, created_at, &body)) {
            return (place, None);
        }
        let seq = seq.cast_unsigned();
        if query.is_too_late(seq, kind) || expires_at.is_some_and(|at| at.cast_unsigned() <= query.now) {
            return (place, None);
        }
        if query.viewer.is_restricted(kind) {
            let is_party = match &body {
                Body::Event(event) => query.viewer.is_party(kind, &pubkey, event.tags.indexed()),
                Body::Json(json) => query.viewer.is_party(kind, &pubkey, stored_tags(json)),
            };
            if !is_party {
                return (place, None);
            }
        }
        let given = if query.bodies { body.clone() } else { Body::Json(Arc::from("")) };
        let row = Row { seq, id, pubkey, created_at, kind, body: given };
        (place, Some(Found { row, body: has_body.then_some(body) }))
    }
}

/// Where the body of an event is, in SQL: nowhere if the viewer sees nothing of its kind.
fn seen(viewer: &Viewer) -> Cow<'static, str> {
    if !viewer.restricted.iter().any(|kind| viewer.sees_none_of(*kind)) {
        return Cow::Borrowed("event.seq");
    }
    let kinds: Vec<String> = viewer.restricted.iter().map(u16::to_string).collect();
    Cow::Owned(format!("CASE WHEN event.kind IN ({}) THEN NULL ELSE event.seq END", kinds.join(", ")))
}

/// Where a row stands in the order of answers.
fn rank(pos: i64, row: &HotRow) -> After {
    After { created_at: time_of(pos, &row.id), id: row.id, key: 0 }
}

fn read(row: &rusqlite::Row<'_>, body: Body) -> rusqlite::Result<HotRow> {
    let head = row.get_ref(0)?.as_blob().map_err(|_| rusqlite::Error::InvalidQuery)?;
    let (Some(id), Some(pubkey)) = (head.first_chunk::<32>(), head.last_chunk::<32>()) else {
        return Err(rusqlite::Error::InvalidQuery);
    };
    let (id, pubkey) = (Id(*id), PublicKey(*pubkey));
    Ok(HotRow { id, pubkey, kind: row.get(1)?, expires_at: row.get(2)?, seq: row.get(3)?, body })
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
