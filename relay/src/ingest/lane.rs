//! The verifying threads. One that a slice holds up is replaced by another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Answers, Order, Path, Place};
use crate::account::{Held, event_bytes};
use crate::clock::{self, Timestamp};
use crate::event::{Class, Event, Id};
use crate::fair::{Claim, FairQueue, Item, Turn, give_way};
use crate::outcome::{Outcome, Prefix, Refusal};
use crate::policy::judge::{Bench, Sentence};
use crate::pulse::{Lookout, Pulse};
use crate::source::Source;
use crate::store::{Coming, Saved, Saving};
use crate::threads::{Stopwatch, essential, wait_for};
use crate::verify::{Keys, Verified};

/// What an event costs, about, in microseconds: its signature, and its bytes.
pub(super) const EVENT_COST: u64 = 40;
/// Bytes of an event that take a microsecond to be hashed and moved.
const BYTES_PER_COST: usize = 1024;

/// Events that came together.
pub(super) struct Job {
    events: Vec<Event>,
    source: Source,
    /// Of a batch that must not overtake others.
    place: Option<Arc<Place>>,
    answers: Arc<dyn Answers>,
    /// What they hold of what may be under way.
    held: Option<Held>,
    on_the_way: Option<OnTheWay>,
    bytes: usize,
}

/// Events of an account that the writer may wait for, until this is dropped.
struct OnTheWay {
    coming: Coming,
    account: u64,
    count: usize,
}

impl OnTheWay {
    fn new(coming: &Coming, account: u64, count: usize) -> Self {
        coming.add(account, count);
        Self { coming: coming.clone(), account, count }
    }

    fn split(&mut self, count: usize) -> Self {
        self.count -= count;
        Self { coming: self.coming.clone(), account: self.account, count }
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.coming.remove(self.account, self.count);
    }
}

/// The verifying threads, to wait for at the end.
pub struct VerifyThreads(pub(super) Vec<Arc<Lane>>);

/// The place of a verifying thread: another takes it over when a slice holds that up.
pub(super) struct Lane {
    number: usize,
    jobs: Arc<FairQueue<Job>>,
    path: Path,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What slices are being asked about.
    judging: Mutex<Option<Judging>>,
    /// A thread was given up, and has this until it comes back.
    was_stuck: AtomicBool,
    /// The order of an import in which the thread that was given up had a place.
    order: Mutex<Option<Arc<Order>>>,
}

/// A job whose events are checked.
pub(super) struct Checked {
    /// True and admitted.
    events: Vec<Verified>,
    /// Of the others.
    outcomes: Vec<(Id, Outcome)>,
    source: Source,
    place: Option<Arc<Place>>,
    answers: Arc<dyn Answers>,
    now: Timestamp,
    held: Option<Held>,
    under_way: UnderWay,
    /// What that has cost the thread.
    took: Duration,
}

/// Events that slices are asked about, and who wants to know.
struct Judging {
    ids: Vec<Id>,
    answers: Arc<dyn Answers>,
    place: Option<Arc<Place>>,
    held: Option<Held>,
    /// Their connection's next events wait, and the writer may wait for them.
    under_way: UnderWay,
}

/// What ends with a job.
struct UnderWay {
    claim: Claim<Job>,
    on_the_way: Option<OnTheWay>,
}

impl VerifyThreads {
    /// Waits until everything queued went to the writer. All [`super::Ingest`] handles must be gone. True if a thread that was stuck
    /// may be left behind.
    pub fn join(self) -> bool {
        self.0.iter().for_each(|lane| wait_for(&lane.thread));
        self.0.iter().any(|lane| lane.was_stuck.load(Ordering::Relaxed))
    }
}

impl Job {
    pub(super) fn new(
        events: Vec<Event>,
        (source, place): (Source, Option<Arc<Place>>),
        answers: Arc<dyn Answers>,
        held: Option<Held>,
        coming: Option<(&Coming, u64)>,
    ) -> Self {
        let bytes = events.iter().map(event_bytes).sum();
        let on_the_way = coming.map(|(coming, account)| OnTheWay::new(coming, account, events.len()));
        Self { events, source, place, answers, held, on_the_way, bytes }
    }

