//! What becomes of bodies.

use ciborium::Value as Cbor;
use pico_bridge::{Context, CopyOf, Draft, Mode, NOTE_BYTES_MAX, is_copy, wrap};
use picofeed::{Block, Format, Id, Key};
use serde_json::{Value, json};

use crate::common::{ACCEPTED, SILO, alice, context, generation_1, generation_2, genesis, hex, map, room};

/// A block, and the copy of it that there should be.
pub(crate) struct Case {
    pub(crate) about: &'static str,
    pub(crate) block: Block,
    pub(crate) copy: Option<Draft>,
}

/// Named by replies and deletions: a note by alice, an answer to it by somebody else, and an article by alice.
const NOTE: [u8; 64] = [1; 64];
const ANSWER: [u8; 64] = [2; 64];
const ARTICLE: [u8; 64] = [3; 64];

fn copy_of(id: &Id) -> Option<CopyOf> {
    let by = |author, root, kind| {
        let event = [id.as_bytes()[0]; 32];
        Some(CopyOf { event, pubkey: [0xee; 32], author, kind, root })
    };
    match *id.as_bytes() {
        NOTE => by(alice(Format::V8).key(), None, 1),
        ANSWER => by(Key::from([9; 32]), Some([1; 32]), 1),
        ARTICLE => by(alice(Format::V8).key(), None, 30023),
        _ => None,
    }
}

pub(crate) fn answered() -> Value {
    let copies = [NOTE, ANSWER, ARTICLE].map(|id| {
        let copy = copy_of(&Id::from(id)).unwrap();
        json!({ "block": hex(id), "event": hex(copy.event), "pubkey": hex(copy.pubkey), "kind": copy.kind,
            "author": copy.author.to_string(), "root": copy.root.map(hex) })
    });
    json!(copies)
}

fn copy(block: &Block) -> Option<Draft> {
    let room = room();
    let context = Context { copy_of: &copy_of, ..context(&room, block.id(), 1) };
    let mut drafts = wrap(block, &context);
    assert!((2..=3).contains(&drafts.len()));
    drafts.drain(2..).next()
}

fn bytes(bytes: [u8; 64]) -> Cbor {
    Cbor::Bytes(bytes.to_vec())
}

fn page(text: &str) -> Vec<u8> {
    format!("html0\nDate: 1690000000000\nRevision: 2\n\n{text}").into_bytes()
}

