//! Every case of `diff-merge-v8.json`, measured from picofeed 8.0.5.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail where it stands")]

mod common;

use std::collections::BTreeMap;

use common::{bytes, cases, feeds, hex, number, text, vectors};
use picofeed::{Block, Defect, Diff, Feed, Format, InvalidFeed, Limits, Merged, Misuse, Step};
use serde_json::Value;

const V8: Format = Format::V8;

/// Labels of blocks in the vector file.
struct Labels(BTreeMap<String, String>);

impl Labels {
    fn new(vectors: &Value) -> Self {
        let blocks = vectors["blocks"].as_object().unwrap();
        let labels = blocks.iter().map(|(label, _)| {
            let block = Block::decode(V8, bytes(&vectors["blocks"], label), &Limits::default()).unwrap();
            (block.id().to_string(), label.clone())
        });
        Self(labels.collect())
    }

    fn of(&self, feed: &Feed) -> Vec<&str> {
        feed.iter().map(|block| self.block(block)).collect()
    }

    fn block(&self, block: &Block) -> &str {
        &self.0[&block.id().to_string()]
    }
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect()
}

#[test]
fn table() {
    let vectors = vectors("diff-merge-v8.json");
    let (feeds, labels) = (feeds(V8, &vectors["feeds"]), Labels::new(&vectors));
    let cases = cases(&vectors, "table");
    assert_eq!(cases.len(), feeds.len() * feeds.len());
    for case in cases {
        let (a, b) = (&feeds[text(case, "a")], &feeds[text(case, "b")]);
        let expected = match case["diff"]["error"].as_str() {
            Some("unrelated") => Diff::Unrelated,
            Some("diverged") => Diff::Diverged,
            // Upstream fails on an empty other; it is behind by everything.
            Some(_) if b.is_empty() => Diff::Behind(a.len()),
            Some(other) => panic!("{other}"),
            None => match number(&case["diff"]) {
                0 => Diff::Equal,
                n if n > 0 => Diff::Ahead(n.unsigned_abs()),
                n => Diff::Behind(n.unsigned_abs()),
            },
        };
        assert_eq!(a.diff(b), expected, "{case}");

        let mut merged = a.clone();
        let outcome = merged.merge(b);
        let count = outcome.count().map_or(-1, |count| isize::try_from(count).unwrap());
        assert_eq!(count, number(&case["merge"]), "{case}");
        assert_eq!(labels.of(&merged), list(&case["merged_blocks"]), "{case}");
        if case["merged_feed"].is_string() {
            assert_eq!(hex(merged.encode()), text(case, "merged_feed"), "{case}");
        }
        // Contained: the other one has it all.
        if outcome == Merged::Contained {
            assert!(labels.of(b).ends_with(&labels.of(a)) || labels.of(b).join(" ").contains(&labels.of(a).join(" ")));
        }
    }
}

#[test]
fn interactive_merge() {
    let vectors = vectors("diff-merge-v8.json");
    let (feeds, labels) = (feeds(V8, &vectors["feeds"]), Labels::new(&vectors));
    for case in cases(&vectors, "interactive_merge") {
        let mut merged = feeds[text(case, "a")].clone();
        let mut seen = Vec::new();
        let outcome = merged.merge_with(&feeds[text(case, "b")], |block| {
            let label = labels.block(block);
            seen.push(label);
            match (label == text(case, "stop_at"), case["stop_after"].as_bool().unwrap()) {
                (false, _) => Step::Take,
                (true, true) => Step::TakeLast,
                (true, false) => Step::Stop,
            }
        });
        assert_eq!(seen, list(&case["callback_saw"]), "{case}");
        assert_eq!(isize::try_from(outcome.count().unwrap()).unwrap(), number(&case["merge"]), "{case}");
        assert_eq!(labels.of(&merged), list(&case["merged_blocks"]), "{case}");
    }
}

#[test]
fn slice() {
    let vectors = vectors("diff-merge-v8.json");
    let (feeds, labels) = (feeds(V8, &vectors["feeds"]), Labels::new(&vectors));
    let feed = &feeds["x01234"];
    for case in cases(&vectors, "slice_of_x01234") {
        let start = number(&case["start"]);
        let end = if case["end"].is_null() { None } else { Some(number(&case["end"])) };
        let result = feed.slice(start, end);
        match case["result"].as_array() {
            // Upstream counts from the end twice here, and gives blocks from there; that is an error.
            _ if start < -5 => assert_eq!(result, Err(Misuse::Range), "{case}"),
            Some(_) => assert_eq!(labels.of(&result.unwrap()), list(&case["result"]), "{case}"),
            None => assert_eq!(result, Err(Misuse::Range), "{case}"),
        }
    }
    assert_eq!(feed.slice(0, Some(isize::MAX)).unwrap(), *feed);
    assert_eq!(feed.slice(isize::MAX, None), Err(Misuse::Range));
    assert_eq!(feed.slice(isize::MIN, None), Err(Misuse::Range));
}

#[test]
fn truncate() {
    let vectors = vectors("diff-merge-v8.json");
    let (feeds, labels) = (feeds(V8, &vectors["feeds"]), Labels::new(&vectors));
    for case in cases(&vectors, "truncate_of_x01234") {
        let mut feed = feeds["x01234"].clone();
        let result = feed.truncate(number(&case["height"]));
        if case["returns"]["error"].is_string() {
            // Upstream leaves nothing behind; an error changes nothing here.
            assert_eq!(result, Err(Misuse::Range), "{case}");
            assert_eq!(feed, feeds["x01234"], "{case}");
            continue;
        }
        assert_eq!(result, Ok(number(&case["returns"]).unsigned_abs()), "{case}");
        assert_eq!(labels.of(&feed), list(&case["blocks"]), "{case}");
        assert_eq!(feed.encode().len(), number(&case["tail"]).unsigned_abs(), "{case}");
    }
}

/// What never returns upstream is an error here, or just works.
#[test]
fn hangs() {
    let vectors = vectors("diff-merge-v8.json");
    for case in cases(&vectors, "hangs") {
        match text(case, "id") {
            "diff-empty-psig" => {
                for side in ["a", "b"] {
                    let invalid = Feed::decode(V8, bytes(case, side), &Limits::default()).unwrap_err();
                    assert_eq!(invalid, InvalidFeed { block: 0, at: 0, defect: Defect::Truncated });
                }
            }
            "append-to-zero-length" => {
                let mut feed = common::read(V8, b"").unwrap();
                feed.append(b"x", &common::alice()).unwrap();
                assert_eq!(feed.len(), 1);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn formats_do_not_mix() {
    let mut v8 = Feed::new(V8);
    let block = v8.append(b"x", &common::alice()).unwrap();
    let mut v3 = Feed::new(Format::V3);
    let mismatch = Misuse::FormatMismatch { feed: Format::V3, block: V8 };
    assert_eq!(v3.push(block), Err(mismatch));
    assert_eq!(v3.diff(&v8), Diff::Unrelated);
    assert_eq!(v3.merge(&v8), Merged::Unrelated);
    assert_eq!(v8.merge(&v3), Merged::Unrelated);
    assert!(v3.is_empty());
}
