//! For the tests of several crates: signed events, and databases that go away.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::sync::Arc;

use picorelay_base::clock::Timestamp;
use picorelay_nostr::event::{Event, Id, PublicKey};
use picorelay_nostr::vanish::RelayUrls;
use picorelay_nostr::verify::{Verified, verify};
use picorelay_store::config::{Durability, Storage};
use picorelay_store::sqlite::{Options, Sqlite};
use picorelay_store::{Backend, Reader, StoreError, Writer};
use secp256k1::{Keypair, SECP256K1};
use sha2::{Digest as _, Sha256};

/// An event to be signed.
#[derive(Clone, Default, Debug)]
pub struct Draft {
    /// Number of its author, see [`key`].
    pub author: u8,
    /// Its kind.
    pub kind: u16,
    /// Unix seconds.
    pub created_at: Timestamp,
    /// All of them.
    pub tags: Vec<Vec<String>>,
    /// What it says.
    pub content: String,
}

impl Draft {
    /// The event, with a signature that depends on nothing else, so that ids and order repeat.
    pub fn sign(&self) -> Verified {
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
    pub fn forge(&self, id: Id, pubkey: PublicKey) -> Verified {
        let event = self.sign();
        let json = event.json().replacen(&event.id.to_hex(), &id.to_hex(), 1);
        let json = json.replacen(&event.pubkey.to_hex(), &pubkey.to_hex(), 1);
        read_back(Event::parse(&json).unwrap())
    }
}

/// The public key of author 1, 2, ..
pub fn key(author: u8) -> PublicKey {
    PublicKey(keypair(author).x_only_public_key().0.serialize())
}

fn keypair(author: u8) -> Keypair {
    Keypair::from_seckey_slice(SECP256K1, &[author; 32]).unwrap()
}

/// An event under an id that is not its own.
#[allow(clippy::disallowed_methods, reason = "what nobody could sign is taken for verified")]
fn read_back(event: Event) -> Verified {
    Verified::from_store(event)
}

/// An empty database in a folder of its own, which goes with it.
pub fn sqlite(urls: RelayUrls) -> Arc<dyn Backend> {
    // In memory where that is possible: thousands of small databases would wait for thousands of disk flushes.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let storage = Storage { durability: Durability::Normal, ..Storage::default() };
    let options = Options { storage, urls, ..Options::default() };
    Arc::new(Temporary { database: Arc::new(Sqlite::open(folder.path(), options).unwrap()), _folder: folder })
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