    pub(super) fn refuse(self, why: &Refusal) {
        let Self { events, answers, held, .. } = self;
        drop(held);
        answers.answer(events.iter().map(|event| (event.id, Outcome::Refused(why.clone()))).collect());
    }
}

impl Item for Job {
    fn cost(&self) -> u64 {
        self.events.len() as u64 * EVENT_COST + (self.bytes / BYTES_PER_COST) as u64
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn split_off(&mut self, cost: u64) -> Option<Self> {
        // A batch that has its place among others would wait for its own rest.
        if self.events.len() < 2 || self.cost() <= cost || self.place.is_some() {
            return None;
        }
        let mut sum = 0;
        let fits = |event: &&Event| {
            sum += EVENT_COST + (event_bytes(event) / BYTES_PER_COST) as u64;
            sum <= cost
        };
        let stay = self.events.iter().take_while(fits).count().max(1);
        let events = self.events.split_off(stay);
        let bytes: usize = events.iter().map(event_bytes).sum();
        self.bytes -= bytes;
        let on_the_way = self.on_the_way.as_mut().map(|all| all.split(events.len()));
        let held = self.held.as_mut().map(|held| held.split(bytes));
        let (source, answers) = (self.source.clone(), Arc::clone(&self.answers));
        Some(Self { events, source, place: None, answers, held, on_the_way, bytes })
    }
}

impl Lane {
    pub(super) fn new(number: usize, jobs: Arc<FairQueue<Job>>, path: Path) -> Self {
        let was_stuck = AtomicBool::new(false);
        Self {
            number,
            jobs,
            path,
            thread: Mutex::default(),
            judging: Mutex::default(),
            was_stuck,
            order: Mutex::default(),
        }
    }

    pub(super) fn begin(self: &Arc<Self>, lookout: &Lookout) -> std::io::Result<()> {
        let pulse = Arc::<Pulse>::default();
        let (lane, theirs) = (Arc::clone(self), Arc::clone(&pulse));
        *self.thread.lock() = Some(essential(format!("verify-{}", self.number), move || lane.work(&theirs))?);
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
        let judging = self.judging.lock().take();
        if let Some(Judging { ids, answers, held, under_way, place }) = judging {
            drop((held, under_way));
            let why = Outcome::Refused(Refusal::new(Prefix::Error, "slices", "a slice does not come to an end"));
            answers.answer(ids.into_iter().map(|id| (id, why.clone())).collect());
            if let Some(place) = place {
                place.leave();
                *self.order.lock() = Some(Arc::clone(place.order()));
            }
        }
        if let Err(error) = self.begin(lookout) {
            tracing::error!(%error, "a verifying thread is gone");
        }
    }

    fn work(&self, pulse: &Arc<Pulse>) {
        give_way(self.path.niceness);
        let mut bench = self.path.judges.bench(Arc::clone(pulse));
        let mut keys = Keys::new(self.path.author_keys_max);
        // What the thread before this one, which was given up, would have taken up.
        let order = self.order.lock().take();
        self.settle_all(order.as_ref().and_then(|order| order.next()), order.as_deref(), &mut bench, pulse);
        while !pulse.is_stuck()
            && let Some(turn) = self.jobs.pop()
        {
            let checked = self.check(turn, &mut keys, clock::now());
            let order = checked.place.as_ref().map(|place| (Arc::clone(place.order()), place.number()));
            match order {
                None => self.settle_all(Some(checked), None, &mut bench, pulse),
                Some((order, number)) => {
                    self.settle_all(order.enter(number, checked), Some(&order), &mut bench, pulse);
                }
            }
        }
    }

    /// Which events of a job are true and admitted.
    fn check(&self, turn: Turn<Job>, keys: &mut Keys, now: Timestamp) -> Checked {
        let watch = Stopwatch::start();
        let Turn { item: job, claim } = turn;
        let Job { events, source, place, answers, held, on_the_way, .. } = job;
        let mut checked = Checked {
            events: Vec::with_capacity(events.len()),
            outcomes: Vec::new(),
            source,
            place,
            answers,
            now,
            held,
            under_way: UnderWay { claim, on_the_way },
            took: Duration::ZERO,
        };
        for event in events {
            let id = event.id;
            match self.path.admit(event, &checked.source, keys, now) {
                Err(outcome) => checked.outcomes.push((id, outcome)),
                Ok(event) => checked.events.push(event),
            }
        }
        checked.took = watch.cost();
        checked
    }

