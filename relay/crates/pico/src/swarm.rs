//! Rooms that are found by topic on hyperswarm.
//!
//! Whoever takes a connection there learns the other's key, and not which topic they have in common. So each room with a
//! topic has a swarm of its own: whoever comes to its key means that room.
//!
//! What the crate peeroxide 1.7 does not do is made up for here:
//!
//! - It never forgets whom it was connected to: who has gone cannot come back by the same key. So when somebody is gone, a
//!   new `swarm` takes the place of the old one, which keeps the connections it has.
//! - A node is dialled by way of several others, and each of these calls is taken for one of its own, of which all but the
//!   first fail. That is the caller's loss, and for a minute the caller cannot be dialled either. So a room has two swarms:
//!   one that is found, and one that finds.
//! - It looks for others every ten minutes only.
//! - It reads without limit: see `carrier.rs`.

mod carrier;
mod membership;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::membership::{End, Membership, Role};
use super::room::Room;
use super::rooms::Rooms;
use super::topic::topic;

/// The shortest time between two swarms of a room. Each is up to twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_secs(2);

/// The longest one; and a swarm that lasted this long was a good one: the next pause is the first again.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Who is on the other side.
type Key = [u8; 32];

/// A room on hyperswarm, whichever swarm it is in just now.
struct Meeting {
    rooms: Arc<Rooms>,
    room: Arc<Room>,
    topic: [u8; 32],
    /// `pico.hyperswarm_connections_max`, of all rooms.
    places: Arc<Semaphore>,
    present: Mutex<HashMap<Key, Presence>>,
    /// The keys of our swarms, which find each other.
    own: Mutex<HashSet<Key>>,
}

/// Somebody who is connected.
struct Presence {
    /// By which of our swarms.
    swarm: u64,
    connection: u64,
    /// Ends the connection.
    close: CancellationToken,
}

/// Starts to meet in the rooms of the configuration that have a topic, if `pico.hyperswarm` is on.
pub fn join_all(rooms: &Arc<Rooms>) {
    if !rooms.config.hyperswarm {
        return;
    }
    let places = Arc::new(Semaphore::new(rooms.config.hyperswarm_connections_max.min(Semaphore::MAX_PERMITS)));
    for declared in rooms.config.room.iter().filter(|room| !room.topic.is_empty()) {
        let Ok(room) = rooms.name(&declared.name).and_then(|name| rooms.open(&name)) else { continue };
        let meeting = Meeting {
            rooms: Arc::clone(rooms),
            room,
            topic: topic(&declared.topic),
            places: Arc::clone(&places),
            present: Mutex::default(),
            own: Mutex::default(),
        };
        let meeting = Arc::new(meeting);
        for role in [Role::Found, Role::Finds] {
            rooms.spawn(meet(Arc::clone(&meeting), role));
        }
    }
}

/// One swarm after the other, until the relay stops.
async fn meet(meeting: Arc<Meeting>, role: Role) {
    let stop = &meeting.rooms.stop;
    let mut older: Option<CancellationToken> = None;
    let mut pause = PAUSE_MIN;
    loop {
        let began = Instant::now();
        let joined = tokio::select! {
            joined = Box::pin(Membership::join(&meeting, role)) => joined,
            () = stop.cancelled() => return,
        };
        match joined {
            Ok(mut membership) => {
                tracing::debug!(room = %meeting.room.name(), ?role, "on hyperswarm");
                let end = membership.serve(pause).await;
                let close = membership.close.clone();
                meeting.rooms.spawn(async move { Box::pin(membership.leave()).await });
                if end == End::Stopped {
                    return;
                }
                // Two at a time: who is still with the one before the last finds us again in the newest.
                if let Some(older) = older.replace(close) {
                    older.cancel();
                }
            }
            Err(error) => {
                tracing::warn!(%error, room = %meeting.room.name(), "cannot join hyperswarm");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
        let is_good = began.elapsed() >= PAUSE_MAX;
        pause = if is_good { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
    }
}

impl Meeting {
    /// A seat for somebody who came by one of our swarms.
    ///
    /// Within one swarm the newer of two connections counts, as the swarm has decided so. If they are with another of our
    /// swarms, the older counts: a node that meets us twice closes the newer one.
    fn sit(self: &Arc<Self>, key: Key, swarm: u64) -> Option<Seat> {
        let connection = self.rooms.next_peer();
        let close = CancellationToken::new();
        let mut present = self.present.lock();
        if let Some(other) = present.get(&key) {
            if other.swarm != swarm {
                return None;
            }
            other.close.cancel();
        }
        present.insert(key, Presence { swarm, connection, close: close.clone() });
        Some(Seat { meeting: Arc::clone(self), key, connection, close })
    }
}

/// The place of a connection; given back when dropped.
struct Seat {
    meeting: Arc<Meeting>,
    key: Key,
    connection: u64,
    /// The connection is to end.
    close: CancellationToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut present = self.meeting.present.lock();
        if present.get(&self.key).is_some_and(|presence| presence.connection == self.connection) {
            present.remove(&self.key);
        }
    }
}
