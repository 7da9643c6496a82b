//! The writing half: what each event does to what is stored, in one transaction a batch.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::body::Packer;
use super::erase::{self, Held};
use super::hot::Hot;
use super::key::{self, TagHash};
use super::tables::Tables;
use super::{Options, pico, search};
use crate::clock::Timestamp;
use crate::event::{Address, Class, Event, Id, PublicKey};
use crate::guard::GIFT_WRAP;
use crate::store::carry::Origin;
use crate::store::{Batch, Saved, Seq, StoreError, Writer, repo};
use crate::vanish::VANISH;
use crate::verify::Verified;

/// Kind of a deletion request (NIP-09).
const DELETION: u16 = 5;

/// Events that one step of a vanish request looks up at a time.
const VANISH_STEP: i64 = 1_000;

pub(super) struct SqliteWriter {
    db: Connection,
    hash: TagHash,
    options: Options,
    last_seq: i64,
    search_seq: i64,
    totals: pico::Totals,
    hot: Arc<Hot>,
    /// Whether the write-ahead log has pages that are not in the database yet.
    wal_dirty: bool,
    log_pages_max: i64,
    packer: Packer,
}

impl SqliteWriter {
    pub(super) fn new(db: Connection, hash: TagHash, options: Options, hot: Arc<Hot>) -> Result<Self, StoreError> {
        let number = |name| db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get::<_, i64>(0));
        let (last_seq, search_seq) = (number("last_seq")?, number("search_seq")?);
        let totals = pico::Totals::read(&db)?;
        let packer = Packer::new(options.storage.compression)?;
        let log_bytes_max = i64::try_from(options.storage.log_mb_max << 20).unwrap_or(i64::MAX);
        let log_pages_max = log_bytes_max / super::PAGE_BYTES;
        Ok(Self { db, hash, options, last_seq, search_seq, totals, hot, wal_dirty: true, log_pages_max, packer })
    }

    /// Copies the log into the database. `truncate` gives the disk space of the log back.
    fn checkpoint(&mut self, truncate: bool) -> Result<(), StoreError> {
        let mode = if truncate { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
        self.db.query_row(mode, [], |_| Ok(()))?;
        Ok(())
    }

    /// Indexes some events for search. False when there were none.
    fn index_words(&mut self) -> Result<bool, StoreError> {
        let behind = self.options.search.enabled && self.search_seq < self.last_seq;
        if behind {
            self.search_seq = search::index_some(&mut self.db, &self.options.search, self.search_seq, self.last_seq)?;
            self.wal_dirty = true;
        }
        Ok(behind)
    }

    fn wal_frames(&self) -> Result<i64, StoreError> {
        // NOOP only counts: busy, frames in the log, frames already copied.
        let pending = self
            .db
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))?;
        Ok(pending)
    }
}

impl Writer for SqliteWriter {
    fn commit(&mut self, batch: &[Verified], changes: &[repo::Change], now: Timestamp) -> Result<Batch, StoreError> {
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tables = Tables::new(&step, self.hash, self.search_seq);
        let mut change = Change {
            db: &step,
            tables,
            options: &self.options,
            packer: &mut self.packer,
            last_seq: self.last_seq,
            removed: Vec::new(),
            now,
        };
        let mut saved = Vec::with_capacity(batch.len());
        for event in batch {
            saved.push(change.apply(event, now)?);
        }
        let Change { last_seq, removed, tables, .. } = change;
        let ops = tables.finish()?;
        if last_seq != self.last_seq {
            step.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'last_seq'")?.execute([last_seq])?;
        }
        let mut totals = self.totals;
        let changed =
            changes.iter().map(|change| pico::change(&step, &mut totals, change, now)).collect::<Result<_, _>>()?;
        step.commit()?;
        self.hot.apply(ops);
        (self.last_seq, self.totals) = (last_seq, totals);
        self.wal_dirty = true;
        Ok(Batch { saved, removed, changed })
    }

    fn sweep_expired(&mut self, now: Timestamp, max: usize) -> Result<Vec<Id>, StoreError> {
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
        let mut tables = Tables::new(&step, self.hash, self.search_seq);
        for pos in due {
            if let Some(held) = erase::at(&step, pos)?
                && held.event.is_expired(now)
            {
                erase::erase(&mut tables, &held)?;
                removed.push(held.event.id);
            }
        }
        let ops = tables.finish()?;
        step.commit()?;
        self.hot.apply(ops);
        self.wal_dirty |= !removed.is_empty();
        Ok(removed)
    }

