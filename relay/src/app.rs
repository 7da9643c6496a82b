//! Puts the relay together: who gets what of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::account::Accounts;
use crate::bridge::keys::Signers;
use crate::bridge::{self, Wanted};
use crate::clientlog::ClientLog;
use crate::config::Config;
use crate::door::{Door, Doorkeeper};
use crate::holdings::Bounds;
use crate::http::exporter::Metrics;
use crate::http::shared::{Pages, Shared};
use crate::http::state::Watchers;
use crate::ingest::Saves;
use crate::metrics::CONNECTIONS;
use crate::outbox::Outboxes;
use crate::pico::carry::{Carry, Modes};
use crate::pico::repo::Repo;
use crate::pico::rooms::Rooms;
use crate::policy::slices::EventSlices;
use crate::rounds::Rounds;
use crate::session::Relay;
use crate::sync::upstream;
use crate::unfinished::Budget;
use crate::vanish::RelayUrls;

mod core;

pub use self::core::{Core, Pools, Threads, loader, options, rules};

/// Everything that runs. Nobody below is handed this: each gets what they use.
pub struct App {
    /// The relay as its sessions see it.
    pub relay: Arc<Relay>,
    /// Lets connections in.
    pub doorkeeper: Arc<Doorkeeper>,
    /// Connections that have not said what they want.
    pub waiting: Arc<Door>,
    /// The address it listens on.
    pub listening: SocketAddr,
    /// Sign for the relay, and for pico authors.
    pub signers: Arc<Signers>,
    /// Blocks of pico rooms.
    pub repo: Repo,
    /// Pico rooms, and the tasks that belong to them.
    pub rooms: Arc<Rooms>,
    /// What rooms tell the bridge.
    pub carry: Carry,
    /// Which events go into rooms.
    pub wanted: Option<Arc<Wanted>>,
    /// Whether the database takes events.
    pub saves: Arc<Saves>,
    /// What unfinished messages of all connections may hold.
    pub unfinished: Arc<Budget>,
    /// Slices for events.
    pub slices: EventSlices,
}

impl App {
    /// Puts the relay on a [`Core`]. The threads come back, to be waited for when all handles are gone.
    pub fn new(config: Config, core: Core, listening: SocketAddr, signers: Signers) -> (Self, Threads) {
        let Core {
            readers,
            ingest,
            repo,
            engines,
            wanted,
            subscriptions,
            saves,
            slices,
            pools,
            new_rooms,
            urls,
            threads,
        } = core;
        let Pools { parsers, checkers } = pools;
        let rounds = Arc::<Rounds>::default();
        let limits = &config.limits;
        let accounts = Accounts::new(limits, &config.pico);
        let waiting = Door::outer(limits.connections_waiting_max, Arc::clone(&accounts));
        let (connections, of_address) = (limits.connections_max, limits.connections_per_address_max);
        let doorkeeper = Doorkeeper {
            door: Door::new(connections, of_address, Arc::clone(&accounts), Some(CONNECTIONS)),
            clients: ClientLog::new(config.server.log_addresses),
        };
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let carry = Carry { modes: Arc::new(Modes::new(&config.pico, config.bridge.undeclared)), ..Carry::default() };
        let rooms = Rooms::new(
            (&config.pico, Duration::from_secs(config.server.send_seconds)),
            (repo.clone(), checkers, new_rooms),
            (engines, carry.clone()),
            (stop.clone(), cut.clone()),
            Arc::clone(&rounds),
        );
        let unfinished = Budget::new(config.server.unfinished_bytes_max);
        let relay = Relay {
            public_url: config.server.url(listening),
            urls,
            readers,
            ingest,
            subscriptions,
            bounds: Bounds::new(&config),
            parsers,
            outboxes: Outboxes::new(limits.outbox_bytes_all_max),
            rounds,
            parked: Arc::default(),
            accounts,
            stop,
            cut,
            restricted: config.auth.restricted_kinds.clone().into(),
            connections: AtomicU64::new(0),
            config: Arc::new(config),
        };
        let app = Self {
            relay: Arc::new(relay),
            doorkeeper: Arc::new(doorkeeper),
            waiting,
            listening,
            signers: Arc::new(signers),
            repo,
            rooms: Arc::new(rooms),
            carry,
            wanted,
            saves,
            unfinished,
            slices,
        };
        (app, threads)
    }

    /// What pages are answered with.
    pub fn pages(&self, metrics: Option<Metrics>) -> Shared {
        Shared {
            relay: Arc::clone(&self.relay),
            doorkeeper: Arc::clone(&self.doorkeeper),
            saves: Arc::clone(&self.saves),
            listening: self.listening,
            relay_key: self.signers.relay().to_hex(),
            metrics,
            pico: Pages {
                rooms: Arc::clone(&self.rooms),
                repo: self.repo.clone(),
                modes: Arc::clone(&self.carry.modes),
                signers: Arc::clone(&self.signers),
                watchers: Watchers::new(self.relay.config.engine.watchers_max),
            },
        }
    }

    /// What the bridge works with.
    pub fn bridge(&self) -> bridge::Parts {
        bridge::Parts {
            config: Arc::clone(&self.relay.config),
            repo: self.repo.clone(),
            readers: self.relay.readers.clone(),
            ingest: self.relay.ingest.clone(),
            rooms: Arc::clone(&self.rooms),
            carry: self.carry.clone(),
            wanted: self.wanted.clone(),
            signers: Arc::clone(&self.signers),
            stop: self.relay.stop.clone(),
        }
    }

    /// What the work with upstream relays needs.
    pub fn upstream(&self) -> upstream::Parts {
        upstream::Parts {
            config: Arc::clone(&self.relay.config),
            readers: self.relay.readers.clone(),
            ingest: self.relay.ingest.clone(),
            subscriptions: self.relay.subscriptions.clone(),
            signers: Arc::clone(&self.signers),
            modes: Arc::clone(&self.carry.modes),
            viewer: self.relay.stranger(),
            stop: self.relay.stop.clone(),
        }
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
