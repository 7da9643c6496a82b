//! The slices in `docs/slices/`, and what its tutorial says happens.

use std::path::Path;

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
