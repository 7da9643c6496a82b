//! Which rooms there are, and the tasks that belong to them.

use std::collections::HashSet;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::FutureExt;
use hashbrown::HashMap;
use parking_lot::Mutex;
use picofeed::Limits;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::carry::Carry;
use super::config;
use super::gossip::PeerNumber;
use super::mempool;
use super::outbox::Closing;
use super::repo::{Bounds, Full, Repo, RoomName};
use super::room::{Common, Room};
use super::rpc::NodeId;
use super::strangers::{NewRooms, OpenRooms, Places};
use super::verify::Checker;
use crate::address::limit_key;
use crate::engine::host::{EngineHandle, Engines};
use crate::fair::Pool;
use crate::metrics::PICO_ROOMS;
use crate::rounds::Rounds;
use crate::threads::needed;

/// Rooms that are open, by name.
type Open = Mutex<HashMap<RoomName, Arc<Room>>>;

impl OpenRooms for Open {
    fn in_use(&self) -> Vec<RoomName> {
        self.lock().iter().filter(|(_, room)| !room.hub().is_empty()).map(|(name, _)| name.clone()).collect()
    }

    fn was_removed(&self, room: &RoomName) {
        if let Some(room) = self.lock().get(room) {
            room.was_removed();
        }
    }
}

/// All rooms of the relay.
pub struct Rooms {
    /// The options.
    pub config: config::Pico,
    /// How long what waits for a peer may wait while it takes nothing.
    pub send: Duration,
    /// Told to stop.
    pub stop: CancellationToken,
    /// Told to end at once, when a stop takes too long.
    pub cut: CancellationToken,
    common: Common,
    engines: Engines,
    /// `main`, those in the configuration, and those with slices: they are always open.
    declared: Arc<HashSet<RoomName>>,
    open: Arc<Open>,
    /// Makes the node ids.
    seed: [u8; 32],
    peers: AtomicU64,
    tasks: TaskTracker,
    /// Turns of those to whom much is sent.
    pub rounds: Arc<Rounds>,
}

/// Why there is no such room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum NoRoom {
    /// `nostr` is for the rules of events.
    Reserved,
    /// The name is not one.
    Name,
    /// It is not declared, and `pico.open_rooms` is off.
    Unknown,
    /// `pico.rooms_max`.
    TooMany,
    /// `pico.address_rooms_max`.
    TooManyOfAddress,
    /// `pico.enabled`.
    Disabled,
}

impl NoRoom {
    /// For people: at most 123 bytes, which is what a Close frame holds.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Reserved => "the room `nostr` is reserved",
            Self::Name => "a room has a name of 1 to 64 of a-z, 0-9, '.', '_', '-', the first a letter or digit",
            Self::Unknown => "there is no such room on this relay",
            Self::TooMany => "the relay has no place for another room: all are in use",
            Self::TooManyOfAddress => "too many rooms are open from your address",
            Self::Disabled => "this relay does not serve pico nodes",
        }
    }

    /// The answer in HTTP.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Reserved => StatusCode::FORBIDDEN,
            Self::Name | Self::Unknown | Self::Disabled => StatusCode::NOT_FOUND,
            Self::TooMany => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyOfAddress => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

impl Rooms {
    /// On a running store. Rooms come to be when somebody connects to them. `send`: how long what waits for a peer
    /// may wait while it takes nothing. `ends`: told to stop, and to end at once.
    pub fn new(
        (config, send): (&config::Pico, Duration),
        (repo, checkers, new_rooms): (Repo, Pool, Arc<NewRooms>),
        (engines, carry): (Engines, Carry),
        ends: (CancellationToken, CancellationToken),
        rounds: Arc<Rounds>,
    ) -> Self {
        let (stop, cut) = ends;
        let declared = config.room.iter().filter_map(|room| room.name.parse().ok()).chain([RoomName::main()]);
        let declared = Arc::new(declared.chain(engines.iter().map(|(name, _)| name.clone())).collect());
        let open = Arc::<Open>::default();
        let weak: Weak<dyn OpenRooms> = Arc::<Open>::downgrade(&open);
        Self {
            common: common(config, (repo, checkers, new_rooms), carry, Places::new(Arc::clone(&declared), weak)),
            engines,
            declared,
            config: config.clone(),
            send,
            stop,
            cut,
            open,
            seed: rand::random(),
            peers: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            rounds,
        }
    }

