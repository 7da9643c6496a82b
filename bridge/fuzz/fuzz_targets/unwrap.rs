//! Events of the three kinds, as anybody may send them: `name TAB value LF` for each tag, an empty line, content.
#![no_main]

use pico_bridge::{Frame, Head, Parts, kind, unwrap};
use picofeed::Limits;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (head, content) = text.split_once("\n\n").unwrap_or((text, ""));
    let tags: Vec<Vec<&str>> = head.lines().map(|line| line.split('\t').collect()).collect();
    for kind in [kind::BLOCK, kind::HEAD, kind::FRAME] {
        let parts = Parts { kind, tags: tags.clone(), content };
        if let Ok(unwrapped) = unwrap(&parts, &Limits::default()) {
            let named = format!("pico:block:{}", unwrapped.block.id());
            assert!(tags.iter().any(|tag| tag.get(1) == Some(&named.as_str())));
        }
        let _ = Head::parse(&parts);
        if let Ok(frame) = Frame::parse(&parts, 1 << 16) {
            assert_eq!(Frame::parse(&frame.draft(0).unwrap().parts(), 1 << 16), Ok(frame));
        }
    }
});
