//! Slices for nostr events: files in `<data>/slices/nostr/`, each with
//! `export default store => store.register({ name, filter({ event, AUTHOR, state, now, auth }), reducer? })`.
//!
//! A falsy result of a filter accepts, `true` has no opinion, a text refuses with that reason; an event about which nobody
//! minds is admitted. Files without a reducer run on the threads that check signatures, each thread with runtimes of its
//! own. Files with one have state; they run on one thread, which sees event after event. The same thread looks whether
//! files changed, loads them, and hands them to the others; what does not load changes nothing. If it is stuck, another takes
//! its place.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use parking_lot::{Mutex, RwLock};
use rquickjs::function::Args;
use rquickjs::{Array, Ctx, Function, Object, Value};

use super::cbor;
use super::error::ScriptError;
use super::health::Health;
use super::limits::Limits;
use super::modules::Sources;
use super::program::{Failure, Host, Program, Watched, settle};
use super::pulse::{Lookout, Pulse};
use crate::clock::Timestamp;
use crate::config;
use crate::engine::slice::Millis;
use crate::event::PublicKey;
use crate::verify::Verified;

/// Prefixes of NIP-01 that a slice may give itself; any other reason is `blocked`.
const PREFIXES: [&str; 9] =
    ["auth-required", "blocked", "duplicate", "error", "invalid", "mute", "pow", "rate-limited", "restricted"];

/// Longer reasons are cut.
const REASON_CHARS_MAX: usize = 200;

/// Why an event is refused: the text of its OK.
pub type Refusal = Cow<'static, str>;

/// Handle of the slices for events; clones share them.
#[derive(Clone)]
pub struct EventSlices {
    shared: Arc<Shared>,
    /// To the thread of those that have state.
    stateful: Sender<Work>,
}

/// The thread behind them, to wait for when all handles are gone.
pub struct EventSlicesThread(Arc<Seat>);

struct Shared {
    limits: Limits,
    loaded: RwLock<Loaded>,
    /// Changes with `loaded`. 0: there is nothing.
    version: AtomicU64,
}

/// The files of now.
#[derive(Clone, Default)]
struct Loaded {
    version: u64,
    stateless: Arc<[File]>,
    stateful: Arc<[File]>,
}

/// One file, ready to be loaded by any thread.
#[derive(Clone)]
struct File {
    sources: Sources,
    health: Arc<Health>,
    /// Events are refused while it is out of order.
    is_required: bool,
}

enum Work {
    Judge { events: Vec<Option<Verified>>, auth: Arc<[PublicKey]>, now: Timestamp, done: Sender<Vec<Option<Refusal>>> },
    Reload,
}

impl EventSlices {
    /// Loads `<data>/slices/nostr/*.js` and starts their thread.
    ///
    /// # Errors
    ///
    /// A file does not load, or there is no thread.
    pub fn start(
        data: &Path,
        config: &config::Script,
        lookout: &Lookout,
    ) -> std::io::Result<(Self, EventSlicesThread)> {
        let limits = Limits::from(config);
        let (stateful, work) = crossbeam_channel::bounded(config.state_queue_max.max(1));
        let shared = Arc::new(Shared { limits, loaded: RwLock::default(), version: AtomicU64::new(0) });
        let seat = Arc::new(Seat {
            folder: data.join("slices").join("nostr"),
            states: data.join("state").join("nostr"),
            shared: Arc::clone(&shared),
            look_every: (config.reload_seconds > 0).then(|| Duration::from_secs(config.reload_seconds)),
            save_every: Duration::from_secs(config.state_seconds.max(1)),
            work,
            thread: Mutex::new(None),
            starting: Mutex::new(None),
            judging: Mutex::new(None),
        });
        let (ready, is_ready) = crossbeam_channel::bounded(1);
        *seat.starting.lock() = Some(ready);
        seat.begin(lookout)?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok((Self { shared, stateful }, EventSlicesThread(seat))),
            Ok(Err(error)) => Err(std::io::Error::other(format!("a slice for events does not load: {error}"))),
            Err(_) => Err(std::io::Error::other("a slice for events does not come to an end while it is loaded")),
        }
    }

    /// Looks for changed files now. What does not load changes nothing, and is logged.
    pub fn reload(&self) {
        if matches!(self.stateful.try_send(Work::Reload), Err(TrySendError::Full(_))) {
            tracing::warn!("slices are busy; they look for changed files later");
        }
    }

    /// For one thread that judges events, which has this pulse.
    pub fn judge(&self, pulse: Arc<Pulse>) -> Judge {
        Judge { slices: self.clone(), pulse, version: 0, files: Vec::new(), has_stateful: false }
    }
}

