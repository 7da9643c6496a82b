//! The one writer thread.
//!
//! There is one because SQLite has one write lock: what waits behind a commit goes into the next one, so the busier the
//! relay is, the fewer commits each event costs, and an event that comes alone is committed at once.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{Saved, Seq, StoreError, Writer};
use crate::clock;
use crate::event::Id;
use crate::verify::Verified;

/// Events to save, and who wants to know.
pub struct Saving {
    /// In order. Never of an ephemeral kind.
    pub events: Vec<Verified>,
    /// Called on the writer's thread after the commit, with one outcome for each event, or with what went wrong for all.
    pub done: Box<dyn FnOnce(Vec<Verified>, Result<&[Saved], &StoreError>) + Send>,
}

/// Told of every commit, on the writer's thread, before the savers are.
pub trait Commits: Send {
    /// `events` are new, each with its number, in order; `removed` are gone.
    fn committed(&mut self, events: Vec<(Verified, Seq)>, removed: &[Id], took: Duration, batch_len: usize);
}

/// How the writer works.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Savings that may wait.
    pub queue_max: usize,
    /// Events in one transaction.
    pub batch_max: usize,
    /// Between two looks for expired events.
    pub sweep: Duration,
}

/// Handle of the writer; clones share it. The thread finishes its queue and ends when the last handle is dropped.
#[derive(Clone)]
pub struct WriterHandle {
    queue: Sender<Saving>,
}

/// The thread, to wait for at the end.
pub struct WriterThread(JoinHandle<()>);

impl WriterHandle {
    /// Starts the thread.
    pub fn start(
        writer: Box<dyn Writer>,
        commits: Box<dyn Commits>,
        pace: Pace,
    ) -> Result<(Self, WriterThread), StoreError> {
        let (queue, savings) = crossbeam_channel::bounded(pace.queue_max.max(1));
        let work = Work { writer, commits, pace, savings, swept: None, tended: Instant::now() };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || work.run())?;
        Ok((Self { queue }, WriterThread(thread)))
    }

    /// Queues events. Blocks while the queue is full: only for threads that may wait.
    pub fn save(&self, saving: Saving) {
        if let Err(refused) = self.queue.send(saving) {
            let Saving { events, done } = refused.into_inner();
            done(events, Err(&StoreError::Io(std::io::Error::other("the relay is shutting down"))));
        }
    }
}

impl WriterThread {
    /// Waits until everything queued is written. All [`WriterHandle`]s must be gone, or it waits for ever.
    pub fn join(self) {
        let _ = self.0.join();
    }
}

struct Work {
    writer: Box<dyn Writer>,
    commits: Box<dyn Commits>,
    pace: Pace,
    savings: Receiver<Saving>,
    swept: Option<Instant>,
    tended: Instant,
}

/// How long the queue must be empty before work that can wait is done.
const QUIET: Duration = Duration::from_millis(20);

/// Under load such work is done this often all the same, a step at a time.
const TEND_LATEST: Duration = Duration::from_millis(500);

/// Expired events that one sweep removes at most, so that nobody waits long behind it.
const SWEEP_MAX: usize = 500;

impl Work {
    fn run(mut self) {
        let mut more = true;
        loop {
            let wait = if more { QUIET } else { self.pace.sweep };
            match self.savings.recv_timeout(wait) {
                Ok(first) => {
                    self.commit(first);
                    more = true;
                    if self.tended.elapsed() > TEND_LATEST {
                        more = self.tend();
                        let under_load = self.writer.tend_under_load();
                        log_failure("keeping the log short", under_load);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.sweep();
                    more = self.tend();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        while self.tend() {}
    }

    fn tend(&mut self) -> bool {
        self.tended = Instant::now();
        log_failure("tending the database", self.writer.tend())
    }

    fn commit(&mut self, first: Saving) {
        let mut savings = vec![first];
        let mut len = savings.iter().map(|saving| saving.events.len()).sum::<usize>();
        while len < self.pace.batch_max
            && let Ok(next) = self.savings.try_recv()
        {
            len += next.events.len();
            savings.push(next);
        }
        let batch: Vec<Verified> = savings.iter().flat_map(|saving| saving.events.iter().cloned()).collect();
        let started = Instant::now();
        match self.writer.save(&batch, clock::now()) {
            Ok(done) => {
                let new = batch.into_iter().zip(&done.saved);
                let new = new.filter_map(|(event, saved)| match saved {
                    Saved::New(seq) => Some((event, *seq)),
                    _ => None,
                });
                self.commits.committed(new.collect(), &done.removed, started.elapsed(), len);
                let mut outcomes = done.saved.as_slice();
                for Saving { events, done } in savings {
                    let (mine, rest) = outcomes.split_at_checked(events.len()).unwrap_or((outcomes, &[]));
                    outcomes = rest;
                    done(events, Ok(mine));
                }
            }
            Err(error) => {
                tracing::error!(%error, events = len, "a batch could not be saved");
                for Saving { events, done } in savings {
                    done(events, Err(&error));
                }
            }
        }
    }

    fn sweep(&mut self) {
        if self.swept.is_some_and(|last| last.elapsed() < self.pace.sweep) {
            return;
        }
        self.swept = Some(Instant::now());
        let removed = self.writer.sweep_expired(clock::now(), SWEEP_MAX);
        let removed = log_failure("removing expired events", removed);
        if removed.len() == SWEEP_MAX {
            self.swept = None;
        }
        if !removed.is_empty() {
            tracing::debug!(events = removed.len(), "removed expired events");
            self.commits.committed(Vec::new(), &removed, Duration::ZERO, 0);
        }
    }
}

fn log_failure<T: Default>(what: &str, result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "{what} failed");
        T::default()
    })
}

/// A [`Commits`] for those who need not know.
impl Commits for () {
    fn committed(&mut self, _: Vec<(Verified, Seq)>, _: &[Id], _: Duration, _: usize) {}
}
