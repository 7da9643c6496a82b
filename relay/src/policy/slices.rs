//! Slices for nostr events: files in `<data>/slices/nostr/`, each with
//! `export default store => store.register({ name, filter({ event, AUTHOR, state, now, auth }), reducer? })`.
//!
//! A falsy result of a filter accepts, `true` has no opinion, a text refuses with that reason; an event about which nobody
//! minds is admitted. Files without a reducer run on the threads that check signatures, each thread with runtimes of its
//! own. Files with one have state; they run on one thread, which sees event after event. The same thread looks whether
//! files changed, loads them, and hands them to the others; what does not load changes nothing. If it is stuck, another takes
//! its place.

mod running;
mod seat;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use parking_lot::{Mutex, RwLock};

use self::running::{File, Running};
use self::seat::Seat;
use crate::clock::Timestamp;
use crate::event::PublicKey;
use crate::outcome::Refusal;
use crate::pulse::{Lookout, Pulse};
use crate::script::config;
use crate::script::error::ScriptError;
use crate::script::limits::Limits;
use crate::threads::wait_for;
use crate::verify::Verified;

/// Who refuses.
const NAME: &str = "slices";

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

enum Work {
    Judge {
        events: Vec<Option<Verified>>,
        auth: Arc<[PublicKey]>,
        now: Timestamp,
        done: Sender<Vec<Option<Refusal>>>,
    },
    Reload,
    /// Nothing comes after this.
    Stop,
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

    /// Lets their thread write state and end, whoever still has a handle.
    pub fn stop(self) {
        let _ = self.stateful.send(Work::Stop);
    }

    /// For one thread that judges events, which has this pulse.
    pub fn judge(&self, pulse: Arc<Pulse>) -> Judge {
        Judge { slices: self.clone(), pulse, version: 0, files: Vec::new(), has_stateful: false }
    }
}

/// Loads `<data>/slices/nostr/*.js` as [`EventSlices::start`] does, and nothing else: how many files there are, and what is
/// wrong with each that does not load.
pub fn check(data: &Path, config: &config::Script, pulse: &Arc<Pulse>) -> (usize, Vec<ScriptError>) {
    let limits = Limits::from(config);
    let files = seat::files(&data.join("slices").join("nostr"));
    let wrong = files.iter().filter_map(|file| seat::load_file(file, &limits, pulse, &mut Vec::new()).err());
    (files.len(), wrong.collect())
}

impl EventSlicesThread {
    /// Waits until state is written. All [`EventSlices`] handles must be gone, or one told to [`EventSlices::stop`].
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
        answer.unwrap_or_else(|| vec![Some(Refusal::shutting_down(NAME)); events.len()])
    }
}

#[cfg(test)]
mod tests;
