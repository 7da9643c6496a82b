//! The threads behind everything, without a network, and the order in which they start and end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::bridge::Wanted;
use crate::bridge::gate::Gate;
use crate::config::Config;
use crate::engine::host::{EngineThreads, Engines};
use crate::engine::rules::Rules;
use crate::engine::scripted::Scripts;
use crate::engine::slice::Loader;
use crate::fair::{Pool, PoolThreads};
use crate::ingest::{AfterCommit, Ingest, Path, RecentIds, Saves, VerifyThreads};
use crate::pico::repo::{Repo, RoomName};
use crate::pico::rooms;
use crate::pico::strangers::NewRooms;
use crate::policy::judge::Judges;
use crate::policy::plugin::{Plugin, PluginThread};
use crate::policy::slices::{EventSlices, EventSlicesThread};
use crate::policy::{Policies, Policy};
use crate::pulse::{Lookout, LookoutThread};
use crate::store::carry::Interest;
use crate::store::sqlite::{Options, Sqlite};
use crate::store::{Backend, Crew, Pace, Party, Readers, Slice, StoreError, WriterHandle, WriterThread};
use crate::subscription::{self, Subscriptions};
use crate::threads::essential;
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
    /// How many new rooms each address has begun.
    pub new_rooms: Arc<NewRooms>,
    /// Threads that compute for clients and peers.
    pub pools: Pools,
    /// All URLs that mean this relay.
    pub urls: RelayUrls,
    pub(super) threads: Threads,
}

/// Threads that compute for others, in turns.
pub struct Pools {
    /// Large messages are read there.
    pub parsers: Pool,
    /// Feeds of peers are verified there.
    pub checkers: Pool,
}

