//! Who signs: the relay, a key for each pico author whose blocks are copied, and the relay's own feed.

use hmac::{Hmac, KeyInit, Mac};
use nostr::key::Keys;
use pico_bridge::{Draft, Signer, derivation_input};
use picofeed::{Key, Secret};
use secp256k1::{Keypair, SECP256K1};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::event::{Event, Id, PublicKey};

/// What the secret of the relay's own feed is derived from, as that of an author is from
/// [`derivation_input`](pico_bridge::derivation_input).
const FEED_LABEL: &[u8] = b"pico:relay";

/// All keys, made of the relay's secret.
pub struct Signers {
    secret: [u8; 32],
    relay: Keypair,
}

impl Signers {
    /// From the relay's keys.
    ///
    /// # Errors
    ///
    /// Its secret is none, which [`Keys`] do not allow.
    pub fn new(keys: &Keys) -> Result<Self, secp256k1::Error> {
        let secret = keys.secret_key().to_secret_bytes();
        Ok(Self { relay: Keypair::from_seckey_slice(SECP256K1, &secret)?, secret })
    }

    /// The relay's key.
    pub fn relay(&self) -> PublicKey {
        public(&self.relay)
    }

    /// The nostr key of a pico author. All but a vanishing share of them have one.
    pub fn author(&self, author: &Key) -> Option<PublicKey> {
        self.derived(author).map(|pair| public(&pair))
    }

    /// The pico key of the relay.
    pub fn feed(&self) -> Secret {
        Secret::ed25519(self.derive(FEED_LABEL))
    }

    /// The draft as an event. The same draft gives the same event.
    pub fn sign(&self, draft: &Draft) -> Option<Event> {
        let derived;
        let pair = match &draft.signer {
            Signer::Relay => &self.relay,
            Signer::Author(author) => {
                derived = self.derived(author)?;
                &derived
            }
        };
        let Draft { kind, created_at, tags, content, .. } = draft;
        let pubkey = public(pair).to_hex();
        let hashed = json!([0, pubkey, created_at, kind, tags, content]).to_string();
        let id: [u8; 32] = Sha256::digest(hashed).into();
        let sig = data_encoding::HEXLOWER.encode(&SECP256K1.sign_schnorr_no_aux_rand(&id, pair).to_byte_array());
        let event = json!({
            "id": Id(id).to_hex(), "pubkey": pubkey, "created_at": created_at, "kind": kind, "tags": tags,
            "content": content, "sig": sig,
        });
        Event::parse(&event.to_string()).ok()
    }

    fn derived(&self, author: &Key) -> Option<Keypair> {
        Keypair::from_seckey_slice(SECP256K1, &self.derive(&derivation_input(author))).ok()
    }

    fn derive(&self, label: &[u8]) -> [u8; 32] {
        // Keys of any length are good for an HMAC.
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else { return [0; 32] };
        mac.chain_update(label).finalize().into_bytes().into()
    }
}

fn public(pair: &Keypair) -> PublicKey {
    PublicKey(pair.x_only_public_key().0.serialize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::verify;

    /// The secret of all vectors.
    fn signers() -> Signers {
        Signers::new(&Keys::parse(&"74".repeat(32)).unwrap()).unwrap()
    }

    /// `bridge/vectors/copies.json` has events of the relay and of derived keys.
    #[test]
    fn keys_and_events_are_those_of_the_vectors() {
        let text = include_str!("../../../bridge/vectors/copies.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let case = &vectors["cases"][0]["event"];
        let tags: Vec<Vec<String>> = serde_json::from_value(case["tags"].clone()).unwrap();
        let author = tags.iter().find_map(|tag| tag[1].strip_prefix("pico:author:")).unwrap();
        let author = author.parse().unwrap();
        let draft = Draft {
            signer: Signer::Author(author),
            kind: case["kind"].as_u64().unwrap().try_into().unwrap(),
            created_at: case["created_at"].as_u64().unwrap(),
            content: case["content"].as_str().unwrap().to_owned(),
            tags,
        };
        let event = signers().sign(&draft).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(event.json()).unwrap(), *case);
        assert_eq!(signers().author(&author), Some(event.pubkey));
        assert!(verify(event).is_ok());
    }

    #[test]
    fn what_is_signed_can_be_verified_whatever_it_says() {
        let draft = Draft {
            signer: Signer::Relay,
            kind: 1,
            created_at: 1,
            tags: vec![vec!["t".to_owned(), "\u{1}\u{7f}\"\\\u{2028}".to_owned()]],
            content: "\0\u{1b}\n\t\r\u{8}\u{c}/é\u{1F600}".to_owned(),
        };
        let event = signers().sign(&draft).unwrap();
        assert_eq!((event.content().as_ref(), event.pubkey), (draft.content.as_str(), signers().relay()));
        assert!(verify(event).is_ok());
    }

    #[test]
    fn the_relays_feed_has_a_key_of_its_own() {
        assert_eq!(signers().feed().key(), signers().feed().key());
        assert_ne!(signers().feed().key().as_bytes(), &signers().relay().0);
    }
}
