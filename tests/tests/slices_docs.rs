//! The slices in `docs/slices/`, and what its tutorial says happens.

use std::path::Path;

use picofeed::{Feed, Format, Secret};

use crate::harness::picorelay;

fn docs() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/slices"))
}

fn copy(folder: &Path, name: &str) {
    std::fs::copy(docs().join(name), folder.join(name)).unwrap();
}

/// Code blocks of a text: what stands behind the fence, and the lines.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            blocks.push((kind, body.join("\n")));
        }
    }
    blocks
}

#[test]
fn the_tutorial() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path(), "chat.pico");
    let text = std::fs::read_to_string(docs().join("tutorial.md")).unwrap();
    let mut commands = 0;
    for (kind, body) in blocks(&text) {
        if let Some(file) = kind.strip_prefix("js ") {
            std::fs::write(folder.path().join(file), body).unwrap();
            continue;
        }
        let (command, expected) = body.split_once('\n').unwrap_or((&body, ""));
        let arguments: Vec<&str> = command.strip_prefix("$ picorelay ").expect(command).split(' ').collect();
        let output = picorelay(folder.path(), &arguments);
        let said = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(said.trim_end(), expected, "{command}");
        commands += 1;
    }
    assert_eq!(commands, 4);
}

/// A room's file with what strangers may write: each thing by somebody who has said a name, and by somebody who has not.
fn hostile() -> Vec<u8> {
    let text = |text: &[u8]| [&[0x60 | text.len() as u8], text].concat();
    let body = |collection: &str, rest: &[u8]| [&[0x80 | 3], &*text(collection.as_bytes()), rest].concat();
    let member = |name: &[u8], value: &[u8]| [&[0xa1], &*text(name), value].concat();
    let values: &[&[u8]] = &[
        b"\xf6",
        b"\xf7",
        b"\xf5",
        b"\x07",
        b"\x80",
        b"\xa0",
        b"\x63bad",
        b"\x41x",
        b"\xfb\x7f\xf0\0\0\0\0\0\0",
        b"\x60",
    ];
    let mut payloads: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
    payloads.extend(values.iter().flat_map(|value| [member(b"text", value), member(b"name", value)]));
    // No date, no payload, no array, no CBOR.
    let mut bodies = vec![vec![0x81, 0x65, b'l', b'i', b'n', b'e', b's'], vec![0x07], vec![0xff, 0xff]];
    for collection in ["people", "lines", "constructor", "__proto__"] {
        bodies.extend(payloads.iter().map(|payload| body(collection, &[payload, &b"\x07"[..]].concat())));
        let payload = [member(b"text", &text(b"hi")), member(b"name", &text(b"Eve"))];
        let odd = values.iter().flat_map(|date| payload.iter().map(|payload| [payload, *date].concat()));
        bodies.extend(odd.map(|rest| body(collection, &rest)));
    }
    let mut file = b"PICROOM1".to_vec();
    for (author, bad) in bodies.iter().enumerate() {
        for named in [false, true] {
            let mut seed = [u8::from(named); 32];
            seed[..8].copy_from_slice(&(author as u64).to_le_bytes());
            let mut feed = Feed::new(Format::V8);
            if named {
                let name = body("people", &[&member(b"name", &text(b"Eve"))[..], b"\x00"].concat());
                feed.append(&name, &Secret::ed25519(seed)).unwrap();
            }
            feed.append(bad, &Secret::ed25519(seed)).unwrap();
            let bytes = feed.encode();
            file.extend((bytes.len() as u32).to_be_bytes());
            file.extend_from_slice(&bytes);
        }
    }
    file
}

#[test]
fn every_step_of_the_tutorial_stands_what_strangers_write() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hostile.pico"), hostile()).unwrap();
    let tutorial = std::fs::read_to_string(docs().join("tutorial.md")).unwrap();
    let steps = blocks(&tutorial);
    let steps = steps.iter().filter(|(kind, body)| kind.starts_with("js ") && !body.is_empty());
    let mut steps: Vec<String> = steps.map(|(_, body)| body.clone()).collect();
    assert_eq!(steps.len(), 3);
    for file in ["chat.js", "arena.js"] {
        steps.push(std::fs::read_to_string(docs().join(file)).unwrap());
    }
    for step in steps {
        std::fs::write(folder.path().join("rules.js"), &step).unwrap();
        let output = picorelay(folder.path(), &["pico", "test", "rules.js", "--blocks", "hostile.pico"]);
        assert!(output.success, "{}", output.stderr);
        let failed: Vec<&str> = output.stdout.lines().filter(|line| line.contains("rules.js")).collect();
        assert!(failed.is_empty(), "{step}\n{}", failed.join("\n"));
        assert!(output.stdout.contains("rejected"), "{}", output.stdout);
    }
}

#[test]
fn the_chat() {
    let folder = tempfile::tempdir().unwrap();
    ["chat.js", "chat.pico"].iter().for_each(|name| copy(folder.path(), name));
    let day = "1767311999999";
    let test = ["pico", "test", "chat.js", "--blocks", "chat.pico", "--now", "1767225600000", "--until"];
    let output = picorelay(folder.path(), &[&test[..], &[day]].concat());
    assert!(output.success, "{}", output.stderr);
    let told = |text: &str| assert!(output.stdout.contains(text), "{text}\n{}", output.stdout);
    told("accepted\n");
    told("rejected by lines: at most 280 letters");
    told("rejected by lines: say your name first");
    told(r#""text":"Hello, is anybody there?""#);
    told(r#"{"name":"Ada","since":1767225600000}"#);
    // Lines go after a day.
    let output = picorelay(folder.path(), &[&test[..], &["1767312001001"]].concat());
    assert!(!output.stdout.contains("Hello"), "{}", output.stdout);
}

#[test]
fn the_arena() {
    let folder = tempfile::tempdir().unwrap();
    ["arena.js", "arena.pico"].iter().for_each(|name| copy(folder.path(), name));
    let output = picorelay(folder.path(), &["pico", "test", "arena.js", "--blocks", "arena.pico"]);
    assert!(output.success, "{}", output.stderr);
    let told = |text: &str| assert!(output.stdout.contains(text), "{text}\n{}", output.stdout);
    told("rejected by strikes: out of breath");
    told("rejected by strikes: they are out already");
    // One feather, and four swords.
    told(r#"{"hearts":9,"wins":1}"#);
    told(r#"{"hearts":0,"wins":0}"#);
}
