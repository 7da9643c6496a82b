//! The relay as its sessions see it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::account::Accounts;
use crate::config::Config;
use crate::fair::Pool;
use crate::guard::Viewer;
use crate::holdings::Bounds;
use crate::ingest::Ingest;
use crate::outbox::Outboxes;
use crate::rounds::Rounds;
use crate::store::Readers;
use crate::subscription::Subscriptions;
use crate::vanish::RelayUrls;
use crate::websocket::Parked;

/// The relay as its sessions see it.
pub struct Relay {
    /// The running configuration.
    pub config: Arc<Config>,
    /// Where clients connect.
    pub public_url: String,
    /// All URLs that mean this relay.
    pub urls: RelayUrls,
    /// Queries.
    pub readers: Readers,
    /// Events in.
    pub ingest: Ingest,
    /// Events out, live.
    pub subscriptions: Subscriptions,
    /// What clients of all addresses may hold.
    pub bounds: Bounds,
    /// Threads on which large messages are read.
    pub parsers: Pool,
    /// What waits to be sent to clients.
    pub outboxes: Arc<Outboxes>,
    /// Turns of connections: of nostr clients, and of what is sent to peers.
    pub rounds: Arc<Rounds>,
    /// Connections that wait for the end of the process.
    pub parked: Arc<Parked>,
    /// The accounts of those who connect.
    pub accounts: Arc<Accounts>,
    /// Told to stop.
    pub stop: CancellationToken,
    /// Told to end at once, when a stop takes too long.
    pub cut: CancellationToken,
    /// Kinds that only those may read whom the events are for.
    pub restricted: Arc<[u16]>,
    /// Connections so far.
    pub connections: AtomicU64,
}

impl Relay {
    /// The readers as an address has them.
    pub fn readers_of(&self, address: IpAddr) -> Readers {
        self.readers.of(&self.accounts.of(address).holdings.party, 0)
    }

    /// Somebody who has not said who they are.
    pub fn stranger(&self) -> Viewer {
        Viewer { restricted: Arc::clone(&self.restricted), ..Viewer::default() }
    }

    /// A number for a new connection.
    pub fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }
}