    /// The name, if a room of that name may be asked for.
    ///
    /// # Errors
    ///
    /// The name is bad, or there is no such room and none may be opened.
    pub fn name(&self, name: &str) -> Result<RoomName, NoRoom> {
        if !self.config.enabled {
            return Err(NoRoom::Disabled);
        }
        if name == "nostr" {
            return Err(NoRoom::Reserved);
        }
        let name = name.parse().map_err(|_| NoRoom::Name)?;
        if self.config.open_rooms || self.declared.contains(&name) { Ok(name) } else { Err(NoRoom::Unknown) }
    }

    /// The room of this name, opened if it was not open, for the relay itself.
    ///
    /// # Errors
    ///
    /// [`NoRoom::TooMany`]. Those that are declared always have a place.
    pub fn open(&self, name: &RoomName) -> Result<Arc<Room>, NoRoom> {
        self.open_for(name, None)
    }

    /// The same for a peer at an address.
    ///
    /// # Errors
    ///
    /// [`NoRoom::TooMany`], [`NoRoom::TooManyOfAddress`].
    pub fn visit(&self, name: &RoomName, address: IpAddr) -> Result<Arc<Room>, NoRoom> {
        self.open_for(name, Some(limit_key(address)))
    }

    fn open_for(&self, name: &RoomName, opener: Option<IpAddr>) -> Result<Arc<Room>, NoRoom> {
        let mut open = self.open.lock();
        if let Some(room) = open.get(name) {
            return Ok(Arc::clone(room));
        }
        if !self.declared.contains(name) {
            self.make_place(&mut open, opener)?;
        }
        let mut common = self.common.clone();
        if self.declared.contains(name) {
            common.bounds = common.bounds.of_declared();
        }
        let (room, task) = Room::new(name.clone(), self.node_id(name), common, self.engines.of(name).cloned(), opener);
        self.tasks.spawn(needed(format!("room {name}"), task));
        open.insert(name.clone(), Arc::clone(&room));
        metrics::gauge!(PICO_ROOMS).set(open.len() as f64);
        Ok(room)
    }

    /// Sees to it that one more undeclared room may be open. When there are as many as there may be, the address that has
    /// opened most of them loses the one with the fewest peers, if it has more than whoever comes.
    fn make_place(&self, open: &mut HashMap<RoomName, Arc<Room>>, opener: Option<IpAddr>) -> Result<(), NoRoom> {
        let strangers =
            |open: &HashMap<RoomName, Arc<Room>>| open.keys().filter(|name| !self.declared.contains(*name)).count();
        let address_max = self.config.address_rooms_max;
        if address_max == 0 && strangers(open) < self.config.rooms_max {
            return Ok(());
        }
        let by_opener = |open: &HashMap<RoomName, Arc<Room>>| {
            let mut by_opener: HashMap<IpAddr, usize> = HashMap::new();
            let openers = open.iter().filter(|(name, _)| !self.declared.contains(*name));
            openers
                .filter_map(|(_, room)| room.opener())
                .for_each(|address| *by_opener.entry(address).or_default() += 1);
            by_opener
        };
        let own = |open: &HashMap<RoomName, Arc<Room>>| {
            opener.and_then(|opener| by_opener(open).get(&opener).copied()).unwrap_or(0)
        };
        // Whoever opened a room and left before the handshake was over did not close it.
        let tidy = |open: &mut HashMap<RoomName, Arc<Room>>| {
            open.retain(|name, room| self.declared.contains(name) || Arc::strong_count(room) > 1);
        };
        if address_max > 0 && own(open) >= address_max {
            tidy(open);
            if own(open) >= address_max {
                return Err(NoRoom::TooManyOfAddress);
            }
        }
        if strangers(open) < self.config.rooms_max {
            return Ok(());
        }
        tidy(open);
        if strangers(open) < self.config.rooms_max {
            return Ok(());
        }
        let most = by_opener(open).into_iter().max_by_key(|(_, rooms)| *rooms);
        let Some((greediest, _)) = most.filter(|(_, rooms)| *rooms > own(open) + 1) else {
            return Err(NoRoom::TooMany);
        };
        let theirs =
            open.iter().filter(|(name, room)| room.opener() == Some(greediest) && !self.declared.contains(*name));
        let Some(name) = theirs.min_by_key(|(_, room)| room.hub().len()).map(|(name, _)| name.clone()) else {
            return Err(NoRoom::TooMany);
        };
        if let Some(room) = open.remove(&name) {
            tracing::debug!(room = %name, "closed: its address has more rooms open than any other, and none is free");
            room.hub().close_all(Closing::GivesWay);
        }
        Ok(())
    }

