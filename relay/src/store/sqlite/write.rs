//! The writing half: what each event does to what is stored, in one transaction a batch.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::apart::{Apart, Filing};
use super::body::Packer;
use super::erase::{self, Held};
use super::key::{self, TagHash};
use super::log::{self, Log};
use super::tables::Tables;
use super::vanishing::{Job, Request};
use super::{Options, Shared, damage, pico, search, versions};
use crate::clock::Timestamp;
use crate::event::{Address, Class, Event, Id, PublicKey};
use crate::guard::GIFT_WRAP;
use crate::store::carry::Origin;
use crate::store::{Batch, Saved, Seq, StoreError, Writer, repo};
use crate::vanish::VANISH;
use crate::verify::Verified;

/// Kind of a deletion request (NIP-09).
const DELETION: u16 = 5;

/// Events that a request to vanish takes along at once; more go later, in parts.
const VANISH_AT_ONCE: usize = 500;

/// Page cache of the connection that copies the log, which reads past it.
const COPIER_CACHE_MB: usize = 1;

/// Events that one step of indexing for search takes.
const INDEX_STEP: usize = 500;

/// The fewest that are worth a transaction.
const INDEX_STEP_MIN: usize = 50;

/// For each event that comes while too many wait to be indexed, so many are indexed.
const KEEP_UP: usize = 2;

pub(super) struct SqliteWriter {
    db: Connection,
    path: PathBuf,
    hash: TagHash,
    options: Options,
    last_seq: i64,
    search_seq: i64,
    /// The search index is being built anew.
    rebuilds: bool,
    totals: pico::Totals,
    shared: Arc<Shared>,
    log: Log,
    filing: Filing,
    /// Requests to vanish that are under way.
    vanishing: Vec<Job>,
    packer: Packer,
}

