//! What `picorelay import` reads, refuses and answers with, and who may read what `export` wrote.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;

use crate::harness::{Event, Key, Output, now, picorelay, picorelay_with_input};

fn import(folder: &Path, data: &str, input: impl AsRef<[u8]>) -> Output {
    picorelay_with_input(folder, &["import", "--data", data], input)
}

fn export(folder: &Path, data: &str) -> String {
    let output = picorelay(folder, &["export", "--data", data]);
    assert!(output.success, "{output:?}");
    output.stdout
}

fn ids(folder: &Path, data: &str) -> BTreeSet<String> {
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    export(folder, data).lines().map(id).collect()
}

fn set(events: &[Event]) -> BTreeSet<String> {
    events.iter().map(|event| event.id().to_owned()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Every form in which people have events.
#[test]
fn all_forms_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = Key::new();
    let tricky = r#"braces }{ ][ and \"quotes\" \\ and ["EVENT",{}]"#;
    let events: Vec<Event> = (0..300)
        .map(|n| key.event(json!({"content": format!("{n} {tricky} \u{1f600}"), "tags": [["t", "}"], ["x", "["]]})))
        .collect();
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let pretty: Vec<String> = events.iter().map(|event| serde_json::to_string_pretty(&event.0).unwrap()).collect();
    let joined =
        |open: &str, close: &str| events.iter().map(|event| format!("{open}{event}{close}\n")).collect::<String>();
    let array = serde_json::to_string(&events.iter().map(|event| &event.0).collect::<Vec<_>>()).unwrap();
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(lines.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let forms: [(&str, Vec<u8>); 14] = [
        ("lines", lines.clone().into()),
        ("Windows", format!("\u{feff}{}", lines.replace('\n', "\r\n")).into()),
        ("UTF-16", utf16),
        ("gzip", gzip(lines.as_bytes())),
        ("gzip in parts", [gzip(&lines.as_bytes()[..5000]), gzip(&lines.as_bytes()[5000..])].concat()),
        ("zstd", zstd::encode_all(lines.as_bytes(), 3).unwrap()),
        ("pretty", pretty.join("\n").into()),
        ("array in a line", array.clone().into()),
        ("array of lines", format!("[\n{}\n]\n", lines.trim().replace('\n', ",\n")).into()),
        ("pretty array", format!("\u{feff}[\n{}\n]", pretty.join(",\n")).into()),
        ("array, gzip", gzip(array.as_bytes())),
        ("messages", joined("[\"EVENT\",", "]").into()),
        (
            "a record of a connection",
            format!("{}[\"EOSE\",\"s\"]\n[\"NOTICE\",\"x\"]\n", joined("[\"EVENT\",\"s\",", "]")).into(),
        ),
        ("array of messages", format!("[{}]", joined("[\"EVENT\", \"s\", ", "],")).into()),
    ];
    let expected = set(&events);
    for (number, (form, bytes)) in forms.into_iter().enumerate() {
        let (file, data) = (folder.join(format!("{number}.jsonl")), format!("d{number}"));
        fs::write(&file, &bytes).unwrap();
        // By name and through a pipe.
        let output = match number % 2 {
            0 => picorelay(folder, &["import", "--data", &data, file.to_str().unwrap()]),
            _ => import(folder, &data, &bytes),
        };
        assert_eq!(output.code, Some(0), "{form}: {output:?}");
        assert!(output.stdout.contains("300 accepted") && output.stdout.contains(" 0 refused"), "{form}: {output:?}");
        assert_eq!(ids(folder, &data), expected, "{form}");
    }
}

#[test]
fn exit_codes_tell_what_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = Key::new();
    let at = now() - 100;
    let good = key.event(json!({"created_at": at}));
    let mut forged = key.event(json!({"content": "forged"}));
    forged.0["sig"] = "00".repeat(64).into();
    let deleted = key.event(json!({"created_at": at, "content": "deleted"}));
    let deletion = key.event(json!({"kind": 5, "created_at": at, "tags": [["e", deleted.id()]]}));
    let expired = key.event(json!({"created_at": at, "tags": [["expiration", (at + 1).to_string()]]}));
    let ephemeral = key.event(json!({"kind": 20000, "created_at": at}));
    let lines = |events: &[&Event]| events.iter().map(|event| format!("{event}\n")).collect::<String>().into_bytes();
    let forged_twice = lines(&[&forged, &forged]);
    let mut cut = gzip(&lines(&[&good]).repeat(3));
    cut.truncate(cut.len() - 4);
    for (input, code, said) in [
        (lines(&[&good]), 0, "1 accepted"),
        (lines(&[&good, &good]), 0, "2 duplicate"),
        (lines(&[&deletion, &deleted, &expired, &ephemeral]), 0, "deleted by its author"),
        (Vec::new(), 0, "there is no event"),
        (b"\n\n".to_vec(), 0, "there is no event"),
        (lines(&[&good, &forged]), 3, "1 of 2 were refused"),
        (b"not JSON\n".iter().copied().chain(lines(&[&good])).collect(), 3, "1 of 2 were refused"),
        (lines(&[&forged]), 1, "nothing was taken"),
        (gzip(&forged_twice), 1, "nothing was taken: all 2 were refused"),
        (b"[{\"id\":1}]".to_vec(), 1, "nothing was taken"),
        (b"[\"EVENT\",{\"id\":1}]".to_vec(), 1, "nothing was taken"),
        (b"\x00\x01\x02".to_vec(), 1, "nothing was taken"),
        // Cut off: what could be read is taken, and the rest is not forgotten.
        (cut, 3, "stdin: "),
        (format!("[{good},\n{good}").into(), 3, "does not end"),
    ] {
        let shown = String::from_utf8_lossy(&input).chars().take(80).collect::<String>();
        let output = import(folder, "d", &input);
        assert_eq!(output.code, Some(code), "{shown}: {output:?}");
        assert!(format!("{}{}", output.stdout, output.stderr).contains(said), "{shown}: {output:?}");
    }
    assert!(ids(folder, "d").contains(good.id()));
}

/// What is wrong with one file does not keep the others away.
#[test]
fn a_file_that_cannot_be_read_is_told_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = Key::new();
    let events: Vec<Event> = (0..3).map(|n| key.event(json!({"content": n.to_string()}))).collect();
    let lines = |events: &[Event]| events.iter().map(|event| format!("{event}\n")).collect::<String>();
    let mut cut = gzip(lines(&events[..2]).repeat(2).as_bytes());
    cut.truncate(cut.len() - 4);
    fs::write(folder.join("cut.gz"), &cut).unwrap();
    fs::write(folder.join("good.jsonl"), lines(&events[2..])).unwrap();
    fs::write(folder.join("bad.jsonl"), "not JSON\n").unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    for (number, (files, code, told, taken)) in [
        (&["missing.jsonl", "good.jsonl"][..], 3, &["missing.jsonl: "][..], &events[2..]),
        (&["good.jsonl", "missing.jsonl", "folder"], 3, &["missing.jsonl: ", "folder: "], &events[2..]),
        (&["cut.gz", "good.jsonl"], 3, &["cut.gz: "], &events[..]),
        (&["missing.jsonl", "bad.jsonl", "good.jsonl"], 3, &["missing.jsonl: ", "1 of 2 were refused"], &events[2..]),
        (&["missing.jsonl", "bad.jsonl"], 1, &["missing.jsonl: ", "nothing was taken"], &[]),
        (&["missing.jsonl", "folder"], 1, &["missing.jsonl: ", "folder: "], &[]),
        (&["missing.pico", "good.jsonl"], 3, &["missing.pico: "], &events[2..]),
        (&["missing.jsonl", "missing.pico"], 1, &["missing.jsonl: ", "missing.pico: "], &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let data = format!("d{number}");
        let output = picorelay(folder, &[&["import", "--data", &data], files].concat());
        assert_eq!(output.code, Some(code), "{files:?}: {output:?}");
        for told in told {
            assert_eq!(output.stderr.matches(told).count(), 1, "{told:?} {files:?}: {output:?}");
        }
        assert_eq!(ids(folder, &data), set(taken), "{files:?}");
    }
}

/// As from a client, unless the file is trusted.
#[test]
fn the_rules_for_clients_hold() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = Key::new();
    fs::write(folder.join("picorelay.toml"), "[limits]\ncreated_at_past_seconds_max = 1000\npow_min = 1\n").unwrap();
    let mined = |draft: serde_json::Value| {
        (0..)
            .map(|nonce: u32| {
                let mut draft = draft.clone();
                let tags = draft["tags"].as_array_mut().map(std::mem::take).unwrap_or_default();
                let more = json!(["nonce", nonce.to_string(), "1"]);
                draft["tags"] = tags.into_iter().chain([more]).collect();
                key.event(draft)
            })
            .find(|event| event.id().as_bytes()[0] < b'8')
            .unwrap()
    };
    let tags: Vec<_> = (0..6000).map(|n| json!(["p", format!("{n:064x}")])).collect();
    let wrong = [
        (mined(json!({"kind": 0, "created_at": now() + 31_536_000})), "too far in the future"),
        (mined(json!({"created_at": now() - 2000})), "too far in the past"),
        (mined(json!({"content": "x".repeat(300_000)})), "content is too long"),
        (mined(json!({"content": "x".repeat(600_000)})), "limits.message_bytes_max"),
        (mined(json!({"kind": 3, "tags": tags})), "too many tags"),
        (mined(json!({"tags": [["-"]]})), "auth-required: "),
        (key.event(json!({"content": "no work"})), "pow: "),
        (mined(json!({"kind": 62, "tags": [["r", "x"]]})), "needs a relay tag"),
        (mined(json!({"kind": 22242})), "AUTH events are not published"),
    ];
    for (number, (event, why)) in wrong.iter().enumerate() {
        let output = import(folder, "plain", event.to_string());
        assert_eq!(output.code, Some(1), "{why}: {output:?}");
        assert!(output.stdout.contains(why), "{why}: {output:?}");
        let trusted = picorelay_with_input(folder, &["import", "--trust", "--data", "own"], event.to_string());
        // AUTH events are for nobody's eyes, whoever has them.
        let code = if number + 1 == wrong.len() { 1 } else { 0 };
        assert_eq!(trusted.code, Some(code), "{why}: {trusted:?}");
    }
    assert_eq!(ids(folder, "plain").len(), 0);
    assert_eq!(ids(folder, "own").len(), wrong.len() - 1);
}

