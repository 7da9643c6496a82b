//! Signed events for tests.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use secp256k1::{Keypair, SECP256K1};
use sha2::{Digest as _, Sha256};

use super::sqlite::{Options, Sqlite};
use super::{Backend, Reader, StoreError, Writer};
use crate::clock::Timestamp;
use crate::event::{Event, Id, PublicKey};
use crate::store::config::{Durability, Search, Storage};
use crate::vanish::RelayUrls;
use crate::verify::{Verified, verify};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An event to be signed.
#[derive(Clone, Default, Debug)]
pub(crate) struct Draft {
    /// Number of its author, see [`key`].
    pub(crate) author: u8,
    pub(crate) kind: u16,
    pub(crate) created_at: Timestamp,
    pub(crate) tags: Vec<Vec<String>>,
    pub(crate) content: String,
}

impl Draft {
    /// The event, with a signature that depends on nothing else, so that ids and order repeat.
    pub(crate) fn sign(&self) -> Verified {
        let Self { author, kind, created_at, tags, content } = self;
        let pubkey = key(*author).to_hex();
        let id: [u8; 32] =
            Sha256::digest(serde_json::json!([0, pubkey, created_at, kind, tags, content]).to_string()).into();
        let sig = SECP256K1.sign_schnorr_no_aux_rand(&id, &keypair(*author));
        let event = serde_json::json!({
            "id": Id(id).to_hex(), "pubkey": pubkey, "created_at": created_at, "kind": kind, "tags": tags,
            "content": content, "sig": sig.to_string(),
        });
        verify(Event::parse(&event.to_string()).unwrap()).unwrap()
    }

    /// The event under an id and a key that nobody could find, to try what happens when parts of them collide.
    pub(crate) fn forge(&self, id: Id, pubkey: PublicKey) -> Verified {
        let event = self.sign();
        let json = event.json().replacen(&event.id.to_hex(), &id.to_hex(), 1);
        let json = json.replacen(&event.pubkey.to_hex(), &pubkey.to_hex(), 1);
        crate::store::read_back(Event::parse(&json).unwrap())
    }
}

/// The public key of author 1, 2, ..
pub(crate) fn key(author: u8) -> PublicKey {
    PublicKey(keypair(author).x_only_public_key().0.serialize())
}

fn keypair(author: u8) -> Keypair {
    Keypair::from_seckey_slice(SECP256K1, &[author; 32]).unwrap()
}

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
