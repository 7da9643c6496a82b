//! Every case of `feed-v3.json`, measured from picofeed 3.4.2.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail where it stands")]

mod common;

use common::{alice, bob, bytes, cases, check_blocks, count, feeds, hex, number, read, salvage, text, vectors};
use picofeed::{Block, Defect, Diff, Feed, Format, Keys, Limits, Merged, Secret};

const V3: Format = Format::V3;

#[test]
fn valid_feeds() {
    let vectors = vectors("feed-v3.json");
    for case in cases(&vectors, "valid") {
        let id = text(case, "id");
        let sent = bytes(case, "feed");
        let feed = read(V3, &sent).unwrap_or_else(|err| panic!("{id}: {err}"));
        check_blocks(id, &feed, &case["expect"]);
        assert_eq!(feed.is_partial(), case["expect"]["partial"].as_bool().unwrap(), "{id}");
        assert_eq!(hex(feed.encode()), hex(&sent), "{id}");
        assert_eq!(sent.len(), count(&case["expect"], "end_of_last_block"), "{id}");
        assert_eq!(Format::detect(&sent), Some(V3), "{id}");

        let repeated = feed.encode_with(Keys::Repeated);
        assert_eq!(repeated.len(), feed.iter().map(|block| 35 + block.bytes().len()).sum::<usize>(), "{id}");
        assert_eq!(read(V3, &repeated).unwrap(), feed, "{id}");

        if !feed.is_partial() {
            let mut again = Feed::new(V3);
            for block in &feed {
                let secret = [alice(), bob()].into_iter().find(|secret| secret.key() == block.author()).unwrap();
                again.append(block.body(), &secret).unwrap();
            }
            assert_eq!(hex(again.encode()), hex(&sent), "{id}");
        }
    }
}

#[test]
fn edge_cases() {
    let vectors = vectors("feed-v3.json");
    for case in cases(&vectors, "edge_cases") {
        let id = text(case, "id");
        let sent = bytes(case, "feed");
        let result = read(V3, &sent);
        let (prefix, whole) = salvage(V3, &sent);
        assert_eq!(result.is_ok(), whole, "{id}");
        match text(case, "relay") {
            "accept" => check_blocks(id, &result.unwrap_or_else(|err| panic!("{id}: {err}")), &case["js"]),
            "ignore" => assert!(result.unwrap().is_empty(), "{id}"),
            "reject" => {
                assert!(result.is_err() && prefix.is_empty(), "{id}");
            }
            "salvage prefix" => {
                assert!(result.is_err() && !prefix.is_empty(), "{id}");
                // Upstream keeps the same blocks, unless it runs past the end of its buffer.
                if case["js"]["result"] == "ok" {
                    check_blocks(id, &prefix, &case["js"]);
                } else {
                    assert_eq!(prefix.len(), if id.starts_with("truncated") { 1 } else { 2 }, "{id}");
                }
            }
            other => panic!("{id}: {other}"),
        }
    }
}

