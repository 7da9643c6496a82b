//! The one writer thread.
//!
//! There is one because SQLite has one write lock: what waits behind a commit goes into the next one, so the busier the
//! relay is, the fewer commits each event costs, and an event that comes alone is committed at once. When others of the same
//! account are being verified, it waits for them a few milliseconds. What rooms change, and what is made of it, goes into
//! transactions of its own, in turns with what clients send: nobody waits behind a long feed for longer than one of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use tokio::sync::oneshot;

use super::coming::Coming;
use crate::clock;
use crate::event::Id;
use crate::rarely::rarely;
use crate::repo::{Change, Changed};
use crate::threads::essential;
use crate::verify::Verified;
use crate::{Batch, Saved, Seq, StoreError, Writer};

/// The account of events that the relay makes of what is in rooms.
pub const ROOMS_ACCOUNT: u64 = 3;

/// Events to save, and who wants to know.
pub struct Saving {
    /// The account that they came from, as in [`Coming`].
    pub account: u64,
    /// In order. Never of an ephemeral kind.
    pub events: Vec<Verified>,
    /// Called on the writer's thread after the commit, with one outcome for each event. None: it could not be written.
    pub done: SavedAll,
}

/// See [`Saving::done`].
pub type SavedAll = Box<dyn FnOnce(Vec<Verified>, &[Option<Saved>]) + Send>;

/// A change of a pico room, and who wants to know.
struct Changing {
    /// What to do.
    change: Change,
    /// Called on the writer's thread after the commit, with the outcome, or with what went wrong.
    done: Done,
}

type Done = Box<dyn FnOnce(Result<Changed, &StoreError>) + Send>;

/// What waits for the writer.
enum Job {
    Events(Saving),
    /// Boxed, so that the queue is no wider than events need.
    Room(Box<Changing>),
    /// Nothing comes after this.
    Stop,
}

/// Told of every commit, on the writer's thread, before the savers are.
pub trait Commits: Send {
    /// `events` are new, each with its number, in order; `removed` are gone.
    fn committed(&mut self, events: Vec<(Verified, Seq)>, removed: &[Id], took: Duration, batch_len: usize);
}

/// How the writer works.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Savings and changes that may wait.
    pub queue_max: usize,
    /// Events in one transaction, changes of rooms counted by [`Change::weight`].
    pub batch_max: usize,
    /// How long a transaction waits at most for events that are on their way: see [`Coming`].
    pub wait: Duration,
    /// Between two looks for expired events.
    pub sweep: Duration,
}

/// Handle of the writer; clones share it. The thread finishes its queue and ends when the last handle is dropped.
#[derive(Clone)]
pub struct WriterHandle {
    queue: Sender<Job>,
    coming: Coming,
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
        let (queue, jobs) = crossbeam_channel::bounded(pace.queue_max.max(1));
        let coming = Coming::default();
        let (coming_in, tended) = (coming.clone(), Instant::now());
        let later = VecDeque::new();
        let work = Work { writer, commits, pace, jobs, later, coming: coming_in, swept: None, tended, failing: false };
        let thread = essential("writer", move || work.run())?;
        Ok((Self { queue, coming }, WriterThread(thread)))
    }

    /// Ends the thread when it has written what is queued, whoever still has a handle: a thread that does not come to an
    /// end keeps its own. What comes later is refused.
    pub fn stop(self) {
        let _ = self.queue.send(Job::Stop);
    }

    /// Where to say that events are on their way.
    pub fn coming(&self) -> &Coming {
        &self.coming
    }

    /// Queues events. Blocks while the queue is full: only for threads that may wait.
    pub fn save(&self, saving: Saving) {
        if let Err(refused) = self.queue.send(Job::Events(saving)) {
            refused.into_inner().fail(&StoreError::Io(std::io::Error::other("the relay is shutting down")));
        }
    }

    /// Changes a room, and says what that did. Blocks: only for threads that may wait.
    pub fn change_now(&self, change: Change) -> Result<Changed, ChangeError> {
        let (answer, changed) = crossbeam_channel::bounded(1);
        let done = Box::new(move |changed: Result<Changed, &StoreError>| {
            let _ = answer.send(changed.map_err(|error| ChangeError::Failed(error.to_string())));
        });
        let job = Job::Room(Box::new(Changing { change, done }));
        self.queue.send(job).map_err(|_| ChangeError::Stopped)?;
        changed.recv().unwrap_or(Err(ChangeError::Stopped))
    }

    /// Changes a room, and says what that did. Waits politely while the queue is full. Once the future was polled, the
    /// change is made even if the future is dropped.
    pub async fn change(&self, change: Change) -> Result<Changed, ChangeError> {
        let (answer, changed) = oneshot::channel();
        let done = Box::new(move |changed: Result<Changed, &StoreError>| {
            let _ = answer.send(changed.map_err(|error| ChangeError::Failed(error.to_string())));
        });
        let mut job = Job::Room(Box::new(Changing { change, done }));
        loop {
            match self.queue.try_send(job) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => {
                    job = back;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(TrySendError::Disconnected(_)) => return Err(ChangeError::Stopped),
            }
        }
        changed.await.unwrap_or(Err(ChangeError::Stopped))
    }
}

