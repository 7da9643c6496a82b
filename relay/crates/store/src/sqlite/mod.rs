//! The real backend: SQLite in WAL mode, one writing connection, a few reading ones.

mod apart;
mod body;
mod change;
mod copier;
mod cursor;
mod damage;
mod erase;
mod hot;
mod key;
mod log;
mod merge;
mod pico;
mod plan;
mod read;
mod rows;
mod search;
mod searching;
mod snapshot;
mod source;
mod tables;
mod vanishing;
mod versions;
mod words;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::carry::Interest;
use crate::config::{Durability, Search, Storage};
use crate::vanish::RelayUrls;
use crate::{Backend, Reader, StoreError, Writer};
use apart::Apart;
use hot::Hot;
use key::TagHash;
use vanishing::Vanishing;

/// The migrations, in order. A database has run the first `PRAGMA user_version` of them.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../../migrations/sqlite/0001_event.sql"),
    include_str!("../../../../../migrations/sqlite/0002_pico.sql"),
    include_str!("../../../../../migrations/sqlite/0003_engine.sql"),
    include_str!("../../../../../migrations/sqlite/0004_bridge.sql"),
    include_str!("../../../../../migrations/sqlite/0005_forgotten.sql"),
    include_str!("../../../../../migrations/sqlite/0006_pico_room_used.sql"),
    include_str!("../../../../../migrations/sqlite/0007_search.sql"),
];

/// A bound. In tests it is so small that every one of them is met, but not while something is measured.
fn bound<T>(usual: T, in_tests: T) -> T {
    #[cfg(test)]
    if !crate::testing::is_measuring() {
        return in_tests;
    }
    let _ = in_tests;
    usual
}

/// Name of the database in the data folder.
pub const FILE: &str = "picorelay.db";

/// Of a new database. With pages of 4 KiB, writing took a third longer.
const PAGE_BYTES: i64 = 8_192;

/// How long one connection waits for another's lock. They never wait long: readers see snapshots.
const BUSY: Duration = Duration::from_secs(10);

/// An open database. Holds a lock on its folder, so that no second process caches what the first one changes.
pub struct Sqlite {
    path: PathBuf,
    options: Options,
    hash: TagHash,
    shared: Arc<Shared>,
    /// None where another process may have the database open.
    lock: Option<File>,
}

/// What the writer and the readers of a database have in common.
struct Shared {
    hot: Hot,
    apart: Apart,
    vanishing: Vanishing,
    /// Held by each scan for a slice, and by the writer while it starts the log afresh.
    reading: RwLock<()>,
}

/// What the backend needs of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Cache sizes, durability.
    pub storage: Storage,
    /// Whether and what to index for NIP-50.
    pub search: Search,
    /// For NIP-62.
    pub urls: RelayUrls,
    /// Kinds that only the people they name may see.
    pub private_kinds: Vec<u16>,
    /// Which events are to be carried into rooms. None: no event.
    pub interest: Option<Arc<dyn Interest>>,
}

impl Sqlite {
    /// Opens the database in the folder `data` for reading only, whether or not another process has it open.
    pub fn open_beside(data: &Path, options: Options) -> Result<Self, StoreError> {
        let path = data.join(FILE);
        let (hash, shared) = damage::look(&path, || {
            let db = connect(&path, &options.storage, options.storage.reader_cache_mb, true)?;
            let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
            if found > known {
                return Err(StoreError::Newer { found, known });
            }
            Ok((hash(&db)?, Shared::new(Hot::new(0, 0), Apart::read(&db)?)))
        })?;
        Ok(Self { path, options, hash, shared: Arc::new(shared), lock: None })
    }

