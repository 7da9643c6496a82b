//! Copies the write-ahead log into the database, on a thread and a connection of its own: the writer goes on meanwhile.
//! Copying a log of 128 MiB takes half a second and more.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use rusqlite::Connection;

use crate::StoreError;
use crate::rarely::rarely;
use crate::threads::essential;

/// Pages in the log, and those that are in the database, too.
#[derive(Clone, Copy)]
pub(super) struct Pages {
    pub(super) all: i64,
    pub(super) copied: i64,
}

/// The thread. Dropped, it ends after what it is at.
pub(super) struct Copier {
    /// None only while it is dropped.
    wake: Option<Sender<()>>,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    is_busy: bool,
    /// What the last copy came to, once.
    done: Option<Pages>,
}

impl Copier {
    /// One that uses this connection.
    pub(super) fn start(db: Connection) -> Result<Self, StoreError> {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let state = Arc::<Mutex<State>>::default();
        let theirs = Arc::clone(&state);
        let thread = essential("log", move || run(&db, &woken, &theirs))?;
        Ok(Self { wake: Some(wake), state, thread: Some(thread) })
    }

    /// Copies as much as the oldest snapshot allows. False if it is copying already.
    pub(super) fn ask(&self) -> bool {
        let mut state = self.state.lock();
        if state.is_busy {
            return false;
        }
        state.is_busy = true;
        self.wake.as_ref().is_some_and(|wake| wake.try_send(()).is_ok())
    }

    /// Whether it is copying.
    pub(super) fn is_busy(&self) -> bool {
        self.state.lock().is_busy
    }

    /// What the last copy came to, if that was not asked before.
    pub(super) fn done(&self) -> Option<Pages> {
        self.state.lock().done.take()
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.wake = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(db: &Connection, woken: &Receiver<()>, state: &Mutex<State>) {
    while woken.recv().is_ok() {
        let done = checkpoint(db, "PASSIVE");
        if let Err(error) = &done {
            rarely!(error, %error, "copying the write-ahead log failed");
        }
        *state.lock() = State { is_busy: false, done: done.ok() };
    }
}

/// `PRAGMA wal_checkpoint`.
pub(super) fn checkpoint(db: &Connection, mode: &str) -> Result<Pages, StoreError> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    Ok(db.query_row(&sql, [], |row| Ok(Pages { all: row.get(1)?, copied: row.get(2)? }))?)
}
