//! What holds for the decoders of all formats, whatever the bytes.

use picofeed::{Block, Diff, Feed, Format, Keys, Limits, Merged};

pub fn check(format: Format, bytes: &[u8]) {
    let limits = Limits { trials_max: 64, ..Limits::default() };
    let (decoded, malformed) = Feed::decode_prefix(format, bytes.to_vec(), &limits);
    let strict = Feed::decode(format, bytes.to_vec(), &limits);
    assert_eq!(strict.is_ok(), malformed.is_none());
    if let Some(malformed) = malformed {
        assert!(malformed.at <= bytes.len());
        assert_eq!(malformed.block, decoded.len());
    }

    // What was decoded need not be signed to be read again, block by block.
    let mut blocks = Vec::new();
    for block in &decoded {
        assert!(!block.body().is_empty());
        let author = block.author_claimed().unwrap_or([7; 32].into());
        let again = Block::decode(format, block.bytes().clone(), &limits).expect("a block was decoded");
        assert_eq!(&again, block);
        blocks.push(again.assume_verified(author).expect("that is its author"));
    }
    if let Ok(feed) = Feed::from_blocks(blocks) {
        for keys in [Keys::Once, Keys::Repeated] {
            let again = Feed::decode(format, feed.encode_with(keys), &limits).expect("a feed was encoded");
            assert!(again.iter().map(AfterFlags::bytes_after_flags).eq(feed.iter().map(AfterFlags::bytes_after_flags)));
        }
        // Forged chains can bite their own tail; merging them must only come to an end.
        let mut merged = feed.slice(-1, None).expect("not empty");
        let _ = merged.merge(&feed);
    }

    let (verified, _) = decoded.verify_prefix(&limits);
    if !verified.is_empty() {
        let again = Feed::decode(format, verified.encode(), &limits).and_then(|feed| feed.verify(&limits));
        assert_eq!(again.as_ref(), Ok(&verified));
        let last = verified.slice(-1, None).expect("not empty");
        assert_eq!(verified.diff(&last), Diff::Equal);
        let mut merged = last.clone();
        match merged.merge(&verified) {
            Merged::Contained => assert_eq!(merged, last),
            Merged::Nothing => assert_eq!(verified.len(), 1),
            other => panic!("{other:?}"),
        }
    }
}

/// The flags before a POP-02 block may change when it is written again.
trait AfterFlags {
    fn bytes_after_flags(&self) -> &[u8];
}

impl<S> AfterFlags for Block<S> {
    fn bytes_after_flags(&self) -> &[u8] {
        &self.bytes()[usize::from(self.format() == Format::Pop02)..]
    }
}
