//! What is kept: the steps of [`Writer::save`](crate::Writer::save), one after the other.

use std::cmp::Reverse;

use crate::clock::Timestamp;
use crate::config::Search;
use crate::event::{Address, Class, Event, Id, PublicKey};
use crate::guard::GIFT_WRAP;
use crate::vanish::{RelayUrls, VANISH};
use crate::verify::Verified;
use crate::{By, Saved, Seq};

/// Kind of a deletion request (NIP-09).
const DELETION: u16 = 5;

/// Everything there is.
#[derive(Debug)]
pub(super) struct State {
    /// Newest first, equal times by lowest id.
    pub(super) events: Vec<Stored>,
    /// Ids named by a deletion request, and by whom.
    deleted_ids: Vec<(Id, PublicKey)>,
    /// Addresses named by a deletion request of their author, and its time.
    deleted_addresses: Vec<(Address, Timestamp)>,
    /// Who asked to vanish, and up to when.
    vanished: Vec<(PublicKey, Timestamp)>,
    /// Gift wraps that went with them.
    vanished_wraps: Vec<Id>,
    /// Versions that left without a newer one.
    last_versions: Vec<(Address, Timestamp, Id)>,
    /// The last number given out.
    pub(super) last_seq: Seq,
    urls: RelayUrls,
    /// What is searched, and how much is ranked.
    pub(super) search: Search,
}

/// An event and its number.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) event: Verified,
    pub(super) seq: Seq,
}

/// Sorts events newest first, equal times by lowest id (NIP-01).
pub(super) fn order(created_at: Timestamp, id: Id) -> (Reverse<Timestamp>, Id) {
    (Reverse(created_at), id)
}

impl State {
    pub(super) fn new(urls: RelayUrls, search: Search) -> Self {
        Self {
            events: Vec::new(),
            deleted_ids: Vec::new(),
            deleted_addresses: Vec::new(),
            vanished: Vec::new(),
            vanished_wraps: Vec::new(),
            last_versions: Vec::new(),
            last_seq: 0,
            urls,
            search,
        }
    }

    pub(super) fn contains(&self, id: &Id) -> bool {
        self.events.iter().any(|stored| stored.event.id == *id)
    }

    pub(super) fn save(&mut self, event: &Verified, now: Timestamp, removed: &mut Vec<Verified>) -> Saved {
        if self.contains(&event.id) {
            return Saved::Duplicate;
        }
        if event.is_expired(now) {
            return Saved::Expired;
        }
        if let Some(by) = self.has_vanished(event) {
            return Saved::Vanished(by);
        }
        if let Some(by) = self.deleted_by(event) {
            return Saved::Deleted(by);
        }
        if let Some(address) = address_of(event) {
            let rank = order(event.created_at, event.id);
            let same = |stored: &Event| address_of(stored).as_ref() == Some(&address);
            if self
                .events
                .iter()
                .any(|other| same(&other.event) && order(other.event.created_at, other.event.id) < rank)
            {
                return Saved::Superseded;
            }
            if self.last_versions.iter().any(|(of, at, id)| *of == address && order(*at, *id) <= rank) {
                return Saved::Superseded;
            }
            self.remove(removed, |_, stored| same(stored));
        }
        self.last_seq += 1;
        self.events.push(Stored { event: event.clone(), seq: self.last_seq });
        self.events.sort_by_key(|stored| order(stored.event.created_at, stored.event.id));
        if event.kind == DELETION {
            self.remember_deletion(event);
            let before = removed.len();
            self.remove(removed, |state, stored| state.deleted_by(stored).is_some());
            removed.iter().skip(before).for_each(|event| self.remember_version(event));
        }
        if self.urls.must_vanish(event) {
            self.vanished.push((event.pubkey, event.created_at));
            let is_meant =
                |stored: &Event| owners(stored).contains(&event.pubkey) && stored.created_at <= event.created_at;
            let before = removed.len();
            self.remove(removed, |_, stored| stored.kind != VANISH && is_meant(stored));
            let wraps = removed.iter().skip(before).filter(|gone| gone.pubkey != event.pubkey).map(|gone| gone.id);
            self.vanished_wraps.extend(wraps);
        }
        Saved::New(self.last_seq)
    }

    /// Removes at most `max` events that have expired, and says which.
    pub(super) fn sweep_expired(&mut self, now: Timestamp, max: usize) -> Vec<Id> {
        let expired = self.events.iter().filter(|stored| stored.event.is_expired(now));
        let expired: Vec<Verified> = expired.map(|stored| stored.event.clone()).take(max).collect();
        let ids: Vec<Id> = expired.iter().map(|event| event.id).collect();
        self.events.retain(|stored| !ids.contains(&stored.event.id));
        expired.iter().for_each(|event| self.remember_version(event));
        ids
    }

    fn remove(&mut self, removed: &mut Vec<Verified>, goes: impl Fn(&Self, &Event) -> bool) {
        let leaving: Vec<Verified> =
            self.events.iter().map(|stored| &stored.event).filter(|event| goes(self, event)).cloned().collect();
        self.events.retain(|stored| !leaving.iter().any(|event| event.id == stored.event.id));
        removed.extend(leaving);
    }

    /// Whose request to vanish covers the event, or took it along (NIP-62). Such requests themselves are kept.
    fn has_vanished(&self, event: &Event) -> Option<By> {
        if event.kind == VANISH {
            return None;
        }
        if self.vanished.iter().any(|(who, until)| *who == event.pubkey && event.created_at <= *until) {
            return Some(By::Author);
        }
        self.vanished_wraps.contains(&event.id).then_some(By::Recipient)
    }

    /// Remembers that an event left, and no newer version of it came.
    fn remember_version(&mut self, event: &Event) {
        if let Some(address) = address_of(event) {
            self.last_versions.push((address, event.created_at, event.id));
        }
    }

    /// Whose deletion request covers the event (NIP-09). It has no effect on deletion and vanish requests.
    fn deleted_by(&self, event: &Event) -> Option<By> {
        if matches!(event.kind, DELETION | VANISH) {
            return None;
        }
        let owners = owners(event);
        let by_id = self.deleted_ids.iter().filter(|(id, by)| *id == event.id && owners.contains(by));
        let by_id = by_id.map(|(_, by)| By::of(by, event)).min();
        let address = address_of(event);
        let covers =
            |(deleted, until): &(Address, Timestamp)| Some(deleted) == address.as_ref() && event.created_at <= *until;
        by_id.or_else(|| self.deleted_addresses.iter().any(covers).then_some(By::Author))
    }

    fn remember_deletion(&mut self, request: &Event) {
        for id in request.tags.values("e").filter_map(Id::from_hex) {
            self.deleted_ids.push((id, request.pubkey));
        }
        for address in request.tags.values("a").filter_map(Address::parse) {
            if address.pubkey == request.pubkey {
                self.deleted_addresses.push((address, request.created_at));
            }
        }
    }
}

/// Who may have an event removed: its author, and for a gift wrap also those it is for (NIP-59).
fn owners(event: &Event) -> Vec<PublicKey> {
    let mut owners = vec![event.pubkey];
    if event.kind == GIFT_WRAP {
        owners.extend(event.tags.values("p").filter_map(PublicKey::from_hex));
    }
    owners
}

/// Where a replaceable or addressable event lives.
fn address_of(event: &Event) -> Option<Address> {
    let d = match event.class() {
        Class::Replaceable => "",
        Class::Addressable => event.d(),
        Class::Regular | Class::Ephemeral => return None,
    };
    Some(Address { kind: event.kind, pubkey: event.pubkey, d: d.to_owned() })
}
