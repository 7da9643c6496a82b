//! Pico rooms and nostr events: what is in one can be read in the other.
//!
//! What the events look like is said in `docs/nostr-pico.md`, and done by the crate `pico_bridge`, which knows no IO. Here
//! is what it needs: [`keys`] sign, [`gate`] refuses events that say something false, [`outbound`] makes events of the
//! blocks that rooms store (`heads`: of the last ones, where others do not), [`inbound`] takes events into rooms, as blocks ([`notes`]) if they are none. Both work off
//! lists that the store keeps in the same transaction as what they are about ([`crate::store::carry`]), so that a crash
//! loses nothing; and both look first whether a thing was done, so that nothing is done twice.
//!
//! Nothing goes round in circles: a block that came in an event is not put into another one, a copy never becomes a block,
//! a block that holds an event is never copied, and a room tells nobody of a block it has.

mod children;
pub mod gate;
mod heads;
pub mod inbound;
pub mod keys;
pub mod lookup;
pub mod notes;
pub mod outbound;
mod publish;
mod published;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use pico_bridge::Room;
use picofeed::Id as BlockId;
use tokio_util::sync::CancellationToken;

use self::keys::Signers;
use crate::config::Config;
use crate::event::Event;
use crate::ingest::Ingest;
use crate::pico::carry::Carry;
use crate::pico::repo::{Repo, RepoError, RoomName};
use crate::pico::rooms::Rooms;
use crate::store::{Readers, Stopped, StoreError};

pub use wanted::Wanted;

/// The pause after the database failed.
const PAUSE: Duration = Duration::from_secs(2);

/// What the bridge works with.
#[derive(Clone)]
pub struct Parts {
    /// The running configuration.
    pub config: Arc<Config>,
    /// Blocks of rooms.
    pub repo: Repo,
    /// Queries.
    pub readers: Readers,
    /// Events in.
    pub ingest: Ingest,
    /// The rooms, to which the work of the bridge belongs.
    pub rooms: Arc<Rooms>,
    /// What rooms tell the bridge.
    pub carry: Carry,
    /// Which events go into rooms.
    pub wanted: Option<Arc<Wanted>>,
    /// Sign for the relay, and for pico authors.
    pub signers: Arc<Signers>,
    /// Told to stop.
    pub stop: CancellationToken,
}

/// Starts both directions. They end when the rooms do.
pub fn start(parts: &Parts) {
    if !parts.config.pico.enabled {
        return;
    }
    parts.rooms.spawn_needed("bridge, outbound", outbound::Outbound::new(parts).run());
    parts.rooms.spawn_needed("bridge, inbound", inbound::Inbound::new(parts).run());
}

/// What of an event the rules read. `content` is that of the event, unescaped.
fn parts<'a>(event: &'a Event, content: &'a str) -> pico_bridge::Parts<'a> {
    pico_bridge::Parts { kind: event.kind, tags: event.tags.iter().map(|tag| tag.iter().collect()).collect(), content }
}

/// A block in a room.
type Place = (RoomName, BlockId);

/// Where the block of a 7420 event is, and the chain that it is said to be of.
fn carried_by(event: &Event) -> Option<(Place, BlockId)> {
    let named = |what: &str| event.tags.values("i").find_map(|value| value.strip_prefix("pico:")?.strip_prefix(what));
    Some(((named("room:")?.parse().ok()?, named("block:")?.parse().ok()?), named("chain:")?.parse().ok()?))
}

/// The same name in the words of the rules.
fn room_of(name: &RoomName) -> Option<Room> {
    name.as_str().parse().ok()
}

/// Why something could not be carried now.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The relay stops.
    #[error("the relay is shutting down")]
    Stopped,
    /// The database.
    #[error("{0}")]
    Store(String),
}

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        match error {
            RepoError::Stopped => Self::Stopped,
            error => Self::Store(error.to_string()),
        }
    }
}

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}
