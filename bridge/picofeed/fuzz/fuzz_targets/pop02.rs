//! The decoder of pop02 feeds.
#![no_main]

mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(picofeed::Format::Pop02, bytes));