/// Slices and the plugin are asked, each event in the order of its line, unless the file is trusted.
#[test]
fn the_operators_rules_are_asked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir_all(folder.join("d/slices/nostr")).unwrap();
    let slice = "export default store => store.register({ name: 'two', initialValue: {}, \
        filter ({ event, state }) { if ((state[event.pubkey] ?? 0) >= 2) return 'blocked: two are enough' }, \
        reducer ({ event, state }) { return { ...state, [event.pubkey]: (state[event.pubkey] ?? 0) + 1 } } })";
    fs::write(folder.join("d/slices/nostr/two.js"), slice).unwrap();
    let config = r#"
        [limits]
        verify_threads = 4
        [policy]
        plugin_ms_max = 30000
        plugin = ["/bin/sh", "-c", """while read -r line; do
            id=${line#*'"id":"'}
            action=accept
            case $line in *'"sourceType":"Import"'*) ;; *) action=reject ;; esac
            case $line in *wicked*) action=reject ;; esac
            printf '{"id":"%.64s","action":"%s","msg":"blocked: wicked"}\n' "$id" $action
        done"""]
    "#;
    fs::write(folder.join("picorelay.toml"), config).unwrap();
    let key = Key::new();
    let events: Vec<Event> = (0..1000).map(|n| key.event(json!({"content": n.to_string()}))).collect();
    let bad = Key::new().event(json!({"content": "wicked"}));
    let lines: String = [&bad].into_iter().chain(&events).map(|event| format!("{event}\n")).collect();
    let output = import(folder, "d", &lines);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stdout.contains("998 blocked: two are enough"), "{output:?}");
    assert!(output.stdout.contains("1 blocked: wicked"), "{output:?}");
    assert_eq!(ids(folder, "d"), set(&events[..2]), "the first two lines of theirs");
    let output = picorelay_with_input(folder, &["import", "--trust", "--data", "d"], &lines);
    assert!(output.success && output.stdout.contains("999 accepted"), "{output:?}");
}