impl SqliteWriter {
    pub(super) fn new(
        mut db: Connection,
        path: PathBuf,
        hash: TagHash,
        options: Options,
        shared: Arc<Shared>,
    ) -> Result<Self, StoreError> {
        log::be_patient(&mut db)?;
        let rebuilds = options.search.enabled && search::prepare(&mut db, &options.search)?;
        let number = |name| db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get::<_, i64>(0));
        let (last_seq, search_seq) = (number("last_seq")?, number("search_seq")?);
        let totals = pico::Totals::read(&db)?;
        let packer = Packer::new(options.storage.compression)?;
        let copying = super::connect(&path, &options.storage, COPIER_CACHE_MB, false)?;
        let log = Log::new(&path, options.storage.log_mb_max, copying)?;
        let vanishing = Job::read(&db)?;
        shared.vanishing.set(&vanishing);
        let filing = Filing::default();
        let mut writer = Self {
            db,
            path,
            hash,
            options,
            last_seq,
            search_seq,
            rebuilds,
            totals,
            shared,
            log,
            filing,
            vanishing,
            packer,
        };
        writer.rebuilds &= writer.last_seq > 0;
        writer.rebuilds |= writer.options.search.enabled && writer.unindexed() > writer.options.search.unindexed_max;
        if writer.rebuilds && writer.unindexed() > 0 {
            let events = writer.unindexed();
            tracing::info!(events, "the search index is being built; until it is done, searches miss older events");
        }
        Ok(writer)
    }

    /// Indexes some events for search. False when there were none.
    fn index_words(&mut self, max: usize) -> Result<bool, StoreError> {
        let search = &self.options.search;
        let behind = search.enabled && self.search_seq < self.last_seq;
        if behind {
            let (done, last) = (self.search_seq, self.last_seq);
            let reached = log::hurried(&mut self.db, |db| search::index_some(db, search, done, last, max))?;
            self.search_seq = reached.unwrap_or(self.search_seq);
            self.log.is_written();
            if self.rebuilds && self.unindexed() <= self.options.search.unindexed_max {
                self.rebuilds = false;
                tracing::info!("the search index is built: searches find everything");
            }
        }
        Ok(behind)
    }

    /// Files some rows apart that were filed with others. False when there were none.
    fn file_apart(&mut self) -> Result<bool, StoreError> {
        if !self.shared.apart.is_filing() {
            return Ok(false);
        }
        let (shared, filing, hash) = (&self.shared, &mut self.filing, self.hash);
        let more = log::hurried(&mut self.db, |db| {
            let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let more = shared.apart.file_some(filing, &step, hash)?;
            shared.hot.is_moving();
            let committed = step.commit();
            shared.hot.has_moved();
            committed?;
            Ok(more)
        });
        if more.is_err() {
            *filing = Filing::default();
        }
        if more? == Some(false) {
            shared.apart.is_filed();
        }
        self.log.is_written();
        Ok(true)
    }

    /// Events that are not indexed for search, or a few more.
    fn unindexed(&self) -> usize {
        usize::try_from(self.last_seq - self.search_seq).unwrap_or(0)
    }

    fn commit_all(
        &mut self,
        batch: &[Verified],
        changes: &[repo::Change],
        now: Timestamp,
    ) -> Result<Batch, StoreError> {
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let kinds = &self.options.search.kinds;
        let tables = Tables::new(&step, self.hash, &self.shared.apart, self.search_seq, kinds);
        let mut change = Change {
            db: &step,
            tables,
            apart: &self.shared.apart,
            options: &self.options,
            packer: Some(&mut self.packer),
            last_seq: self.last_seq,
            removed: Vec::new(),
            vanishing: self.vanishing.clone(),
            now,
        };
        let mut saved = Vec::with_capacity(batch.len());
        for event in batch {
            saved.push(change.apply(event, now)?);
        }
        let Change { last_seq, removed, tables, vanishing, .. } = change;
        let ops = tables.finish(&self.shared.hot)?;
        if last_seq != self.last_seq {
            step.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'last_seq'")?.execute([last_seq])?;
        }
        let mut totals = self.totals;
        let changed =
            changes.iter().map(|change| pico::change(&step, &mut totals, change, now)).collect::<Result<_, _>>()?;
        step.commit()?;
        if vanishing.len() != self.vanishing.len() {
            self.shared.vanishing.set(&vanishing);
            self.vanishing = vanishing;
        }
        self.shared.hot.apply(ops);
        (self.last_seq, self.totals) = (last_seq, totals);
        self.log.is_written();
        Ok(Batch { saved, removed, changed })
    }

    /// Removes at most `max` events of who asked to vanish first.
    fn remove_vanishing(&mut self, now: Timestamp, max: usize) -> Result<Vec<Id>, StoreError> {
        let Some(job) = self.vanishing.first_mut() else { return Ok(Vec::new()) };
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut change = Change {
            db: &step,
            tables: Tables::new(&step, self.hash, &self.shared.apart, self.search_seq, &self.options.search.kinds),
            apart: &self.shared.apart,
            options: &self.options,
            packer: None,
            last_seq: self.last_seq,
            removed: Vec::new(),
            vanishing: Vec::new(),
            now,
        };
        let is_done = job.remove_some(&mut change, max)?;
        if is_done {
            step.execute("DELETE FROM vanishing WHERE seq = ?1", [job.request.seq])?;
        }
        let Change { removed, tables, .. } = change;
        let ops = tables.finish(&self.shared.hot)?;
        step.commit()?;
        self.shared.hot.apply(ops);
        if is_done {
            self.vanishing.remove(0);
            self.shared.vanishing.set(&self.vanishing);
        }
        self.log.is_written();
        Ok(removed)
    }

    /// Removes at most `max` events that have expired.
    fn remove_expired(&mut self, now: Timestamp, max: usize) -> Result<Vec<Id>, StoreError> {
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut due: Vec<i64> = step
            .prepare_cached("SELECT pos FROM event WHERE expires_at <= ?1 LIMIT ?2")?
            .query_map(
                params![i64::try_from(now).unwrap_or(i64::MAX), i64::try_from(max).unwrap_or(i64::MAX)],
                |row| row.get(0),
            )?
            .collect::<Result<_, _>>()?;
        // Oldest first: closing a gap moves only what lies below it, which has been seen.
        due.sort_unstable();
        let mut removed = Vec::with_capacity(due.len());
        let kinds = &self.options.search.kinds;
        let mut tables = Tables::new(&step, self.hash, &self.shared.apart, self.search_seq, kinds);
        for pos in due {
            if let Some(held) = erase::at(&step, pos)?
                && held.event.is_expired(now)
            {
                erase::erase(&mut tables, &held)?;
                versions::remember(&step, self.hash, &held.event)?;
                removed.push(held.event.id);
            }
        }
        let ops = tables.finish(&self.shared.hot)?;
        step.commit()?;
        self.shared.hot.apply(ops);
        if !removed.is_empty() {
            self.log.is_written();
        }
        Ok(removed)
    }

    fn sweep(&mut self, now: Timestamp, max: usize) -> Result<Vec<Id>, StoreError> {
        let mut removed = Vec::new();
        while !self.vanishing.is_empty() && removed.len() < max {
            let part = self.remove_vanishing(now, max - removed.len())?;
            let is_stuck = part.is_empty();
            removed.extend(part);
            if is_stuck {
                break;
            }
        }
        let left = max - removed.len();
        if left > 0 {
            removed.extend(self.remove_expired(now, left)?);
        }
        Ok(removed)
    }

    fn tend_some(&mut self) -> Result<bool, StoreError> {
        if self.index_words(INDEX_STEP)? || self.file_apart()? {
            return Ok(true);
        }
        self.log.tend(&mut self.db, &self.shared.reading)?;
        Ok(false)
    }

    /// After a transaction that may have moved rows: whether it was kept, it is over.
    fn settled<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.shared.hot.has_moved();
        result.map_err(|error| damage::named(error, &self.path))
    }
}

