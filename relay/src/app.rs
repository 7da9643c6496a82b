//! The handles that everything shares, the threads behind them, and the order in which they start and end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::bridge::Wanted;
use crate::bridge::gate::Gate;
use crate::bridge::keys::Signers;
use crate::config::Config;
use crate::engine::host::{EngineThreads, Engines};
use crate::engine::script::Scripts;
use crate::engine::script::event::{EventSlices, EventSlicesThread};
use crate::engine::script::pulse::{Lookout, LookoutThread};
use crate::engine::slice::Loader;
use crate::guard::Viewer;
use crate::http::client_addr;
use crate::http::metrics::{CONNECTIONS, CONNECTIONS_TOTAL};
use crate::http::state::Watchers;
use crate::ingest::{AfterCommit, Ingest, Path, RecentIds, Saves, VerifyThreads};
use crate::pico::carry::{Carry, Modes};
use crate::pico::repo::Repo;
use crate::pico::rooms::Rooms;
use crate::policy::judge::Judges;
use crate::policy::plugin::{Plugin, PluginThread};
use crate::policy::{self, Policy};
use crate::store::carry::Interest;
use crate::store::sqlite::{Options, Sqlite};
use crate::store::{Backend, Pace, Readers, Slice, StoreError, WriterHandle, WriterThread};
use crate::subscription::{self, Subscriptions};
use crate::unfinished::Budget;
use crate::vanish::RelayUrls;

/// Store, path in and live side: what works without a network.
pub struct Core {
    /// Queries.
    pub readers: Readers,
    /// Events in.
    pub ingest: Ingest,
    /// Blocks of pico rooms.
    pub repo: Repo,
    /// Those who decide about them, in rooms that have slices.
    pub engines: Engines,
    /// Which events go into rooms.
    pub wanted: Option<Arc<Wanted>>,
    /// Events out, live.
    pub subscriptions: Subscriptions,
    /// Whether the database takes events.
    pub saves: Arc<Saves>,
    /// Slices for events.
    pub slices: EventSlices,
    threads: Threads,
}

/// The threads of a [`Core`].
pub struct Threads {
    verify: VerifyThreads,
    engines: EngineThreads,
    writer: WriterThread,
    /// With these the others can be ended while a thread that is stuck has handles of them.
    last: (WriterHandle, EventSlices, Option<Plugin>),
    broadcast: JoinHandle<()>,
    slices: EventSlicesThread,
    plugin: Option<PluginThread>,
    lookout: (Lookout, LookoutThread),
    /// Holds the lock on the data folder until the others have ended.
    backend: Option<Box<dyn Backend>>,
}

impl Core {
    /// Opens the database in `config.server.data` and starts the threads.
    pub fn start(config: &Config, urls: RelayUrls) -> Result<Self, StoreError> {
        let wanted = Wanted::new(config).map(Arc::new);
        let interest = wanted.clone().map(|wanted| wanted as Arc<dyn Interest>);
        let options = Options { storage: config.storage.clone(), search: config.search.clone(), urls, interest };
        let backend = Sqlite::open(&config.server.data, options)?;
        let mut core = Self::on(config, &backend, wanted)?;
        core.threads.backend = Some(Box::new(backend));
        Ok(core)
    }

