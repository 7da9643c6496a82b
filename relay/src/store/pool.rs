//! The reader threads: a queue of slices, so that a long scan never keeps a short one waiting.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::oneshot;

use super::{Backend, Reader, Row, Scan, Slice, Step, StoreError};

type Job = Box<dyn FnOnce(&mut dyn Reader) + Send>;

/// Handle of the reader threads; clones share them. Threads end when the last handle is dropped.
#[derive(Clone)]
pub struct Readers {
    jobs: Sender<Job>,
    slice: Slice,
    _threads: Arc<Threads>,
}

/// The store has been shut down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the store is shutting down")]
pub struct Stopped;

struct Threads(Vec<JoinHandle<()>>);

impl Readers {
    /// Starts `threads` readers with a queue of `queue_max` slices. Who finds the queue full waits.
    pub fn start(backend: &dyn Backend, threads: usize, queue_max: usize, slice: Slice) -> Result<Self, StoreError> {
        let (jobs, queue) = crossbeam_channel::bounded::<Job>(queue_max.max(1));
        let mut handles = Vec::new();
        for number in 0..threads.max(1) {
            let reader = backend.reader()?;
            let queue = queue.clone();
            let name = format!("reader-{number}");
            handles.push(std::thread::Builder::new().name(name).spawn(move || work(reader, &queue))?);
        }
        Ok(Self { jobs, slice, _threads: Arc::new(Threads(handles)) })
    }

    /// Runs `job` on a reader thread.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Reader) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, result) = oneshot::channel();
        let mut job: Job = Box::new(move |reader| {
            // Nobody waits any more: a CLOSE, a replaced subscription, a closed connection.
            if !answer.is_closed() {
                let _ = answer.send(job(reader));
            }
        });
        // The queue is full only under overload; then waiting politely is what slows the askers down.
        loop {
            match self.jobs.try_send(job) {
                Ok(()) => break,
                Err(crossbeam_channel::TrySendError::Full(back)) => {
                    job = back;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => return Err(Stopped),
            }
        }
        result.await.map_err(|_| Stopped)
    }

    /// The same for threads that may wait. Must not be called on a thread of the runtime.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Reader) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, result) = crossbeam_channel::bounded(1);
        let job: Job = Box::new(move |reader| {
            let _ = answer.send(job(reader));
        });
        self.jobs.send(job).map_err(|_| Stopped)?;
        result.recv().map_err(|_| Stopped)
    }

    /// One slice of a scan. Dropping the future cancels it.
    pub async fn slice(&self, mut scan: Scan) -> Result<(Scan, Vec<Row>, Result<Step, StoreError>), Stopped> {
        let slice = self.slice;
        self.run(move |reader| {
            let mut rows = Vec::new();
            let step = reader.scan(&mut scan, slice, &mut rows);
            (scan, rows, step)
        })
        .await
    }
}

fn work(mut reader: Box<dyn Reader>, queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        job(reader.as_mut());
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} reader threads", self.0.len())
    }
}
