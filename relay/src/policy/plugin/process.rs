//! The process of a policy plugin, and the threads that write to it and read from it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};
use serde::Deserialize;

use crate::config;
use crate::metrics::PLUGIN_STARTS;
use crate::rarely::rarely;

/// Answers that are read ahead.
const ANSWERS_MAX: usize = 1_024;
/// How long it may take to end when the relay does.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(1);

/// The program while it runs.
pub(super) struct Running {
    child: Child,
    pub(super) lines: Sender<String>,
    pub(super) answers: Receiver<Line>,
    threads: Vec<JoinHandle<()>>,
    pub(super) started: Instant,
    /// When its file was changed last.
    pub(super) changed: Option<SystemTime>,
}

/// A line of an answer.
#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) id: String,
    pub(super) action: Action,
    #[serde(default)]
    pub(super) msg: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Action {
    Accept,
    Reject,
    ShadowReject,
}

impl Running {
    pub(super) fn start(config: &config::Policy, changed: Option<SystemTime>) -> std::io::Result<Self> {
        let (program, arguments) = config.plugin.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        metrics::counter!(PLUGIN_STARTS).increment(1);
        let (lines, texts) = crossbeam_channel::bounded::<String>(1);
        let (found, answers) = crossbeam_channel::bounded(ANSWERS_MAX);
        let max = config.plugin_line_bytes_max;
        let mut threads = Vec::new();
        if let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) {
            let write = move || while texts.recv().is_ok_and(|text| stdin.write_all(text.as_bytes()).is_ok()) {};
            threads.push(std::thread::Builder::new().name("plugin-in".into()).spawn(write)?);
            let read = move || read_lines(BufReader::new(stdout), max, &found);
            threads.push(std::thread::Builder::new().name("plugin-out".into()).spawn(read)?);
        }
        Ok(Self { child, lines, answers, threads, started: Instant::now(), changed })
    }

    /// Closes its input, waits for it to end, and ends it.
    pub(super) fn end(self, patience: Duration) {
        let Self { mut child, lines, answers, threads, .. } = self;
        drop((lines, answers));
        let until = Instant::now() + patience;
        while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        // What it started itself may live on and keep its output open; such a thread is left behind, and ends with it.
        let until = Instant::now() + END_PATIENCE;
        while Instant::now() < until && threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        for thread in threads.into_iter().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

/// Until the end, a line that is too long, or nobody listens.
fn read_lines(mut output: impl BufRead, max: usize, found: &Sender<Line>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match output.by_ref().take(max as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.last() != Some(&b'\n') && line.len() >= max => {
                return tracing::error!("the policy plugin wrote a line that is too long");
            }
            Ok(_) => match serde_json::from_slice::<Line>(&line) {
                Ok(line) => {
                    if found.send(line).is_err() {
                        return;
                    }
                }
                Err(error) => rarely!(warn, %error, "the policy plugin wrote a line that is no answer"),
            },
        }
    }
}
