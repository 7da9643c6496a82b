//! Where engines run: a thread for each room that has slices, and what others see of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{RecvTimeoutError, Sender};
use hashbrown::HashMap;
use parking_lot::RwLock;
use picofeed::Block;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::config;
use super::rules::Rules;
use super::slice::{LoadError, Loader, Millis, Pace, Show, Slice};
use super::{Decision, Engine, EngineError, Limits, Mode, Outcome, Rejection, Store, Updates};
use crate::metrics::PICO_REJECTED;
use crate::pulse::{Lookout, Pulse};
use crate::rarely::rarely;
use crate::store::carry::Origin;
use crate::store::repo::{Bounds, RoomName};
use crate::store::state::Scope;
use crate::store::{Backend, Reader, StoreError, WriterHandle};
use crate::threads::essential;

/// Jobs that wait for an engine. Only the room's task and the watch over files ask.
const JOBS_MAX: usize = 16;

/// While one waits for an engine that may be stuck.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Different reasons of one slice that are counted by themselves.
const REASONS_MAX: usize = 32;

/// Letters of a reason in metrics.
const REASON_LETTERS_MAX: usize = 48;

/// What others need to know of a slice.
#[derive(Clone, Debug)]
pub struct SliceInfo {
    /// Its name.
    pub name: String,
    /// The value to show when there is none.
    pub initial: Option<Bytes>,
    /// How values are shown.
    pub show: Show,
}

/// Handle of an engine; clones share it. Its thread ends when the last one is gone.
#[derive(Clone)]
pub struct EngineHandle {
    jobs: mpsc::Sender<Job>,
    slices: Arc<RwLock<Vec<SliceInfo>>>,
    updates: broadcast::Sender<Updates>,
    rules: Arc<Rules>,
    read: Arc<RwLock<Vec<PathBuf>>>,
    loads: watch::Receiver<u64>,
    pulse: Arc<Pulse>,
}

enum Job {
    Dispatch(Vec<Block>, Vec<Origin>, Millis, oneshot::Sender<Done>),
    Tick(Millis, oneshot::Sender<Done>),
    Reload(oneshot::Sender<Result<usize, LoadError>>),
}

/// What an engine did.
#[derive(Debug, Default)]
pub struct Done {
    /// One for each block that was asked about; none if the engine failed.
    pub decisions: Option<Vec<Decision>>,
    /// Blocks that had been postponed and are stored now.
    pub retried: Vec<Block>,
    /// Chains that went.
    pub evicted: usize,
    /// When [`EngineHandle::tick`] has something to do next.
    pub next_due: Option<Millis>,
}

impl EngineHandle {
    /// Asks about blocks, and stores those that are accepted. None if the relay is shutting down. `origins`: one for each
    /// if they are to be carried to nostr, else none.
    pub async fn dispatch(&self, blocks: Vec<Block>, origins: Vec<Origin>, now: Millis) -> Option<Done> {
        let (done, answer) = oneshot::channel();
        self.ask(Job::Dispatch(blocks, origins, now, done), answer).await
    }

    /// Does what is due.
    pub async fn tick(&self, now: Millis) -> Option<Done> {
        let (done, answer) = oneshot::channel();
        self.ask(Job::Tick(now, done), answer).await
    }

    /// Asks the thread. While it is stuck, it could not go on.
    async fn ask(&self, job: Job, answer: oneshot::Receiver<Done>) -> Option<Done> {
        let asked = async {
            self.jobs.send(job).await.ok()?;
            answer.await.ok()
        };
        tokio::select! {
            biased;
            () = self.pulse.until_stuck() => Some(Done { next_due: Some(0), ..Done::default() }),
            done = asked => done,
        }
    }

    /// Loads the slices again, and gives how many there are. Those that ran go on if that fails.
    ///
    /// # Errors
    ///
    /// What is wrong with the new ones.
    pub async fn reload(&self) -> Option<Result<usize, LoadError>> {
        let (done, answer) = oneshot::channel();
        self.jobs.try_send(Job::Reload(done)).ok()?;
        tokio::select! {
            biased;
            () = self.pulse.until_stuck() => {
                tracing::error!(folder = %self.rules.folder.display(), "the room is stuck in a slice and loads nothing");
                None
            }
            done = answer => done.ok(),
        }
    }