pub(crate) fn cases() -> Vec<Case> {
    let v8 = |about, body: Vec<u8>| (about, Format::V8, body);
    let v3 = |about, body: Vec<u8>| (about, Format::V3, body);
    let note = |text: &str| generation_2("notes", map([("text", text.into())]));
    let bodies = [
        v8("plain text", b"Hello Picoverse".to_vec()),
        v3("plain text, generation 1", b"Hello Picoverse".to_vec()),
        ("plain text, POP-02", Format::Pop02, b"hack".to_vec()),
        v8("a note", note("hello")),
        v8("a note that is only text", generation_2("notes", "alice live".into())),
        v8("content", generation_2("posts", map([("content", "hello".into())]))),
        v8("message", generation_2("chat", map([("message", "hello".into())]))),
        v3("a note, generation 1", generation_1("note", &[("text", "hello")])),
        v8("a reply", generation_2("notes", map([("text", "yes".into()), ("replyTo", bytes(NOTE))]))),
        v8("a reply to a reply", generation_2("notes", map([("text", "no".into()), ("replyTo", bytes(ANSWER))]))),
        v3("a reply, generation 1", generation_1("note", &[("text", "yes"), ("replyTo", &hex(NOTE))])),
        v8("a reply to what has no copy", generation_2("notes", map([("text", "?".into()), ("re", bytes([8; 64]))]))),
        v8("a reply to an article", generation_2("notes", map([("text", "!".into()), ("re", bytes(ARTICLE))]))),
        v8("a deletion", generation_2("notes", map([("delete", bytes(NOTE))]))),
        v8("a deletion by collection", generation_2("delete", map([("id", bytes(ARTICLE))]))),
        v8("a deletion of what somebody else wrote", generation_2("delete", map([("id", bytes(ANSWER))]))),
        v8(
            "a profile",
            generation_2(
                "profiles",
                map([
                    ("name", "Alice".into()),
                    ("tagline", "pico \"and\" nostr".into()),
                    ("picture", "https://alice.example/face.png".into()),
                    ("nip05", "bob@bob.example".into()),
                ]),
            ),
        ),
        v3("a profile, generation 1", generation_1("profile", &[("name", "Alice"), ("picture", "data:image/png,")])),
        v8("a page", page("<title>My *page*</title><h1>Hi</h1><p>One &amp; <i>two</i></p><!-- no --><p>- three")),
        v8("a page without title", page("<p>Hi")),
        v8("a page with a script where none may be", page("<script>")),
        v8("a nostr event, which is one already", generation_2("nostr", map([("content", "hello".into())]))),
        v8("a number", generation_2("votes", 7.into())),
        v8("bytes", generation_2("secrets", map([("text", Cbor::Bytes(vec![1, 2, 3]))]))),
        v8("JSON", br#"{"text":"hello"}"#.to_vec()),
        v8("blank", b" \n\t".to_vec()),
        v8("not text", vec![0xff, 0xfe]),
    ];
    let case = |(about, format, body): (_, _, Vec<u8>)| {
        let block = genesis(format, &body);
        let copy = copy(&block);
        Case { about, block, copy }
    };
    bodies.into_iter().map(case).collect()
}

/// Kinds and contents, to be read beside the bodies above.
#[test]
fn bodies_become_what_they_mean() {
    let expected = [
        Some((1, "Hello Picoverse")),
        Some((1, "Hello Picoverse")),
        Some((1, "hack")),
        Some((1, "hello")),
        Some((1, "alice live")),
        Some((1, "hello")),
        Some((1, "hello")),
        Some((1, "hello")),
        Some((1, "yes")),
        Some((1, "no")),
        Some((1, "yes")),
        Some((1, "?")),
        Some((1, "!")),
        Some((5, "")),
        Some((5, "")),
        None,
        Some((0, r#"{"about":"pico \"and\" nostr","name":"Alice","picture":"https://alice.example/face.png"}"#)),
        Some((0, r#"{"name":"Alice"}"#)),
        Some((30023, "[My \\*page\\*](SILO)\n\nHi\n\nOne \\& two\n\n\\- three")),
        Some((30023, "[Page of bc7cbcb5](SILO)\n\nHi")),
        None,
        None,
        None,
        None,
        None,
        None,
        None,
    ];
    let cases = cases();
    assert_eq!(cases.len(), expected.len());
    for (case, expected) in cases.iter().zip(expected) {
        let link = format!("{SILO}/{}", case.block.author());
        let expected = expected.map(|(kind, content)| (kind, content.replace("SILO", &link)));
        assert_eq!(case.copy.as_ref().map(|copy| (copy.kind, copy.content.clone())), expected, "{}", case.about);
        if let Some(copy) = &case.copy {
            assert!(is_copy(&copy.parts()));
            assert!(copy.tags.iter().any(|tag| tag[0] == "alt"));
        }
    }
}

fn tags<'a>(case: &'a Case, names: &[&str]) -> Vec<Vec<&'a str>> {
    let tags = case.copy.as_ref().unwrap().tags.iter();
    tags.filter(|tag| names.contains(&tag[0].as_str())).map(|tag| tag.iter().map(String::as_str).collect()).collect()
}

#[test]
fn replies_and_deletions_point_to_copies() {
    let cases = cases();
    let find = |about: &str| cases.iter().find(|case| case.about == about).unwrap();
    let (first, second, third) = (hex([1; 32]), hex([2; 32]), hex([3; 32]));
    let pubkey = hex([0xee; 32]);
    let names = ["e", "p", "K"];
    assert_eq!(tags(find("a reply"), &names), [vec!["e", &first, "", "root", &pubkey], vec!["p", &pubkey]]);
    assert_eq!(tags(find("a reply, generation 1"), &names), tags(find("a reply"), &names));
    assert_eq!(
        tags(find("a reply to a reply"), &names),
        [vec!["e", &first, "", "root"], vec!["e", &second, "", "reply", &pubkey], vec!["p", &pubkey],]
    );
    assert!(tags(find("a reply to what has no copy"), &names).is_empty());
    assert!(tags(find("a reply to an article"), &names).is_empty());
    assert_eq!(tags(find("a deletion"), &["e"]), [["e", &first]]);
    assert_eq!(tags(find("a deletion by collection"), &["e"]), [["e", &third]]);
    assert_eq!(
        tags(find("a deletion by collection"), &["k"]),
        [["k", "30023"], ["k", "pico:block"], ["k", "pico:author"]]
    );
}

#[test]
fn dates_are_the_authors_but_never_later_than_the_block_came() {
    let block = genesis(Format::V8, &generation_2("notes", map([("text", "hello".into())])));
    let room = room();
    for (accepted, expected) in [(ACCEPTED, 1_700_000_000), (1_600_000_000, 1_600_000_000)] {
        let drafts = wrap(&block, &Context { accepted, ..context(&room, block.id(), 1) });
        assert_eq!(drafts.iter().map(|draft| draft.created_at).collect::<Vec<_>>(), [accepted, accepted, expected]);
    }
}

#[test]
fn a_room_says_how_much_is_carried() {
    let block = genesis(Format::V8, b"hello");
    let room = room();
    let kinds = |mode| {
        let drafts = wrap(&block, &Context { mode, ..context(&room, block.id(), 1) });
        drafts.into_iter().map(|draft| draft.kind).collect::<Vec<_>>()
    };
    assert!(kinds(Mode::Off).is_empty());
    assert_eq!(kinds(Mode::Wrap), [7420, 37420]);
    assert_eq!(kinds(Mode::Copies), [7420, 37420, 1]);
}

#[test]
fn long_texts_and_unpublished_pages_are_not_copied() {
    let copied = |body: &[u8], silo| {
        let block = genesis(Format::V8, body);
        let room = room();
        wrap(&block, &Context { silo, ..context(&room, block.id(), 1) }).len() == 3
    };
    assert!(copied(&vec![b'a'; NOTE_BYTES_MAX], None));
    assert!(!copied(&vec![b'a'; NOTE_BYTES_MAX + 1], None));
    // It is said where people look for it.
    let said = format!("{},{:03} bytes", NOTE_BYTES_MAX / 1000, NOTE_BYTES_MAX % 1000);
    for text in [include_str!("../../../docs/BRIDGE.md"), include_str!("../../../docs/nostr-pico.md")] {
        assert!(text.contains(&said), "{said}");
    }
    assert!(copied(&page("<p>Hi"), Some(SILO)));
    assert!(!copied(&page("<p>Hi"), None));
}
