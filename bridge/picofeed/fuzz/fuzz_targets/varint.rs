//! Sizes of v8 blocks.
#![no_main]

use picofeed::varint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((value, len)) = varint::decode(bytes) {
        let mut written = Vec::new();
        varint::encode(value, &mut written);
        assert_eq!(written, bytes[..len]);
    }
});
