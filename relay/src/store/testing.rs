//! Signed events for tests.

use secp256k1::{Keypair, SECP256K1};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::event::{Event, Id, PublicKey};
use crate::verify::{Verified, verify};

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
}

/// The public key of author 1, 2, ..
pub(crate) fn key(author: u8) -> PublicKey {
    PublicKey(keypair(author).x_only_public_key().0.serialize())
}

fn keypair(author: u8) -> Keypair {
    Keypair::from_seckey_slice(SECP256K1, &[author; 32]).unwrap()
}
