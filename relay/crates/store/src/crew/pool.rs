//! The reader threads, and the two queues in front of them.
//!
//! Every query begins with the *quick* readers, which come first when cores are short. What has taken long goes on with the
//! *long* ones, which give way to everything else, a slice at a time; whoever has used much of these lately begins there.
//! So a short question is answered at once, whatever others ask, and long ones share what is left, which is all the cores
//! while nobody else wants them. In each queue the address that has used least lately is next, and of an address its keys
//! and connections take turns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use super::asker::Party;
use super::turns::Owned;
use crate::fair::give_way;
use crate::threads::{Stopwatch, essential};
use crate::{Backend, Reader, Row, Scan, Slice, Step, StoreError};

mod queue;

use queue::Queue;

/// How many readers there are, and what they take.
#[derive(Clone, Copy, Debug)]
pub struct Crew {
    /// Threads for queries that end soon.
    pub quick: usize,
    /// Threads for the others.
    pub long: usize,
    /// How far these give way to other threads, 0 to 19.
    pub niceness: u8,
    /// Pieces of work that may wait. Who finds the queue full waits.
    pub queue_max: usize,
    /// Of these, of one party.
    pub party_queue_max: usize,
    /// Of these, slices of searches.
    pub party_searches_max: usize,
    /// What a query may cost before it is long.
    pub long_from: Duration,
    /// What the queries of a party may have cost lately before all that it asks is long. Short ones count a fifth.
    pub busy_from: Duration,
    /// How much one slice of a scan may do.
    pub slice: Slice<'static>,
}

#[cfg(test)]
impl Crew {
    /// A small one.
    pub(crate) fn for_tests() -> Self {
        Self {
            quick: 1,
            long: 1,
            niceness: 0,
            queue_max: 100,
            party_queue_max: 50,
            party_searches_max: 2,
            long_from: Duration::from_millis(5),
            busy_from: Duration::from_millis(100),
            slice: Slice { rows: 500, bytes: 1 << 20, examined: 5_000, ..Slice::WHOLE },
        }
    }
}

/// Handle of the reader threads for one asker; clones share it. Threads end when the last handle is dropped.
#[derive(Clone)]
pub struct Readers {
    pool: Arc<Pool>,
    party: Arc<Party>,
    /// A connection or a key of that party.
    member: u64,
}

/// The store has been shut down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the store is shutting down")]
pub struct Stopped;

struct Pool {
    crew: Crew,
    calm: Arc<Calm>,
    quick: Arc<Queue>,
    long: Arc<Queue>,
    /// Places in both queues.
    places: Arc<Semaphore>,
    _threads: Vec<JoinHandle<()>>,
}

/// The addresses that asked last and are not busy, two at most, and when: it is for their sake that busy ones use the threads
/// that give way.
#[derive(Default)]
struct Calm(parking_lot::Mutex<LastTwo>);

#[derive(Default)]
struct LastTwo {
    last: Option<(u64, Instant)>,
    /// Another.
    before: Option<(u64, Instant)>,
}

/// How long an address that has asked counts as there.
const CALM: Duration = Duration::from_secs(5);

impl Calm {
    /// It has asked.
    fn asks(&self, party: u64, now: Instant) {
        let mut two = self.0.lock();
        if two.last.is_none_or(|(other, _)| other != party) {
            two.before = two.last;
        }
        two.last = Some((party, now));
    }

    /// Whether another has asked lately.
    fn has_others(&self, party: u64, now: Instant) -> bool {
        let is_there = |(other, at): &(u64, Instant)| *other != party && now.saturating_duration_since(*at) < CALM;
        let two = self.0.lock();
        two.last.iter().chain(&two.before).any(is_there)
    }
}

/// A piece of work, and whom it is for.
struct Waiting {
    work: Box<dyn Work>,
    party: Arc<Party>,
    member: u64,
    is_long: bool,
    /// When it was asked for.
    at: Instant,
}

trait Work: Send {
    /// Whether somebody still waits for it: not after a CLOSE, a replaced subscription, a closed connection.
    fn is_wanted(&self) -> bool;
    fn run(self: Box<Self>, reader: &mut dyn Reader, watch: &Stopwatch);
}

/// Work that gives a result.
struct Asked<T, F> {
    work: F,
    answer: oneshot::Sender<T>,
    /// Given back when the work is done, or dropped.
    _places: Places,
}

/// Places in the queues: of the party, of all, and for a search one more.
type Places = SmallVec<[OwnedSemaphorePermit; 3]>;

/// What a piece of work is taken to cost while it is being done.
const EXPECTED: Duration = Duration::from_micros(200);

impl Owned for Waiting {
    fn party(&self) -> u64 {
        self.party.number()
    }

    fn used(&self) -> i64 {
        self.party.rank(self.at)
    }

    fn is_wanted(&self) -> bool {
        self.work.is_wanted()
    }
}

