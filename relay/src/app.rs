//! The handles that everything shares.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::account::Accounts;
use crate::bridge::Wanted;
use crate::bridge::keys::Signers;
use crate::clientlog::ClientLog;
use crate::config::Config;
use crate::door::{Admission, Door, Full};
use crate::fair::Pool;
use crate::guard::Viewer;
use crate::holdings::Bounds;
use crate::http::state::Watchers;
use crate::ingest::{Ingest, Saves};
use crate::metrics::{CONNECTIONS, CONNECTIONS_TOTAL};
use crate::outbox::Outboxes;
use crate::pico::carry::{Carry, Modes};
use crate::pico::repo::Repo;
use crate::pico::rooms::Rooms;
use crate::policy::slices::EventSlices;
use crate::rounds::Rounds;
use crate::store::Readers;
use crate::subscription::Subscriptions;
use crate::unfinished::Budget;
use crate::vanish::RelayUrls;
use crate::websocket::Parked;

mod core;

pub use self::core::{Core, Pools, Threads, loader, rules};

/// The relay as its connections see it.
pub struct App {
    /// The running configuration.
    pub config: Config,
    /// Where clients connect.
    pub public_url: String,
    /// The address it listens on.
    pub listening: SocketAddr,
    /// All URLs that mean this relay.
    pub urls: RelayUrls,
    /// The relay's own public key, hex.
    pub relay_key: String,
    /// Sign for the relay, and for pico authors.
    pub signers: Arc<Signers>,
    /// Queries.
    pub readers: Readers,
    /// Events in.
    pub ingest: Ingest,
    /// Blocks of pico rooms.
    pub repo: Repo,
    /// Pico rooms, and the tasks that belong to them.
    pub rooms: Arc<Rooms>,
    /// Those who watch the states of slices.
    pub watchers: Arc<Watchers>,
    /// What rooms tell the bridge.
    pub carry: Carry,
    /// Which events go into rooms.
    pub wanted: Option<Arc<Wanted>>,
    /// Events out, live.
    pub subscriptions: Subscriptions,
    /// What clients of all addresses may hold.
    pub bounds: Bounds,
    /// Whether the database takes events.
    pub saves: Arc<Saves>,
    /// What unfinished messages of all connections may hold.
    pub unfinished: Arc<Budget>,
    /// Slices for events.
    pub slices: EventSlices,
    /// The log of clients.
    pub clients: Arc<ClientLog>,
    /// Threads on which large messages are read.
    pub parsers: Pool,
    /// What waits to be sent to clients.
    pub outboxes: Arc<Outboxes>,
    /// Connections that have not said what they want.
    pub waiting: Arc<Door>,
    /// Told to stop.
    pub stop: CancellationToken,
    /// Told to end at once, when a stop takes too long.
    pub cut: CancellationToken,
    /// Connections that wait for the end of the process.
    pub parked: Arc<Parked>,
    /// Turns of connections: of nostr clients, and of what is sent to peers.
    pub rounds: Arc<Rounds>,
    restricted: Arc<[u16]>,
    connections: AtomicU64,
    door: Arc<Door>,
}

impl App {
    /// Puts the relay on a [`Core`]. The threads come back, to be waited for when all handles are gone.
    pub fn new(config: Config, core: Core, listening: SocketAddr, signers: Signers) -> (Arc<Self>, Threads) {
        let Core { readers, ingest, repo, engines, wanted, subscriptions, saves, slices, pools, urls, threads } = core;
        let Pools { parsers, checkers } = pools;
        let rounds = Arc::<Rounds>::default();
        let limits = &config.limits;
        let accounts = Accounts::new(limits, &config.pico);
        let clients = ClientLog::new(config.server.log_addresses);
        let waiting = Door::outer(limits.connections_waiting_max, Arc::clone(&accounts));
        let (connections, of_address) = (limits.connections_max, limits.connections_per_address_max);
        let door = Door::new(connections, of_address, accounts, Some(CONNECTIONS));
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let carry = Carry { modes: Arc::new(Modes::new(&config.pico, config.bridge.undeclared)), ..Carry::default() };
        let app = Self {
            rooms: Arc::new(Rooms::new(
                (&config.pico, Duration::from_secs(config.server.send_seconds)),
                (repo.clone(), checkers),
                (engines, carry.clone()),
                (stop.clone(), cut.clone()),
                Arc::clone(&rounds),
            )),
            watchers: Watchers::new(config.engine.watchers_max),
            carry,
            wanted,
            public_url: config.server.url(listening),
            listening,
            urls,
            relay_key: signers.relay().to_hex(),
            signers: Arc::new(signers),
            readers,
            ingest,
            repo,
            subscriptions,
            saves,
            slices,
            bounds: Bounds::new(&config),
            parsers,
            outboxes: Outboxes::new(limits.outbox_bytes_all_max),
            waiting,
            unfinished: Budget::new(config.server.unfinished_bytes_max),
            clients,
            stop,
            cut,
            parked: Arc::default(),
            rounds,
            restricted: config.auth.restricted_kinds.clone().into(),
            connections: AtomicU64::new(0),
            door,
            config,
        };
        (Arc::new(app), threads)
    }

    /// The readers as an address has them.
    pub fn readers_of(&self, address: IpAddr) -> Readers {
        self.readers.of(&self.accounts().of(address).holdings.party, 0)
    }

    /// Somebody who has not said who they are.
    pub fn stranger(&self) -> Viewer {
        Viewer { restricted: Arc::clone(&self.restricted), ..Viewer::default() }
    }

    /// A number for a new connection.
    pub fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets a connection in, if there is room.
    pub fn admit(&self, address: IpAddr) -> Result<Admission, Full> {
        let admission =
            Door::admit(&self.door, address).map(|seat| Admission::new(seat, address, self.clients.came(address)));
        let outcome = match &admission {
            Ok(_) => "accepted",
            Err(Full::Relay) => "full",
            Err(Full::Address) => "full_address",
            Err(Full::FalseEvents(_)) => "false_events",
        };
        metrics::counter!(CONNECTIONS_TOTAL, "outcome" => outcome).increment(1);
        if admission.is_err() {
            self.clients.turned_away(address, outcome);
        }
        admission
    }

    /// The accounts of those who connect.
    pub fn accounts(&self) -> &Accounts {
        self.door.accounts()
    }

    /// Waits until the last connection is gone.
    pub async fn all_left(&self) {
        self.door.all_left().await;
    }
}

/// The URLs that mean a relay that listens there: the configured ones, or the ways in which a machine names itself.
pub fn relay_urls(config: &Config, listening: SocketAddr) -> RelayUrls {
    if !config.server.public_url.is_empty() {
        return RelayUrls::new(config.server.public_url.iter());
    }
    let port = listening.port();
    let own = config.server.url(listening);
    let local = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("ws://{host}:{port}"));
    RelayUrls::new(local.iter().map(String::as_str).chain([own.as_str()]))
}
