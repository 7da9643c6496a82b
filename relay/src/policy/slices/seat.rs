//! The thread that loads files of slices for events, runs those that have state, and keeps that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use rquickjs::Array;

use super::running::{File, Rule, Running};
use super::{Loaded, NAME, Shared, Work};
use crate::clock::Timestamp;
use crate::event::PublicKey;
use crate::outcome::{Prefix, Refusal};
use crate::pulse::{Lookout, Pulse};
use crate::script::error::ScriptError;
use crate::script::health::Health;
use crate::script::limits::Limits;
use crate::script::modules::Sources;
use crate::script::program::{Host, Program};
use crate::threads::essential;
use crate::verify::Verified;

/// How slices for events are told from those of rooms, in the log and in metrics.
const ROOM: &str = "nostr";

/// The place of the thread of slices: another takes it over when that is stuck.
pub(super) struct Seat {
    pub(super) folder: PathBuf,
    pub(super) states: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) look_every: Option<Duration>,
    pub(super) save_every: Duration,
    pub(super) work: Receiver<Work>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
    /// Who waits until all files are loaded for the first time.
    pub(super) starting: Mutex<Option<Sender<Result<(), ScriptError>>>>,
    pub(super) judging: Mutex<Option<Waiting>>,
}

/// Who waits for an answer, about how many events.
type Waiting = (Sender<Vec<Option<Refusal>>>, usize);

impl Seat {
    /// Starts a thread: the first, if somebody waits for it, or one that goes on with the files that were loaded.
    pub(super) fn begin(self: &Arc<Self>, lookout: &Lookout) -> std::io::Result<()> {
        let pulse = Arc::<Pulse>::default();
        let keeper = Keeper { seat: Arc::clone(self), pulse: Arc::clone(&pulse), seen: None };
        let mut thread = self.thread.lock();
        *thread = Some(essential("slices", move || keeper.run())?);
        let seat = Arc::clone(self);
        lookout.watch(&pulse, Some(Box::new(move |lookout| seat.take_over(lookout))));
        Ok(())
    }

    fn take_over(self: &Arc<Self>, lookout: &Lookout) {
        if self.starting.lock().take().is_some() {
            return;
        }
        if let Some((done, len)) = self.judging.lock().take() {
            let _ = done.send(vec![Some(Refusal::new(Prefix::Error, NAME, "a slice does not come to an end")); len]);
        }
        if let Err(error) = self.begin(lookout) {
            tracing::error!(%error, "there is no thread for slices any more");
        }
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
            let is_over = matches!(work, Ok(Work::Stop) | Err(RecvTimeoutError::Disconnected));
            let is_time = seat.look_every.is_some_and(|every| looked.elapsed() >= every);
            if is_time || matches!(work, Ok(Work::Reload)) {
                looked = Instant::now();
                self.look(&mut running);
            }
            if saved.elapsed() >= seat.save_every || is_over {
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
                Ok(Work::Stop) | Err(RecvTimeoutError::Disconnected) => return,
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
            match load_file(&path, &limits, &self.pulse, &mut read) {
                Ok((file, true)) => stateful.push(file),
                Ok((file, false)) => stateless.push(file),
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
        let mut running = Running::new(file, &self.pulse);
        running.saved = saved;
        running
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.seat.folder)
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

/// `*.js` and `*.mjs` of the folder, in order. No folder: none.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_script = |path: &PathBuf| path.extension().is_some_and(|end| end == "js" || end == "mjs") && path.is_file();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_script).collect();
    files.sort();
    files
}

/// A file, and whether it has state. What was read is added to `read`.
pub(super) fn load_file(
    path: &Path,
    limits: &Limits,
    pulse: &Arc<Pulse>,
    read: &mut Vec<PathBuf>,
) -> Result<(File, bool), ScriptError> {
    let mut sources = Sources::file(path, limits.source_bytes);
    let whole = Arc::new(Health::new(ROOM, sources.main(), limits));
    let loaded = Program::load(&mut sources, Host::Nostr, limits, pulse, &whole).and_then(|program| {
        program.started(|_, started| {
            let started: Array<'_> = started.get()?;
            Ok((started.get::<Vec<String>>(0)?, started.get::<bool>(1)?, started.get::<Vec<bool>>(2)?))
        })
    });
    read.extend(sources.paths());
    let (names, has_state, required) = loaded?;
    let rule =
        |(name, is_required): (&String, bool)| Rule { health: Arc::new(Health::new(ROOM, name, limits)), is_required };
    let slices = names.iter().zip(required).map(rule).collect();
    Ok((File { sources, whole, slices }, has_state))
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
    refused.or_else(|| running.iter_mut().find_map(|file| file.reduce(event, auth, now, limits)))
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