    /// Opens the rooms that have slices: time passes in them even if nobody is there.
    pub fn open_engines(&self) {
        for (name, _) in self.engines.iter() {
            if let Err(error) = self.open(name) {
                tracing::warn!(room = %name, %error, "the room is not open");
            }
        }
    }

    /// The engines of all rooms that have slices.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// The engine of a room, if it has slices.
    pub fn engine(&self, name: &RoomName) -> Option<&EngineHandle> {
        self.engines.of(name)
    }

    /// How many peers a room has now.
    pub fn peers(&self, name: &RoomName) -> usize {
        self.open.lock().get(name).map_or(0, |room| room.hub().len())
    }

    /// Closes a room that nobody is in any more. What it holds stays stored.
    pub fn close_if_empty(&self, room: &Arc<Room>) {
        let mut open = self.open.lock();
        // One handle is in the list, one with the caller: whoever is about to join has a third.
        let is_open = open.get(room.name()).is_some_and(|open| Arc::ptr_eq(open, room));
        if is_open && room.hub().is_empty() && !self.declared.contains(room.name()) && Arc::strong_count(room) <= 2 {
            open.remove(room.name());
            metrics::gauge!(PICO_ROOMS).set(open.len() as f64);
        }
    }

    /// A number for a new peer.
    pub fn next_peer(&self) -> PeerNumber {
        self.peers.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs something that belongs to rooms until it ends; it should end soon after [`Rooms::stop`], and is dropped when that
    /// takes too long.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.cut.clone().run_until_cancelled_owned(task).map(drop));
    }

    /// The same for what the relay cannot do without: see `threads.rs`.
    pub fn spawn_needed(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(needed(name.to_owned(), task));
    }

    /// Ends the rooms' tasks when what was offered is merged. To be called when [`Rooms::stop`] is told.
    pub async fn finish(&self) {
        self.tasks.close();
        self.open.lock().clear();
        self.tasks.wait().await;
    }

    /// Who the relay is in a room: the same as long as it runs, in each room another.
    fn node_id(&self, room: &RoomName) -> NodeId {
        let digest = Sha256::new().chain_update(self.seed).chain_update(room.as_str()).finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

fn common(
    config: &config::Pico,
    (repo, checkers, new_rooms): (Repo, Pool, Arc<NewRooms>),
    carry: Carry,
    places: Places,
) -> Common {
    Common {
        repo,
        checker: Checker::new(checkers, limits(config)),
        bounds: bounds(config),
        mempool: mempool::Bounds {
            blocks_max: config.mempool_blocks_max,
            bytes_max: config.mempool_bytes_max,
            peer_blocks_max: config.mempool_peer_blocks_max,
        },
        feed_bytes_max: config.feed_bytes_max,
        peers_max: config.peers_max,
        recent_ids_max: config.recent_ids_max,
        carry,
        places,
        new_rooms,
    }
}

/// How large blocks and feeds may be.
pub fn limits(config: &config::Pico) -> Limits {
    Limits { feed_bytes_max: config.message_bytes_max, body_bytes_max: config.body_bytes_max, ..Limits::default() }
}

/// How much may be stored.
pub fn bounds(config: &config::Pico) -> Bounds {
    Bounds {
        blocks_max: config.room_blocks_max,
        bytes_max: config.room_bytes_max,
        chains_max: config.room_chains_max,
        rooms_max: config.rooms_max as u64,
        total_bytes_max: config.rooms_bytes_max,
        full: if config.discard { Full::Discard } else { Full::Refuse },
    }
}