impl Readers {
    /// Starts the threads. The handle is that of the relay itself.
    pub fn start(backend: &dyn Backend, crew: Crew) -> Result<Self, StoreError> {
        let (quick, long) = (Arc::<Queue>::default(), Arc::<Queue>::default());
        let calm = Arc::<Calm>::default();
        let mut threads = Vec::new();
        for number in 0..crew.quick.max(1) {
            let (reader, queue, long) = (backend.reader()?, Arc::clone(&quick), Arc::clone(&long));
            let long = Some((long, Arc::clone(&calm)));
            threads.push(essential(format!("reader-{number}"), move || serve(reader, &queue, long.as_ref(), crew))?);
        }
        for number in 0..crew.long.max(1) {
            let (reader, queue) = (backend.reader()?, Arc::clone(&long));
            threads.push(essential(format!("long-reader-{number}"), move || {
                give_way(crew.niceness);
                serve(reader, &queue, None, crew);
            })?);
        }
        let places = Arc::new(Semaphore::new(crew.queue_max.clamp(1, Semaphore::MAX_PERMITS)));
        let pool = Pool { crew, calm, quick, long, places, _threads: threads };
        Ok(Self { pool: Arc::new(pool), party: Party::new(Party::RELAY), member: 0 })
    }

    /// The same threads for a member of a party, such as a connection of an address.
    pub fn of(&self, party: &Arc<Party>, member: u64) -> Self {
        Self { pool: Arc::clone(&self.pool), party: Arc::clone(party), member }
    }

    /// Runs `work`, which is short, on a reader thread. Dropping the future cancels it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Reader) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.ask(false, false, move |reader, _| work(reader)).await
    }

    /// Runs `work` that may take longer.
    pub async fn run_long<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Reader) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.ask(true, false, move |reader, _| work(reader)).await
    }

    /// Runs `work`, which is short, for a thread that may wait. Must not be called on a thread of the runtime.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Reader) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, result) = oneshot::channel();
        let work = move |reader: &mut dyn Reader, _: &Stopwatch| work(reader);
        self.pool.quick.put(self.waiting(false, Instant::now(), Asked { work, answer, _places: Places::new() }))?;
        result.blocking_recv().map_err(|_| Stopped)
    }

    /// One slice of a scan. Dropping the future cancels it.
    pub async fn slice(&self, mut scan: Scan) -> Result<(Scan, Vec<Row>, Result<Step, StoreError>), Stopped> {
        let Crew { mut slice, long_from, .. } = self.pool.crew;
        let is_long = scan.spent >= long_from;
        if !is_long {
            slice.time = slice.time.min(long_from);
        }
        let is_search = scan.query.filters.iter().any(|filter| filter.search.is_some());
        self.ask(is_long, is_search, move |reader, watch| {
            let mut rows = Vec::new();
            let step = reader.scan(&mut scan, slice, &mut rows);
            scan.spent += watch.cost();
            (scan, rows, step)
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        is_long: bool,
        is_search: bool,
        work: impl FnOnce(&mut dyn Reader, &Stopwatch) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let Pool { crew, calm, quick, long, places: all, .. } = &*self.pool;
        let searches = is_search.then(|| self.party.searches(crew.party_searches_max));
        let mut places = Places::new();
        for wanted in searches.into_iter().chain([self.party.places(crew.party_queue_max), all]) {
            places.push(Arc::clone(wanted).acquire_owned().await.map_err(|_| Stopped)?);
        }
        let (answer, result) = oneshot::channel();
        let now = Instant::now();
        let queue = if is_long || must_give_way(&self.party, crew, calm, now) { long } else { quick };
        queue.put(self.waiting(is_long, now, Asked { work, answer, _places: places }))?;
        result.await.map_err(|_| Stopped)
    }

    fn waiting(&self, is_long: bool, at: Instant, work: impl Work + 'static) -> Waiting {
        Waiting { work: Box::new(work), party: Arc::clone(&self.party), member: self.member, is_long, at }
    }
}

/// Whether it is an address that has used much lately, and another is there that has not.
fn must_give_way(party: &Party, crew: &Crew, calm: &Calm, now: Instant) -> bool {
    if party.number() < Party::ADDRESS {
        return false;
    }
    if party.used(now) <= crew.busy_from {
        calm.asks(party.number(), now);
        return false;
    }
    calm.has_others(party.number(), now)
}

impl<T: Send, F: FnOnce(&mut dyn Reader, &Stopwatch) -> T + Send> Work for Asked<T, F> {
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn run(self: Box<Self>, reader: &mut dyn Reader, watch: &Stopwatch) {
        let _ = self.answer.send((self.work)(reader, watch));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.quick.stop();
        self.long.stop();
    }
}

/// The life of a reader thread. Work of a party that has become busy since it was put in goes to the `long` queue.
fn serve(mut reader: Box<dyn Reader>, queue: &Queue, long: Option<&(Arc<Queue>, Arc<Calm>)>, crew: Crew) {
    while let Some((waiting, now)) = queue.next() {
        match long {
            Some((long, calm)) if must_give_way(&waiting.party, &crew, calm, now) => {
                // At the end whoever asked learns that there is no answer.
                let _ = long.put(waiting);
                continue;
            }
            _ => {}
        }
        let Waiting { work, party, is_long, .. } = waiting;
        let watch = Stopwatch::start_at(now);
        // Who asked is told that there is no answer; the thread is there for the next.
        if catch_unwind(AssertUnwindSafe(|| work.run(reader.as_mut(), &watch))).is_err() {
            tracing::error!("a query panicked");
        }
        let now = Instant::now();
        let cost = watch.cost_at(now);
        if cost > EXPECTED {
            party.charge(cost - EXPECTED, is_long || cost >= crew.long_from, now);
        }
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("crew", &self.pool.crew).field("party", &self.party).finish()
    }
}

#[cfg(test)]
mod tests;