impl Writer for SqliteWriter {
    fn commit(&mut self, batch: &[Verified], changes: &[repo::Change], now: Timestamp) -> Result<Batch, StoreError> {
        let result = self.commit_all(batch, changes, now);
        self.settled(result)
    }

    fn sweep_expired(&mut self, now: Timestamp, max: usize) -> Result<Vec<Id>, StoreError> {
        // Another program that holds the write lock is not waited for: there will be another sweep.
        self.db.busy_timeout(log::BRIEFLY)?;
        let result = self.sweep(now, max);
        log::be_patient(&mut self.db)?;
        if result.is_err() {
            self.vanishing.iter_mut().for_each(Job::restart);
        }
        self.settled(log::unless_busy(result)).map(Option::unwrap_or_default)
    }

    fn has_removals(&self) -> bool {
        !self.vanishing.is_empty()
    }

    fn tend(&mut self) -> Result<bool, StoreError> {
        let result = self.tend_some();
        self.settled(result)
    }

    fn keep_up(&mut self, events: usize) -> Result<(), StoreError> {
        self.log.follow(&self.db)?;
        let mut left = events.saturating_mul(KEEP_UP).max(INDEX_STEP_MIN);
        while left > 0 && self.unindexed() > self.options.search.unindexed_max / 2 && self.options.search.enabled {
            let result = self.index_words(left.min(INDEX_STEP));
            self.settled(result)?;
            left = left.saturating_sub(INDEX_STEP);
        }
        Ok(())
    }

    fn tend_under_load(&mut self) -> Result<(), StoreError> {
        self.index_words(INDEX_STEP)?;
        self.file_apart()?;
        self.log.tend_under_load(&mut self.db, &self.shared.reading)
    }

    fn last_seq(&self) -> Seq {
        self.last_seq.cast_unsigned()
    }
}

/// One transaction.
pub(super) struct Change<'a> {
    pub(super) db: &'a Transaction<'a>,
    pub(super) tables: Tables<'a>,
    pub(super) apart: &'a Apart,
    options: &'a Options,
    /// None where nothing is saved.
    packer: Option<&'a mut Packer>,
    last_seq: i64,
    removed: Vec<Id>,
    /// Requests to vanish that are under way, those of this transaction included.
    vanishing: Vec<Job>,
    now: Timestamp,
}