impl EventSlicesThread {
    /// Waits until state is written. All [`EventSlices`] handles must be gone.
    pub fn join(self) {
        wait_for(&self.0.thread);
    }
}

/// The slices as one thread runs them.
pub struct Judge {
    slices: EventSlices,
    pulse: Arc<Pulse>,
    version: u64,
    files: Vec<Running>,
    has_stateful: bool,
}

impl Judge {
    /// True when there is nothing to ask. Cheap. Takes over files that changed.
    pub fn is_idle(&mut self) -> bool {
        let version = self.slices.shared.version.load(Ordering::Acquire);
        if version != self.version {
            let loaded = self.slices.shared.loaded.read().clone();
            self.version = loaded.version;
            self.has_stateful = !loaded.stateful.is_empty();
            self.files = loaded.stateless.iter().map(|file| Running::new(file.clone(), &self.pulse)).collect();
        }
        self.files.is_empty() && !self.has_stateful
    }

    /// What the slices without state say of some events: one answer each.
    pub fn stateless(
        &mut self,
        events: &[Option<Verified>],
        auth: &[PublicKey],
        now: Timestamp,
    ) -> Vec<Option<Refusal>> {
        let mut refusals = vec![None; events.len()];
        let limits = self.slices.shared.limits;
        for file in &mut self.files {
            for (event, refusal) in events.iter().zip(&mut refusals) {
                if let (Some(event), None) = (event, &refusal) {
                    *refusal = file.judge(event, auth, now, &limits);
                }
            }
        }
        refusals
    }

    /// What those with state say, which take what they accept into their state. Waits for their thread.
    pub fn stateful(
        &mut self,
        events: &[Option<Verified>],
        auth: &[PublicKey],
        now: Timestamp,
    ) -> Vec<Option<Refusal>> {
        if !self.has_stateful {
            return vec![None; events.len()];
        }
        let (done, answer) = crossbeam_channel::bounded(1);
        let work = Work::Judge { events: events.to_vec(), auth: auth.into(), now, done };
        let answer = self.slices.stateful.send(work).ok().and_then(|()| answer.recv().ok());
        answer.unwrap_or_else(|| vec![Some("error: the relay is shutting down".into()); events.len()])
    }
}

/// A file with its runtime, if it was needed yet.
struct Running {
    file: File,
    pulse: Arc<Pulse>,
    program: Option<Program>,
    /// CBOR of its states, as they were saved last.
    saved: Option<Vec<u8>>,
    is_dirty: bool,
}

impl Running {
    fn new(file: File, pulse: &Arc<Pulse>) -> Self {
        Self { file, pulse: Arc::clone(pulse), program: None, saved: None, is_dirty: false }
    }

    fn name(&self) -> &str {
        self.file.sources.main()
    }

    /// None: nobody minds.
    fn judge(&mut self, event: &Verified, auth: &[PublicKey], now: Timestamp, limits: &Limits) -> Option<Refusal> {
        if !self.file.health.runs() {
            let name = self.name();
            return self.file.is_required.then(|| format!("error: the slice {name} is out of order").into());
        }
        let verdict = self.call(now, limits, |ctx, host| {
            let judge: Function<'_> = host.get("judge")?;
            let verdict = settle(ctx, judge.call_arg(arguments(ctx, event, auth, now)?)?, || Ok(false))?;
            Ok(if verdict.is_undefined() {
                None
            } else {
                Some(super::value::text(&verdict).map_err(|_| rquickjs::Error::Unknown)?)
            })
        });
        match verdict {
            Ok(None) => None,
            Ok(Some(why)) => Some(refusal(&why)),
            Err(_) => Some(format!("error: the slice {} failed", self.name()).into()),
        }
    }