    /// Opens or creates the database in the folder `data`, and brings its schema up to date.
    ///
    /// Fails with [`StoreError::Locked`] when another process has it open.
    pub fn open(data: &Path, options: Options) -> Result<Self, StoreError> {
        let in_folder = |error| StoreError::Folder { folder: data.display().to_string(), error };
        std::fs::create_dir_all(data).map_err(in_folder)?;
        let lock = File::create(data.join("lock")).map_err(in_folder)?;
        if lock.try_lock().is_err() {
            return Err(StoreError::Locked(data.display().to_string()));
        }
        let path = data.join(FILE);
        create_private(&path).map_err(in_folder)?;
        let (hash, shared) = damage::look(&path, || {
            let mut db = connect(&path, &options.storage, options.storage.writer_cache_mb, false)?;
            migrate(&mut db)?;
            let apart = Apart::open(&mut db, &options.private_kinds)?;
            Ok((hash(&db)?, Shared::new(hot(&db, &options.storage)?, apart)))
        })?;
        Ok(Self { path, options, hash, shared: Arc::new(shared), lock: Some(lock) })
    }
}

impl Backend for Sqlite {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        let db = connect(&self.path, &self.options.storage, self.options.storage.writer_cache_mb, false)?;
        let (path, shared) = (self.path.clone(), Arc::clone(&self.shared));
        Ok(Box::new(write::SqliteWriter::new(db, path, self.hash, self.options.clone(), shared)?))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let db = connect(&self.path, &self.options.storage, self.options.storage.reader_cache_mb, true)?;
        let (path, shared) = (self.path.clone(), Arc::clone(&self.shared));
        let is_beside = self.lock.is_none();
        Ok(Box::new(read::SqliteReader::new(db, path, self.hash, &self.options, shared, is_beside)))
    }
}

/// Makes the file, if it is missing, for its owner's eyes only: it holds private events. SQLite's files beside it follow.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn connect(path: &Path, storage: &Storage, cache_mb: usize, read_only: bool) -> Result<Connection, StoreError> {
    let access = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    };
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(128);
    // Statements are planned once, not again for each value that is bound: that was more than half of the work.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if !read_only {
        db.pragma_update(None, "page_size", PAGE_BYTES)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        let synchronous = match storage.durability {
            Durability::Full => "full",
            Durability::Normal => "normal",
        };
        db.pragma_update(None, "synchronous", synchronous)?;
        // The writer checkpoints itself, between commits: see `log`.
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
    }
    db.pragma_update(None, "cache_size", -i64::try_from(cache_mb * 1024).unwrap_or(16_384))?;
    db.pragma_update(None, "temp_store", "memory")?;
    Ok(db)
}

impl Shared {
    fn new(hot: Hot, apart: Apart) -> Self {
        Self { hot, apart, vanishing: Vanishing::default(), reading: RwLock::default() }
    }
}

fn hash(db: &Connection) -> Result<TagHash, StoreError> {
    Ok(TagHash::new(db.query_row("SELECT value FROM meta WHERE name = 'hash_key'", [], |row| row.get(0))?))
}

/// The caches, with the order of the newest events in them.
fn hot(db: &Connection, storage: &Storage) -> Result<Hot, StoreError> {
    let hot = Hot::new(storage.row_cache_mb << 20, storage.newest_events_max);
    let max = i64::try_from(storage.newest_events_max).unwrap_or(i64::MAX);
    let mut rows = db.prepare("SELECT pos, substr(head, 33, 8), kind FROM event ORDER BY pos DESC LIMIT ?1")?;
    let newest: Vec<(i64, [u8; 8], u16)> =
        rows.query_map([max], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()?;
    let all = newest.len() < storage.newest_events_max;
    hot.fill(newest.into_iter().map(|(pos, author, kind)| (pos, i64::from_be_bytes(author), kind)), all);
    Ok(hot)
}

#[cfg(test)]
mod tests;

fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(StoreError::Newer { found: version, known });
    }
    for (number, sql) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        let step = db.transaction()?;
        step.execute_batch(sql)?;
        step.pragma_update(None, "user_version", number)?;
        step.commit()?;
    }
    Ok(())
}
