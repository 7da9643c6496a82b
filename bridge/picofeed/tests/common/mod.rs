//! Vectors and identities that the tests share.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail where it stands")]

use std::{collections::BTreeMap, fs};

use data_encoding::HEXLOWER;
use picofeed::{Feed, Format, Limits, Secret};
use serde_json::Value;

pub(crate) fn vectors(file: &str) -> Value {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub(crate) fn cases<'a>(vectors: &'a Value, list: &str) -> &'a [Value] {
    let cases = vectors[list].as_array().unwrap();
    assert!(!cases.is_empty());
    cases
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

pub(crate) fn bytes(value: &Value, key: &str) -> Vec<u8> {
    HEXLOWER.decode(text(value, key).as_bytes()).unwrap()
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

pub(crate) fn count(value: &Value, key: &str) -> usize {
    usize::try_from(value[key].as_u64().unwrap()).unwrap()
}

pub(crate) fn number(value: &Value) -> isize {
    isize::try_from(value.as_i64().unwrap()).unwrap()
}

/// The secret keys of alice, bob and carol in the vectors: one byte, repeated.
pub(crate) fn alice() -> Secret {
    Secret::ed25519([0xa1; 32])
}

pub(crate) fn bob() -> Secret {
    Secret::ed25519([0xb2; 32])
}

pub(crate) fn carol() -> Secret {
    Secret::ed25519([0xc3; 32])
}

pub(crate) fn read(format: Format, bytes: &[u8]) -> Result<Feed, picofeed::InvalidFeed> {
    let limits = Limits::default();
    Feed::decode(format, bytes.to_vec(), &limits)?.verify(&limits)
}

/// As much of a feed as is good.
pub(crate) fn salvage(format: Format, bytes: &[u8]) -> (Feed, bool) {
    let limits = Limits::default();
    let (decoded, malformed) = Feed::decode_prefix(format, bytes.to_vec(), &limits);
    let (feed, forged) = decoded.verify_prefix(&limits);
    (feed, malformed.is_none() && forged.is_none())
}

/// Feeds by name, from an object of hexadecimal text.
pub(crate) fn feeds(format: Format, value: &Value) -> BTreeMap<String, Feed> {
    let feeds = value.as_object().unwrap();
    feeds.iter().map(|(name, _)| (name.clone(), read(format, &bytes(value, name)).unwrap())).collect()
}

/// Compares the blocks of a feed with a list in a vector file.
pub(crate) fn check_blocks(id: &str, feed: &Feed, expect: &Value) {
    assert_eq!(feed.len(), count(expect, "length"), "{id}");
    for (block, expect) in feed.iter().zip(expect["blocks"].as_array().unwrap()) {
        assert_eq!(block.id().to_string(), text(expect, "id"), "{id}");
        assert_eq!(block.is_genesis(), expect["genesis"].as_bool().unwrap(), "{id}");
        assert_eq!(hex(block.parent().map_or([0; 64], Into::into)), text(expect, "psig"), "{id}");
        assert_eq!(block.author().to_string(), text(expect, "author"), "{id}");
        assert_eq!(block.bytes().len(), count(expect, "block_size"), "{id}");
        assert_eq!(block.body().len(), count(expect, "body_len"), "{id}");
        if let Some(body) = expect["body"].as_str() {
            assert_eq!(hex(block.body()), body, "{id}");
        }
        assert_eq!(block.body(), block.body_bytes(), "{id}");
        assert_eq!(block.bytes(), block.detached().bytes(), "{id}");
    }
}