/// A room could not be changed. Nothing of the change was kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChangeError {
    /// The relay is shutting down.
    #[error("the store is shutting down")]
    Stopped,
    /// The database failed; the writer has logged it.
    #[error("{0}")]
    Failed(String),
}

impl Job {
    fn weight(&self) -> usize {
        match self {
            Self::Events(saving) => saving.events.iter().map(weight).sum(),
            Self::Room(changing) => changing.change.weight(),
            Self::Stop => 0,
        }
    }

    /// Whether it is a change of a room, or what the relay makes of one, and not from a client.
    fn is_of_rooms(&self) -> bool {
        match self {
            Self::Events(saving) => saving.account == ROOMS_ACCOUNT,
            Self::Room(_) => true,
            Self::Stop => false,
        }
    }

    fn fail(self, error: &StoreError) {
        match self {
            Self::Events(Saving { events, done, .. }) => {
                let saved = vec![None; events.len()];
                done(events, &saved);
            }
            Self::Room(changing) => (changing.done)(Err(error)),
            Self::Stop => {}
        }
    }
}

/// How much a transaction is made longer by an event: a request to delete by what it names.
fn weight(event: &Verified) -> usize {
    1 + if event.kind == DELETION { event.tags.len() / NAMED_AS_EVENT } else { 0 }
}

/// Kind of a deletion request (NIP-09).
const DELETION: u16 = 5;

/// Things that a deletion request names that cost about as much as an event.
const NAMED_AS_EVENT: usize = 4;

impl WriterThread {
    /// Waits until everything queued is written. All [`WriterHandle`]s must be gone, or one told to [`WriterHandle::stop`], or it
    /// waits for ever.
    pub fn join(self) {
        let _ = self.0.join();
    }
}

struct Work {
    writer: Box<dyn Writer>,
    commits: Box<dyn Commits>,
    pace: Pace,
    jobs: Receiver<Job>,
    /// What rooms want, taken from `jobs` while clients had their turn.
    later: VecDeque<Job>,
    coming: Coming,
    swept: Option<Instant>,
    tended: Instant,
    /// The last batch could not be saved.
    failing: bool,
}

/// What goes into a transaction of rooms while clients wait for theirs, counted as [`Pace::batch_max`]: one that weighs more
/// is alone.
const ROOMS_TURN: usize = 64;

/// How long the queue must be empty before work that can wait is done.
const QUIET: Duration = Duration::from_millis(20);

/// How often the writer looks whether events are still on their way.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Under load such work is done this often all the same, a step at a time.
const TEND_LATEST: Duration = Duration::from_millis(500);

/// Events that one sweep removes at most, so that nobody waits long behind it.
const SWEEP_MAX: usize = 200;

/// How long a stop waits for such work.
const TEND_AT_END: Duration = Duration::from_secs(2);

/// When there is nothing to do, the writer looks this often for what it had to put off: a log that a reader held on to.
const LOOK_LATEST: Duration = Duration::from_secs(1);

