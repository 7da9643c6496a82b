//! What must hold for any feeds, and for any bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail where it stands")]

mod common;

use common::{alice, bob, carol, read, salvage};
use picofeed::{Block, Diff, Feed, Format, Id, Key, Keys, Limits, Merged, Secret, varint};
use proptest::{collection::vec, prelude::*, sample::Index};

fn formats() -> impl Strategy<Value = Format> {
    prop::sample::select(&Format::ALL[..])
}

fn secrets(format: Format) -> [Secret; 3] {
    match format {
        Format::V8 | Format::V3 => [alice(), bob(), carol()],
        Format::Pop02 => [1, 2, 3].map(|n| Secret::secp256k1([n; 32]).unwrap()),
    }
}

/// Bodies and who signs them. The first byte is never zero, so that all formats can hold them.
fn posts(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(Vec<u8>, usize)>> {
    let body = (1..=u8::MAX, vec(any::<u8>(), 0..200)).prop_map(|(first, rest)| [vec![first], rest].concat());
    vec((body, 0..3_usize), len)
}

fn write(feed: &mut Feed, posts: &[(Vec<u8>, usize)]) {
    let secrets = secrets(feed.format());
    for (body, author) in posts {
        feed.append(body, &secrets[*author]).unwrap();
    }
}

prop_compose! {
    fn feeds(len: std::ops::Range<usize>)(format in formats(), posts in posts(len)) -> Feed {
        let mut feed = Feed::new(format);
        write(&mut feed, &posts);
        feed
    }
}

prop_compose! {
    /// Two ranges of one chain.
    fn parts()(feed in feeds(1..7), ends in any::<[Index; 4]>()) -> (Feed, Feed) {
        let part = |a: &Index, b: &Index| {
            let (a, b) = (a.index(feed.len()), b.index(feed.len()));
            Feed::from_blocks(feed[a.min(b)..=a.max(b)].iter().cloned()).unwrap()
        };
        (part(&ends[0], &ends[1]), part(&ends[2], &ends[3]))
    }
}

prop_compose! {
    /// Two feeds that may be parts of one chain, or of two that part ways, or have nothing to do with each other.
    fn pairs()(
        (mut a, mut b) in parts(),
        more_a in posts(0..3),
        more_b in posts(0..3),
        unrelated in prop::bool::weighted(0.1),
    ) -> (Feed, Feed) {
        write(&mut a, &more_a);
        if unrelated {
            b.truncate(0).unwrap();
        }
        write(&mut b, &more_b);
        (a, b)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_can_be_read(feed in feeds(0..6), repeated in any::<bool>(), from in any::<Index>()) {
        let keys = if repeated { Keys::Repeated } else { Keys::Once };
        let sent = feed.encode_with(keys);
        prop_assert_eq!(&read(feed.format(), &sent).unwrap(), &feed);
        if feed.is_empty() {
            return Ok(());
        }
        prop_assert_eq!(Format::detect(&sent), Some(feed.format()));
        prop_assert_eq!(&Feed::decode_any(sent, &Limits::NONE).unwrap().verify(&Limits::NONE).unwrap(), &feed);

        let from = isize::try_from(from.index(feed.len())).unwrap();
        let partial = feed.slice(from, None).unwrap();
        prop_assert_eq!(partial.is_partial(), from > 0);
        prop_assert_eq!(&read(feed.format(), &partial.encode_with(keys)).unwrap(), &partial);
        prop_assert_eq!(Feed::from_blocks(partial.iter().cloned()).unwrap(), partial);

        for block in &feed {
            let stored = Block::decode(feed.format(), block.bytes().clone(), &Limits::default()).unwrap();
            prop_assert_eq!(&stored.verify_by(&block.author()).unwrap(), block);
        }
    }

    #[test]
    fn names_can_be_read(id: [u8; 32], key: [u8; 32]) {
        let id = Id::from(<[u8; 64]>::try_from([id, key].concat()).unwrap());
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        prop_assert_eq!(Key::from(key).to_string().parse(), Ok(Key::from(key)));
        prop_assert!(id.to_string().parse::<Key>().is_err());
        prop_assert!(id.to_string()[1..].parse::<Id>().is_err());
        prop_assert!(id.to_string().replace(|_| true, "g").parse::<Id>().is_err());
    }

    #[test]
    fn varints_have_one_form(value in 0..varint::END, bytes in vec(any::<u8>(), 0..6)) {
        let mut written = Vec::new();
        varint::encode(value, &mut written);
        prop_assert_eq!(varint::decode(&written), Ok((value, written.len())));
        if let Ok((value, len)) = varint::decode(&bytes) {
            written.clear();
            varint::encode(value, &mut written);
            prop_assert_eq!(&written, &bytes[..len]);
        }
    }

    /// Merging twice does what merging once does.
    #[test]
    fn merge_is_idempotent((mut a, b) in pairs()) {
        let first = a.merge(&b);
        let once = a.clone();
        let again = a.merge(&b);
        prop_assert_eq!(&a, &once);
        match first {
            Merged::Contained | Merged::Diverged | Merged::Unrelated => prop_assert_eq!(again, first),
            _ => prop_assert_eq!(again, Merged::Nothing),
        }
    }

    /// What fits together gives the same either way, except that a feed is not replaced by one that contains it.
    #[test]
    fn merge_is_commutative((a, b) in pairs()) {
        let (mut ab, mut ba) = (a.clone(), b.clone());
        let (to_a, to_b) = (ab.merge(&b), ba.merge(&a));
        match (to_a, to_b) {
            (Merged::Contained, _) => prop_assert_eq!((&ab, &ba, to_b), (&a, &b, Merged::Nothing)),
            (_, Merged::Contained) => prop_assert_eq!((&ab, &ba, to_a), (&a, &b, Merged::Nothing)),
            // A conflict is one from both sides.
            _ => prop_assert_eq!(to_a.count().is_some(), to_b.count().is_some()),
        }
        if [to_a, to_b].iter().all(|merged| merged.count().is_some() && *merged != Merged::Contained) {
            prop_assert_eq!(&ab, &ba);
        }
    }

    #[test]
    fn merge_never_shortens((a, b) in pairs()) {
        let mut merged = a.clone();
        let outcome = merged.merge(&b);
        prop_assert!(merged.len() >= a.len());
        let holds = |part: &Feed| part.iter().all(|block| merged.contains(block));
        prop_assert!(holds(&a));
        match outcome {
            Merged::Appended(count) => prop_assert_eq!(merged.len(), a.len() + count),
            Merged::Joined(count) => prop_assert_eq!(merged.len(), b.len() + count),
            _ => prop_assert_eq!(&merged, &a),
        }
        if outcome.count().is_some() && outcome != Merged::Contained {
            prop_assert!(holds(&b));
        }
        // And what came out is a feed.
        prop_assert_eq!(&read(merged.format(), &merged.encode()).unwrap(), &merged);
    }

    /// If both ways round have an answer, one is the negative of the other.
    #[test]
    fn diff_is_antisymmetric((a, b) in pairs()) {
        prop_assert_eq!(a.diff(&a), Diff::Equal);
        match (a.diff(&b), b.diff(&a)) {
            (Diff::Unrelated, _) | (_, Diff::Unrelated) => {}
            (Diff::Ahead(n), back) => prop_assert_eq!(back, Diff::Behind(n)),
            (Diff::Behind(n), back) => prop_assert_eq!(back, Diff::Ahead(n)),
            (same, back) => prop_assert_eq!(same, back),
        }
    }

    /// Two parts of one chain that touch are never in conflict, and make one.
    #[test]
    fn parts_fit((a, b) in parts()) {
        prop_assert_ne!(a.diff(&b), Diff::Diverged);
        let mut merged = a.clone();
        match merged.merge(&b) {
            Merged::Contained => prop_assert!(a.iter().all(|block| b.contains(block))),
            Merged::Unrelated => {
                let touch = |a: &Feed, b: &Feed| b.iter().any(|block| block.parent() == a.last().map(Block::id));
                prop_assert!(!touch(&a, &b) && !touch(&b, &a));
            }
            other => {
                prop_assert!(other.count().is_some());
                prop_assert!(a.iter().chain(&b).all(|block| merged.contains(block)));
            }
        }
    }

    /// No bit that is signed, and no bit of a signature, can change.
    #[test]
    fn changed_bytes_are_not_accepted(feed in feeds(1..4), at in any::<Index>(), change in 1..=u8::MAX) {
        let mut sent = feed.encode();
        let at = at.index(sent.len());
        sent[at] ^= change;
        let (prefix, _) = salvage(feed.format(), &sent);
        prop_assert!(feed.starts_with(&prefix));
        match read(feed.format(), &sent) {
            // Only the flags of POP-02 are not signed; they may say that it goes on after the last block.
            Ok(read) => {
                prop_assert_eq!(feed.format(), Format::Pop02);
                prop_assert_eq!(change, 0b1000);
                prop_assert_eq!(read, feed);
            }
            Err(invalid) => prop_assert!(invalid.at <= sent.len() && invalid.block <= feed.len()),
        }
    }

    /// A feed cut anywhere is not a feed, except between blocks.
    #[test]
    fn cut_feeds_end_between_blocks(feed in feeds(1..4), at in any::<Index>()) {
        let mut sent = feed.encode();
        sent.truncate(at.index(sent.len()));
        let (prefix, _) = salvage(feed.format(), &sent);
        prop_assert!(feed.starts_with(&prefix) && prefix.len() < feed.len());
        if let Ok(read) = read(feed.format(), &sent) {
            prop_assert_eq!(read, prefix);
        }
    }

    #[test]
    fn any_bytes_do(format in formats(), mut bytes in vec(any::<u8>(), 0..600), magic in 0..5_usize) {
        let magic: &[u8] = [&b""[..], b"PIC0", b"K0.", b"PIC0\xb0", b"PIC0\xb1"][magic];
        bytes.splice(..0, magic.iter().copied());
        prop_assert!(read(format, &bytes).is_ok_and(|feed| feed.is_empty()) || read(format, &bytes).is_err());
        prop_assert!(salvage(format, &bytes).0.is_empty());
        let _ = Format::detect(&bytes);
        let _ = Feed::decode_any(bytes.clone(), &Limits::default());
        let _ = Block::decode(format, bytes, &Limits::default());
    }
}
