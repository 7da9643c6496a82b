//! The command line as a person would use it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Event, Key, Output, Relay, now, picorelay, picorelay_with_input};

/// 2,000 signed events of a realistic mix, a few of them ephemeral or older versions.
const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/events-2k.jsonl");

fn done(output: Output) -> Output {
    assert!(output.success, "{output:?}");
    output
}

fn export(folder: &Path, data: &str) -> Vec<Value> {
    let text = done(picorelay(folder, &["export", "--data", data])).stdout;
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// What a relay keeps of these events: no ephemeral ones, of replaceable ones the newest.
fn kept(events: &[Value]) -> BTreeSet<String> {
    let mut newest: std::collections::HashMap<String, &Value> = std::collections::HashMap::new();
    for event in events {
        let place = match event["kind"].as_u64().unwrap() {
            20_000..=29_999 => continue,
            0 | 3 | 10_000..=19_999 | 30_000..=39_999 => Event(event.clone()).address(),
            _ => event["id"].to_string(),
        };
        let rank = |event: &Value| (event["created_at"].as_u64().unwrap(), std::cmp::Reverse(event["id"].to_string()));
        match newest.get(&place) {
            Some(old) if rank(old) >= rank(event) => {}
            _ => {
                newest.insert(place, event);
            }
        }
    }
    newest.values().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn import_and_export_give_the_same_set() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let given: Vec<Value> =
        std::fs::read_to_string(EVENTS).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = done(picorelay(folder, &["import", EVENTS, "--data", "one"]));
    let said = format!("{}{}", first.stdout, first.stderr);
    let wanted = kept(&given);
    assert!(said.contains("2000 events") && said.contains(" 0 refused"), "{said}");
    let exported = export(folder, "one");
    assert_eq!(ids(&exported), wanted);
    let by_id: std::collections::HashMap<&str, &Value> =
        given.iter().map(|event| (event["id"].as_str().unwrap(), event)).collect();
    for event in &exported {
        assert_eq!(event, by_id[event["id"].as_str().unwrap()], "an event is exported as it was given");
    }
    assert!(exported.is_sorted_by(|a, b| a["created_at"].as_u64() >= b["created_at"].as_u64()), "newest first");

    let again = done(picorelay(folder, &["import", EVENTS, "--data", "one"]));
    let said = format!("{}{}", again.stdout, again.stderr);
    assert!(said.contains("duplicate"), "{said}");
    assert_eq!(export(folder, "one"), exported, "importing again changes nothing");

    done(picorelay(folder, &["export", "all.jsonl", "--data", "one"]));
    let text = std::fs::read_to_string(folder.join("all.jsonl")).unwrap();
    done(picorelay_with_input(folder, &["import", "-", "--data", "two"], &text));
    assert_eq!(export(folder, "two"), exported, "a second data folder holds the same");
}

#[test]
fn import_says_what_it_refuses_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = Key::new();
    let at = now() - 100;
    let good = key.event(json!({"created_at": at}));
    let mut forged = key.event(json!({"content": "forged"}));
    forged.0["sig"] = "00".repeat(64).into();
    let old = key.event(json!({"kind": 0, "created_at": at}));
    let new = key.event(json!({"kind": 0, "created_at": at + 1}));
    let last = key.event(json!({"content": "last"}));
    let input = format!(
        "{good}\n\nnot JSON\n{forged}\n{new}\n{old}\n[]\n{good}\n{{\"id\":1}}\n{}\r\n{last}",
        "[".repeat(100_000)
    );
    let output = picorelay_with_input(folder, &["import", "--data", "d"], &input);
    assert_eq!(output.code, Some(3), "done, but not for everything: {output:?}");
    let said = format!("{}{}", output.stdout, output.stderr);
    for word in ["accepted", "duplicate", "superseded", "refused"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(said.contains("signature"), "names the reason: {said}");
    assert_eq!(ids(&export(folder, "d")), BTreeSet::from([&good, &new, &last].map(|event| event.id().to_owned())));
}

#[tokio::test]
async fn what_was_imported_is_served_and_what_was_sent_is_exported() {
    let mut relay = Relay::start();
    let folder = tempfile::tempdir().unwrap();
    let data = relay.data().display().to_string();
    let key = Key::new();
    let sent = key.event(json!({"content": "sent"}));
    let private = Key::new().event(json!({"kind": 1059, "tags": [["p", key.public()]]}));
    relay.client().await.publish(&[&sent, &private]).await;
    let while_running = picorelay_with_input(folder.path(), &["import", "--data", &data], sent.to_string());
    assert!(!while_running.success, "the data folder is in use: {while_running:?}");
    relay.stop();
    assert_eq!(
        ids(&export(folder.path(), &data)),
        BTreeSet::from([sent.id().to_owned(), private.id().to_owned()]),
        "the operator's export holds private events too"
    );
    let imported = key.event(json!({"content": "imported"}));
    done(picorelay_with_input(folder.path(), &["import", "--data", &data], format!("{imported}\n")));
    let filter = json!({"ids": [imported.id()]}).to_string();
    let some = done(picorelay(folder.path(), &["export", "--filter", &filter, "--data", &data])).stdout;
    assert_eq!(serde_json::from_str::<Value>(&some).unwrap(), imported.0);
    relay.restart();
    let mut client = relay.client().await;
    assert_eq!(client.ids(json!({"ids": [imported.id()]})).await, [imported.id()]);
}

#[test]
fn missing_files_and_wrong_use() {
    let folder = tempfile::tempdir().unwrap();
    let missing = picorelay(folder.path(), &["import", "missing.jsonl", "--data", "d"]);
    assert!(!missing.success && missing.stderr.contains("missing.jsonl"), "{missing:?}");
    for arguments in [&["unknown"][..], &["export", "--filter", "{\"kind\":1}"], &["serve", "--listen", "x"], &["--x"]]
    {
        let output = picorelay(folder.path(), arguments);
        assert!(!output.success && !output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_wrong_config_is_refused_with_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (text, line, key) in [
        ("[server]\nlisten = \"127.0.0.1:0\"\nlisen = 1\n", "3", "lisen"),
        ("[limits]\n\nlimit_max = \"many\"\n", "3", "limit_max"),
        ("[limits]\nlimit_max = -1\n", "2", "limit_max"),
        ("[server]\nlisten = \"nowhere\"\n", "2", "listen"),
        ("[storage]\ndurability = \"maybe\"\n", "2", "durability"),
        ("\n[servre]\nlisten = \"127.0.0.1:0\"\n", "2", "servre"),
        ("[server]\nlisten = \n", "2", ""),
        ("[server]\nlog = \"inof\"\n", "2", "did you mean `info`"),
        ("[server]\n\nlog = \"info,picorelya=debug\"\n", "3", "did you mean `picorelay`"),
    ] {
        std::fs::write(folder.join("wrong.toml"), text).unwrap();
        for command in ["check", "serve"] {
            let output = picorelay(folder, &[command, "--config", "wrong.toml", "--data", "d"]);
            assert!(!output.success, "{command} takes {text:?}");
            let said = &output.stderr;
            assert!(said.contains("wrong.toml") && said.contains(line) && said.contains(key), "{text:?}: {said}");
        }
    }
    assert!(!folder.join("d").exists(), "nothing was made");
    let missing = picorelay(folder, &["check", "--config", "missing.toml"]);
    assert!(!missing.success && missing.stderr.contains("missing.toml"), "{missing:?}");
    std::fs::write(folder.join("right.toml"), "[info]\nname = \"mine\"\n").unwrap();
    done(picorelay(folder, &["check", "--config", "right.toml"]));
    let shown = done(picorelay(folder, &["check", "--show", "--config", "right.toml"])).stdout;
    assert!(shown.contains("name = \"mine\"") && shown.contains("limit_max = 5000"), "{shown}");
}

#[test]
fn check_loads_slices_and_looks_for_the_plugin() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let check = || picorelay(folder, &["check", "--data", "d", "--config", "c.toml"]);
    let chat = "import { Memory } from '@telamon/picostore'\nexport default store => store.register('chat', class extends Memory {})";
    let event = "export default store => store.register({ name: 'no', filter: () => 'no' })";
    write("c.toml", "[script]\nload_ms_max = 300\nstuck_ms_max = 5000\n");
    write("d/slices/chat/chat.js", chat);
    write("d/slices/nostr/no.js", event);
    let said = done(check()).stdout;
    assert!(said.contains("slices/chat: 1 loaded") && said.contains("slices/nostr: 1 loaded"), "{said}");
    // Everything that is wrong is told at once.
    write("d/slices/chat/a.js", "\n\nexport default store =>");
    write("d/slices/chat/b.js", "import './more.js'\nexport default 1");
    write("d/slices/nostr/loop.js", "for (;;) {}");
    write("d/slices/nostr/empty.js", "\nexport default store => {\n  nothing()\n}");
    write("plugin.sh", "#!/bin/sh\n");
    write(
        "c.toml",
        "[script]\nload_ms_max = 300\nstuck_ms_max = 5000\n[policy]\nplugin = [\"./plugin.sh\"]\n\
         [server]\nlisten = \"0.0.0.0:7420\"\n",
    );
    let wrong = check();
    assert!(!wrong.success, "{wrong:?}");
    let lines = [
        "d/slices/chat/a.js:3: SyntaxError",
        "d/slices/chat/b.js",
        "more.js",
        "d/slices/nostr/loop.js: it took too long",
        "d/slices/nostr/empty.js:3: ReferenceError: nothing",
        "policy.plugin: ./plugin.sh is not executable",
    ];
    for line in lines {
        assert!(wrong.stderr.contains(line), "{line}: {}", wrong.stderr);
    }
    let plugin_at = wrong.stderr.lines().position(|line| line.starts_with("policy.plugin: "));
    let note_at = wrong.stderr.lines().position(|line| line.starts_with("note: server.public_url"));
    assert_eq!((plugin_at, note_at), (Some(0), Some(wrong.stderr.lines().count() - 1)), "{}", wrong.stderr);
    for file in ["chat/a.js", "chat/b.js", "nostr/loop.js", "nostr/empty.js"] {
        std::fs::remove_file(folder.join("d/slices").join(file)).unwrap();
    }
    std::fs::set_permissions(folder.join("plugin.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    done(check());
    for (program, what) in [("./gone.sh", "does not exist"), ("no-such-program-7420", "in any folder of PATH")] {
        write("c.toml", &format!("[policy]\nplugin = [\"{program}\"]\n"));
        let wrong = check();
        assert!(!wrong.success && wrong.stderr.contains(what), "{wrong:?}");
    }
    write("c.toml", "[policy]\nplugin = [\"sh\"]\n");
    done(check());
    // Two files that load, but not together.
    write("d/slices/chat/again.js", chat);
    let wrong = check();
    assert!(!wrong.success && wrong.stderr.contains("registers `chat`"), "{wrong:?}");
}

#[test]
fn key_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = done(picorelay(folder, &["key", "--data", "d"])).stdout;
    assert!(first.contains("npub1"), "{first}");
    assert!(!first.contains("nsec1"));
    assert_eq!(done(picorelay(folder, &["key", "--data", "d"])).stdout, first);
    assert!(done(picorelay(folder, &["key", "--secret", "--data", "d"])).stdout.starts_with("nsec1"));
    assert_ne!(done(picorelay(folder, &["key", "--data", "other"])).stdout, first);
}

#[test]
fn help_a_person_can_use() {
    let folder = tempfile::tempdir().unwrap();
    let help = done(picorelay(folder.path(), &["--help"])).stdout;
    for command in ["serve", "import", "export", "check", "key"] {
        assert!(help.contains(command), "{help}");
        let own = done(picorelay(folder.path(), &[command, "--help"])).stdout;
        assert!(own.contains("Usage") && own.contains("picorelay"), "{own}");
    }
    assert!(done(picorelay(folder.path(), &["--version"])).stdout.starts_with("picorelay "));
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_zero() {
    let mut relay = Relay::start();
    let mut client = relay.client().await;
    let key = Key::new();
    let events: Vec<Event> = (0..50).map(|n| key.event(json!({"content": n.to_string()}))).collect();
    client.subscribe("s", json!({"authors": [key.public()]})).await;
    for event in &events {
        client.send(format!(r#"["EVENT",{event}]"#)).await;
    }
    client.fence().await;
    relay.stop();
    let (messages, _) = client.until_closed().await;
    let acknowledged: BTreeSet<String> = messages
        .iter()
        .filter(|message| message[0] == "OK" && message[2] == true)
        .map(|message| message[1].as_str().unwrap().to_owned())
        .collect();
    relay.restart();
    let stored: BTreeSet<String> =
        relay.client().await.ids(json!({"authors": [key.public()]})).await.into_iter().collect();
    assert!(acknowledged.is_subset(&stored), "what was acknowledged is there");
    relay.stop();
}

#[tokio::test]
async fn one_data_folder_has_one_relay() {
    let relay = Relay::start();
    let folder = tempfile::tempdir().unwrap();
    let data = relay.data().display().to_string();
    let second = picorelay(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--data", &data]);
    assert!(!second.success && second.stderr.contains("in use"), "{second:?}");
    relay.client().await.fence().await;
}
