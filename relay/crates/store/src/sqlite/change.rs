//! What an event does to what is stored: older versions, deletion (NIP-09), vanishing (NIP-62).

use rusqlite::{OptionalExtension, Transaction, params};

use super::apart::Apart;
use super::body::Packer;
use super::erase::{self, Held};
use super::tables::Tables;
use super::vanishing::{Job, Request};
use super::{Options, key, pico, versions};
use crate::carry::Origin;
use crate::clock::Timestamp;
use crate::event::{Address, Class, Event, Id, PublicKey};
use crate::guard::GIFT_WRAP;
use crate::vanish::VANISH;
use crate::verify::Verified;
use crate::{By, Saved, StoreError};

/// Kind of a deletion request (NIP-09).
const DELETION: u16 = 5;

/// Events that a request to vanish takes along at once; more go later, in parts.
const VANISH_AT_ONCE: usize = 500;

/// One transaction.
pub(super) struct Change<'a> {
    pub(super) db: &'a Transaction<'a>,
    pub(super) tables: Tables<'a>,
    pub(super) apart: &'a Apart,
    pub(super) options: &'a Options,
    /// None where nothing is saved.
    pub(super) packer: Option<&'a mut Packer>,
    pub(super) last_seq: i64,
    pub(super) removed: Vec<Id>,
    /// Requests to vanish that are under way, those of this transaction included.
    pub(super) vanishing: Vec<Job>,
    pub(super) now: Timestamp,
}

impl Change<'_> {
    /// What becomes of an event: it is saved, or not, and what it replaces, deletes or makes vanish is removed.
    pub(super) fn apply(&mut self, event: &Verified, now: Timestamp) -> Result<Saved, StoreError> {
        if let Some(pos) = self.tables.find(&event.id)? {
            return Ok(self.is_vanishing(pos)?.map_or(Saved::Duplicate, Saved::Vanished));
        }
        if event.is_expired(now) {
            return Ok(Saved::Expired);
        }
        if event.kind != VANISH
            && let Some(by) = self.has_vanished(event)?
        {
            return Ok(Saved::Vanished(by));
        }
        if event.kind != VANISH
            && event.kind != DELETION
            && let Some(by) = self.is_deleted(event)?
        {
            return Ok(Saved::Deleted(by));
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

    /// Whose request to vanish keeps the event away.
    fn has_vanished(&self, event: &Event) -> Result<Option<By>, StoreError> {
        let until: Option<i64> = self
            .db
            .prepare_cached("SELECT until FROM vanished WHERE pubkey = ?1")?
            .query_row([event.pubkey.0], |row| row.get(0))
            .optional()?;
        if until.is_some_and(|until| event.created_at <= until.cast_unsigned()) {
            return Ok(Some(By::Author));
        }
        let mut wrap = self.db.prepare_cached("SELECT 1 FROM vanished_wrap WHERE id = ?1")?;
        Ok((event.kind == GIFT_WRAP && wrap.exists([event.id.0])?).then_some(By::Recipient))
    }

    /// Whose request to vanish the event at this position is to go after.
    fn is_vanishing(&self, pos: i64) -> Result<Option<By>, StoreError> {
        if self.vanishing.is_empty() {
            return Ok(None);
        }
        let Some(Held { seq, event, .. }) = erase::at(self.db, pos)? else { return Ok(None) };
        let taking = self.vanishing.iter().map(|job| &job.request).filter(|request| request.takes(seq, &event));
        Ok(taking.map(|request| By::of(&request.pubkey, &event)).min())
    }

    /// Whose deletion request keeps the event away.
    fn is_deleted(&self, event: &Event) -> Result<Option<By>, StoreError> {
        let mut found = None;
        let mut by_id = self.db.prepare_cached("SELECT deleter FROM deleted_id WHERE id = ?1")?;
        let mut rows = by_id.query([event.id.0])?;
        while let Some(row) = rows.next()? {
            let deleter = PublicKey(row.get(0)?);
            if Self::owners(event).any(|owner| owner == deleter) {
                let by = By::of(&deleter, event);
                found = Some(found.map_or(by, |other| by.min(other)));
            }
        }
        if found.is_some() {
            return Ok(found);
        }
        let d = match event.class() {
            Class::Replaceable => "",
            Class::Addressable => event.d(),
            Class::Regular | Class::Ephemeral => return Ok(None),
        };
        let until: Option<i64> = self
            .db
            .prepare_cached("SELECT until FROM deleted_address WHERE pubkey = ?1 AND kind = ?2 AND d = ?3")?
            .query_row(params![event.pubkey.0, event.kind, d], |row| row.get(0))
            .optional()?;
        Ok(until.is_some_and(|until| event.created_at <= until.cast_unsigned()).then_some(By::Author))
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
