//! The decoder of v3 feeds.
#![no_main]

mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(picofeed::Format::V3, bytes));
