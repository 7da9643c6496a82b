//! Which events are to be carried into rooms: asked by the writer for each event that is new.

use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashSet;
use parking_lot::Mutex;
use pico_bridge::{is_copy, kind};
use picofeed::Id as BlockId;
use tokio::sync::Notify;

use super::{carried_by, parts};
use crate::config::Config;
use crate::event::{Class, Event, Id};
use crate::filter::Filter;
use crate::pico::repo::RoomName;
use crate::store::carry::Interest;

/// A note, and a comment (NIP-22): what replies are.
const REPLIES: [u16; 2] = [1, 1111];

/// The events that are wanted, and those that came.
#[derive(Debug)]
pub struct Wanted {
    /// What goes into which room, and whether replies to its copies do.
    rooms: Vec<(RoomName, Vec<Filter>)>,
    replies: bool,
    private: Vec<u16>,
    /// Events that the bridge itself is about to save. What it made of a block need not become one again.
    own: Mutex<HashSet<Id>>,
    has_new: AtomicBool,
    arrived: Notify,
    has_lost: AtomicBool,
    lost: Notify,
}

impl Wanted {
    /// As configured. None if there are no rooms.
    pub fn new(config: &Config) -> Option<Self> {
        let rooms = config.pico.room.iter().filter_map(|room| {
            let filters = room.filters().unwrap_or_default();
            (!filters.is_empty()).then_some((room.name.parse().ok()?, filters))
        });
        config.pico.enabled.then(|| Self {
            rooms: rooms.collect(),
            replies: config.pico.room.iter().any(|room| room.replies),
            private: config.auth.restricted_kinds.clone(),
            own: Mutex::default(),
            has_new: AtomicBool::new(false),
            arrived: Notify::new(),
            has_lost: AtomicBool::new(false),
            lost: Notify::new(),
        })
    }

    /// The rooms that the configuration chose an event for.
    pub fn rooms_for(&self, event: &Event) -> Vec<RoomName> {
        let chosen = self.rooms.iter().filter(|(_, filters)| filters.iter().any(|filter| filter.matches(event)));
        let rooms: Vec<RoomName> = chosen.map(|(room, _)| room.clone()).collect();
        // Most events are chosen for no room, and this costs more.
        if rooms.is_empty() || self.may_become_a_block(event) { rooms } else { Vec::new() }
    }

    /// Whether an event may be a reply that goes into a room.
    pub fn may_be_a_reply(&self, event: &Event) -> bool {
        self.replies
            && REPLIES.contains(&event.kind)
            && event.tags.values("e").next().is_some()
            && self.may_become_a_block(event)
    }

    /// Blocks are public and for ever, so what is private, protected (NIP-70) or about to expire (NIP-40) does not become
    /// one; and what came from a room does not go into one.
    fn may_become_a_block(&self, event: &Event) -> bool {
        event.class() != Class::Ephemeral
            && !matches!(event.kind, kind::BLOCK | kind::HEAD)
            && self.private.binary_search(&event.kind).is_err()
            && event.tags.iter().all(|tag| tag.name() != "-")
            && event.expires_at().is_none()
            && !is_copy(&parts(event, ""))
    }

    /// The bridge is about to save these. To be told again, with `false`, when they are saved.
    pub fn saving(&self, ids: &[Id], begins: bool) {
        let mut own = self.own.lock();
        for id in ids {
            if begins {
                own.insert(*id);
            } else {
                own.remove(id);
            }
        }
    }

    /// Waits until blocks have lost an event.
    pub async fn lost_some(&self) {
        self.lost.notified().await;
    }

    /// Waits until there are some.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl Interest for Wanted {
    fn wants(&self, event: &Event) -> bool {
        let wants = match event.kind {
            kind::BLOCK => !self.own.lock().contains(&event.id),
            kind::HEAD => false,
            _ => self.may_be_a_reply(event) || !self.rooms_for(event).is_empty(),
        };
        if wants {
            self.has_new.store(true, Ordering::Release);
        }
        wants
    }

    fn lost(&self, event: &Event) -> Option<(RoomName, BlockId)> {
        let (place, _) = carried_by(event).filter(|_| event.kind == kind::BLOCK)?;
        self.has_lost.store(true, Ordering::Release);
        Some(place)
    }

    fn committed(&self) {
        if self.has_new.swap(false, Ordering::AcqRel) {
            self.arrived.notify_one();
        }
        if self.has_lost.swap(false, Ordering::AcqRel) {
            self.lost.notify_one();
        }
    }
}
