//! Feeds that real kernels sent each other, in `wire.json`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail where it stands")]

mod common;

use common::{bytes, cases, text, vectors};
use picofeed::{Feed, Format, Keys, Limits};

/// Payloads begin after the frame's five bytes and the type of message.
const FEED_AT: usize = 6;

#[test]
fn recorded_feeds() {
    let vectors = vectors("wire.json");
    let limits = Limits::default();
    for (generation, format) in [("generation_1", Format::V3), ("generation_2", Format::V8)] {
        let steps = cases(&vectors[generation], "steps").iter();
        let frames = steps.flat_map(|step| step["frames"].as_array().unwrap());
        let mut seen = 0;
        for frame in frames.filter(|frame| frame["type"] == "BLOCKS") {
            let sent = bytes(frame, "hex").split_off(FEED_AT);
            let feed = Feed::decode_any(sent.clone(), &limits).unwrap().verify(&limits).unwrap();
            assert_eq!(feed.format(), format, "{frame}");
            let blocks = frame["blocks"].as_array().unwrap();
            assert_eq!(feed.len(), blocks.len(), "{frame}");
            for (block, expect) in feed.iter().zip(blocks) {
                assert!(block.id().to_string().starts_with(text(expect, "id")), "{frame}");
                assert!(block.author().to_string().starts_with(text(expect, "author")), "{frame}");
                assert_eq!(block.is_genesis(), expect["genesis"].as_bool().unwrap(), "{frame}");
            }
            // Written again it is what was sent, with the keys of stored v3 feeds where picostack puts them.
            assert!([Keys::Once, Keys::Repeated].iter().any(|keys| feed.encode_with(*keys) == sent), "{frame}");
            seen += 1;
        }
        assert!(seen > 20, "{generation}: {seen}");
    }
}
