//! The one door: verify, admit, save, broadcast. Clients, import, bridge and sync all enter here.
//!
//! A connection's events stay in order: each connection is served by one of the verifying threads, and the writer takes
//! what they queue in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};

use crate::clock::Timestamp;
use crate::engine::script::pulse::Lookout;
use crate::event::Event;
use crate::policy::judge::Judges;
use crate::policy::{Policy, Verdict};
use crate::store::{Coming, Saved, WriterHandle};
use crate::subscription::Broadcast;
use crate::verify::{self, Keys, Verified, VerifyError};

mod commit;
mod lane;
mod outcome;

pub use commit::{AfterCommit, RecentIds};
pub use lane::VerifyThreads;
pub use outcome::{Answers, Client, Outcome, Source};

use lane::{Job, Lane};
use outcome::forged;

/// Handle of the path in; clones share it.
#[derive(Clone)]
pub struct Ingest {
    lanes: Arc<[Sender<Job>]>,
    coming: Coming,
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
            let lane = Arc::new(Lane::new(number, jobs, path.clone()));
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
