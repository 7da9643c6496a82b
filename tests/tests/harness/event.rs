//! Keys and signed events.

use std::fmt;
use std::ops::Index;

use data_encoding::HEXLOWER;
use secp256k1::{Keypair, SECP256K1, XOnlyPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "the clock of the tests")]
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes.as_ref()))
}

/// Somebody. `Display` is the public key in hex.
pub(crate) struct Key(Keypair);

impl Key {
    /// A random one: tests that share a relay never meet.
    pub(crate) fn new() -> Self {
        Self(SECP256K1.generate_keypair(&mut secp256k1::rand::thread_rng()).0.keypair(SECP256K1))
    }

    /// Always the same one for a number, so that a seed repeats a test.
    pub(crate) fn numbered(number: u64) -> Self {
        let secret: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
        Self(Keypair::from_seckey_slice(SECP256K1, &secret).expect("a hash is a secret key"))
    }

    pub(crate) fn public(&self) -> String {
        let (key, _): (XOnlyPublicKey, _) = self.0.x_only_public_key();
        HEXLOWER.encode(&key.serialize())
    }

    /// Signs an event; what `draft` leaves out is kind 1, now, no tags, no content.
    pub(crate) fn event(&self, draft: Value) -> Event {
        let draft = self.complete(draft);
        let hashed = json!([0, draft["pubkey"], draft["created_at"], draft["kind"], draft["tags"], draft["content"]]);
        self.seal(draft, &hashed.to_string())
    }

    /// Signs an event whose id is the hash of `hashed`, whether that is right or not.
    pub(crate) fn seal(&self, draft: Value, hashed: &str) -> Event {
        let mut event = self.complete(draft);
        let id = Sha256::digest(hashed.as_bytes());
        event["id"] = HEXLOWER.encode(&id).into();
        let mut digest = [0; 32];
        digest.copy_from_slice(&id);
        event["sig"] = HEXLOWER.encode(&SECP256K1.sign_schnorr_no_aux_rand(&digest, &self.0).to_byte_array()).into();
        Event(event)
    }

    fn complete(&self, mut draft: Value) -> Value {
        let members = draft.as_object_mut().expect("a draft is an object");
        members.insert("pubkey".into(), self.public().into());
        for (name, value) in
            [("created_at", json!(now())), ("kind", json!(1)), ("tags", json!([])), ("content", json!(""))]
        {
            members.entry(name).or_insert(value);
        }
        draft
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public())
    }
}

/// A signed event. `Display` is its JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event(pub(crate) Value);

impl Event {
    pub(crate) fn id(&self) -> &str {
        self.0["id"].as_str().unwrap()
    }

    pub(crate) fn created_at(&self) -> u64 {
        self.0["created_at"].as_u64().unwrap()
    }

    /// `kind:pubkey:d`.
    pub(crate) fn address(&self) -> String {
        let d = self.0["tags"].as_array().unwrap().iter().find(|tag| tag[0] == "d").and_then(|tag| tag[1].as_str());
        format!("{}:{}:{}", self.0["kind"], self.0["pubkey"].as_str().unwrap(), d.unwrap_or_default())
    }
}

impl Index<&str> for Event {
    type Output = Value;
    fn index(&self, member: &str) -> &Value {
        &self.0[member]
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
