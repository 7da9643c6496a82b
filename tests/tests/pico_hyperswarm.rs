//! Runs `js/pico/hyperswarm.mjs`: a room that is found by topic, by real pico nodes on hyperswarm.

use std::path::Path;

use crate::harness::{Relay, is_long, script};
use crate::js::{has_node, install};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/pico");

fn config(port: &str, topic: &str) -> String {
    format!(
        "[pico]
         hyperswarm = true
         hyperswarm_bootstrap = ['127.0.0.1:{port}']
         hyperswarm_reachable = true
         hyperswarm_look_seconds = 1
         [[pico.room]]
         name = 'notes'
         topic = '{topic}'"
    )
}

/// Part of the long run (PICORELAY_TEST_LONG).
///
/// A line on the script's stdout asks for something; a line on its stdin says that it is done.
#[test]
fn nodes_on_hyperswarm_share_a_room() {
    // Finding each other on a hash table takes seconds to a minute, and longer on a busy machine.
    if !is_long() || !has_node() {
        return;
    }
    let folder = Path::new(FOLDER);
    install(folder);
    let mut relay = None;
    let status = script::play(folder, "hyperswarm.mjs", &[], |line| {
        match *line.splitn(3, ' ').collect::<Vec<_>>() {
            ["RELAY", port, topic] => relay = Some(Relay::with(&config(port, topic))),
            ["RESTART"] => relay.as_mut().unwrap().restart(),
            ["STOP"] => relay.as_mut().unwrap().stop(),
            _ => return None,
        }
        Some("done".into())
    });
    if !status.success() {
        eprintln!("{}", relay.as_ref().map(Relay::log).unwrap_or_default());
    }
    assert!(status.success(), "{status}");
}
