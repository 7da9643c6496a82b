//! What a backend must do, and what it is asked and says.

pub mod carry;
pub mod repo;
mod row;
mod searching;
pub mod state;
mod turn;

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use row::read_back;
pub use row::{Body, Row, StoredTags, TagSearch, stored_tags};
pub use searching::Searching;
pub(crate) use searching::{Match, Stage};
pub use turn::Slice;
pub(crate) use turn::Turn;

pub use crate::outcome::{By, Saved, Seq};

use self::carry::CarryReader;
use self::repo::{Change, Changed, RepoReader};
use self::state::StateReader;
use crate::bound::Held;
use crate::clock::Timestamp;
use crate::event::{Class, Id};
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::verify::Verified;

/// What a batch did.
#[derive(Default, Debug)]
pub struct Batch {
    /// One for each event, in order.
    pub saved: Vec<Saved>,
    /// What was removed by replacement, deletion or vanishing, so that caches can forget it.
    pub removed: Vec<Id>,
    /// One for each change of a room, in order.
    pub changed: Vec<Changed>,
}

/// A backend could not do what it must always be able to do. Nothing of the batch at hand was kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed: disk full, file damaged, no permission.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    /// A file operation failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The data folder is in use by another process.
    #[error("the data folder {0} is in use by another picorelay")]
    Locked(String),
    /// The data folder cannot be written.
    #[error("the data folder {folder} cannot be used: {error}")]
    Folder {
        /// Which.
        folder: String,
        /// Why.
        error: std::io::Error,
    },
    /// The database file is damaged.
    #[error(
        "the database {file} is damaged ({what}). Stop the relay and keep a copy of the file. Restore a backup; without one, \
         `picorelay export` writes out what it can read around the damage, and `picorelay import` takes that into a new data \
         folder"
    )]
    Corrupt {
        /// Which.
        file: String,
        /// What SQLite says.
        what: String,
    },
    /// What is stored is not what was written.
    #[error("the database is damaged: {0}")]
    Damaged(&'static str),
    /// The database was written by a newer version of this program.
    #[error("the database has schema version {found}, this program knows up to {known}")]
    Newer {
        /// In the file.
        found: i64,
        /// Here.
        known: i64,
    },
}

impl StoreError {
    /// Whether the database file is damaged.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode as Code;
        match self {
            Self::Corrupt { .. } | Self::Damaged(_) => true,
            // Bytes of an event that are no text, or cannot be unpacked.
            Self::Database(rusqlite::Error::Utf8Error(..) | rusqlite::Error::FromSqlConversionFailure(..)) => true,
            Self::Database(error) => {
                matches!(error.sqlite_error_code(), Some(Code::DatabaseCorrupt | Code::NotADatabase))
            }
            _ => false,
        }
    }

    /// Whether the reason may be one event or change of a batch, so that the others can be written without it. Not so where
    /// the disk is full or the file is in use.
    pub fn may_be_of_one(&self) -> bool {
        use rusqlite::ErrorCode as Code;
        match self {
            Self::Corrupt { .. } | Self::Damaged(_) => true,
            Self::Database(error) => !matches!(
                error.sqlite_error_code(),
                Some(
                    Code::DiskFull
                        | Code::SystemIoFailure
                        | Code::OutOfMemory
                        | Code::DatabaseBusy
                        | Code::DatabaseLocked
                        | Code::ReadOnly
                        | Code::CannotOpen
                        | Code::PermissionDenied
                        | Code::NotADatabase
                        | Code::OperationInterrupted
                )
            ),
            Self::Io(_) | Self::Locked(_) | Self::Folder { .. } | Self::Newer { .. } => false,
        }
    }
}

/// Makes the two halves. All halves of one backend see the same events.
pub trait Backend: Send + Sync + 'static {
    /// The writing half. Called once.
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError>;
    /// A reading half, for one thread.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// The only one who writes.
