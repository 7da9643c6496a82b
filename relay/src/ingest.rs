//! The one door: verify, admit, save, broadcast. Clients, import, bridge and sync all enter here.
//!
//! The verifying threads take turns by address, key and connection ([`crate::fair`]). A connection's events stay in order:
//! one of the threads works for it at a time, and the writer takes what they queue in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;

use crate::account::Held;
use crate::clock::Timestamp;
use crate::event::{Event, Id};
use crate::fair::{Bounds, FairSender, Owner, fair_queue};
use crate::outcome::{Outcome, Refusal};
use crate::policy::judge::Judges;
use crate::policy::{Policies, Verdict};
use crate::pulse::Lookout;
use crate::source::Source;
use crate::store::{Coming, ROOMS_ACCOUNT, Saved, WriterHandle};
use crate::subscription::Broadcast;
use crate::vanish::RelayUrls;
use crate::verify::{self, Keys, Verified, VerifyError};

mod commit;
mod lane;
mod order;

pub use commit::{AfterCommit, RecentIds};
pub use lane::VerifyThreads;
pub use order::{Order, Place};

use lane::{EVENT_COST, Job, Lane};

/// Handle of the path in; clones share it.
#[derive(Clone)]
pub struct Ingest {
    jobs: FairSender<Job>,
    coming: Coming,
}

/// What a verifying thread needs.
#[derive(Clone)]
pub struct Path {
    /// Asked first.
    pub policies: Arc<Policies>,
    /// Asked after them.
    pub judges: Judges,
    /// The URLs that mean this relay.
    pub urls: RelayUrls,
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

/// Whom to tell. Called from several threads, for each event once.
pub trait Answers: Send + Sync + 'static {
    /// What became of some events.
    fn answer(&self, outcomes: Vec<(Id, Outcome)>);
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

/// Events of one owner that are verified in a row while others wait.
const TURN_EVENTS: u64 = 4;

/// Events of a connection that is gone which are still taken in: somebody who says a thing and leaves has said it.
const LAST_EVENTS: u64 = 16;

impl Ingest {
    /// Starts `threads` verifying threads with a queue of `queue_max` batches and `bytes_max` bytes, of which one address may
    /// have a quarter.
    pub fn start(
        path: &Path,
        threads: usize,
        (queue_max, bytes_max): (usize, usize),
        lookout: &Lookout,
    ) -> std::io::Result<(Self, VerifyThreads)> {
        let bounds = Bounds {
            items: queue_max.max(1),
            bytes: bytes_max,
            account_items: (queue_max / 4).max(1),
            account_bytes: bytes_max / 4,
            turn_cost: TURN_EVENTS * EVENT_COST,
        };
        let (jobs, queue) = fair_queue(bounds);
        let mut lanes = Vec::new();
        for number in 0..threads.max(1) {
            let lane = Arc::new(Lane::new(number, Arc::clone(&queue), path.clone()));
            lane.begin(lookout)?;
            lanes.push(lane);
        }
        Ok((Self { jobs, coming: path.writer.coming().clone() }, VerifyThreads(lanes)))
    }

    /// Takes in events of a client. What they hold is let go when they are answered. `is_awaited`: the writer may wait a
    /// little for them; not for those that are likely to be false. Waits politely while the queue is full.
    pub async fn submit_for(
        &self,
        owner: Owner,
        events: Vec<Event>,
        source: Source,
        answers: Arc<dyn Answers>,
        held: Held,
        is_awaited: bool,
    ) {
        let job =
            Job::new(events, (source, None), answers, Some(held), is_awaited.then_some((&self.coming, owner.account)));
        if let Err(job) = self.jobs.push(owner, job).await {
            job.refuse(&Refusal::shutting_down("ingest"));
        }
    }

    /// Takes in events of one origin that is no client. `lane` tells origins apart: events of one lane stay in order. Waits
    /// politely while the queue is full.
    pub async fn submit(&self, lane: u64, events: Vec<Event>, source: Source, answers: Arc<dyn Answers>) {
        let owner = owner_of(&source, lane);
        let job = Job::new(events, (source, None), answers, None, Some((&self.coming, owner.account)));
        if let Err(job) = self.jobs.push(owner, job).await {
            job.refuse(&Refusal::shutting_down("ingest"));
        }
    }

    /// The same for threads that may wait. `place`: that of a batch which must not overtake others.
    pub fn submit_blocking(
        &self,
        lane: u64,
        events: Vec<Event>,
        source: Source,
        place: Option<Arc<Place>>,
        answers: Arc<dyn Answers>,
    ) {
        let owner = owner_of(&source, lane);
        let job = Job::new(events, (source, place), answers, None, Some((&self.coming, owner.account)));
        if let Err(job) = self.jobs.push_blocking(owner, job) {
            job.refuse(&Refusal::shutting_down("ingest"));
        }
    }

    /// The connection is gone: what it has queued is not verified any more, but for the first few events.
    pub fn forget(&self, owner: Owner) {
        drop(self.jobs.forget(owner, LAST_EVENTS * EVENT_COST));
    }
}

impl Path {
    /// Duplicate, verify, policies: cheapest first.
    fn admit(&self, event: Event, source: &Source, keys: &mut Keys, now: Timestamp) -> Result<Verified, Outcome> {
        let refused = |error: VerifyError| Outcome::Refused(Refusal::forged(error));
        let event = verify::id(event).map_err(refused)?;
        if event.is_expired(now) {
            return Err(Outcome::Saved(Saved::Expired));
        }
        // In an import, what was removed meanwhile must be found gone, in its turn.
        if !matches!(source, Source::Import { .. }) && self.recent.contains(event.id()) {
            return Err(Outcome::Saved(Saved::Duplicate));
        }
        let event = event.signature(keys).map_err(refused)?;
        match self.policies.event(&event, self.urls.must_vanish(&event), source, now) {
            Verdict::Accept => Ok(event),
            Verdict::Reject(why) => Err(Outcome::Refused(why)),
        }
    }
}

/// Whose work events of this origin are, where that is no address.
fn owner_of(source: &Source, lane: u64) -> Owner {
    let account = match source {
        Source::Client(_) => 0,
        Source::Import { .. } => 1,
        Source::Upstream => 2,
        Source::Bridge => ROOMS_ACCOUNT,
    };
    Owner { account, key: 0, connection: lane }
}