/// What remains of versions, deletions and requests to vanish is decided by the order of the lines, not by which thread is
/// first: the same file gives the same relay.
#[test]
fn the_same_file_gives_the_same_relay() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut random = StdRng::seed_from_u64(7420);
    let keys: Vec<Key> = (0..6).map(Key::numbered).collect();
    let start = now() - 100_000;
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..4000 {
        let key = &keys[random.random_range(0..keys.len())];
        let at = start + random.random_range(0..200);
        let d = random.random_range(0..4).to_string();
        let draft = match random.random_range(0..100) {
            0..40 => json!({"kind": 30023, "tags": [["d", d]]}),
            40..60 => json!({"kind": 0}),
            60..75 => json!({"kind": 1}),
            75..90 if !events.is_empty() => {
                let lately = events.len().saturating_sub(40);
                let id = events[random.random_range(lately..events.len())].id().to_owned();
                json!({"kind": 5, "tags": [["e", id]]})
            }
            90..95 => json!({"kind": 5, "tags": [["a", format!("30023:{}:{d}", key.public())]]}),
            // What was sent comes again.
            95..99 if !events.is_empty() => {
                let again = events[random.random_range(0..events.len())].clone();
                events.push(again);
                continue;
            }
            _ if random.random_range(0..10) == 0 => json!({"kind": 62, "tags": [["relay", "ALL_RELAYS"]]}),
            _ => json!({"kind": 10002}),
        };
        let mut draft = draft;
        draft["created_at"] = at.into();
        draft["content"] = random.next_u32().to_string().into();
        // A deletion by id is only its author's.
        let author = match draft["kind"].as_u64() {
            Some(5) if draft["tags"][0][0] == "e" => {
                let of = events.iter().find(|event| event.id() == draft["tags"][0][1]).unwrap();
                keys.iter().find(|key| of["pubkey"] == key.public()).unwrap()
            }
            _ => key,
        };
        events.push(author.event(draft));
    }
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    fs::write(folder.join("events.jsonl"), text).unwrap();
    let mut first: Option<(String, String)> = None;
    for (run, threads) in [1, 2, 3, 8, 8, 2, 5, 8].into_iter().enumerate() {
        let config = format!("[limits]\nverify_threads = {threads}\n[storage]\nwriter_wait_ms = {}\n", 1 + run);
        fs::write(folder.join("picorelay.toml"), config).unwrap();
        let data = format!("d{run}");
        let output = picorelay(folder, &["import", "--data", &data, "events.jsonl"]);
        assert!(output.success, "{output:?}");
        let tally = output.stdout.lines().skip(1).collect::<Vec<_>>().join("\n");
        let found = (export(folder, &data), tally);
        let expected = first.get_or_insert_with(|| found.clone());
        assert!(found.0.len() > 10_000, "{}", found.0.len());
        assert_eq!(found.1, expected.1, "{threads} threads");
        assert!(found.0 == expected.0, "{threads} threads export something else than the first run");
    }
}

