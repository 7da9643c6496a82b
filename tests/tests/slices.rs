//! Slices for events, and a program that judges them, in the running relay.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::harness::{Client, Event, Key, PATIENCE, Relay, picorelay};

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// Offers events of this kind and text until the answer is that.
async fn until(client: &mut Client, key: &Key, kind: u16, content: &str, answer: &(bool, String)) {
    let began = Instant::now();
    for n in 0.. {
        let event = key.event(json!({"kind": kind, "content": content, "tags": [["n", n.to_string()]]}));
        let said = client.offer(&event).await;
        if said == *answer {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{content}: {said:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

const NO_SPAM: &str = "
    export default store => store.register({
      name: 'nospam',
      filter ({ event, AUTHOR, auth, now }) {
        if (event.content.includes('spam')) return 'spam is not welcome'
        if (event.content === 'members' && !auth.includes(AUTHOR)) return 'auth-required: for members'
        if (event.content === 'loop') for (;;) {}
      }
    })";

#[tokio::test]
async fn a_slice_judges_events_before_they_are_kept_or_passed_on() {
    let mut relay = Relay::with("[script]\nreload_seconds = 0\ncall_ms_max = 100");
    write(&relay.data().join("slices/nostr/nospam.js"), NO_SPAM);
    relay.restart();
    let (mut client, mut other) = (relay.client().await, relay.client().await);
    let key = Key::new();
    other.send(json!(["REQ", "live", {"authors": [key.public()]}])).await;
    assert_eq!(other.recv().await[0], "EOSE");
    let event = |kind: u16, content: &str| key.event(json!({"kind": kind, "content": content}));
    for (kind, content, answer) in [
        (1, "buy spam", (false, "blocked: spam is not welcome")),
        (20_001, "buy spam", (false, "blocked: spam is not welcome")),
        (1, "members", (false, "auth-required: for members")),
        (1, "loop", (false, "error: the slice nospam failed")),
        (1, "good", (true, "")),
        (20_001, "good", (true, "")),
    ] {
        assert_eq!(client.offer(&event(kind, content)).await, (answer.0, answer.1.to_owned()), "{kind} {content}");
    }
    let stored = client.query(json!({"authors": [key.public()]})).await;
    assert_eq!(
        stored.iter().map(|event| event.0["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        ["good"]
    );
    for kind in [1, 20_001] {
        let live = other.recv().await;
        assert_eq!((&live[2]["kind"], &live[2]["content"]), (&json!(kind), &json!("good")));
    }
    assert!(relay.metric("picorelay_script_faults_total", "") >= 1.0);

    // Old code stays while the new does not load.
    write(&relay.data().join("slices/nostr/nospam.js"), "export default store => {");
    relay.hang_up();
    relay.until_log("do not load").await;
    assert_eq!(client.offer(&event(1, "more spam")).await, (false, "blocked: spam is not welcome".to_owned()));
    write(&relay.data().join("slices/nostr/nospam.js"), &NO_SPAM.replace("spam is", "eggs are"));
    relay.hang_up();
    until(&mut client, &key, 1, "spam", &(false, "blocked: eggs are not welcome".to_owned())).await;
    std::fs::remove_file(relay.data().join("slices/nostr/nospam.js")).unwrap();
    relay.hang_up();
    until(&mut client, &key, 1, "spam", &(true, String::new())).await;
    relay.stop();
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let relay = Relay::with("[script]\nreload_seconds = 1");
    let mut client = relay.client().await;
    let key = Key::new();
    until(&mut client, &key, 1, "spam", &(true, String::new())).await;
    write(&relay.data().join("slices/nostr/nospam.js"), NO_SPAM);
    until(&mut client, &key, 1, "spam", &(false, "blocked: spam is not welcome".to_owned())).await;
}

#[tokio::test]
async fn a_slice_with_state_goes_on_after_a_restart() {
    let counting = "
        export default store => store.register({
          name: 'three', initialValue: {},
          filter: ({ AUTHOR, state }) => state[AUTHOR] >= 3 && 'rate-limited: three events are enough',
          reducer: ({ AUTHOR, state }) => ({ ...state, [AUTHOR]: (state[AUTHOR] ?? 0) + 1 })
        })";
    let mut relay = Relay::start();
    write(&relay.data().join("slices/nostr/three.js"), counting);
    relay.restart();
    let key = Key::new();
    for n in 0..4 {
        let answer = relay.client().await.offer(&key.event(json!({"content": n.to_string()}))).await;
        assert_eq!(answer.0, n < 3, "{answer:?}");
        relay.restart();
    }
}

#[tokio::test]
async fn a_slice_that_does_not_load_at_the_start_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("slices/nostr/broken.js"), "\n\nlet x = ;");
    let output = picorelay(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--data", "."]);
    assert!(!output.success);
    assert!(output.stderr.contains("broken.js:3: SyntaxError"), "{}", output.stderr);
}

#[tokio::test]
async fn a_program_judges_events() {
    let plugin = r#"#!/bin/sh
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed 's/.*"event":{"id":"\([0-9a-f]*\)".*/\1/')
  # What was not asked, and what was said before, changes nothing.
  echo "{\"id\":\"$(printf '%064d' 0)\",\"action\":\"accept\"}"
  [ -z "$last" ] || echo "{\"id\":\"$last\",\"action\":\"reject\",\"msg\":\"blocked: again\"}"
  last=$id
  case "$line" in
    *'"content":"no"'*) echo "{\"id\":\"$id\",\"action\":\"reject\",\"msg\":\"blocked: not this\"}" ;;
    *'"content":"ghost"'*) echo "{\"id\":\"$id\",\"action\":\"shadowReject\"}" ;;
    *'"sourceInfo":"127.0.0.1"'*) echo "{\"id\":\"$id\",\"action\":\"accept\"}" ;;
    *) echo "{\"id\":\"$id\",\"action\":\"reject\",\"msg\":\"blocked: from where?\"}" ;;
  esac
done
"#;
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("plugin"), plugin);
    let mut relay = Relay::with(&format!("[policy]\nplugin = ['{}']", folder.path().join("plugin").display()));
    let (mut client, mut other) = (relay.client().await, relay.client().await);
    let key = Key::new();
    other.send(json!(["REQ", "live", {"authors": [key.public()]}])).await;
    assert_eq!(other.recv().await[0], "EOSE");
    let events: Vec<Event> = [(1, "no"), (1, "ghost"), (20_001, "ghost"), (1, "yes"), (20_001, "yes")]
        .map(|(kind, content)| key.event(json!({"kind": kind, "content": content})))
        .into();
    let answers = [(false, "blocked: not this"), (true, ""), (true, ""), (true, ""), (true, "")];
    for (event, (yes, why)) in events.iter().zip(answers) {
        assert_eq!(client.offer(event).await, (yes, why.to_owned()));
    }
    // What was said to be kept is not there, and was not passed on.
    let stored = client.query(json!({"authors": [key.public()]})).await;
    assert_eq!(stored.iter().map(|event| event.0["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), ["yes"]);
    for kind in [1, 20_001] {
        let live = other.recv().await;
        assert_eq!((&live[2]["kind"], &live[2]["content"]), (&json!(kind), &json!("yes")));
    }
    assert_eq!(relay.metric("picorelay_events_total", "reason=\"shadow\""), 2.0);
    assert_eq!(relay.metric("picorelay_policy_plugin_starts_total", ""), 1.0);
    relay.stop();
}

/// A call that goes on for minutes and cannot be stopped: the runtime asks only every ten thousand steps.
pub(crate) const STUCK: &str = "
    const large = 2n ** 200_000n - 1n
    function stuck () { for (let n = 0; n < 9_000; n++) large * large }";

/// Limits with which that shows soon.
pub(crate) const SHORT: &str =
    "[server]\ndrain_seconds = 1\n[script]\ncall_ms_max = 100\nload_ms_max = 500\nstuck_ms_max = 700\n";

#[tokio::test]
async fn a_slice_that_cannot_be_stopped_is_given_up_and_events_go_on() {
    let stateless = format!(
        "{STUCK}
        export default store => store.register({{ name: 'a', filter ({{ event }}) {{ if (event.content === 'stuck') stuck(); return event.content === 'bad' && 'bad' }} }})"
    );
    let stateful = stateless.replace("filter (", "reducer: () => 1, filter (");
    for (name, text) in [("stateless.js", stateless), ("stateful.js", stateful)] {
        let mut relay = Relay::with(&format!("{SHORT}reload_seconds = 1"));
        let path = relay.data().join("slices/nostr").join(name);
        write(&path, &text);
        relay.restart();
        let mut client = relay.client().await;
        let key = Key::new();
        let event = |content: &str| key.event(json!({"kind": 1, "content": content}));
        let fine = (true, String::new());
        let refused = |why: &str| (false, why.to_owned());
        assert_eq!(client.offer(&event("bad")).await, refused("blocked: bad"));
        // What it was about is refused, and nothing else: not for others meanwhile, nor for the same client then.
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(relay.client().await);
        }
        let began = Instant::now();
        assert_eq!(client.offer(&event("stuck")).await, refused("error: a slice does not come to an end"), "{name}");
        assert!(began.elapsed() < PATIENCE / 2);
        for (n, other) in others.iter_mut().enumerate() {
            assert_eq!(other.offer(&event(&format!("fine {n}"))).await, fine, "{name}");
        }
        // The file is left out until it changes.
        assert_eq!(client.offer(&event("stuck ")).await, fine);
        assert_eq!(client.offer(&event("stuck")).await, fine);
        assert_eq!(relay.metric("picorelay_script_stuck", ""), 1.0);
        relay.until_log("cannot be stopped").await;
        write(&path, &text.replace("&& 'bad'", "&& 'still bad'"));
        until(&mut client, &key, 1, "bad", &refused("blocked: still bad")).await;
        // And the relay can be stopped, and nothing is lost.
        let stored = |relay: &Relay| relay.metric("picorelay_store_events", "");
        let before = client.query(json!({"authors": [key.public()]})).await.len();
        assert!(before >= 6, "{}", stored(&relay));
        let began = Instant::now();
        relay.restart();
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
        assert_eq!(relay.client().await.query(json!({"authors": [key.public()]})).await.len(), before);
    }
}

#[tokio::test]
async fn a_slice_that_is_stuck_while_it_is_loaded_stops_the_start_and_no_reload() {
    let text = format!("{STUCK}\nstuck()\nexport default store => store.register({{ name: 'a', filter () {{}} }})");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("picorelay.toml"), SHORT).unwrap();
    write(&folder.path().join("data/slices/nostr/a.js"), &text);
    let output = picorelay(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert!(!output.success && output.stderr.contains("does not come to an end"), "{}", output.stderr);

    let mut relay = Relay::with(&format!("{SHORT}reload_seconds = 1"));
    let path = relay.data().join("slices/nostr/a.js");
    write(&path, NO_SPAM);
    relay.restart();
    let mut client = relay.client().await;
    let key = Key::new();
    write(&path, &text);
    relay.until_log("cannot be stopped").await;
    let spam = (false, "blocked: spam is not welcome".to_owned());
    assert_eq!(client.offer(&key.event(json!({"content": "spam"}))).await, spam, "the old code stays");
    write(&path, &NO_SPAM.replace("spam is", "eggs are"));
    until(&mut client, &key, 1, "spam", &(false, "blocked: eggs are not welcome".to_owned())).await;
    relay.stop();
}
