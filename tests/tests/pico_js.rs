//! Runs the tests in `js/pico/`: real pico nodes of both generations, and one in a web page.

use std::path::Path;

use nostr_relay_builder::MockRelay;

use crate::harness::{Relay, script};
use crate::js::{ci, has, has_node, install};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/pico");

/// Where nostr-tools is.
const NOSTR_TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js");

#[test]
fn nodes_of_both_generations_share_rooms() {
    play("rooms");
}

#[test]
fn nodes_work_on_while_others_attack() {
    // Attackers and healthy nodes have one address, which would be refused.
    play_with("attacks", "[limits]\nfalse_events_per_minute = 0");
}

#[test]
fn who_does_not_answer_is_closed() {
    play("patience");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "which Chromium to use is no option of the relay")]
fn a_page_in_chromium() {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !has(&chromium) {
        assert!(!ci(), "CI needs {chromium}");
        eprintln!("skipped: there is no {chromium}");
        return;
    }
    play("browser");
}

#[test]
fn nodes_that_share_only_a_relay_talk_in_events() {
    if has_node() {
        install(Path::new(NOSTR_TOOLS));
    }
    play("frames");
}

#[test]
fn the_relay_and_nodes_agree_about_slices() {
    play("slices");
}

#[test]
fn a_nostr_client_and_a_node_read_each_other() {
    if has_node() {
        install(Path::new(NOSTR_TOOLS));
    }
    play_with("bridge", "[[pico.room]]\nname = 'notes'\nbridge = 'copies'\nreplies = true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_at_relays_that_share_only_a_plain_relay() {
    let plain = MockRelay::run().await.unwrap();
    let config = format!("[[bridge.upstream]]\nurl = '{}'", plain.url().await);
    let other = Relay::with(&config);
    let url = other.url.clone();
    let played = tokio::task::spawn_blocking(move || play_beside("upstream", &config, &[("OTHER_URL", &url)]));
    played.await.unwrap();
}

/// With default options.
fn play(part: &str) {
    play_with(part, "");
}

/// Runs one part against a relay of its own. Some lines on its stdout ask for a restart; the answer on its stdin is where
/// the relay listens then: `RESTART`, `KILL`, `AHEAD <milliseconds>` (of its clock), `RELOAD <room>` (computes its state
/// anew, which must not change).
fn play_with(part: &str, config: &str) {
    play_beside(part, config, &[]);
}

/// The same with more in the environment.
fn play_beside(part: &str, config: &str, more: &[(&str, &str)]) {
    if !has_node() {
        return;
    }
    let folder = Path::new(FOLDER);
    install(folder);
    let mut relay = Relay::with(config);
    let (url, data) = (relay.url.clone(), relay.data().display().to_string());
    let environment = [&[("RELAY_URL", &*url), ("RELAY_DATA", &*data), ("PARTS", part)], more].concat();
    let status = script::play(folder, "suite.mjs", &environment, |line| {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("RESTART", "") => relay.restart(),
            ("KILL", "") => {
                relay.kill9();
                relay.restart();
            }
            ("AHEAD", milliseconds) => {
                relay.ahead_ms = milliseconds.parse().unwrap();
                relay.restart();
            }
            ("RELOAD", room) => {
                relay.stop();
                let done = relay.run(&["pico", "reload", room]);
                assert!(done.success && done.stdout.contains(" 0 objects changed"), "{room}: {done:?}");
                relay.restart();
            }
            _ => return None,
        }
        Some(relay.url.clone())
    });
    assert!(status.success(), "{part}: {status}");
}