#[tokio::test]
async fn exports_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    let event = Key::new().event(json!({"kind": 1059, "tags": [["p", "ab".repeat(32)]]}));
    assert!(import(folder, "d", event.to_string()).success);
    fs::write(folder.join("old.jsonl"), "old").unwrap();
    fs::set_permissions(folder.join("old.jsonl"), fs::Permissions::from_mode(0o666)).unwrap();
    let mut feed = picofeed::Feed::new(picofeed::Format::V8);
    feed.append(b"x", &picofeed::Secret::ed25519([1; 32])).unwrap();
    fs::write(folder.join("a.pico"), feed.encode()).unwrap();
    assert!(picorelay(folder, &["import", "--data", "d", "a.pico"]).success);
    for (name, more) in
        [("new.jsonl", &[][..]), ("old.jsonl", &[]), ("room.pico", &[]), ("small.pico", &["--budget", "1MB"])]
    {
        let output = picorelay(folder, &[&["export", "--data", "d", name], more].concat());
        assert!(output.success, "{output:?}");
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let written = fs::read_to_string(folder.join("old.jsonl")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), event.0);
    // One that fails leaves what was there.
    let failed = picorelay(folder, &["export", "--data", "nowhere", "old.jsonl"]);
    assert!(!failed.success && fs::read_to_string(folder.join("old.jsonl")).unwrap().contains(event.id()));
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{left:?}");
}