impl Change<'_> {
    fn apply(&mut self, event: &Verified, now: Timestamp) -> Result<Saved, StoreError> {
        if let Some(pos) = self.tables.find(&event.id)? {
            return Ok(if self.is_vanishing(pos)? { Saved::Vanished } else { Saved::Duplicate });
        }
        if event.is_expired(now) {
            return Ok(Saved::Expired);
        }
        if event.kind != VANISH && self.has_vanished(event)? {
            return Ok(Saved::Vanished);
        }
        if event.kind != VANISH && event.kind != DELETION && self.is_deleted(event)? {
            return Ok(Saved::Deleted);
        }
        if matches!(event.class(), Class::Replaceable | Class::Addressable) && !self.replace(event)? {
            return Ok(Saved::Superseded);
        }
        let seq = self.insert(event)?;
        if event.kind == DELETION {
            self.delete_named(event)?;
        } else if self.options.urls.must_vanish(event) {
            self.vanish(event, seq)?;
        }
        Ok(Saved::New(seq.cast_unsigned()))
    }

    /// The people whose wish to have it gone counts: the author, and for a gift wrap also who it is for (NIP-59).
    fn owners(event: &Event) -> impl Iterator<Item = PublicKey> {
        let recipients = (event.kind == GIFT_WRAP).then(|| event.tags.values("p").filter_map(PublicKey::from_hex));
        std::iter::once(event.pubkey).chain(recipients.into_iter().flatten())
    }

    fn has_vanished(&self, event: &Event) -> Result<bool, StoreError> {
        let until: Option<i64> = self
            .db
            .prepare_cached("SELECT until FROM vanished WHERE pubkey = ?1")?
            .query_row([event.pubkey.0], |row| row.get(0))
            .optional()?;
        if until.is_some_and(|until| event.created_at <= until.cast_unsigned()) {
            return Ok(true);
        }
        let mut wrap = self.db.prepare_cached("SELECT 1 FROM vanished_wrap WHERE id = ?1")?;
        Ok(event.kind == GIFT_WRAP && wrap.exists([event.id.0])?)
    }

    /// True when the event at this position is to go after a request to vanish.
    fn is_vanishing(&self, pos: i64) -> Result<bool, StoreError> {
        if self.vanishing.is_empty() {
            return Ok(false);
        }
        let held = erase::at(self.db, pos)?;
        Ok(held.is_some_and(|held| self.vanishing.iter().any(|job| job.request.takes(held.seq, &held.event))))
    }

    fn is_deleted(&self, event: &Event) -> Result<bool, StoreError> {
        let mut by_id = self.db.prepare_cached("SELECT deleter FROM deleted_id WHERE id = ?1")?;
        let mut rows = by_id.query([event.id.0])?;
        while let Some(row) = rows.next()? {
            let deleter = PublicKey(row.get(0)?);
            if Self::owners(event).any(|owner| owner == deleter) {
                return Ok(true);
            }
        }
        let d = match event.class() {
            Class::Replaceable => "",
            Class::Addressable => event.d(),
            Class::Regular | Class::Ephemeral => return Ok(false),
        };
        let until: Option<i64> = self
            .db
            .prepare_cached("SELECT until FROM deleted_address WHERE pubkey = ?1 AND kind = ?2 AND d = ?3")?
            .query_row(params![event.pubkey.0, event.kind, d], |row| row.get(0))
            .optional()?;
        Ok(until.is_some_and(|until| event.created_at <= until.cast_unsigned()))
    }

    /// Removes older versions. False when a newer one is there, or was the last.
    fn replace(&mut self, event: &Event) -> Result<bool, StoreError> {
        if !versions::outlast(self.db, self.tables.hash, event)? {
            return Ok(false);
        }
        let d = if event.class() == Class::Addressable { event.d() } else { "" };
        for held in self.versions(&event.pubkey, event.kind, d)? {
            let newer = (held.event.created_at, std::cmp::Reverse(held.event.id));
            if newer > (event.created_at, std::cmp::Reverse(event.id)) {
                return Ok(false);
            }
            self.erase(&held)?;
        }
        Ok(true)
    }

    /// The stored version of an address: at most one, but for hash collisions, which are left out here.
    fn versions(&self, pubkey: &PublicKey, kind: u16, d: &str) -> Result<Vec<Held>, StoreError> {
        let addressable = Class::of(kind) == Class::Addressable;
        let places: Vec<i64> = if addressable {
            self.db
                .prepare_cached("SELECT pos FROM event_address WHERE author = ?1 AND kind = ?2 AND d = ?3")?
                .query_map(params![pubkey.prefix(), kind, self.tables.hash.of(b'd', d)], |row| row.get(0))?
                .collect::<Result<_, _>>()?
        } else {
            self.db
                .prepare_cached("SELECT pos FROM event_author_kind WHERE author = ?1 AND kind = ?2")?
                .query_map(params![pubkey.prefix(), kind], |row| row.get(0))?
                .collect::<Result<_, _>>()?
        };
        let mut versions = Vec::with_capacity(1);
        for pos in places {
            versions.extend(
                erase::at(self.db, pos)?
                    .filter(|held| held.event.pubkey == *pubkey && (!addressable || held.event.d() == d)),
            );
        }
        Ok(versions)
    }

    fn insert(&mut self, event: &Verified) -> Result<i64, StoreError> {
        self.last_seq += 1;
        let seq = self.last_seq;
        if let Some(packer) = &mut self.packer {
            let body = packer.pack(event.json())?;
            self.db.prepare_cached("INSERT INTO body VALUES (?1, ?2)")?.execute(params![seq, body])?;
        }
        let held = Held { pos: key::home(event.created_at, &event.id), seq, event: event.clone() };
        erase::place(&mut self.tables, held)?;
        if self.options.interest.as_ref().is_some_and(|interest| interest.wants(event)) {
            pico::remember_event(self.db, seq)?;
        }
        Ok(seq)
    }

    pub(super) fn erase(&mut self, held: &Held) -> Result<(), StoreError> {
        erase::erase(&mut self.tables, held)?;
        self.removed.push(held.event.id);
        if let Some((room, block)) = self.options.interest.as_ref().and_then(|interest| interest.lost(&held.event)) {
            pico::remember(self.db, &room, &block, Origin::Lost, self.now)?;
        }
        Ok(())
    }

    /// NIP-09: removes what a deletion request names, and remembers it for what arrives later.
    fn delete_named(&mut self, request: &Event) -> Result<(), StoreError> {
        for id in request.tags.values("e").filter_map(Id::from_hex) {
            self.db
                .prepare_cached("INSERT OR IGNORE INTO deleted_id VALUES (?1, ?2)")?
                .execute(params![id.0, request.pubkey.0])?;
            let Some(pos) = self.tables.find(&id)? else { continue };
            let Some(held) = erase::at(self.db, pos)? else { continue };
            let exempt = matches!(held.event.kind, DELETION | VANISH);
            if !exempt && Self::owners(&held.event).any(|owner| owner == request.pubkey) {
                self.erase(&held)?;
                versions::remember(self.db, self.tables.hash, &held.event)?;
            }
        }
        for address in request.tags.values("a").filter_map(Address::parse) {
            if address.pubkey != request.pubkey {
                continue;
            }
            let until = i64::try_from(request.created_at).unwrap_or(i64::MAX);
            self.db
                .prepare_cached(
                    "INSERT INTO deleted_address VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
                )?
                .execute(params![address.pubkey.0, address.kind, address.d, until])?;
            for held in self.versions(&address.pubkey, address.kind, &address.d)? {
                if held.event.created_at <= request.created_at {
                    self.erase(&held)?;
                }
            }
        }
        Ok(())
    }

    /// NIP-62: removes everything of the author of `request`, and gift wraps to them, up to its time.
    fn vanish(&mut self, request: &Event, seq: i64) -> Result<(), StoreError> {
        let until = i64::try_from(request.created_at).unwrap_or(i64::MAX);
        self.db
            .prepare_cached(
                "INSERT INTO vanished VALUES (?1, ?2) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
            )?
            .execute(params![request.pubkey.0, until])?;
        versions::forget(self.db, request)?;
        let mut job = Job::new(Request { seq, pubkey: request.pubkey, until: request.created_at });
        if !job.remove_some(self, VANISH_AT_ONCE)? {
            self.db.prepare_cached("INSERT INTO vanishing VALUES (?1, ?2, ?3)")?.execute(params![
                seq,
                request.pubkey.0,
                until
            ])?;
            self.vanishing.push(job);
        }
        Ok(())
    }

    /// Remembers a gift wrap to somebody who vanished, so that it stays away.
    pub(super) fn forget_wrap(&self, id: &Id) -> Result<(), StoreError> {
        self.db.prepare_cached("INSERT OR IGNORE INTO vanished_wrap VALUES (?1)")?.execute([id.0])?;
        Ok(())
    }
}
