//! Telling the formats apart.
#![no_main]

use picofeed::{Feed, Format, Limits};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let decoded = Feed::decode_any(bytes.to_vec(), &limits);
    let detected = Format::detect(bytes);
    if bytes.starts_with(b"PIC0")
        && Feed::decode(Format::V8, bytes.to_vec(), &limits).is_ok_and(|feed| !feed.is_empty())
    {
        assert_eq!(detected, Some(Format::V8));
    }
    if let Ok(feed) = decoded {
        assert!(Feed::decode(feed.format(), bytes.to_vec(), &limits).is_ok());
    }
});
