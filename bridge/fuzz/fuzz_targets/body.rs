//! Bodies of all formats, pages among them, and what becomes of them.
#![no_main]

use pico_bridge::{Context, Mode, NOTE_BYTES_MAX, Room, no_copies, unwrap, wrap};
use picofeed::{Block, Format, Limits, Secret};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((format, body)) = bytes.split_first() else { return };
    let format = Format::ALL[usize::from(*format) % 2];
    let Ok(block) = Block::sign(format, None, body, &Secret::ed25519([7; 32])) else { return };
    let room: Room = "main".parse().unwrap();
    let context = Context {
        room: &room,
        chain: block.id(),
        height: 1,
        accepted: 1_700_000_000,
        mode: Mode::Copies,
        silo: Some("https://relay.example/silo"),
        copy_of: &no_copies,
    };
    let drafts = wrap(&block, &context);
    assert_eq!(unwrap(&drafts[0].parts(), &Limits::default()).unwrap().block, block);
    for copy in &drafts[2..] {
        assert!(copy.created_at <= context.accepted);
        assert!(copy.content.len() <= 2 * NOTE_BYTES_MAX);
    }
});
