//! Databases for tests.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

pub(crate) use picorelay_testing::{Draft, key};

use super::sqlite::{Options, Sqlite};
use super::{Backend, Reader, StoreError, Writer};
use crate::config::{Durability, Search, Storage};
use crate::vanish::RelayUrls;

/// How many events `PICORELAY_SEARCH_EVENTS` asks for, if searches are to be measured.
#[allow(clippy::disallowed_methods, reason = "a switch of the test run, not of the program")]
pub(crate) fn measured_events() -> Option<usize> {
    static EVENTS: OnceLock<Option<usize>> = OnceLock::new();
    *EVENTS.get_or_init(|| std::env::var("PICORELAY_SEARCH_EVENTS").ok().map(|value| value.parse().unwrap()))
}

/// Whether something is being measured, so that bounds are those of the program.
pub(crate) fn is_measuring() -> bool {
    measured_events().is_some()
}

/// So few candidates that some matches are not ranked.
pub(crate) fn search() -> Search {
    Search { candidates_max: 4, ..Search::default() }
}

/// A database in this folder.
pub(crate) fn sqlite_in(data: &Path, urls: RelayUrls) -> Arc<dyn Backend> {
    // Every other database knows next to nothing without its tables.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let (row_cache_mb, newest_events_max) = if number.is_multiple_of(2) { (48, 200_000) } else { (0, 3) };
    let storage = Storage { durability: Durability::Normal, row_cache_mb, newest_events_max, ..Storage::default() };
    // And to every third the private kinds are like others, which is slower and no less right.
    let private_kinds = if number.is_multiple_of(3) { Vec::new() } else { vec![4, 1059] };
    let options = Options { storage, urls, search: search(), private_kinds, ..Options::default() };
    Arc::new(Sqlite::open(data, options).unwrap())
}

/// An empty database with the usual private kinds.
pub(crate) fn sqlite_private(urls: RelayUrls) -> Arc<dyn Backend> {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage { durability: Durability::Normal, ..Storage::default() };
    let options = Options { storage, urls, search: search(), private_kinds: vec![4, 1059], ..Options::default() };
    Arc::new(Temporary { database: Arc::new(Sqlite::open(folder.path(), options).unwrap()), _folder: folder })
}

/// An empty database in a folder of its own, which goes with it.
pub(crate) fn sqlite(urls: RelayUrls) -> Arc<dyn Backend> {
    // In memory where that is possible: thousands of small databases would wait for thousands of disk flushes.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    Arc::new(Temporary { database: sqlite_in(folder.path(), urls), _folder: folder })
}

struct Temporary {
    database: Arc<dyn Backend>,
    _folder: tempfile::TempDir,
}

impl Backend for Temporary {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        self.database.writer()
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        self.database.reader()
    }
}
