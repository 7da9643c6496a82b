//! Threads that compute for others, in fair turns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::{Bounds, FairQueue, FairSender, Item, Owner, fair_queue};
use crate::threads::{Stopwatch, essential};

/// Handle of the threads; clones share them. They end when the last one is gone.
#[derive(Clone)]
pub struct Pool(FairSender<Job>);

/// The threads, to wait for at the end.
#[derive(Debug)]
pub struct PoolThreads(Vec<JoinHandle<()>>);

/// There are no threads any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the relay is shutting down")]
pub struct PoolStopped;

struct Job {
    work: Box<dyn FnOnce() + Send>,
    cost: u64,
}

impl Item for Job {
    fn cost(&self) -> u64 {
        self.cost
    }

    fn bytes(&self) -> usize {
        0
    }
}

impl Pool {
    /// Starts `threads` threads of that name, each of which gives way to others by `niceness`, with a queue of `queue_max`.
    ///
    /// # Errors
    ///
    /// There is no thread.
    pub fn start(name: &str, threads: usize, niceness: u8, queue_max: usize) -> std::io::Result<(Self, PoolThreads)> {
        let bounds = Bounds {
            items: queue_max,
            bytes: usize::MAX,
            account_items: (queue_max / 4).max(1),
            account_bytes: usize::MAX,
            turn_cost: u64::MAX,
        };
        let (jobs, queue) = fair_queue::<Job>(bounds);
        let threads = (0..threads.max(1)).map(|number| {
            let queue = Arc::clone(&queue);
            essential(format!("{name}-{number}"), move || {
                give_way(niceness);
                work(&queue);
            })
        });
        Ok((Self(jobs), PoolThreads(threads.collect::<Result<_, _>>()?)))
    }

    /// Computes something on one of the threads, when the owner has a turn. `cost` is how many microseconds it is expected to
    /// take; if it takes longer, the owner pays for that, too. Nothing is computed if the future is dropped before its turn.
    ///
    /// # Errors
    ///
    /// The threads have ended.
    pub async fn run<T: Send + 'static>(
        &self,
        owner: Owner,
        cost: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolStopped> {
        let (answer, result) = oneshot::channel();
        let work = Box::new(move || {
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        });
        self.0.push(owner, Job { work, cost }).await.map_err(|_| PoolStopped)?;
        result.await.map_err(|_| PoolStopped)
    }
}

impl PoolThreads {
    /// Waits until they have ended. All handles must be gone.
    pub fn join(self) {
        for thread in self.0 {
            let _ = thread.join();
        }
    }
}

fn work(queue: &Arc<FairQueue<Job>>) {
    while let Some(mut turn) = queue.pop() {
        let watch = Stopwatch::start();
        // Who asked is told that there is no answer; the thread is there for the next.
        if catch_unwind(AssertUnwindSafe(turn.item.work)).is_err() {
            tracing::error!("work for a client panicked");
        }
        turn.claim.spent(u64::try_from(watch.cost().as_micros()).unwrap_or(u64::MAX));
    }
}

/// From now on this thread gives way to others that want its core.
pub fn give_way(niceness: u8) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(niceness.into()) {
        tracing::debug!(%error, "a thread does not give way");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}
