//! What others see of a thread that runs scripts, and who looks.
//!
//! A call of a script is stopped when its time is over, but only between two steps of the interpreter: ten thousand steps,
//! each of which does something large that cannot be interrupted, may take hours. A thread that is held up like that counts
//! as *stuck*. What it was about is given up, its file is not run any more until it changes, and everything else goes on.

use std::fmt;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::metrics::SCRIPTS_STUCK;
use crate::threads::essential;

/// Between two looks, at the most.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(250);

/// What a call of a script is about: told when the call is given up.
pub trait Watched: Send + Sync {
    /// A call has taken this long, and cannot be stopped.
    fn stuck(&self, took: Duration);
}

/// One thread that runs scripts.
pub struct Pulse {
    /// The call that runs, and since when.
    call: Mutex<Option<(Instant, Arc<dyn Watched>)>>,
    is_stuck: watch::Sender<bool>,
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("is_stuck", &self.is_stuck()).finish_non_exhaustive()
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self { call: Mutex::new(None), is_stuck: watch::Sender::new(false) }
    }
}

/// A call that runs, until this is dropped.
pub struct Beat<'a>(&'a Pulse);

impl Drop for Beat<'_> {
    fn drop(&mut self) {
        *self.0.call.lock() = None;
    }
}

impl Pulse {
    /// A call of a script begins.
    pub fn enter<W: Watched + 'static>(&self, watched: &Arc<W>) -> Beat<'_> {
        let watched: Arc<dyn Watched> = Arc::<W>::clone(watched);
        *self.call.lock() = Some((Instant::now(), watched));
        Beat(self)
    }

    /// True from the time that it was given up. What it still does must come to nothing.
    #[inline]
    pub fn is_stuck(&self) -> bool {
        *self.is_stuck.borrow()
    }

    /// Resolves when it is stuck.
    pub async fn until_stuck(&self) {
        // It cannot fail: the sender is in `self`.
        let _ = self.is_stuck.subscribe().wait_for(|is_stuck| *is_stuck).await;
    }

    /// The thread is back, and what it was about is forgotten.
    pub fn recover(&self) {
        if self.is_stuck.send_replace(false) {
            metrics::gauge!(SCRIPTS_STUCK).decrement(1.0);
            tracing::warn!("a slice that was stuck has come to an end");
        }
    }

    /// Whether it is stuck since now. The call cannot end meanwhile without seeing that.
    fn gives_up(&self, patience: Duration) -> bool {
        let call = self.call.lock();
        match &*call {
            Some((since, watched)) if since.elapsed() > patience && !self.is_stuck() => {
                watched.stuck(since.elapsed());
                self.is_stuck.send_replace(true);
                metrics::gauge!(SCRIPTS_STUCK).increment(1.0);
                true
            }
            _ => false,
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if self.is_stuck() {
            metrics::gauge!(SCRIPTS_STUCK).decrement(1.0);
        }
    }
}

/// What is done when a thread is stuck. Called on the thread that looks.
pub type GivenUp = Box<dyn FnOnce(&Lookout) + Send>;

type Looking = Vec<(Weak<Pulse>, Option<GivenUp>)>;

/// Looks at threads that run scripts; clones share it.
#[derive(Clone)]
pub struct Lookout(Arc<Mutex<Looking>>);

/// The thread of it, which ends when all handles are gone.
pub struct LookoutThread(JoinHandle<()>);

impl Lookout {
    /// Starts it. A call that takes longer than `patience` is stuck.
    ///
    /// # Errors
    ///
    /// There is no thread.
    pub fn start(patience: Duration) -> std::io::Result<(Self, LookoutThread)> {
        let watched = Arc::new(Mutex::new(Vec::new()));
        let looking = Arc::downgrade(&watched);
        let look_every = (patience / 10).min(LOOK_EVERY_MAX);
        let thread = essential("lookout", move || {
            while let Some(watched) = looking.upgrade() {
                look(&Lookout(watched), patience);
                std::thread::park_timeout(look_every);
            }
        })?;
        Ok((Self(watched), LookoutThread(thread)))
    }

    /// Looks at a thread from now on, until its pulse is gone. `given_up` is called once.
    pub fn watch(&self, pulse: &Arc<Pulse>, given_up: Option<GivenUp>) {
        self.0.lock().push((Arc::downgrade(pulse), given_up));
    }
}

impl LookoutThread {
    /// Waits until it has ended.
    pub fn join(self) {
        self.0.thread().unpark();
        let _ = self.0.join();
    }
}

fn look(lookout: &Lookout, patience: Duration) {
    let mut given_up = Vec::new();
    lookout.0.lock().retain_mut(|(pulse, then)| {
        let Some(pulse) = pulse.upgrade() else { return false };
        if pulse.gives_up(patience) {
            given_up.extend(then.take());
        }
        true
    });
    // Without the lock: others are watched from there.
    given_up.into_iter().for_each(|then| then(lookout));
}
