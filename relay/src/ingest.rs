//! The one door: verify, admit, save, broadcast. Clients, import, bridge and sync all enter here.
//!
//! A connection's events stay in order: each connection is served by one of the verifying threads, and the writer takes
//! what they queue in order.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use hashbrown::HashSet;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::bridge::Wanted;
use crate::clock::{self, Timestamp};
use crate::engine::script::event::wait_for;
use crate::engine::script::pulse::{Lookout, Pulse};
use crate::event::{Class, Event, Id, PublicKey};
use crate::policy::judge::{Bench, Judges, Sentence};
use crate::policy::{Policy, Verdict};
use crate::store::{Coming, Commits, Saved, Saving, Seq, StoreError, WriterHandle};
use crate::subscription::{Broadcast, Subscriptions};
use crate::verify::{self, Keys, Verified, VerifyError};

/// Where events come from. Policies differ.
#[derive(Clone, Debug)]
pub enum Source {
    /// A client.
    Client(Client),
    /// The operator's own files: only what the NIPs demand of the store applies.
    Import,
    /// The relay itself, for blocks of pico rooms. No policy about work and age applies: nobody chose when the block came.
    Bridge,
    /// Another relay that the operator named. It is trusted in nothing, but what it gives may be old, and was not made for
    /// us: the age limit and proof of work do not apply. Protected events (NIP-70) are refused, as their authors did not
    /// bring them.
    Upstream,
}

/// Somebody who sends events.
#[derive(Clone, Debug)]
pub struct Client {
    /// The keys it has authenticated.
    pub keys: SmallVec<[PublicKey; 1]>,
    /// Where it is.
    pub address: IpAddr,
}

impl Source {
    /// The keys that were authenticated.
    pub fn keys(&self) -> &[PublicKey] {
        match self {
            Self::Client(client) => &client.keys,
            Self::Import | Self::Bridge | Self::Upstream => &[],
        }
    }

    /// The address of a client.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Client(client) => Some(client.address),
            Self::Import | Self::Bridge | Self::Upstream => None,
        }
    }
}

/// What became of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The store's answer.
    Saved(Saved),
    /// An ephemeral event, passed on.
    Passed,
    /// Not kept, on the word of the operator's rules; who sent it is told otherwise.
    Shadowed,
    /// Refused, with the text of the OK, prefix included.
    Refused(Cow<'static, str>),
}

impl Outcome {
    /// Outcome and reason, as counted in metrics.
    pub fn labels(&self) -> (&'static str, &'static str) {
        match self {
            Self::Saved(Saved::New(_)) => ("accepted", ""),
            Self::Saved(Saved::Duplicate) => ("duplicate", ""),
            Self::Saved(Saved::Superseded) => ("superseded", ""),
            Self::Saved(Saved::Deleted) => ("deleted", ""),
            Self::Saved(Saved::Vanished) => ("vanished", ""),
            Self::Saved(Saved::Expired) => ("expired", ""),
            Self::Passed => ("ephemeral", ""),
            Self::Shadowed => ("rejected", "shadow"),
            Self::Refused(why) => match why.split(':').next() {
                Some("invalid") => ("invalid", "verify"),
                Some("pow") => ("rejected", "pow"),
                Some("blocked") => ("rejected", "blocked"),
                Some("auth-required" | "restricted") => ("rejected", "auth"),
                Some("error") => ("failed", ""),
                _ => ("rejected", "other"),
            },
        }
    }

    /// True when the id or the signature was wrong: no honest relay has such an event.
    pub fn is_forged(&self) -> bool {
        let Self::Refused(why) = self else { return false };
        [VerifyError::Id, VerifyError::Signature].iter().any(|error| *why == forged(*error))
    }

    /// True when the same event would be refused again.
    pub fn is_final_refusal(&self) -> bool {
        match self {
            Self::Saved(saved) => !matches!(saved, Saved::New(_) | Saved::Duplicate),
            Self::Refused(why) => !why.starts_with("error:"),
            Self::Shadowed => true,
            Self::Passed => false,
        }
    }
}

fn forged(error: VerifyError) -> String {
    format!("invalid: {error}")
}

/// Whom to tell. Called from several threads, for each event once.
pub trait Answers: Send + Sync + 'static {
    /// What became of some events.
    fn answer(&self, outcomes: Vec<(Id, Outcome)>);
}