    /// The same on any backend, which asks `wanted` for its interest.
    pub fn on(config: &Config, backend: &dyn Backend, wanted: Option<Arc<Wanted>>) -> Result<Self, StoreError> {
        let (storage, limits) = (&config.storage, &config.limits);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let writer = backend.writer()?;
        let subscriptions = Subscriptions::new(writer.last_seq(), limits.held_events_max);
        let (broadcast, queue) = subscription::broadcast_queue(limits.broadcast_queue_max);
        let recent = Arc::new(RecentIds::new(storage.recent_ids_max));
        let after = AfterCommit {
            wanted: wanted.clone(),
            recent: Arc::clone(&recent),
            subscriptions: subscriptions.clone(),
            broadcast: broadcast.clone(),
        };
        let pace = Pace {
            queue_max: storage.writer_queue_max,
            batch_max: storage.writer_batch_max,
            wait: Duration::from_millis(storage.writer_wait_ms),
            sweep: Duration::from_secs(storage.sweep_seconds.max(1)),
        };
        let (handle, writer) = WriterHandle::start(writer, Box::new(after), pace)?;
        let saves = Arc::new(Saves::default());
        let (lookout, lookout_thread) = Lookout::start(Duration::from_millis(config.script.stuck_ms_max))?;
        let (slices, slices_thread) = EventSlices::start(&config.server.data, &config.script, &lookout)?;
        let (plugin, plugin_thread) = Plugin::start(&config.policy)?.unzip();
        let last_plugin = plugin.clone();
        let judges = Judges { slices: slices.clone(), plugin };
        let readers = if storage.readers == 0 { cores.min(4) } else { storage.readers };
        let slice = Slice {
            rows: storage.slice_rows_max,
            bytes: storage.slice_bytes_max,
            examined: storage.slice_examined_max,
        };
        let readers = Readers::start(backend, readers, storage.reader_queue_max, slice)?;
        let gate = Gate::new(config, readers.clone()).map(|gate| Box::new(gate) as Box<dyn Policy>);
        let policies = policy::policies(config).into_iter().chain(gate).collect();
        let path = Path {
            policies,
            judges,
            writer: handle.clone(),
            broadcast,
            recent,
            saves: Arc::clone(&saves),
            author_keys_max: limits.author_keys_max,
            niceness: limits.verify_niceness,
        };
        let (ingest, verify) = Ingest::start(&path, cores, limits.verify_queue_max, &lookout)?;
        let (engines, engine_threads) = Engines::start(config, backend, &handle, &loader(config), &lookout)?;
        drop(path);
        let last = (handle.clone(), slices.clone(), last_plugin);
        let repo = Repo::new(handle, readers.clone());
        let listeners = subscriptions.clone();
        let broadcast = std::thread::Builder::new()
            .name("broadcast".into())
            .spawn(move || subscription::broadcast_all(&listeners, &queue))?;
        Ok(Self {
            readers,
            ingest,
            repo,
            engines,
            wanted,
            subscriptions,
            saves,
            slices,
            threads: Threads {
                verify,
                engines: engine_threads,
                last,
                writer,
                broadcast,
                slices: slices_thread,
                plugin: plugin_thread,
                lookout: (lookout, lookout_thread),
                backend: None,
            },
        })
    }

    /// Lets everything that came in be written, and ends the threads. Blocks.
    pub fn finish(self) {
        let Self { readers, ingest, repo, engines, subscriptions, slices, threads, .. } = self;
        drop((readers, ingest, repo, engines, subscriptions, slices));
        threads.join();
    }
}

impl Threads {
    fn join(self) {
        // A thread that is stuck in a slice is left behind with its handles of the others, which would wait for it.
        let (writer, slices, plugin) = self.last;
        let mut is_left = self.verify.join();
        if is_left {
            slices.stop();
            if let Some(plugin) = plugin {
                plugin.stop();
            }
        } else {
            drop((slices, plugin));
        }
        self.slices.join();
        if let Some(plugin) = self.plugin {
            plugin.join();
        }
        is_left |= self.engines.join();
        if is_left {
            writer.stop();
        } else {
            drop(writer);
        }
        self.writer.join();
        if !is_left {
            let _ = self.broadcast.join();
        }
        let (lookout, thread) = self.lookout;
        drop(lookout);
        thread.join();
        drop(self.backend);
    }
}

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
    /// Open negentropy sessions.
    pub reconciliations: AtomicUsize,
    /// Whether the database takes events.
    pub saves: Arc<Saves>,
    /// What unfinished messages of all connections may hold.
    pub unfinished: Arc<Budget>,
    /// Slices for events.
    pub slices: EventSlices,
    /// Told to stop.
    pub stop: CancellationToken,
    restricted: Arc<[u16]>,
    connections: AtomicU64,
    door: Arc<Door>,
}