    fn tend(&mut self) -> Result<bool, StoreError> {
        if self.index_words()? {
            return Ok(true);
        }
        if self.wal_dirty {
            self.checkpoint(true)?;
            self.wal_dirty = false;
        }
        Ok(false)
    }

    fn tend_under_load(&mut self) -> Result<(), StoreError> {
        self.index_words()?;
        if self.wal_frames()? > self.log_pages_max {
            // The file keeps its size: writing over it is cheaper than making it anew.
            self.checkpoint(false)?;
        }
        Ok(())
    }

    fn last_seq(&self) -> Seq {
        self.last_seq.cast_unsigned()
    }
}

/// One transaction.
struct Change<'a> {
    db: &'a Transaction<'a>,
    tables: Tables<'a>,
    options: &'a Options,
    packer: &'a mut Packer,
    last_seq: i64,
    removed: Vec<Id>,
    now: Timestamp,
}

impl Change<'_> {
    fn apply(&mut self, event: &Verified, now: Timestamp) -> Result<Saved, StoreError> {
        if self.tables.find(&event.id)?.is_some() {
            return Ok(Saved::Duplicate);
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
            self.vanish(event)?;
        }
        Ok(Saved::New(seq.cast_unsigned()))
    }

    /// The people whose wish to have it gone counts: the author, and for a gift wrap also who it is for (NIP-59).
    fn owners(event: &Event) -> impl Iterator<Item = PublicKey> {
        let recipients = (event.kind == GIFT_WRAP).then(|| event.tags.values("p").filter_map(PublicKey::from_hex));
        std::iter::once(event.pubkey).chain(recipients.into_iter().flatten())
    }

    fn has_vanished(&self, event: &Event) -> Result<bool, StoreError> {
        let mut until = self.db.prepare_cached("SELECT until FROM vanished WHERE pubkey = ?1")?;
        for owner in Self::owners(event) {
            let found: Option<i64> = until.query_row([owner.0], |row| row.get(0)).optional()?;
            if found.is_some_and(|until| event.created_at <= until.cast_unsigned()) {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// Removes older versions. False when a newer one is there.
    fn replace(&mut self, event: &Event) -> Result<bool, StoreError> {
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
        let body = self.packer.pack(event.json())?;
        self.db.prepare_cached("INSERT INTO body VALUES (?1, ?2)")?.execute(params![seq, body])?;
        let held = Held { pos: key::home(event.created_at, &event.id), seq, event: event.clone() };
        erase::place(&mut self.tables, held)?;
        if self.options.interest.as_ref().is_some_and(|interest| interest.wants(event)) {
            pico::remember_event(self.db, seq)?;
        }
        Ok(seq)
    }

    fn erase(&mut self, held: &Held) -> Result<(), StoreError> {
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
    fn vanish(&mut self, request: &Event) -> Result<(), StoreError> {
        self.tables.flush()?;
        let until = i64::try_from(request.created_at).unwrap_or(i64::MAX);
        self.db
            .prepare_cached(
                "INSERT INTO vanished VALUES (?1, ?2) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
            )?
            .execute(params![request.pubkey.0, until])?;
        self.erase_along(
            "SELECT pos FROM event_author WHERE author = ?1 AND pos > ?2 AND pos <= ?3 ORDER BY pos LIMIT ?4",
            request.pubkey.prefix(),
            request.created_at,
            |event| event.kind != VANISH && event.pubkey == request.pubkey,
        )?;
        self.erase_along(
            "SELECT pos FROM event_tag WHERE tag = ?1 AND pos > ?2 AND pos <= ?3 ORDER BY pos LIMIT ?4",
            self.tables.hash.of(b'p', &request.pubkey.to_hex()),
            request.created_at,
            |event| event.kind == GIFT_WRAP && Self::owners(event).any(|owner| owner == request.pubkey),
        )
    }

    /// Removes what `goes` says, along one index, up to and with `until`. Oldest first: what a removal moves has been seen.
    fn erase_along(
        &mut self,
        sql: &str,
        key: i64,
        until: Timestamp,
        goes: impl Fn(&Event) -> bool,
    ) -> Result<(), StoreError> {
        let mut after = i64::MIN;
        loop {
            let step: Vec<i64> = self
                .db
                .prepare_cached(sql)?
                .query_map(params![key, after, key::highest(until), VANISH_STEP], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let Some(last) = step.last() else { return Ok(()) };
            after = *last;
            for pos in step {
                if let Some(held) = erase::at(self.db, pos)?
                    && held.event.created_at <= until
                    && goes(&held.event)
                {
                    self.erase(&held)?;
                }
            }
        }
    }
}