struct Job {
    events: Vec<Event>,
    source: Source,
    answers: Arc<dyn Answers>,
}

/// Handle of the path in; clones share it.
#[derive(Clone)]
pub struct Ingest {
    lanes: Arc<[Sender<Job>]>,
    coming: Coming,
}

/// The verifying threads, to wait for at the end.
pub struct VerifyThreads(Vec<Arc<Lane>>);

/// The place of a verifying thread: another takes it over when a slice holds that up.
struct Lane {
    number: usize,
    jobs: Receiver<Job>,
    path: Path,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What slices are being asked about.
    judging: Mutex<Option<Judging>>,
    /// A thread was given up, and has this until it comes back.
    was_stuck: AtomicBool,
}

/// Events that slices are asked about, and who wants to know.
struct Judging {
    ids: Vec<Id>,
    answers: Arc<dyn Answers>,
    /// Of their job, with those that were refused already.
    count: usize,
}

/// What a verifying thread needs.
#[derive(Clone)]
pub struct Path {
    /// Asked in order.
    pub policies: Arc<[Box<dyn Policy>]>,
    /// Asked after them.
    pub judges: Judges,
    /// Where what is admitted goes.
    pub writer: WriterHandle,
    /// Where ephemeral events go.
    pub broadcast: Sender<Broadcast>,
    /// Known duplicates.
    pub recent: Arc<RecentIds>,
    /// Learns whether the writer can write.
    pub saves: Arc<Saves>,
    /// Keys of authors that each thread remembers.
    pub author_keys_max: usize,
    /// How far each thread gives way to others.
    pub niceness: u8,
}

/// Whether the last batch could be saved.
#[derive(Default, Debug)]
pub struct Saves {
    failed: AtomicBool,
}

impl Saves {
    /// True when it could not: disk full, database damaged.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Ingest {
    /// Starts `threads` verifying threads, each with a queue of `queue_max` batches.
    pub fn start(
        path: &Path,
        threads: usize,
        queue_max: usize,
        lookout: &Lookout,
    ) -> std::io::Result<(Self, VerifyThreads)> {
        let mut queues = Vec::new();
        let mut lanes = Vec::new();
        for number in 0..threads.max(1) {
            let (queue, jobs) = crossbeam_channel::bounded(queue_max.max(1));
            let (thread, judging) = (Mutex::default(), Mutex::default());
            let was_stuck = AtomicBool::new(false);
            let lane = Arc::new(Lane { number, jobs, path: path.clone(), thread, judging, was_stuck });
            lane.begin(lookout)?;
            lanes.push(lane);
            queues.push(queue);
        }
        Ok((Self { lanes: queues.into(), coming: path.writer.coming().clone() }, VerifyThreads(lanes)))
    }

    /// Takes in events of one origin. `lane` tells origins apart: events of one lane stay in order. Waits politely while
    /// the queue is full.
    pub async fn submit(&self, lane: u64, events: Vec<Event>, source: Source, answers: Arc<dyn Answers>) {
        let count = events.len();
        let mut job = Job { events, source, answers };
        loop {
            self.coming.add(count);
            let sent = self.lane(lane).map(|lane| lane.try_send(job));
            if !matches!(sent, Some(Ok(()))) {
                self.coming.remove(count);
            }
            match sent {
                Some(Err(TrySendError::Full(back))) => {
                    job = back;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Some(Err(TrySendError::Disconnected(job))) => return job.refuse("error: the relay is shutting down"),
                Some(Ok(())) | None => return,
            }
        }
    }

    /// The same for threads that may wait.
    pub fn submit_blocking(&self, lane: u64, events: Vec<Event>, source: Source, answers: Arc<dyn Answers>) {
        let count = events.len();
        self.coming.add(count);
        if let Some(lane) = self.lane(lane)
            && let Err(refused) = lane.send(Job { events, source, answers })
        {
            self.coming.remove(count);
            refused.into_inner().refuse("error: the relay is shutting down");
        }
    }

    fn lane(&self, lane: u64) -> Option<&Sender<Job>> {
        let lanes = u64::try_from(self.lanes.len()).ok()?;
        self.lanes.get(usize::try_from(lane % lanes).ok()?)
    }
}

impl VerifyThreads {
    /// Waits until everything queued went to the writer. All [`Ingest`] handles must be gone. True if a thread that was stuck
    /// may be left behind.
    pub fn join(self) -> bool {
        self.0.iter().for_each(|lane| wait_for(&lane.thread));
        self.0.iter().any(|lane| lane.was_stuck.load(Ordering::Relaxed))
    }
}

impl Job {
    fn refuse(self, why: &'static str) {
        self.answers.answer(self.events.iter().map(|event| (event.id, Outcome::Refused(why.into()))).collect());
    }
}

impl Lane {
    fn begin(self: &Arc<Self>, lookout: &Lookout) -> std::io::Result<()> {
        let pulse = Arc::<Pulse>::default();
        let (lane, theirs) = (Arc::clone(self), Arc::clone(&pulse));
        let thread = std::thread::Builder::new().name(format!("verify-{}", self.number));
        *self.thread.lock() = Some(thread.spawn(move || lane.work(&theirs))?);
        let lane = Arc::downgrade(self);
        let take_over = move |lookout: &Lookout| {
            if let Some(lane) = lane.upgrade() {
                lane.take_over(lookout);
            }
        };
        lookout.watch(&pulse, Some(Box::new(take_over)));
        Ok(())
    }