impl Work {
    fn run(mut self) {
        let mut more = true;
        loop {
            let wait = match (self.later.is_empty(), more) {
                (false, _) => Duration::ZERO,
                (true, true) => QUIET,
                (true, false) => self.pace.sweep.min(LOOK_LATEST),
            };
            match self.jobs.recv_timeout(wait) {
                Ok(Job::Stop) => break,
                Ok(first) => {
                    if self.commit(first) {
                        break;
                    }
                    self.rooms();
                    more = true;
                    if self.tended.elapsed() > TEND_LATEST {
                        self.tended = Instant::now();
                        log_failure("tending the database", self.writer.tend_under_load());
                        self.sweep();
                    }
                    if self.writer.has_removals() && self.swept.is_none_or(|last| last.elapsed() > QUIET) {
                        self.sweep();
                    }
                }
                Err(RecvTimeoutError::Timeout) if !self.later.is_empty() => self.rooms(),
                Err(RecvTimeoutError::Timeout) => {
                    self.sweep();
                    more = self.tend() || self.writer.has_removals();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        while !self.later.is_empty() {
            self.rooms();
        }
        // What is left is done after the next start.
        let until = Instant::now() + TEND_AT_END;
        while self.tend() && Instant::now() < until {}
    }

    fn tend(&mut self) -> bool {
        self.tended = Instant::now();
        log_failure("tending the database", self.writer.tend())
    }

    /// Commits a job, and with it what waits behind it; what rooms want waits for its turn. True if nothing comes after that.
    fn commit(&mut self, first: Job) -> bool {
        let mut together = Together::default();
        let (mut weight, mut is_last) = (0, false);
        let until = Instant::now() + self.pace.wait;
        let mut next = Some(first);
        while let Some(job) = next {
            is_last = matches!(job, Job::Stop);
            if is_last {
                break;
            }
            if job.is_of_rooms() && self.later.len() < self.pace.queue_max {
                self.later.push_back(job);
            } else {
                weight += job.weight();
                together.add(job);
            }
            next = match weight {
                0 => self.jobs.try_recv().ok(),
                weight if weight < self.pace.batch_max => self.next_until(until, &together),
                _ => None,
            };
        }
        self.write_together(together);
        is_last
    }

    /// Commits what rooms want: little while clients wait, otherwise as much as goes into one transaction.
    fn rooms(&mut self) {
        let mut together = Together::default();
        let mut weight = 0;
        let most = if self.jobs.is_empty() { self.pace.batch_max } else { ROOMS_TURN };
        while weight < most
            && let Some(job) = self.later.pop_front()
        {
            weight += job.weight();
            together.add(job);
        }
        self.write_together(together);
    }

    fn write_together(&mut self, together: Together) {
        if together.savings.is_empty() && together.changes.is_empty() {
            return;
        }
        let Together { savings, changes, waiting, .. } = together;
        let events: Vec<Verified> = savings.iter().flat_map(|saving| saving.events.iter().cloned()).collect();
        let len = events.len();
        let mut written = Written { divisions: DIVISIONS_MAX, ..Written::default() };
        self.write(&events, &changes, &mut written);
        if written.is_whole && std::mem::take(&mut self.failing) {
            rarely!(info, "batches are saved again");
        }
        let mut outcomes = written.saved.as_slice();
        for Saving { events, done, .. } in savings {
            let (mine, rest) = outcomes.split_at_checked(events.len()).unwrap_or((outcomes, &[]));
            outcomes = rest;
            done(events, mine);
        }
        for (done, changed) in waiting.into_iter().zip(written.changed) {
            done(changed.as_ref().map_or_else(|error| Err(&**error), |changed| Ok(changed.clone())));
        }
        log_failure("keeping up with what is saved", self.writer.keep_up(len));
    }

    /// Writes these in one transaction. Where what is wrong may be wrong with one of them only, it is looked for by halves, and
    /// the others are written without it.
    fn write(&mut self, events: &[Verified], changes: &[Change], written: &mut Written) {
        let started = Instant::now();
        match self.writer.commit(events, changes, clock::now()) {
            Ok(Batch { saved, removed, changed }) => {
                let new = events.iter().zip(&saved).filter_map(|(event, saved)| match saved {
                    Saved::New(seq) => Some((event.clone(), *seq)),
                    _ => None,
                });
                self.commits.committed(new.collect(), &removed, started.elapsed(), events.len());
                written.saved.extend(saved.into_iter().map(Some));
                written.changed.extend(changed.into_iter().map(Ok));
            }
            Err(error) if written.divisions > 0 && events.len() + changes.len() > 1 && error.may_be_of_one() => {
                written.divisions -= 1;
                if events.is_empty() {
                    let (before, after) = changes.split_at(changes.len() / 2);
                    self.write(&[], before, written);
                    self.write(&[], after, written);
                } else if changes.is_empty() {
                    let (before, after) = events.split_at(events.len() / 2);
                    self.write(before, &[], written);
                    self.write(after, &[], written);
                } else {
                    self.write(events, &[], written);
                    self.write(&[], changes, written);
                }
            }
            Err(error) => {
                self.failing = true;
                written.is_whole = false;
                rarely!(error, %error, events = events.len(), changes = changes.len(), "a batch could not be saved");
                let error = Arc::new(error);
                written.saved.extend(events.iter().map(|_| None));
                written.changed.extend(changes.iter().map(|_| Err(Arc::clone(&error))));
            }
        }
    }

    /// What waits, or is on its way and comes in time.
    fn next_until(&self, until: Instant, together: &Together) -> Option<Job> {
        loop {
            if let Ok(job) = self.jobs.try_recv() {
                return Some(job);
            }
            let now = Instant::now();
            if now >= until || !together.are_all_followed(&self.coming) {
                return None;
            }
            // What is on its way can be refused, and nobody says so here.
            if let Ok(job) = self.jobs.recv_deadline(until.min(now + LOOK_AGAIN)) {
                return Some(job);
            }
        }
    }

    fn sweep(&mut self) {
        if self.swept.is_some_and(|last| last.elapsed() < self.pace.sweep) && !self.writer.has_removals() {
            return;
        }
        self.swept = Some(Instant::now());
        let removed = self.writer.sweep_expired(clock::now(), SWEEP_MAX);
        let removed = log_failure("removing events that are to go", removed);
        if removed.len() == SWEEP_MAX {
            self.swept = None;
        }
        if !removed.is_empty() {
            tracing::debug!(events = removed.len(), "removed events that expired or vanished");
            self.commits.committed(Vec::new(), &removed, Duration::ZERO, 0);
        }
    }
}

/// How often a batch is divided to find what is wrong in it: enough for six things in a thousand. Where more is wrong, others
/// are refused, too.
const DIVISIONS_MAX: u32 = 64;

/// What became of a batch, in order.
struct Written {
    /// One for each event. None: it could not be written.
    saved: Vec<Option<Saved>>,
    /// One for each change.
    changed: Vec<Result<Changed, Arc<StoreError>>>,
    /// How often it may still be divided.
    divisions: u32,
    is_whole: bool,
}

impl Default for Written {
    fn default() -> Self {
        Self { saved: Vec::new(), changed: Vec::new(), divisions: 0, is_whole: true }
    }
}

/// What goes into one transaction.
#[derive(Default)]
struct Together {
    savings: Vec<Saving>,
    changes: Vec<Change>,
    /// One for each change.
    waiting: Vec<Done>,
    /// Whose events are in it, each once.
    accounts: Vec<u64>,
}

impl Together {
    /// Whether all whose events are in it have more on their way.
    fn are_all_followed(&self, coming: &Coming) -> bool {
        self.changes.is_empty() && self.accounts.iter().all(|account| coming.any(*account))
    }

    fn add(&mut self, job: Job) {
        match job {
            Job::Events(saving) => {
                if !self.accounts.contains(&saving.account) {
                    self.accounts.push(saving.account);
                }
                self.savings.push(saving);
            }
            Job::Room(changing) => {
                let Changing { change, done } = *changing;
                self.changes.push(change);
                self.waiting.push(done);
            }
            Job::Stop => {}
        }
    }
}

fn log_failure<T: Default>(what: &str, result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| {
        rarely!(error, %error, "{what} failed");
        T::default()
    })
}

/// A [`Commits`] for those who need not know.
impl Commits for () {
    fn committed(&mut self, _: Vec<(Verified, Seq)>, _: &[Id], _: Duration, _: usize) {}
}

#[cfg(test)]
mod tests;