pub trait Writer: Send {
    /// Saves events and changes rooms, each in order, in one transaction, durable on return. What changes of rooms do
    /// is said at [`Change`].
    ///
    /// For each event, as if the others of the batch before it were already stored:
    /// 1. its id is stored: [`Saved::Duplicate`];
    /// 2. it has expired at `now`: `Expired`;
    /// 3. a stored or earlier vanish request (kind 62 that names this relay) of its author is as new or newer, or it is a
    ///    gift wrap (1059) that such a request removed: `Vanished`. Kind 62 itself is exempt. Other gift wraps to somebody
    ///    who vanished are welcome whatever their time, since they are dated back (NIP-59);
    /// 4. a kind 5 of its author (for a gift wrap: of one of its `p` tags) named its id, or named its address with a
    ///    `created_at` as new or newer: `Deleted`. Kind 5 and 62 themselves are exempt;
    /// 5. it is replaceable or addressable and a version with a higher `created_at`, or the same and a lower id, is
    ///    stored, or was, and left without a newer one because it expired or was deleted by id: `Superseded`. Else older
    ///    versions are removed;
    /// 6. it is stored: `New`. Then, if it is kind 5, what it names is removed and remembered (NIP-09); if it is kind 62
    ///    and `vanishes` says that it names this relay, everything of its author, and gift wraps to them, up to its
    ///    `created_at` goes, deletion requests included, but no kind 62 (NIP-62). If that is much, some of it is not removed
    ///    yet, but nobody sees it any more.
    ///
    /// Ephemeral kinds are never given to it. What is to be carried between rooms and events ([`carry`]) is remembered in
    /// the same transaction: new events that the backend's [`carry::Interest`] wants, and new blocks with an origin.
    fn commit(&mut self, events: &[Verified], changes: &[Change], now: Timestamp) -> Result<Batch, StoreError>;

    /// [`Writer::commit`] of events alone.
    fn save(&mut self, events: &[Verified], now: Timestamp) -> Result<Batch, StoreError> {
        self.commit(events, &[], now)
    }

    /// Removes at most `max` events that are still to go after a request to vanish, or have expired at `now`, and says which.
    fn sweep_expired(&mut self, now: Timestamp, max: usize) -> Result<Vec<Id>, StoreError>;

    /// True when events are still to go after a request to vanish.
    fn has_removals(&self) -> bool {
        false
    }

    /// Work that may wait for a quiet moment (search index, checkpoint), for about as long as a large commit takes.
    /// True when there is more.
    fn tend(&mut self) -> Result<bool, StoreError>;

    /// As much of it as a commit of so many events made necessary, if a lot waits. Called after each commit.
    fn keep_up(&mut self, _events: usize) -> Result<(), StoreError> {
        Ok(())
    }

    /// A little of that, since it cannot wait for ever while batches keep coming. Called between two commits.
    fn tend_under_load(&mut self) -> Result<(), StoreError>;

    /// The last number given out.
    fn last_seq(&self) -> Seq;
}

/// Reads a consistent state for each call.
pub trait Reader: RepoReader + StateReader + CarryReader + Send {
    /// Goes on with `scan` for one slice, and appends what it found to `rows`: newest first, equal times by lowest id,
    /// each event once even if several filters match.
    ///
    /// Filters with `search` come first, one after the other, and are about events of the kinds that are searched
    /// ([`Scan::search_only`]). Of the newest events that match (as many as `search.candidates_max`, or the limit if that is
    /// more) those with the highest [`Score`](crate::search::Score) are given up to the limit, the highest first, equal
    /// ones newest first. Without bodies events are given up to the limit in no order. What was saved before the question
    /// is found. How such a filter ended may be [`End::Unknown`].
    fn scan(&mut self, scan: &mut Scan, slice: Slice<'_>, rows: &mut Vec<Row>) -> Result<Step, StoreError>;

    /// True when an event with this id is stored.
    fn contains(&mut self, id: &Id) -> Result<bool, StoreError>;

    /// How many events are stored, roughly and cheaply.
    fn len_estimate(&mut self) -> Result<u64, StoreError>;
}

/// A question to the store.
#[derive(Clone, Debug)]
pub struct Query {
    /// What is asked for; an event must match one of them.
    pub filters: Arc<[Filter]>,
    /// Who asks: private events of others are left out.
    pub viewer: Viewer,
    /// Expired events are left out.
    pub now: Timestamp,
    /// Events saved later than this are left out, since the live side has them, unless they are of a kind that takes the
    /// place of others: what they replaced is not there any more. [`Row::seq`] tells which those are.
    pub seq_max: Seq,
    /// The limit of a filter that names none.
    pub limit_default: u64,
    /// The most for each filter.
    pub limit_max: u64,
    /// Events that a filter may give beyond its limit so that the oldest second of its answer is whole (NIP-67).
    pub oldest_second_max: u64,
    /// False when only ids and times are wanted: rows come with an empty body.
    pub bodies: bool,
}

impl Query {
    /// True when the event saved as number `seq` is left to the live side.
    #[inline]
    pub fn is_too_late(&self, seq: Seq, kind: u16) -> bool {
        seq > self.seq_max && Class::of(kind) == Class::Regular
    }

