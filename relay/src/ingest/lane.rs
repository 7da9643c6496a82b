//! The verifying threads. One that a slice holds up is replaced by another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use super::{Answers, Outcome, Path, Source};
use crate::clock::{self, Timestamp};
use crate::engine::script::event::wait_for;
use crate::engine::script::pulse::{Lookout, Pulse};
use crate::event::{Class, Event, Id};
use crate::policy::judge::{Bench, Sentence};
use crate::store::{Saved, Saving, StoreError};
use crate::verify::{Keys, Verified};

/// Events that came together.
pub(super) struct Job {
    pub(super) events: Vec<Event>,
    pub(super) source: Source,
    pub(super) answers: Arc<dyn Answers>,
}

/// The verifying threads, to wait for at the end.
pub struct VerifyThreads(pub(super) Vec<Arc<Lane>>);

/// The place of a verifying thread: another takes it over when a slice holds that up.
pub(super) struct Lane {
    number: usize,
    jobs: Receiver<Job>,
    path: Path,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What slices are being asked about.
    judging: Mutex<Option<Judging>>,
}

/// Events that slices are asked about, and who wants to know.
struct Judging {
    ids: Vec<Id>,
    answers: Arc<dyn Answers>,
    /// Of their job, with those that were refused already.
    count: usize,
}

impl VerifyThreads {
    /// Waits until everything queued went to the writer. All [`Ingest`] handles must be gone.
    pub fn join(self) {
        self.0.iter().for_each(|lane| wait_for(&lane.thread));
    }
}

impl Job {
    pub(super) fn refuse(self, why: &'static str) {
        self.answers.answer(self.events.iter().map(|event| (event.id, Outcome::Refused(why.into()))).collect());
    }
}

impl Lane {
    pub(super) fn new(number: usize, jobs: Receiver<Job>, path: Path) -> Self {
        Self { number, jobs, path, thread: Mutex::default(), judging: Mutex::default() }
    }

    pub(super) fn begin(self: &Arc<Self>, lookout: &Lookout) -> std::io::Result<()> {
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
