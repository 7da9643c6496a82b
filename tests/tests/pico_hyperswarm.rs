//! Runs `js/pico/hyperswarm.mjs`: a room that is found by topic, by real pico nodes on hyperswarm.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::harness::{Relay, is_long};
use crate::js::{has_node, install};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/pico");

/// A script that hangs a node hangs all: JavaScript has one thread.
const PATIENCE: Duration = Duration::from_secs(300);

fn config(port: &str, topic: &str) -> String {
    format!(
        "[pico]
         hyperswarm = true
         hyperswarm_bootstrap = ['127.0.0.1:{port}']
         hyperswarm_reachable = true
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
    install(Path::new(FOLDER));
    let mut node = Command::new("node")
        .args(["--test-reporter=spec", "hyperswarm.mjs"])
        .current_dir(FOLDER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = node.stdin.take().unwrap();
    let stdout = node.stdout.take().unwrap();
    let (done, finished) = mpsc::channel::<()>();
    let pid = node.id().to_string();
    let watch = thread::spawn(move || {
        if finished.recv_timeout(PATIENCE).is_err() {
            eprintln!("node hangs");
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
    });
    let mut relay = None;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match *line.splitn(3, ' ').collect::<Vec<_>>() {
            ["RELAY", port, topic] => relay = Some(Relay::with(&config(port, topic))),
            ["RESTART"] => relay.as_mut().unwrap().restart(),
            ["STOP"] => relay.as_mut().unwrap().stop(),
            _ => {
                eprintln!("{line}");
                continue;
            }
        }
        // A script that died does not listen; its status says so.
        let _ = writeln!(stdin, "done");
    }
    let status = node.wait().unwrap();
    let _ = done.send(());
    watch.join().unwrap();
    if !status.success() {
        eprintln!("{}", relay.as_ref().map(Relay::log).unwrap_or_default());
    }
    assert!(status.success(), "{status}");
}