    /// A question of the operator: everything, without limits.
    pub fn everything(filters: Vec<Filter>, now: Timestamp) -> Self {
        Self {
            filters: filters.into(),
            viewer: Viewer::operator(),
            now,
            seq_max: Seq::MAX,
            limit_default: u64::MAX,
            limit_max: u64::MAX,
            oldest_second_max: 0,
            bodies: true,
        }
    }
}

/// A query that is being answered, a slice at a time.
#[derive(Debug)]
pub struct Scan {
    /// The question.
    pub query: Query,
    /// One for each filter.
    pub streams: Vec<Stream>,
    /// The last event looked at, after which the next slice goes on.
    pub after: Option<After>,
    /// What filters with `search` gave, ahead of the others, which do not give it again.
    pub searched: HashSet<Id>,
    /// How far the filters with `search` are.
    pub searching: Option<Box<Searching>>,
    /// Index entries and events looked at so far, whether they matched or not: what the answer has cost.
    pub examined: u64,
    /// What the backend keeps from one slice to the next, a few bytes for each value of a filter. Without it, it begins anew
    /// after the last event.
    pub kept: Option<Box<dyn Any + Send + Sync>>,
    /// What it has cost the readers so far.
    pub spent: Duration,
    /// What is counted for the filters for as long as the scan holds them.
    pub held: Option<Arc<Held>>,
}

/// A place in the order of answers: that of an event.
#[derive(Clone, Copy, Debug)]
pub struct After {
    /// `created_at` of the last event that was looked at.
    pub created_at: Timestamp,
    /// Its id.
    pub id: Id,
    /// Of the backend's own choice.
    pub key: i64,
}

impl After {
    /// True when this place comes later in an answer than `other`: older, or at the same second of higher id.
    #[inline]
    pub fn follows(&self, other: &Self) -> bool {
        (std::cmp::Reverse(self.created_at), self.id) > (std::cmp::Reverse(other.created_at), other.id)
    }
}

/// How far one filter is.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// How many events it may still give.
    pub left: u64,
    /// How many more of its oldest second.
    pub more_of_second: u64,
    /// When the last event that it gave was made.
    pub oldest: Option<Timestamp>,
    /// Whether it is done, and how (NIP-67).
    pub end: Option<End>,
}

/// How the answer to a filter ended (NIP-67).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Everything that matches was given.
    Finish,
    /// More matches than were given.
    More,
    /// The limit was reached, and nobody looked whether there is more.
    Unknown,
}

impl Stream {
    /// Gives an event that matches. `false`: it may not, and so has an end.
    #[inline]
    pub fn give(&mut self, created_at: Timestamp) -> bool {
        if self.left > 0 {
            self.left -= 1;
        } else if self.may_give_more(created_at) {
            self.more_of_second -= 1;
        } else {
            self.end = Some(End::More);
            return false;
        }
        self.oldest = Some(created_at);
        true
    }

    /// Whether it goes on beyond its limit with events of that time.
    #[inline]
    pub fn may_give_more(&self, created_at: Timestamp) -> bool {
        self.oldest == Some(created_at) && self.more_of_second > 0
    }
}

impl Scan {
    /// Starts to answer `query`.
    pub fn new(query: Query) -> Self {
        let streams = query
            .filters
            .iter()
            .map(|filter| Stream {
                left: filter.limit.unwrap_or(query.limit_default).min(query.limit_max),
                more_of_second: query.oldest_second_max,
                oldest: None,
                end: filter.is_never().then_some(End::Finish),
            })
            .collect();
        Self {
            query,
            streams,
            after: None,
            searched: HashSet::new(),
            searching: None,
            examined: 0,
            kept: None,
            spent: Duration::ZERO,
            held: None,
        }
    }

    /// Filters with `search` are about events of these kinds only. Done before anything is answered; doing it again makes
    /// no difference.
    pub fn search_only(&mut self, kinds: &[u16]) {
        if self.query.filters.iter().all(|filter| filter.search.is_none()) {
            return;
        }
        let mut filters = self.query.filters.to_vec();
        for (filter, stream) in filters.iter_mut().zip(&mut self.streams) {
            filter.search_only(kinds);
            if filter.is_never() {
                stream.end.get_or_insert(End::Finish);
            }
        }
        self.query.filters = filters.into();
    }

    /// How the whole answer ended: `finish` only if all filters did, `more` if any has more (NIP-67).
    #[inline]
    pub fn end(&self) -> End {
        let ends = || self.streams.iter().map(|stream| stream.end.unwrap_or(End::Unknown));
        if ends().any(|end| end == End::More) {
            End::More
        } else if ends().all(|end| end == End::Finish) {
            End::Finish
        } else {
            End::Unknown
        }
    }
}

/// Whether a scan goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The slice is used up.
    Again,
    /// All streams have an end.
    Done,
}