    /// Refuses what the thread is held up with, and starts another.
    fn take_over(self: &Arc<Self>, lookout: &Lookout) {
        self.was_stuck.store(true, Ordering::Relaxed);
        if let Some(Judging { ids, answers, count }) = self.judging.lock().take() {
            let why = Outcome::Refused("error: a slice does not come to an end".into());
            answers.answer(ids.into_iter().map(|id| (id, why.clone())).collect());
            self.path.writer.coming().remove(count);
        }
        if let Err(error) = self.begin(lookout) {
            tracing::error!(%error, "a verifying thread is gone");
        }
    }

    fn work(&self, pulse: &Arc<Pulse>) {
        give_way(self.path.niceness);
        let mut bench = self.path.judges.bench(Arc::clone(pulse));
        let mut keys = Keys::new(self.path.author_keys_max);
        while let Ok(job) = self.jobs.recv() {
            let count = job.events.len();
            self.take(job, &mut bench, &mut keys, clock::now(), pulse);
            // Another has taken over.
            if pulse.is_stuck() {
                return;
            }
            self.path.writer.coming().remove(count);
        }
    }

    fn take(&self, job: Job, bench: &mut Bench, keys: &mut Keys, now: Timestamp, pulse: &Pulse) {
        let count = job.events.len();
        let Job { events, source, answers } = job;
        let mut outcomes = Vec::new();
        let mut to_save = Vec::with_capacity(events.len());
        let mut to_pass = Vec::new();
        for event in events {
            let id = event.id;
            match self.path.admit(event, &source, keys, now) {
                Err(outcome) => outcomes.push((id, outcome)),
                Ok(event) => to_save.push(event),
            }
        }
        if !to_save.is_empty() && !bench.is_idle(&source) {
            if !outcomes.is_empty() {
                answers.answer(std::mem::take(&mut outcomes));
            }
            let ids = to_save.iter().map(|event| event.id).collect();
            *self.judging.lock() = Some(Judging { ids, answers: Arc::clone(&answers), count });
            let mut sentences = bench.judge(&to_save, &source, now).into_iter();
            if pulse.is_stuck() {
                return;
            }
            self.judging.lock().take();
            to_save.retain(|event| match sentences.next() {
                None | Some(Sentence::Accept) => true,
                Some(Sentence::Refuse(why)) => {
                    outcomes.push((event.id, Outcome::Refused(why)));
                    false
                }
                Some(Sentence::Shadow) => {
                    outcomes.push((event.id, Outcome::Shadowed));
                    false
                }
            });
        }
        to_save.retain(|event| {
            let is_ephemeral = event.class() == Class::Ephemeral;
            if is_ephemeral {
                to_pass.push((event.clone(), None));
                outcomes.push((event.id, Outcome::Passed));
            }
            !is_ephemeral
        });
        if !to_pass.is_empty() && self.path.broadcast.send(to_pass).is_err() {
            tracing::debug!("the broadcaster is gone");
        }
        if !outcomes.is_empty() {
            answers.answer(outcomes);
        }
        if !to_save.is_empty() {
            let saves = Arc::clone(&self.path.saves);
            let done = Box::new(move |events: Vec<Verified>, saved: Result<&[Saved], &StoreError>| {
                saves.failed.store(saved.is_err(), Ordering::Relaxed);
                tell(&*answers, &events, saved);
            });
            self.path.writer.save(Saving { events: to_save, done });
        }
    }
}

/// From now on this thread gives way to others that want its core. Most of all to the writer: what is verified waits for
/// it, and its commits are what takes longest.
fn give_way(niceness: u8) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(niceness.into()) {
        tracing::debug!(%error, "a verifying thread does not give way");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}

impl Path {
    /// Duplicate, verify, policies: cheapest first.
    fn admit(&self, event: Event, source: &Source, keys: &mut Keys, now: Timestamp) -> Result<Verified, Outcome> {
        let refused = |error: VerifyError| Outcome::Refused(forged(error).into());
        let event = verify::id(event).map_err(refused)?;
        if event.is_expired(now) {
            return Err(Outcome::Saved(Saved::Expired));
        }
        if self.recent.contains(event.id()) {
            return Err(Outcome::Saved(Saved::Duplicate));
        }
        let event = event.signature(keys).map_err(refused)?;
        for policy in self.policies.iter() {
            if let Verdict::Reject(why) = policy.event(&event, source, now) {
                return Err(Outcome::Refused(why));
            }
        }
        Ok(event)
    }
}

fn tell(answers: &dyn Answers, events: &[Verified], saved: Result<&[Saved], &StoreError>) {
    let outcomes = match saved {
        Ok(saved) => events.iter().zip(saved).map(|(event, saved)| (event.id, Outcome::Saved(*saved))).collect(),
        Err(_) => {
            let why = Outcome::Refused("error: could not save the event".into());
            events.iter().map(|event| (event.id, why.clone())).collect()
        }
    };
    answers.answer(outcomes);
}

/// Ids of events that were stored lately, so that a duplicate costs no signature check. Never says yes to an event that
/// is not stored: the writer takes back what it removes.
pub struct RecentIds {
    max: usize,
    /// The newer and the older half.
    halves: Mutex<(HashSet<Id>, HashSet<Id>)>,
}

impl RecentIds {
    /// Remembers between `max / 2` and `max` ids.
    pub fn new(max: usize) -> Self {
        Self { max, halves: Mutex::default() }
    }

