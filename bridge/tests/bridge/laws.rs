//! What holds for all blocks and bodies.

use pico_bridge::{Body, Context, Head, Mode, Page, Parts, Room, kind, no_copies, unwrap, wrap};
use picofeed::{Block, Format, Id, Key, Limits};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::common::{alice, bob};

fn format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::ALL.to_vec())
}

/// Bytes that look like something.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let record = (
        prop::sample::select(vec![&[0x83, 0x61, 0x61][..], &[0xde, 0, 3], b"html0\n", b"html1\nDate: 1\n\n"]),
        vec(any::<u8>(), 1..200),
    );
    prop_oneof![
        vec(any::<u8>(), 1..300),
        "\\PC{1,200}".prop_map(String::into_bytes),
        record.prop_map(|(start, rest)| [start, &rest].concat()),
    ]
    .prop_map(|mut body| {
        // In v8 a body cannot begin with zero.
        if body[0] == 0 {
            body[0] = 1;
        }
        body
    })
}

prop_compose! {
    fn block()(format in format(), parent in prop::option::of(any::<[u8; 32]>()), body in body(), other in any::<bool>()) -> Block {
        let parent = parent.map(|half| {
            let mut id = [1; 64];
            id[..32].copy_from_slice(&half);
            Id::from(id)
        });
        let secret = if other { bob(format) } else { alice(format) };
        Block::sign(format, parent.as_ref(), &body, &secret).unwrap()
    }
}

fn context(room: &Room) -> Context<'_> {
    Context {
        room,
        chain: Id::from([9; 64]),
        height: 7,
        accepted: 1_700_000_000,
        mode: Mode::Copies,
        silo: Some("https://relay.example/silo"),
        copy_of: &no_copies,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_wrapped_can_be_unwrapped(block in block(), room in "[a-z0-9][a-z0-9._-]{0,63}") {
        let room: Room = room.parse().unwrap();
        let drafts = wrap(&block, &context(&room));
        prop_assert_eq!(&drafts, &wrap(&block, &context(&room)));
        let back = unwrap(&drafts[0].parts(), &Limits::default()).unwrap();
        prop_assert_eq!(&back.block, &block);
        prop_assert_eq!(&back.room, &room);
        prop_assert_eq!(back.block.author(), block.author());
        prop_assert_eq!(back.chain, if block.is_genesis() { block.id() } else { Id::from([9; 64]) });
        // Once wrapped, a block looks the same however it came.
        prop_assert_eq!(&wrap(&back.block, &context(&room)), &drafts);
        let head = Head::parse(&drafts[1].parts()).unwrap();
        prop_assert_eq!((head.chain, head.block, head.room), (back.chain, block.id(), room));
        for copy in drafts.get(2..).unwrap() {
            prop_assert!(copy.kind < 7420 || copy.kind == 30023);
            prop_assert!(copy.created_at <= 1_700_000_000);
        }
    }

    #[test]
    fn no_change_of_content_gives_another_block(block in block(), at in any::<Index>(), to in any::<u8>()) {
        let room = "main".parse().unwrap();
        let draft = wrap(&block, &context(&room)).remove(0);
        let mut content = data_encoding::BASE64.decode(draft.content.as_bytes()).unwrap();
        let at = at.index(content.len());
        prop_assume!(content[at] != to);
        content[at] = to;
        let content = data_encoding::BASE64.encode(&content);
        let parts = Parts { content: &content, ..draft.parts() };
        prop_assert!(unwrap(&parts, &Limits::default()).is_err());
    }

    #[test]
    fn no_change_of_text_gives_another_block(
        block in block(), what in any::<Index>(), at in any::<Index>(), to in any::<char>(), cut in any::<bool>(),
    ) {
        let room = "main".parse().unwrap();
        let draft = wrap(&block, &context(&room)).remove(0);
        let mut changed = draft.clone();
        let tags_len: usize = changed.tags.iter().map(Vec::len).sum();
        let texts = changed.tags.iter_mut().flatten().chain([&mut changed.content]);
        let text = texts.into_iter().nth(what.index(tags_len + 1)).unwrap();
        let at = at.index(text.len());
        text.replace_range(at..=at, if cut { String::new() } else { to.to_string() }.as_str());
        if let Ok(back) = unwrap(&changed.parts(), &Limits::default()) {
            prop_assert_eq!(back.block, block);
        }
    }

    #[test]
    fn tags_in_any_order_and_number(block in block(), keep in vec(any::<Index>(), 0..12)) {
        let room = "main".parse().unwrap();
        let draft = wrap(&block, &context(&room)).remove(0);
        let mut parts = draft.parts();
        parts.tags = keep.iter().map(|at| at.get(&parts.tags).clone()).collect();
        if let Ok(back) = unwrap(&parts, &Limits::default()) {
            prop_assert_eq!(back.block, block);
        }
    }

    #[test]
    fn any_event_may_come(kind in prop::sample::select(vec![kind::BLOCK, kind::HEAD]), tags in vec(vec("\\PC{0,20}", 0..3), 0..5), content in "[A-Za-z0-9+/]{0,40}") {
        let tags = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
        let parts = Parts { kind, tags, content: &content };
        prop_assert!(unwrap(&parts, &Limits::default()).is_err());
        prop_assert!(Head::parse(&parts).is_err());
    }

    #[test]
    fn any_body_may_come(block in block()) {
        let _ = Body::of(&block);
        let _ = Page::parse(block.body(), &Key::from([1; 32]));
    }
}
