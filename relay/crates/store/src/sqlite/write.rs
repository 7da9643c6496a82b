//! The writing half: one transaction a batch, and what there is to do between batches.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior, params};

use super::apart::Filing;
use super::body::Packer;
use super::change::Change;
use super::key::TagHash;
use super::log::{self, Log};
use super::tables::Tables;
use super::vanishing::Job;
use super::{Options, Shared, damage, erase, pico, search, versions};
use crate::clock::Timestamp;
use crate::event::Id;
use crate::verify::Verified;
use crate::{Batch, Seq, StoreError, Writer, repo};

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