    fn contains(&self, id: &Id) -> bool {
        let halves = self.halves.lock();
        halves.0.contains(id) || halves.1.contains(id)
    }

    fn update(&self, stored: impl Iterator<Item = Id>, removed: &[Id]) {
        let mut halves = self.halves.lock();
        for id in stored {
            if halves.0.len() >= self.max / 2 {
                let full = std::mem::take(&mut halves.0);
                halves.1 = full;
            }
            halves.0.insert(id);
        }
        for id in removed {
            halves.0.remove(id);
            halves.1.remove(id);
        }
    }
}

/// What follows a commit: caches learn of it, then subscribers.
pub struct AfterCommit {
    /// The bridge.
    pub wanted: Option<Arc<Wanted>>,
    /// Known duplicates.
    pub recent: Arc<RecentIds>,
    /// Learn what the store has.
    pub subscriptions: Subscriptions,
    /// To the broadcasting thread.
    pub broadcast: Sender<Broadcast>,
}

impl Commits for AfterCommit {
    fn committed(&mut self, events: Vec<(Verified, Seq)>, removed: &[Id], took: Duration, batch_len: usize) {
        if let Some((_, seq)) = events.last() {
            self.subscriptions.committed(*seq);
        }
        self.recent.update(events.iter().map(|(event, _)| event.id), removed);
        if batch_len > 0 {
            crate::http::metrics::commit(took, batch_len);
        }
        if let Some(wanted) = &self.wanted {
            wanted.committed();
        }
        let events: Broadcast = events.into_iter().map(|(event, seq)| (event, Some(seq))).collect();
        if !events.is_empty() && self.broadcast.send(events).is_err() {
            tracing::debug!("the broadcaster is gone");
        }
    }
}