    /// Settles a batch, and then those that waited for it. Ends early when another thread has taken over.
    fn settle_all(&self, first: Option<Checked>, order: Option<&Order>, bench: &mut Bench, pulse: &Pulse) {
        let mut next = first;
        while let Some(checked) = next {
            self.settle(checked, bench, pulse);
            if pulse.is_stuck() {
                return;
            }
            next = order.and_then(Order::next);
        }
    }

    /// Asks the operator's rules, passes on what is ephemeral, and gives the rest to the writer.
    fn settle(&self, checked: Checked, bench: &mut Bench, pulse: &Pulse) {
        let watch = Stopwatch::start();
        let Checked { events: mut to_save, mut outcomes, source, place, answers, now, mut held, mut under_way, took } =
            checked;
        let mut to_pass = Vec::new();
        if !to_save.is_empty() && !bench.is_idle(&source) {
            if !outcomes.is_empty() {
                answers.answer(std::mem::take(&mut outcomes));
            }
            let ids = to_save.iter().map(|event| event.id).collect();
            let answers = Arc::clone(&answers);
            *self.judging.lock() = Some(Judging { ids, answers, place, held, under_way });
            // A request to vanish is obeyed whatever the operator's rules say (NIP-62).
            let is_obeyed = |event: &Verified| self.path.urls.must_vanish(event);
            let judged: Vec<Verified> = to_save.iter().filter(|event| !is_obeyed(event)).cloned().collect();
            let mut sentences = bench.judge(&judged, &source, now).into_iter();
            // Whoever takes over answers, too.
            if pulse.is_stuck() {
                return;
            }
            let Some(judging) = self.judging.lock().take() else { return };
            (held, under_way) = (judging.held, judging.under_way);
            to_save.retain(|event| {
                let sentence = if is_obeyed(event) { None } else { sentences.next() };
                let outcome = match sentence {
                    None | Some(Sentence::Accept) => return true,
                    Some(Sentence::Refuse(why)) => Outcome::Refused(why),
                    Some(Sentence::Shadow) => Outcome::Shadowed,
                };
                outcomes.push((event.id, outcome));
                false
            });
        }
        to_save.retain(|event| {
            let is_ephemeral = event.class() == Class::Ephemeral;
            if is_ephemeral && event.is_expired(clock::now()) {
                // While the rules were asked.
                outcomes.push((event.id, Outcome::Saved(Saved::Expired)));
            } else if is_ephemeral {
                to_pass.push((event.clone(), None));
                outcomes.push((event.id, Outcome::Passed));
            }
            !is_ephemeral
        });
        if !to_pass.is_empty() && self.path.broadcast.send(to_pass).is_err() {
            tracing::debug!("the broadcaster is gone");
        }
        under_way.claim.spent(u64::try_from((took + watch.cost()).as_micros()).unwrap_or(u64::MAX));
        if to_save.is_empty() {
            drop(held.take());
        }
        if !outcomes.is_empty() {
            answers.answer(outcomes);
        }
        if !to_save.is_empty() {
            let saves = Arc::clone(&self.path.saves);
            let done = Box::new(move |events: Vec<Verified>, saved: &[Option<Saved>]| {
                saves.failed.store(saved.iter().all(Option::is_none), Ordering::Relaxed);
                // Whoever is told looks whether there is room for more.
                drop(held);
                tell(&*answers, &events, saved);
            });
            // The writer would wait for the very events that it gets.
            drop(under_way.on_the_way.take());
            let account = under_way.claim.owner().account;
            self.path.writer.save(Saving { account, events: to_save, done });
        }
        drop(under_way);
    }
}

fn tell(answers: &dyn Answers, events: &[Verified], saved: &[Option<Saved>]) {
    let outcome = |saved: &Option<Saved>| match saved {
        Some(saved) => Outcome::Saved(*saved),
        None => Outcome::Refused(Refusal::new(Prefix::Error, "store", "could not save the event")),
    };
    answers.answer(events.iter().zip(saved).map(|(event, saved)| (event.id, outcome(saved))).collect());
}