impl App {
    /// Puts the relay on a [`Core`]. The threads come back, to be waited for when all handles are gone.
    pub fn new(config: Config, core: Core, listening: SocketAddr, signers: Signers) -> (Arc<Self>, Threads) {
        let Core { readers, ingest, repo, engines, wanted, subscriptions, saves, slices, threads } = core;
        let door = Arc::new(Door {
            max: config.limits.connections_max,
            max_per_address: config.limits.connections_per_address_max,
            open: Mutex::default(),
            left: Notify::new(),
        });
        let stop = CancellationToken::new();
        let carry = Carry { modes: Arc::new(Modes::new(&config)), ..Carry::default() };
        let app = Self {
            rooms: Arc::new(Rooms::new(&config.pico, repo.clone(), engines, carry.clone(), stop.clone())),
            watchers: Watchers::new(config.engine.watchers_max),
            carry,
            wanted,
            public_url: config.server.url(listening),
            listening,
            urls: relay_urls(&config, listening),
            relay_key: signers.relay().to_hex(),
            signers: Arc::new(signers),
            readers,
            ingest,
            repo,
            subscriptions,
            saves,
            slices,
            reconciliations: AtomicUsize::new(0),
            unfinished: Budget::new(config.server.unfinished_bytes_max),
            stop,
            restricted: config.auth.restricted_kinds.clone().into(),
            connections: AtomicU64::new(0),
            door,
            config,
        };
        (Arc::new(app), threads)
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
        let admission = Door::enter(&self.door, address);
        let outcome = match &admission {
            Ok(_) => "accepted",
            Err(Full::Relay) => "full",
            Err(Full::Address) => "full_address",
        };
        metrics::counter!(CONNECTIONS_TOTAL, "outcome" => outcome).increment(1);
        admission
    }

    /// Waits until the last connection is gone.
    pub async fn all_left(&self) {
        loop {
            let left = self.door.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.door.open.lock().total == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Threads {
    /// Waits until everything that came in is written, `patience` at the most. False when that was too short.
    pub async fn finish(self, patience: Duration) -> bool {
        // Not of the runtime, which would wait for it: a slice that cannot be stopped must not keep the process.
        let (done, joined) = tokio::sync::oneshot::channel();
        let started = std::thread::Builder::new().name("ending".into()).spawn(move || {
            self.join();
            let _ = done.send(());
        });
        started.is_ok() && matches!(tokio::time::timeout(patience, joined).await, Ok(Ok(())))
    }
}

/// What makes slices of files.
pub fn loader(config: &Config) -> Arc<dyn Loader> {
    Arc::new(Scripts::new((&config.script).into()))
}

/// The URLs that mean a relay that listens there: the configured one, or the ways in which a machine names itself.
pub fn relay_urls(config: &Config, listening: SocketAddr) -> RelayUrls {
    let port = listening.port();
    let own = config.server.url(listening);
    if config.server.public_url.is_empty() {
        let local = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("ws://{host}:{port}"));
        RelayUrls::new(local.iter().map(String::as_str).chain([own.as_str()]))
    } else {
        RelayUrls::new([own.as_str()])
    }
}

/// Counts who is in.
struct Door {
    max: usize,
    max_per_address: usize,
    open: Mutex<Open>,
    left: Notify,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// `limits.connections_max`.
    Relay,
    /// `limits.connections_per_address_max`.
    Address,
}

/// A place of a connection; given back when dropped.
pub struct Admission {
    door: Arc<Door>,
    address: IpAddr,
    client: IpAddr,
}

impl Admission {
    /// The address of the client itself.
    pub fn client(&self) -> IpAddr {
        self.client
    }
}

impl Door {
    fn enter(door: &Arc<Self>, client: IpAddr) -> Result<Admission, Full> {
        let address = client_addr::limit_key(client);
        let mut open = door.open.lock();
        if open.total >= door.max {
            return Err(Full::Relay);
        }
        let here = open.by_address.entry(address).or_default();
        if door.max_per_address > 0 && *here >= door.max_per_address {
            return Err(Full::Address);
        }
        *here += 1;
        open.total += 1;
        metrics::gauge!(CONNECTIONS).increment(1.0);
        Ok(Admission { door: Arc::clone(door), address, client })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.door.open.lock();
        open.total -= 1;
        if let Some(here) = open.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&self.address);
            }
        }
        metrics::gauge!(CONNECTIONS).decrement(1.0);
        if open.total == 0 {
            self.door.left.notify_waiters();
        }
    }
}
