//! The write-ahead log: when it is copied into the database, and when its file starts afresh.
//!
//! Copying waits for nobody, and nobody waits for it: it goes as far as the oldest snapshot allows (`copier`). Once all is
//! copied, SQLite writes the log from its beginning again if nobody reads from it just then. Under a steady load of queries there is always somebody, so when the
//! log has become large our readers are held back for the length of a slice. Other programs are not waited for: while one
//! keeps a snapshot open, the log grows, which is said once a minute, and shrinks when it is gone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rusqlite::Connection;

use super::copier::{Copier, Pages, checkpoint};
use crate::StoreError;

/// How long the writer waits for slices of scans to end, when the log must start afresh.
const HOLD_BACK: Duration = Duration::from_millis(25);

/// How long it then waits for the locks of other programs.
pub(super) const BRIEFLY: Duration = Duration::from_millis(5);

/// How long one connection waits for another's write lock.
const BUSY: Duration = Duration::from_secs(10);

/// So small a part of `log_mb_max` the writer copies itself.
const LEFT_PART: u64 = 4;

/// A log file up to this size is left as it is.
const FILE_BYTES: u64 = 4 << 20;

/// The log is too large when it is so many times as large as `log_mb_max`.
const WARN_TIMES: u64 = 4;

/// For so long a snapshot must be in the way. Scans of our own readers have theirs for the length of a slice, and a log of a
/// few MiB grows past its bound by one transaction, or by what is written while it is copied.
const WARN_AFTER: Duration = Duration::from_secs(5);

/// Between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Between two attempts to start afresh that other programs made fail: doubled each time.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The log of one database, as the writer sees it.
pub(super) struct Log {
    file: PathBuf,
    bytes_max: u64,
    copier: Copier,
    /// Whether it has pages that are not in the database yet.
    is_dirty: bool,
    not_before: Instant,
    pause: Duration,
    warned: Option<Instant>,
    /// Since when a snapshot has been in the way each time.
    blocked: Option<Instant>,
}

impl Log {
    /// `copying`: a connection for that alone.
    pub(super) fn new(database: &Path, log_mb_max: usize, copying: Connection) -> Result<Self, StoreError> {
        let mut file = database.as_os_str().to_owned();
        file.push("-wal");
        let bytes_max = u64::try_from(log_mb_max).unwrap_or(u64::MAX).saturating_mul(1 << 20);
        Ok(Self {
            file: file.into(),
            bytes_max,
            copier: Copier::start(copying)?,
            is_dirty: true,
            not_before: Instant::now(),
            pause: PAUSE.0,
            warned: None,
            blocked: None,
        })
    }

    /// Something was written.
    pub(super) fn is_written(&mut self) {
        self.is_dirty = true;
    }

    /// When there is nothing else to do: all of it is copied, and a large file given back.
    pub(super) fn tend(&mut self, db: &mut Connection, reading: &RwLock<()>) -> Result<(), StoreError> {
        self.hear();
        if self.is_dirty && self.copier.ask() {
            self.is_dirty = false;
        }
        let bytes = self.file_bytes();
        if !self.is_dirty && !self.copier.is_busy() && bytes > FILE_BYTES {
            // If somebody reads, there will be another quiet moment.
            if let Some(_alone) = reading.try_write() {
                self.start_afresh(db)?;
            }
        }
        self.warn(self.file_bytes());
        Ok(())
    }

    /// The same between two commits: only what must be.
    pub(super) fn tend_under_load(&mut self, db: &mut Connection, reading: &RwLock<()>) -> Result<(), StoreError> {
        if self.copier.is_busy() {
            return Ok(());
        }
        self.hear();
        let Pages { all, copied } = checkpoint(db, "NOOP")?;
        let (in_log, to_copy) = (bytes_of(all), bytes_of(all - copied));
        if to_copy > self.bytes_max && Instant::now() >= self.not_before {
            self.copier.ask();
        } else if in_log > self.bytes_max.saturating_mul(2)
            && Instant::now() >= self.not_before
            && let Some(_alone) = reading.try_write_for(HOLD_BACK)
        {
            self.start_afresh(db)?;
        }
        self.warn(in_log);
        Ok(())
    }