    /// Takes the event that was judged last into the state.
    fn reduce(&mut self, now: Timestamp, limits: &Limits) -> Option<Refusal> {
        let changed = self.call(now, limits, |ctx, host| {
            let reduce: Function<'_> = host.get("reduce")?;
            Ok(settle(ctx, reduce.call(())?, || Ok(false))?.as_bool().unwrap_or_default())
        });
        match changed {
            Ok(changed) => {
                self.is_dirty |= changed;
                None
            }
            Err(_) => Some(format!("error: the slice {} failed", self.name()).into()),
        }
    }

    fn call<T>(
        &mut self,
        now: Timestamp,
        limits: &Limits,
        call: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> Result<T, Failure>,
    ) -> Result<T, ScriptError> {
        let result = match self.ready(limits) {
            Ok(program) => program.call(Millis::try_from(now).unwrap_or_default().saturating_mul(1_000), call),
            Err(error) => Err(error),
        };
        if self.program.as_ref().is_some_and(Program::is_spoilt) {
            self.program = None;
        }
        match &result {
            Ok(_) => self.file.health.worked(),
            Err(error) => self.file.health.failed(error),
        }
        result
    }

    /// The program, loaded if need be, with the state that was saved last.
    fn ready(&mut self, limits: &Limits) -> Result<&mut Program, ScriptError> {
        match &mut self.program {
            Some(program) => Ok(program),
            none => {
                let watched = Watched { pulse: Arc::clone(&self.pulse), health: Arc::clone(&self.file.health) };
                let mut program = Program::load(&mut self.file.sources, Host::Nostr, limits, &watched)?;
                if let Some(saved) = &self.saved {
                    program.call(0, |ctx, host| {
                        let states = cbor::decode(ctx, saved)?;
                        Ok(host.get::<_, Function<'_>>("restore")?.call::<_, ()>((states,))?)
                    })?;
                }
                Ok(none.insert(program))
            }
        }
    }

    /// The states as CBOR, if they changed since the last time.
    fn save(&mut self, limits: &Limits) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_dirty) || self.program.is_none() {
            return None;
        }
        let max = limits.value_bytes;
        let states = self.call(0, limits, |ctx, host| {
            let states: Value<'_> = host.get::<_, Function<'_>>("save")?.call(())?;
            cbor::encode(ctx, &states, max).map_err(Failure::from)
        });
        match states {
            Ok(states) => {
                self.saved = Some(states.clone());
                Some(states)
            }
            Err(_) => {
                // A state that cannot be kept goes back to what was kept last.
                self.program = None;
                None
            }
        }
    }
}

/// What `judge` takes.
fn arguments<'js>(
    ctx: &Ctx<'js>,
    event: &Verified,
    auth: &[PublicKey],
    now: Timestamp,
) -> rquickjs::Result<Args<'js>> {
    let known = Array::new(ctx.clone())?;
    for (index, key) in auth.iter().enumerate() {
        known.set(index, key.to_hex())?;
    }
    let mut args = Args::new(ctx.clone(), 9);
    args.push_arg(now as f64)?;
    args.push_arg(known)?;
    args.push_args([event.id.to_hex(), event.pubkey.to_hex()])?;
    args.push_arg(event.created_at as f64)?;
    args.push_arg(event.kind)?;
    args.push_args([event.tags_json(), &*event.content()])?;
    args.push_arg(data_encoding::HEXLOWER.encode(&event.sig))?;
    Ok(args)
}

fn refusal(why: &str) -> Refusal {
    let why: String = why.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
    let has_prefix = why.split_once(": ").is_some_and(|(prefix, _)| PREFIXES.contains(&prefix));
    if has_prefix { why.into() } else { format!("blocked: {why}").into() }
}

/// The place of the thread of slices: another takes it over when that is stuck.
struct Seat {
    folder: PathBuf,
    states: PathBuf,
    shared: Arc<Shared>,
    look_every: Option<Duration>,
    save_every: Duration,
    work: Receiver<Work>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Who waits until all files are loaded for the first time.
    starting: Mutex<Option<Sender<Result<(), ScriptError>>>>,
    judging: Mutex<Option<Waiting>>,
}

/// Who waits for an answer, about how many events.
type Waiting = (Sender<Vec<Option<Refusal>>>, usize);