    /// The slices that run, in order.
    pub fn slices(&self) -> Vec<SliceInfo> {
        self.slices.read().clone()
    }

    /// How often the slices were loaded; changes when they are loaded again.
    pub fn loads(&self) -> watch::Receiver<u64> {
        self.loads.clone()
    }

    /// Every change of state from now on, a transaction at a time.
    pub fn watch(&self) -> broadcast::Receiver<Updates> {
        self.updates.subscribe()
    }

    /// The files that the slices come from: those that are there now, and those that were read when they were loaded last.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.rules.files();
        files.extend(self.read.read().iter().cloned());
        files.sort();
        files.dedup();
        files
    }
}

/// The engines of all rooms that have slices.
#[derive(Clone, Default)]
pub struct Engines(Arc<HashMap<RoomName, EngineHandle>>);

/// Their threads. They end when the last [`EngineHandle`] is gone.
#[derive(Default)]
pub struct EngineThreads(Vec<(JoinHandle<()>, Arc<Pulse>)>);

impl EngineThreads {
    /// Waits until they have ended. One that is stuck is left behind: the process ends it. True if there is one.
    pub fn join(self) -> bool {
        let mut is_left = false;
        for (thread, pulse) in self.0 {
            while !thread.is_finished() && !pulse.is_stuck() {
                std::thread::sleep(Duration::from_millis(1));
            }
            is_left |= !thread.is_finished();
        }
        is_left
    }
}

impl Engines {
    /// Starts the engines of rooms that have `rules`, and waits until their slices are loaded. `bounds`: what one room may
    /// store. A room whose slices cannot be
    /// loaded takes no blocks until they can.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or a thread cannot be started.
    pub fn start(
        rules: Vec<(RoomName, Rules)>,
        (options, bounds): (&config::Engine, Bounds),
        backend: &dyn Backend,
        writer: &WriterHandle,
        loader: &Arc<dyn Loader>,
        lookout: &Lookout,
    ) -> Result<(Self, EngineThreads), StoreError> {
        let mut handles = HashMap::new();
        let mut threads = Vec::new();
        let mut loading = Vec::new();
        for (room, rules) in rules {
            let (jobs, queue) = mpsc::channel(JOBS_MAX);
            let (updates, _) = broadcast::channel(options.watch_queue_max.max(1));
            let pulse = Arc::<Pulse>::default();
            lookout.watch(&pulse, None);
            let rules = Arc::new(rules);
            let (slices, read) = (Arc::default(), Arc::default());
            let (told, loads) = watch::channel(0);
            let handle = EngineHandle { jobs, slices, updates, rules, read, loads, pulse: Arc::clone(&pulse) };
            let host = Host {
                room: room.clone(),
                rules: Arc::clone(&handle.rules),
                loader: Arc::clone(loader),
                pace: options.pace(),
                limits: options.limits(),
                bounds,
                slices: Arc::clone(&handle.slices),
                read: Arc::clone(&handle.read),
                loads: told,
                updates: handle.updates.clone(),
                counted: HashMap::new(),
                pulse: Arc::clone(&pulse),
            };
            let (reader, writer) = (backend.reader()?, writer.clone());
            let (loaded, is_loaded) = crossbeam_channel::bounded(1);
            let name: String = format!("engine-{room}").chars().take(15).collect();
            let thread = essential(name, move || host.run(queue, reader, writer, &loaded))?;
            threads.push((thread, pulse));
            handles.insert(room, handle);
            loading.push(is_loaded);
        }
        for (is_loaded, (_, pulse)) in loading.iter().zip(&threads) {
            while !pulse.is_stuck() && is_loaded.recv_timeout(LOOK_AGAIN) == Err(RecvTimeoutError::Timeout) {}
        }
        Ok((Self(Arc::new(handles)), EngineThreads(threads)))
    }

    /// The engine of a room, if it has one.
    pub fn of(&self, room: &RoomName) -> Option<&EngineHandle> {
        self.0.get(room)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&RoomName, &EngineHandle)> {
        self.0.iter()
    }
}

/// What the thread of a room has.
struct Host {
    room: RoomName,
    rules: Arc<Rules>,
    loader: Arc<dyn Loader>,
    pace: Pace,
    limits: Limits,
    bounds: Bounds,
    slices: Arc<RwLock<Vec<SliceInfo>>>,
    read: Arc<RwLock<Vec<PathBuf>>>,
    loads: watch::Sender<u64>,
    updates: broadcast::Sender<Updates>,
    /// Reasons that are counted by themselves, by slice.
    counted: HashMap<String, BTreeSet<String>>,
    pulse: Arc<Pulse>,
}

