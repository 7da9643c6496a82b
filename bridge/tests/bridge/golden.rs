//! `vectors/*.json`: what others can implement against.
//!
//! Written by `cargo test -p pico-bridge -- --ignored write_vectors`, and compared by the tests.

use std::fs;

use pico_bridge::{Context, Frame, Head, Mode, kind, unwrap, wrap};
use picofeed::{Block, Feed, Format, Keys, Limits};
use serde_json::{Value, json};

use crate::{
    common::{ACCEPTED, RELAY_SECRET, SILO, alice, bob, context, derived_secret, hex, parts, room, sign, unhex},
    reject, rules,
};

#[test]
fn vectors_are_what_the_crate_does() {
    for (name, vectors) in all() {
        let written: Value = serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap();
        assert_eq!(written, vectors, "{name}: run the ignored test write_vectors and look at the difference");
    }
}

#[test]
#[ignore = "writes the vectors"]
fn write_vectors() {
    for (name, vectors) in all() {
        fs::write(path(name), serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
    }
}

/// Reads the files as somebody else would: nothing is known but what stands in them.
#[test]
fn vectors_can_be_read_back() {
    let blocks: Value = serde_json::from_slice(&fs::read(path("blocks")).unwrap()).unwrap();
    for case in blocks["cases"].as_array().unwrap() {
        let id = &case["name"];
        let event = &case["events"][0];
        let unwrapped = unwrap(&parts(event), &Limits::default()).unwrap();
        assert_eq!(hex(unwrapped.block.bytes()), case["content"].as_str().unwrap(), "{id}");
        assert_eq!(unwrapped.block.author().to_string(), case["author"].as_str().unwrap(), "{id}");
        let head = Head::parse(&parts(&case["events"][1])).unwrap();
        assert_eq!((head.chain, head.block), (unwrapped.chain, unwrapped.block.id()), "{id}");
        assert_eq!(case["height"], head.height, "{id}");
    }
    for feed in blocks["feeds"].as_array().unwrap() {
        let cases = blocks["cases"].as_array().unwrap();
        let events = feed["cases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| &cases.iter().find(|case| case["name"] == *name).unwrap()["events"][0]);
        let blocks = events.map(|event| unwrap(&parts(event), &Limits::default()).unwrap().block);
        assert_eq!(hex(Feed::from_blocks(blocks).unwrap().encode()), feed["bytes"].as_str().unwrap());
    }
    let frames: Value = serde_json::from_slice(&fs::read(path("frames")).unwrap()).unwrap();
    for case in frames["cases"].as_array().unwrap() {
        let frame = Frame::parse(&parts(&case["event"]), 1 << 20).unwrap();
        assert_eq!(frame.bytes, unhex(&case["frame"]));
        assert_eq!(frame.to.map(hex), case["to"].as_str().map(str::to_owned));
    }
}

fn path(name: &str) -> String {
    format!("{}/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

fn all() -> [(&'static str, Value); 4] {
    [("blocks", blocks()), ("frames", frames()), ("copies", copies()), ("reject", reject::vectors())]
}

pub(crate) fn feed(format: Format) -> Feed {
    let mut feed = Feed::new(format);
    feed.append(b"Hello Picoverse", &alice(format)).unwrap();
    feed.append(b"Hello nostr", &alice(format)).unwrap();
    // Anybody may write to a chain; apps decide who should.
    feed.append(b"Hello Alice", &bob(format)).unwrap();
    feed
}

pub(crate) fn events(block: &Block, context: &Context<'_>) -> Vec<Value> {
    wrap(block, context).iter().map(sign).collect()
}

fn blocks() -> Value {
    let room = room();
    let mut cases = Vec::new();
    let mut feeds = Vec::new();
    for format in Format::ALL {
        let feed = feed(format);
        let names = ["genesis", "child", "by-other"].map(|name| format!("{format}-{name}"));
        for (at, (block, name)) in feed.iter().zip(&names).enumerate() {
            // A second apart, so that a relay takes each head for newer than the one before.
            let accepted = ACCEPTED + at as u64;
            let context = Context { mode: Mode::Wrap, accepted, ..context(&room, feed[0].id(), at as u64 + 1) };
            let events = events(block, &context);
            assert_eq!(events.len(), 2);
            let content = unwrap(&parts(&events[0]), &Limits::default()).unwrap().block;
            cases.push(json!({
                "name": name, "format": format.name(), "block": hex(block.bytes()), "content": hex(content.bytes()),
                "author": block.author().to_string(), "chain": feed[0].id().to_string(), "height": at + 1, "accepted": accepted,
                "events": events,
            }));
        }
        feeds.push(json!({ "cases": names, "bytes": hex(feed.encode_with(Keys::Once)) }));
    }
    json!({
        "about": "Blocks and the events they become: kind 7420, then kind 37420. `block` is as a feed has it, `content` as \
            the event has it: they differ only in the first byte of POP-02 blocks that end a feed. Reading gives `content` \
            back. `feeds`: what the blocks of these cases make together. Hexadecimal, but for the base64 in events.",
        "relay_secret": hex(RELAY_SECRET), "room": room.as_str(), "cases": cases, "feeds": feeds,
    })
}

fn frames() -> Value {
    let node = hex([0x5e; 8]);
    let frames = [
        ("a block for everybody", "0000000000020102".to_owned(), None),
        ("node id, which wants an answer", format!("000000010103{node}"), Some([7; 32])),
        ("an answer", "000100000000".to_owned(), Some([7; 32])),
    ];
    let cases = frames.into_iter().map(|(about, frame, to)| {
        let bytes = unhex(&frame.clone().into());
        let event = sign(&Frame { room: room(), to, bytes }.draft(ACCEPTED).unwrap());
        json!({ "about": about, "frame": frame, "to": to.map(hex), "event": event })
    });
    json!({
        "about": "Piconet frames and the events that carry them: kind 27420. Here the relay signs; usually a node does.",
        "relay_secret": hex(RELAY_SECRET), "room": room().as_str(), "cases": cases.collect::<Vec<_>>(),
    })
}

fn copies() -> Value {
    let cases = rules::cases().into_iter().map(|case| {
        let event = case.copy.as_ref().map(sign);
        json!({
            "about": case.about, "format": case.block.format().name(), "author": case.block.author().to_string(),
            "author_secret": hex(derived_secret(&case.block.author())), "block": hex(case.block.bytes()), "event": event,
        })
    });
    json!({
        "about": "Blocks and the readable copies of them, if any. `author_secret` is the nostr key that signs for the \
            author: HMAC-SHA256(relay_secret, \"pico:author:\" || author).",
        "relay_secret": hex(RELAY_SECRET), "room": room().as_str(), "accepted": ACCEPTED, "silo": SILO,
        "answered": rules::answered(), "cases": cases.collect::<Vec<_>>(),
    })
}

#[test]
fn kinds_are_in_their_ranges() {
    assert!((1000..10_000).contains(&kind::BLOCK));
    assert!((30_000..40_000).contains(&kind::HEAD));
    assert!((20_000..30_000).contains(&kind::FRAME));
}
