//! What waits for one kind of reader, and how its threads wait for that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{EXPECTED, Stopped, Waiting};
use crate::crew::turns::Turns;
use crate::threads::has_slept;

/// The lock is that of the standard library, which is never handed to a thread that waits for it: one that gives way to
/// others would keep it until it gets a core.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something was put in, or the end has come.
    changed: Condvar,
    /// For threads that look out for something: there is something now, or the end has come.
    has_any: AtomicBool,
}

#[derive(Default)]
struct State {
    turns: Turns<Waiting>,
    is_stopped: bool,
    /// Pieces of work that wait.
    len: usize,
    /// Threads that have nothing to do and look out for something for a moment, before they sleep.
    looking: usize,
    /// Threads that sleep.
    asleep: usize,
    /// Of these, how many have been woken and have not noticed yet.
    woken: usize,
}

/// How often a thread that has nothing to do looks out for something before it sleeps, with pauses that double each time: a
/// few microseconds in all. To be put to sleep and woken takes longer, and while many ask the next work is never far.
const LOOKS: u32 = 7;

/// How often it gives its core to others after that.
const YIELDS: u32 = 4;

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, waiting: Waiting) -> Result<(), Stopped> {
        let mut state = self.lock();
        if state.is_stopped {
            return Err(Stopped);
        }
        state.turns.push(waiting.member, waiting);
        state.len += 1;
        self.has_any.store(true, Ordering::Release);
        // Those who are awake look into the queue before they sleep.
        let wakes = state.asleep > state.woken && state.len > state.looking + state.woken;
        state.woken += usize::from(wakes);
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// What is to be done next, and the time. `None` when all is done and the end has come.
    pub(super) fn next(&self) -> Option<(Waiting, Instant)> {
        // Scans may hold much: they are dropped when the lock is not held any more.
        let mut unwanted = Vec::new();
        let mut has_looked = false;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let taken = |waiting: &Waiting| waiting.party.charge(EXPECTED, waiting.is_long, now);
            let next = state.turns.pop(taken, &mut unwanted);
            state.len = state.len.saturating_sub(unwanted.len() + usize::from(next.is_some()));
            self.has_any.store(state.len > 0 || state.is_stopped, Ordering::Release);
            if next.is_some() || state.is_stopped {
                drop(state);
                return next.map(|waiting| (waiting, now));
            }
            if !unwanted.is_empty() {
                drop(state);
                unwanted.clear();
                state = self.lock();
            } else if !has_looked {
                state.looking += 1;
                drop(state);
                self.look_out();
                has_looked = true;
                state = self.lock();
                state.looking -= 1;
            } else {
                state.asleep += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep -= 1;
                state.woken = state.woken.saturating_sub(1);
                has_slept();
            }
        }
    }

    /// Waits for a moment, or until there is something.
    fn look_out(&self) {
        for look in 0..LOOKS {
            for _ in 0..1 << look {
                std::hint::spin_loop();
            }
            if self.has_any.load(Ordering::Acquire) {
                return;
            }
        }
        // Those who would bring something may wait for this core.
        for _ in 0..YIELDS {
            std::thread::yield_now();
            if self.has_any.load(Ordering::Acquire) {
                return;
            }
        }
    }

    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.has_any.store(true, Ordering::Release);
        self.changed.notify_all();
    }
}