/// The table of `_compare` and `merge`, with the differences that are on purpose.
#[test]
fn merge_table() {
    let vectors = vectors("feed-v3.json");
    let feeds = feeds(V3, &vectors["merge"]["feeds"]);
    for case in cases(&vectors["merge"], "table") {
        let (a, b) = (&feeds[text(case, "a")], &feeds[text(case, "b")]);
        let diff = a.diff(b);
        match case["compare"]["error"].as_str() {
            // Upstream compares with nothing at random: an error one way, -1 the other. Here everything counts.
            _ if a.is_empty() || b.is_empty() => assert_eq!(signed(diff), Some(len(b) - len(a)), "{case}"),
            Some("NoCommonParent") => assert_eq!(diff, Diff::Unrelated, "{case}"),
            Some("BlockConflict") => assert_eq!(diff, Diff::Diverged, "{case}"),
            Some(other) => panic!("{other}"),
            None => assert_eq!(signed(diff), Some(number(&case["compare"])), "{case}"),
        }

        let mut merged = a.clone();
        let outcome = merged.merge(b);
        match (case["merge"].as_bool(), case["merge"]["error"].as_str()) {
            (Some(fits), _) => assert_eq!(outcome.count().is_some(), fits, "{case}"),
            (None, Some("InternalError:NothingMerged")) => assert_eq!(outcome, Merged::Contained, "{case}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(merged, named(case, &vectors, &feeds), "{case}");
    }
}

fn len(feed: &Feed) -> isize {
    isize::try_from(feed.len()).unwrap()
}

fn signed(diff: Diff) -> Option<isize> {
    match diff {
        Diff::Equal => Some(0),
        Diff::Ahead(n) => Some(isize::try_from(n).unwrap()),
        Diff::Behind(n) => Some(-isize::try_from(n).unwrap()),
        Diff::Diverged | Diff::Unrelated => None,
    }
}

/// The feed of the blocks that a case lists as its result.
fn named(
    case: &serde_json::Value,
    vectors: &serde_json::Value,
    feeds: &std::collections::BTreeMap<String, Feed>,
) -> Feed {
    assert!(vectors["merge"]["note"].is_string());
    let longest = [("x", "x012"), ("y", "y01"), ("g", "g0"), ("m", "m012")];
    let blocks = case["after"].as_array().unwrap().iter().map(|label| {
        let (chain, number) = label.as_str().unwrap().split_at(1);
        let feed = longest.into_iter().find(|(name, _)| *name == chain).unwrap().1;
        feeds[feed][number.parse::<usize>().unwrap()].clone()
    });
    Feed::from_blocks(blocks).unwrap_or_else(|_| Feed::new(V3))
}

/// A stranger cannot make a few bytes cost many signature checks.
#[test]
fn keys_are_limited() {
    let key = |n: u8| [b"K0.".as_slice(), Secret::ed25519([n; 32]).key().as_bytes()].concat();
    let mut feed = Feed::new(V3);
    feed.append(b"x", &alice()).unwrap();
    let block = feed[0].bytes();
    // Alice's key is the oldest of eight, so seven others are tried before it.
    let mut sent = key(0xa1);
    (1..8).for_each(|n| sent.extend(key(n)));
    sent.extend(block);
    let read = |limits: &Limits| {
        let decoded = Feed::decode(V3, sent.clone(), limits).unwrap();
        decoded.verify(limits).map_err(|invalid| invalid.defect)
    };
    let limits = Limits { keys_max: 8, trials_max: 7, ..Limits::default() };
    assert_eq!(read(&limits), Ok(feed.clone()));
    assert_eq!(read(&Limits { keys_max: 7, ..limits.clone() }), Err(Defect::KeysTooMany));
    assert_eq!(read(&Limits { trials_max: 6, ..limits }), Err(Defect::TrialsTooMany));
}

#[test]
fn single_blocks_need_a_key() {
    let mut feed = Feed::new(V3);
    feed.append(&[0, 1, 2], &alice()).unwrap();
    let block = feed.append(b"next", &bob()).unwrap();
    let decode = || Block::decode(V3, block.bytes().clone(), &Limits::default()).unwrap();
    assert_eq!(decode().author_claimed(), None);
    assert_eq!(decode().verify(), Err(Defect::AuthorMissing));
    assert_eq!(decode().verify_by(&alice().key()), Err(Defect::Signature));
    assert_eq!(decode().verify_by(&bob().key()).unwrap(), block);
    assert_eq!(decode().verify_by(&bob().key()).unwrap().author(), bob().key());

    // In a feed nobody could read it, so it is no block.
    let mut like_key = block.bytes().to_vec();
    like_key[..3].copy_from_slice(b"K0.");
    assert_eq!(Block::decode(V3, like_key, &Limits::default()), Err(Defect::SignatureLikeKey));
}