/// Writes nonsense over some pages in the middle of a database.
pub(crate) fn damage(data: &Path) {
    let mut file = fs::File::options().write(true).open(data.join("picorelay.db")).unwrap();
    let pages = file.metadata().unwrap().len() / 8192;
    file.seek(SeekFrom::Start(pages / 2 * 8192)).unwrap();
    file.write_all(&[0xff; 2 * 8192]).unwrap();
}

#[test]
fn what_can_be_read_of_a_damaged_database_is_exported_beside_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = Key::new();
    let at = now() - 100_000;
    let events: Vec<Event> = (0..1_000)
        .map(|n| key.event(json!({"created_at": at + n * 60, "content": format!("{n} {}", "x".repeat(2_000))})))
        .collect();
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    assert_eq!(import(folder, "d", &lines).code, Some(0));
    damage(&folder.join("d"));
    fs::write(folder.join("old.jsonl"), "an older export\n").unwrap();
    for (name, is_there) in [("new.jsonl", false), ("old.jsonl", true)] {
        let output = picorelay(folder, &["export", "--data", "d", name]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains("is damaged") && output.stderr.contains(".jsonl.part"), "{output:?}");
        assert_eq!(fs::read_to_string(folder.join(name)).is_ok_and(|text| text == "an older export\n"), is_there);
        assert_eq!(folder.join(name).exists(), is_there);
        let part = folder.join(format!("{name}.part"));
        assert_eq!(fs::metadata(&part).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&part).unwrap();
        let place = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).expect("a whole event");
            events.iter().position(|known| known.0 == event).expect("one of those that were imported")
        };
        let found: Vec<usize> = text.lines().map(place).collect();
        assert!(found.is_sorted_by(|a, b| a > b), "newest first, each once: {found:?}");
        assert_eq!((found.first(), found.last()), (Some(&999), Some(&0)), "on both sides of the damage");
        assert!((900..1_000).contains(&found.len()), "{} of 1,000", found.len());
        assert!(output.stderr.contains(&format!("{} events could be read", found.len())), "{output:?}");
        let piped = picorelay(folder, &["export", "--data", "d"]);
        assert_eq!((piped.code, piped.stdout == text), (Some(1), true), "{}", piped.stderr);
    }
    // What was kept is taken into a new folder.
    assert_eq!(picorelay(folder, &["import", "--trust", "--data", "new", "new.jsonl.part"]).code, Some(0));
    assert!(ids(folder, "new").contains(events[0].id()));
}
