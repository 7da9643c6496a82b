//! A script in JavaScript that asks for things while it runs.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A script that hangs a node hangs all: JavaScript has one thread.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a file of tests to its end. Each line of its stdout is given to `answer`: what comes of that is written to its
/// stdin, or, if it is nothing, the line is shown.
pub(crate) fn play(
    folder: &Path,
    script: &str,
    environment: &[(&str, &str)],
    mut answer: impl FnMut(&str) -> Option<String>,
) -> ExitStatus {
    let mut node = Command::new("node")
        .args(["--test-reporter=spec", script])
        .current_dir(folder)
        .envs(environment.iter().copied())
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
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match answer(&line) {
            // A script that died does not listen; its status says so.
            Some(told) => drop(writeln!(stdin, "{told}")),
            None => eprintln!("{line}"),
        }
    }
    let status = node.wait().unwrap();
    let _ = done.send(());
    watch.join().unwrap();
    status
}
