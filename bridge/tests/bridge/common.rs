//! Keys, signing, and reading of events.

use ciborium::Value as Cbor;
use data_encoding::HEXLOWER;
use pico_bridge::{Context, Draft, Mode, Parts, Room, Signer, derivation_input, no_copies};
use picofeed::{Block, Format, Id, Key, Secret};
use secp256k1::{Keypair, SECP256K1};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const ACCEPTED: u64 = 1_700_000_100;
pub(crate) const DATE_MS: u64 = 1_700_000_000_500;
pub(crate) const SILO: &str = "https://relay.example/silo";

/// The secrets of all vectors are one byte, repeated.
pub(crate) const RELAY_SECRET: [u8; 32] = [0x74; 32];

pub(crate) fn alice(format: Format) -> Secret {
    match format {
        Format::Pop02 => Secret::secp256k1([0xa1; 32]).unwrap(),
        _ => Secret::ed25519([0xa1; 32]),
    }
}

pub(crate) fn bob(format: Format) -> Secret {
    match format {
        Format::Pop02 => Secret::secp256k1([0xb2; 32]).unwrap(),
        _ => Secret::ed25519([0xb2; 32]),
    }
}

pub(crate) fn room() -> Room {
    "main".parse().unwrap()
}

pub(crate) fn context(room: &Room, chain: Id, height: u64) -> Context<'_> {
    Context { room, chain, height, accepted: ACCEPTED, mode: Mode::Copies, silo: Some(SILO), copy_of: &no_copies }
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

pub(crate) fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

pub(crate) fn genesis(format: Format, body: &[u8]) -> Block {
    Block::sign(format, None, body, &alice(format)).unwrap()
}

/// What picostore 3 writes.
pub(crate) fn generation_2(collection: &str, payload: Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = Cbor::Array(vec![collection.into(), payload, DATE_MS.into()]);
    ciborium::into_writer(&body, &mut bytes).unwrap();
    bytes
}

pub(crate) fn map<const N: usize>(entries: [(&str, Cbor); N]) -> Cbor {
    Cbor::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// What picostore 2 writes, with text fields only.
pub(crate) fn generation_1(kind: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0xde];
    out.extend(u16::try_from(fields.len() + 3).unwrap().to_be_bytes());
    for (name, value) in fields.iter().chain(&[("type", kind)]) {
        rmp::encode::write_str(&mut out, name).unwrap();
        rmp::encode::write_str(&mut out, value).unwrap();
    }
    rmp::encode::write_str(&mut out, "seq").unwrap();
    rmp::encode::write_uint(&mut out, 1).unwrap();
    rmp::encode::write_str(&mut out, "date").unwrap();
    rmp::encode::write_f64(&mut out, 1_700_000_000_500.0).unwrap();
    out
}

/// The draft as a signed event, keys in the order of NIP-01.
pub(crate) fn sign(draft: &Draft) -> Value {
    let secret = match &draft.signer {
        Signer::Relay => RELAY_SECRET,
        Signer::Author(author) => derived_secret(author),
    };
    let pair = Keypair::from_seckey_slice(SECP256K1, &secret).unwrap();
    let pubkey = hex(pair.x_only_public_key().0.serialize());
    let signed = json!([0, pubkey, draft.created_at, draft.kind, draft.tags, draft.content]).to_string();
    let id: [u8; 32] = Sha256::digest(signed.as_bytes()).into();
    let sig = hex(SECP256K1.sign_schnorr_no_aux_rand(&id, &pair).to_byte_array());
    json!({
        "id": hex(id), "pubkey": pubkey, "created_at": draft.created_at, "kind": draft.kind, "tags": draft.tags,
        "content": draft.content, "sig": sig,
    })
}

/// HMAC-SHA256 (RFC 2104) of what the crate says, under the relay's secret.
pub(crate) fn derived_secret(author: &Key) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(RELAY_SECRET).for_each(|(byte, secret)| *byte ^= secret);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(derivation_input(author)).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

pub(crate) fn parts(event: &Value) -> Parts<'_> {
    let tag = |tag: &'_ Value| tag.as_array().unwrap().len();
    let tags = event["tags"].as_array().unwrap();
    assert!(tags.iter().all(|values| tag(values) > 0));
    Parts {
        kind: u16::try_from(event["kind"].as_u64().unwrap()).unwrap(),
        tags: tags
            .iter()
            .map(|tag| tag.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect())
            .collect(),
        content: event["content"].as_str().unwrap(),
    }
}