/// The threads of a [`Core`].
pub struct Threads {
    verify: VerifyThreads,
    pools: [PoolThreads; 2],
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
        let options = Options { interest, ..options(config, urls.clone()) };
        let backend = Sqlite::open(&config.server.data, options)?;
        let mut core = Self::on(config, &backend, wanted, urls)?;
        core.threads.backend = Some(Box::new(backend));
        Ok(core)
    }

    /// The same on any backend, which asks `wanted` for its interest.
    pub fn on(
        config: &Config,
        backend: &dyn Backend,
        wanted: Option<Arc<Wanted>>,
        urls: RelayUrls,
    ) -> Result<Self, StoreError> {
        let (storage, limits) = (&config.storage, &config.limits);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let writer = backend.writer()?;
        let subscriptions = Subscriptions::new(writer.last_seq(), limits.held_events_max);
        let (broadcast, queue) = subscription::broadcast_queue(limits.broadcast_queue_max);
        let recent = Arc::new(RecentIds::new(storage.recent_ids_max));
        let after = AfterCommit {
            interest: wanted.clone().map(|wanted| wanted as Arc<dyn Interest>),
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
        let readers = Readers::start(backend, crew(config, cores))?;
        let for_gate = readers.of(&Party::new(Party::ADMISSION), 0);
        let new_rooms = Arc::new(NewRooms::new(config.pico.address_new_rooms_per_hour));
        let gate = Gate::new(config, for_gate, Arc::clone(&new_rooms)).map(|gate| Box::new(gate) as Box<dyn Policy>);
        let path = Path {
            policies: Arc::new(Policies::new(config, gate)),
            urls: urls.clone(),
            judges,
            writer: handle.clone(),
            broadcast,
            recent,
            saves: Arc::clone(&saves),
            author_keys_max: limits.author_keys_max,
            niceness: limits.verify_niceness,
        };
        let threads = if limits.verify_threads == 0 { cores } else { limits.verify_threads };
        let jobs_max = (limits.verify_queue_max, limits.in_flight_bytes_all_max);
        let (ingest, verify) = Ingest::start(&path, threads, jobs_max, &lookout)?;
        let (pools, pool_threads) = Pools::start(config, cores)?;
        let (engines, engine_threads) = Engines::start(
            if config.pico.enabled { rules(config) } else { Vec::new() },
            (&config.engine, rooms::bounds(&config.pico).of_declared()),
            backend,
            &handle,
            &loader(config),
            &lookout,
        )?;
        drop(path);
        let last = (handle.clone(), slices.clone(), last_plugin);
        let repo = Repo::new(handle, readers.of(&Party::new(Party::ROOMS), 0));
        let listeners = subscriptions.clone();
        let broadcast = essential("broadcast", move || subscription::broadcast_all(&listeners, &queue))?;
        Ok(Self {
            readers,
            ingest,
            repo,
            engines,
            wanted,
            subscriptions,
            saves,
            slices,
            new_rooms,
            pools,
            urls,
            threads: Threads {
                verify,
                pools: pool_threads,
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
        let Self { readers, ingest, repo, engines, subscriptions, slices, pools, threads, .. } = self;
        drop((readers, ingest, repo, engines, subscriptions, slices, pools));
        threads.join();
    }
}

impl Threads {
    fn join(self) {
        // A thread that is stuck in a slice is left behind with its handles of the others, which would wait for it.
        let (writer, slices, plugin) = self.last;
        self.pools.into_iter().for_each(PoolThreads::join);
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

impl Pools {
    fn start(config: &Config, cores: usize) -> std::io::Result<(Self, [PoolThreads; 2])> {
        let limits = &config.limits;
        let start = |name: &str, threads: usize, or: usize, niceness: u8| {
            let threads = if threads == 0 { or } else { threads };
            Pool::start(name, threads, niceness, limits.connections_max.max(4))
        };
        let niceness = limits.verify_niceness;
        let (parsers, parsing) = start("parse", limits.parse_threads, (cores / 2).clamp(1, 4), niceness)?;
        // A feed may be long: its threads give way to those for events, too.
        let niceness = niceness.saturating_mul(2).min(19);
        let (checkers, checking) = start("feeds", config.pico.verify_threads, cores, niceness)?;
        Ok((Self { parsers, checkers }, [parsing, checking]))
    }
}

/// The reader threads that `config` wants on so many cores.
fn crew(config: &Config, cores: usize) -> Crew {
    let storage = &config.storage;
    let quick = if storage.readers == 0 { cores.min(4) } else { storage.readers };
    Crew {
        quick,
        long: if storage.long_readers == 0 { quick } else { storage.long_readers },
        niceness: storage.long_reader_niceness,
        queue_max: storage.reader_queue_max,
        party_queue_max: config.limits.queries_at_once_address_max,
        party_searches_max: config.search.at_once_max,
        long_from: Duration::from_millis(storage.long_query_ms),
        busy_from: Duration::from_millis(storage.long_queries_ms_max),
        slice: Slice {
            rows: storage.slice_rows_max,
            bytes: storage.slice_bytes_max,
            examined: storage.slice_examined_max,
            time: Duration::from_millis(storage.slice_ms_max),
            others_wait: None,
        },
    }
}

/// What makes slices of files.
pub fn loader(config: &Config) -> Arc<dyn Loader> {
    Arc::new(Scripts::new((&config.script).into()))
}

/// The rules of all rooms that have any but to keep everything.
pub fn rules(config: &Config) -> Vec<(RoomName, Rules)> {
    let declared = config.pico.room.iter();
    let declared = declared.filter_map(|room| Some((room.name.parse().ok()?, room.slices.clone())));
    Rules::all(&config.server.data.join("slices"), &declared.collect::<Vec<_>>())
}

/// How the database of a configuration is opened. `urls`: those of this relay.
pub fn options(config: &Config, urls: RelayUrls) -> Options {
    Options {
        storage: config.storage.clone(),
        search: config.search.clone(),
        urls,
        private_kinds: config.auth.restricted_kinds.clone(),
        interest: None,
    }
}