    /// After each commit: once a copy is done the writer copies what has been written since, so that the next commit writes the
    /// log from its beginning. While that is much, it is copied beside the writer once more, but for the log of a writer that
    /// is faster than copying.
    pub(super) fn follow(&mut self, db: &Connection) -> Result<(), StoreError> {
        if !self.hear() || Instant::now() < self.not_before {
            return Ok(());
        }
        let Pages { all, copied } = checkpoint(db, "NOOP")?;
        if bytes_of(all - copied) <= self.bytes_max / LEFT_PART || bytes_of(all) > self.bytes_max.saturating_mul(2) {
            checkpoint(db, "PASSIVE")?;
        } else {
            self.copier.ask();
        }
        Ok(())
    }

    /// What became of the last copy, once. True if there is something to hear.
    fn hear(&mut self) -> bool {
        let Some(Pages { all, copied }) = self.copier.done() else { return false };
        self.is_dirty |= copied < all;
        if bytes_of(all - copied) > self.bytes_max / 2 {
            // A snapshot is in the way. The next look finds as much to copy.
            self.wait();
        } else {
            self.blocked = None;
        }
        true
    }

    /// Copies what is left and empties the file, unless another program reads from it.
    fn start_afresh(&mut self, db: &mut Connection) -> Result<(), StoreError> {
        if Instant::now() < self.not_before {
            return Ok(());
        }
        let done = hurried(db, |db| {
            let is_busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            Ok(is_busy == 0)
        })?;
        if done == Some(true) {
            (self.pause, self.warned, self.blocked) = (PAUSE.0, None, None);
        } else {
            self.wait();
        }
        Ok(())
    }

    /// A snapshot is in the way.
    fn wait(&mut self) {
        self.blocked.get_or_insert_with(Instant::now);
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    fn warn(&mut self, bytes: u64) {
        let is_large = bytes > self.bytes_max.saturating_mul(WARN_TIMES);
        let is_blocked = self.blocked.is_some_and(|since| since.elapsed() >= WARN_AFTER);
        if is_large && is_blocked && self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(
                file = %self.file.display(),
                mib = bytes >> 20,
                "the write-ahead log cannot be emptied: another program (an sqlite3 session, a backup) keeps a snapshot of \
                 the database open"
            );
        }
    }

    fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |file| file.len())
    }
}

fn bytes_of(pages: i64) -> u64 {
    u64::try_from(pages).unwrap_or(0).saturating_mul(super::PAGE_BYTES.unsigned_abs())
}

/// Lets a connection wait for the write lock of another program, and say so.
pub(super) fn be_patient(db: &mut Connection) -> Result<(), StoreError> {
    Ok(db.busy_handler(Some(patience))?)
}

/// Waits between two attempts to get a lock.
fn patience(attempts: i32) -> bool {
    const STEP: Duration = Duration::from_millis(10);
    const SAID_AFTER: u32 = 50;
    let attempts = attempts.unsigned_abs();
    if STEP * attempts >= BUSY {
        return false;
    }
    if attempts == SAID_AFTER {
        tracing::warn!("another program holds the write lock of the database: events wait for it");
    }
    std::thread::sleep(if attempts < 10 { Duration::from_millis(1) } else { STEP });
    true
}

/// Does what can be done as well another time: `None` when another program is in the way.
pub(super) fn hurried<T>(
    db: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    db.busy_timeout(BRIEFLY)?;
    let done = work(db);
    be_patient(db)?;
    unless_busy(done)
}

/// `None` where another program was in the way.
pub(super) fn unless_busy<T>(done: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(StoreError::Database(error)) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