impl Host {
    fn run(
        mut self,
        mut queue: mpsc::Receiver<Job>,
        reader: Box<dyn Reader>,
        writer: WriterHandle,
        loaded: &Sender<()>,
    ) {
        let scope = Scope::from(self.room.clone());
        let store = Store::shared(reader, writer, Arc::clone(&self.pulse));
        let mut engine = match Engine::new(scope, Vec::new(), store, self.bounds, self.limits, self.updates.clone()) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::error!(%error, room = %self.room, "the state of the room cannot be read");
                return;
            }
        };
        // Nothing is taken until there are slices.
        let _ = self.load(&mut engine);
        let _ = loaded.send(());
        self.pulse.recover();
        while let Some(job) = queue.blocking_recv() {
            match job {
                Job::Dispatch(blocks, origins, now, done) => {
                    let outcome = engine.dispatch_carried(&blocks, &origins, now, Mode::Quiet);
                    let _ = done.send(self.done(&engine, outcome.map(|outcome| (Vec::new(), outcome))));
                }
                Job::Tick(now, done) => {
                    let outcome = engine.tick(now);
                    let _ = done.send(self.done(&engine, outcome));
                }
                Job::Reload(done) => {
                    let _ = done.send(self.load(&mut engine));
                }
            }
            self.pulse.recover();
        }
    }

    fn load(&self, engine: &mut Engine) -> Result<usize, LoadError> {
        let mut read = Vec::new();
        let loaded = self.rules.load(self.pace, &*self.loader, &self.pulse, &mut read);
        *self.read.write() = read;
        match loaded {
            Ok(slices) => {
                let info = |slice: &dyn Slice| SliceInfo {
                    name: slice.name().to_owned(),
                    initial: slice.initial(),
                    show: slice.show(),
                };
                *self.slices.write() = slices.iter().map(|slice| info(slice.as_ref())).collect();
                let names: Vec<&str> = slices.iter().map(|slice| slice.name()).collect();
                tracing::info!(room = %self.room, slices = names.join(", "), "the slices of the room are loaded");
                let count = slices.len();
                engine.replace(slices);
                self.loads.send_modify(|loads| *loads += 1);
                Ok(count)
            }
            Err(error) => {
                let before = if engine.slices().is_empty() { "it takes no blocks" } else { "the old ones go on" };
                tracing::error!(%error, room = %self.room, "the slices of the room cannot be loaded: {before}");
                Err(error)
            }
        }
    }

    fn done(&mut self, engine: &Engine, outcome: Result<(Vec<Block>, Outcome), EngineError>) -> Done {
        let next_due = engine.next_due();
        match outcome {
            Ok((retried, outcome)) => {
                for decision in &outcome.decisions {
                    if let Decision::Rejected(why) = decision {
                        self.count(why);
                    }
                }
                Done { decisions: Some(outcome.decisions), retried, evicted: outcome.evicted.len(), next_due }
            }
            Err(error) => {
                rarely!(error, %error, room = %self.room, "the engine could not go on");
                Done { next_due, ..Done::default() }
            }
        }
    }

    /// Counts a rejection. Reasons come from scripts, so only so many are told apart.
    fn count(&mut self, why: &Rejection) {
        let reason: String = match why.fault {
            Some(fault) => fault.to_string(),
            None if why.slice.is_empty() => why.reason.split(' ').take(2).collect::<Vec<_>>().join(" "),
            None => why.reason.chars().take(REASON_LETTERS_MAX).collect(),
        };
        let counted = self.counted.entry(why.slice.clone()).or_default();
        let reason = if counted.contains(&reason) || counted.len() < REASONS_MAX && counted.insert(reason.clone()) {
            reason
        } else {
            "other".to_owned()
        };
        tracing::debug!(room = %self.room, slice = %why.slice, reason = %why.reason, "a block is rejected");
        let labels = [("room", self.room.to_string()), ("slice", why.slice.clone()), ("reason", reason)];
        metrics::counter!(PICO_REJECTED, &labels).increment(1);
    }
}
