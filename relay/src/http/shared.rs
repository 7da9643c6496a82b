//! What the handlers of pages share.

use std::net::SocketAddr;
use std::sync::Arc;

use super::exporter::Metrics;
use super::state::Watchers;
use crate::bridge::keys::Signers;
use crate::door::Doorkeeper;
use crate::ingest::Saves;
use crate::pico::carry::Modes;
use crate::pico::repo::Repo;
use crate::pico::rooms::Rooms;
use crate::session::Relay;

/// What handlers share. Clones are the same.
#[derive(Clone)]
pub struct Shared {
    /// The relay as nostr clients find it.
    pub relay: Arc<Relay>,
    /// Lets connections in.
    pub doorkeeper: Arc<Doorkeeper>,
    /// Whether the database takes events.
    pub saves: Arc<Saves>,
    /// The address it listens on.
    pub listening: SocketAddr,
    /// The relay's own public key, hex.
    pub relay_key: String,
    /// Absent when another recorder was installed, or metrics are off.
    pub metrics: Option<Metrics>,
    /// Pages about pico rooms.
    pub pico: Pages,
}

/// What pages about pico rooms need beside that.
#[derive(Clone)]
pub struct Pages {
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// What they hold.
    pub repo: Repo,
    /// How they are bridged.
    pub modes: Arc<Modes>,
    /// The keys that sign for pico authors.
    pub signers: Arc<Signers>,
    /// Those who watch the states of slices.
    pub watchers: Arc<Watchers>,
}