impl Seat {
    /// Starts a thread: the first, if somebody waits for it, or one that goes on with the files that were loaded.
    fn begin(self: &Arc<Self>, lookout: &Lookout) -> std::io::Result<()> {
        let pulse = Arc::<Pulse>::default();
        let keeper = Keeper { seat: Arc::clone(self), pulse: Arc::clone(&pulse), seen: None };
        let mut thread = self.thread.lock();
        *thread = Some(std::thread::Builder::new().name("slices".into()).spawn(move || keeper.run())?);
        let seat = Arc::clone(self);
        lookout.watch(&pulse, Some(Box::new(move |lookout| seat.take_over(lookout))));
        Ok(())
    }

    fn take_over(self: &Arc<Self>, lookout: &Lookout) {
        if self.starting.lock().take().is_some() {
            return;
        }
        if let Some((done, len)) = self.judging.lock().take() {
            let _ = done.send(vec![Some("error: a slice does not come to an end".into()); len]);
        }
        if let Err(error) = self.begin(lookout) {
            tracing::error!(%error, "there is no thread for slices any more");
        }
    }
}

/// Waits until a thread has ended, and those that took its place.
pub(crate) fn wait_for(thread: &Mutex<Option<JoinHandle<()>>>) {
    while thread.lock().as_ref().is_some_and(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the thread of slices does: it loads files, runs those that have state, and keeps that.
struct Keeper {
    seat: Arc<Seat>,
    pulse: Arc<Pulse>,
    /// The files as they were when they were loaded, or when that failed.
    seen: Option<Vec<Print>>,
}

/// By what a file is known to have changed.
type Print = (PathBuf, Option<(u64, SystemTime)>);

impl Keeper {
    fn run(mut self) {
        let seat = Arc::clone(&self.seat);
        let is_first = seat.starting.lock().is_some();
        let loaded = if is_first { self.load(&[]) } else { Ok(self.go_on()) };
        let ready = seat.starting.lock().take();
        let mut running = match (loaded, ready) {
            (Ok(running), Some(ready)) => {
                let _ = ready.send(Ok(()));
                running
            }
            (Ok(running), None) if !is_first => running,
            (Err(error), Some(ready)) => return drop(ready.send(Err(error))),
            _ => return,
        };
        let mut looked = Instant::now();
        let mut saved = Instant::now();
        let pause = seat.look_every.unwrap_or(seat.save_every).min(seat.save_every);
        loop {
            let work = seat.work.recv_timeout(pause);
            let is_time = seat.look_every.is_some_and(|every| looked.elapsed() >= every);
            if is_time || matches!(work, Ok(Work::Reload)) {
                looked = Instant::now();
                self.look(&mut running);
            }
            if saved.elapsed() >= seat.save_every || matches!(work, Err(RecvTimeoutError::Disconnected)) {
                saved = Instant::now();
                self.save(&mut running);
            }
            match work {
                Ok(Work::Judge { events, auth, now, done }) => {
                    let limits = seat.shared.limits;
                    *seat.judging.lock() = Some((done, events.len()));
                    let refusals =
                        events.iter().map(|event| judge_one(&mut running, event.as_ref()?, &auth, now, &limits));
                    let refusals = refusals.collect();
                    if !self.pulse.is_stuck()
                        && let Some((done, _)) = seat.judging.lock().take()
                    {
                        let _ = done.send(refusals);
                    }
                }
                Ok(Work::Reload) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Another has taken over.
            if self.pulse.is_stuck() {
                return;
            }
        }
    }

    /// The files that were loaded before, with the states that were saved.
    fn go_on(&mut self) -> Vec<Running> {
        let loaded = self.seat.shared.loaded.read().clone();
        let files = || loaded.stateless.iter().chain(&*loaded.stateful);
        let read = self.files().into_iter().chain(files().flat_map(|file| file.sources.paths()).collect::<Vec<_>>());
        self.seen = Some(prints(in_order(read.collect())));
        loaded.stateful.iter().map(|file| self.with_state(file.clone(), &[])).collect()
    }

    /// Loads what changed, if all of it loads.
    fn look(&mut self, running: &mut Vec<Running>) {
        let mut paths: Vec<PathBuf> = self.files();
        paths.extend(self.seen.iter().flatten().map(|(path, _)| path.clone()));
        if self.seen.as_ref() == Some(&prints(in_order(paths))) {
            return;
        }
        self.save(running);
        match self.load(running) {
            _ if self.pulse.is_stuck() => {}
            Ok(new) => {
                *running = new;
                tracing::info!("slices for events were loaded");
            }
            Err(error) => tracing::error!(%error, "slices for events changed and do not load; the old ones stay"),
        }
    }

    /// Loads all files. Those with state come back, the others go to all threads.
    fn load(&mut self, old: &[Running]) -> Result<Vec<Running>, ScriptError> {
        let limits = self.seat.shared.limits;
        let mut read = self.files();
        let mut stateless = Vec::new();
        let mut stateful = Vec::new();
        let mut failed = None;
        for path in self.files() {
            let mut sources = Sources::file(&path, limits.source_bytes);
            let health = Arc::new(Health::new(sources.main(), &limits));
            let watched = Watched { pulse: Arc::clone(&self.pulse), health: Arc::clone(&health) };
            let loaded = Program::load(&mut sources, Host::Nostr, &limits, &watched).and_then(|program| {
                program.started(|_, started| {
                    let started: Array<'_> = started.get()?;
                    Ok((started.get::<bool>(1)?, started.get::<bool>(2)?))
                })
            });
            read.extend(sources.paths());
            match loaded {
                Ok((has_state, is_required)) => {
                    let file = File { sources, health, is_required };
                    if has_state {
                        stateful.push(file);
                    } else {
                        stateless.push(file);
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.seen = Some(prints(in_order(read)));
        if let Some(error) = failed {
            return Err(error);
        }
        let running = stateful.iter().map(|file| self.with_state(file.clone(), old)).collect();
        let mut loaded = self.seat.shared.loaded.write();
        let is_any = loaded.version > 0 || !stateless.is_empty() || !stateful.is_empty();
        if is_any && !self.pulse.is_stuck() {
            let version = loaded.version + 1;
            *loaded = Loaded { version, stateless: stateless.into(), stateful: stateful.into() };
            self.seat.shared.version.store(version, Ordering::Release);
        }
        Ok(running)
    }

    fn with_state(&self, file: File, old: &[Running]) -> Running {
        let before = old.iter().find(|old| old.name() == file.sources.main());
        let saved =
            before.and_then(|old| old.saved.clone()).or_else(|| std::fs::read(self.state_of(file.sources.main())).ok());
        Running { saved, ..Running::new(file, &self.pulse) }
    }

    /// `*.js` and `*.mjs` of the folder, in order. No folder: none.
    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.seat.folder).into_iter().flatten().flatten();
        let is_script =
            |path: &PathBuf| path.extension().is_some_and(|end| end == "js" || end == "mjs") && path.is_file();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_script).collect();
        files.sort();
        files
    }

    fn state_of(&self, file: &str) -> PathBuf {
        self.seat.states.join(format!("{file}.cbor"))
    }

    fn save(&self, running: &mut [Running]) {
        for file in running {
            let Some(states) = file.save(&self.seat.shared.limits).filter(|_| !self.pulse.is_stuck()) else { continue };
            let path = self.state_of(file.name());
            if let Err(error) = write_whole(&path, &states) {
                tracing::error!(%error, slice = file.name(), "the state of a slice could not be written");
                file.is_dirty = true;
            }
        }
    }
}

/// All filters, then all reducers.
fn judge_one(
    running: &mut [Running],
    event: &Verified,
    auth: &[PublicKey],
    now: Timestamp,
    limits: &Limits,
) -> Option<Refusal> {
    let refused = running.iter_mut().find_map(|file| file.judge(event, auth, now, limits));
    refused.or_else(|| running.iter_mut().find_map(|file| file.reduce(now, limits)))
}

fn in_order(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup();
    paths
}

fn prints(paths: Vec<PathBuf>) -> Vec<Print> {
    let print = |path: &Path| path.metadata().and_then(|about| Ok((about.len(), about.modified()?))).ok();
    paths.into_iter().map(|path| (path.clone(), print(&path))).collect()
}

/// Never leaves half a file.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests;
