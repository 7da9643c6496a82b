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

use std::time::Duration;

use pico_bridge::{Parts, Room};
use picofeed::Id as BlockId;

use crate::app::App;
use crate::event::Event;
use crate::pico::repo::{RepoError, RoomName};
use crate::store::{Stopped, StoreError};

pub use wanted::Wanted;

/// The pause after the database failed.
const PAUSE: Duration = Duration::from_secs(2);

/// Starts both directions. They end when the rooms do.
pub fn start(app: &App) {
    if !app.config.pico.enabled {
        return;
    }
    app.rooms.spawn_needed("bridge, outbound", outbound::Outbound::new(app).run());
    app.rooms.spawn_needed("bridge, inbound", inbound::Inbound::new(app).run());
}

/// What of an event the rules read. `content` is that of the event, unescaped.
fn parts<'a>(event: &'a Event, content: &'a str) -> Parts<'a> {
    Parts { kind: event.kind, tags: event.tags.iter().map(|tag| tag.iter().collect()).collect(), content }
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
