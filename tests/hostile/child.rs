//! A process of this program in another role: attackers, or healthy clients.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long an answer of a child may take. Preparing takes longest.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of the processors a process and its children may claim when others want them: groups of processes share as
/// their weights say (autogroups of Linux, one for each session), and so do processes within a group (`nice`).
#[derive(Clone, Copy)]
pub(crate) enum Claim {
    /// The relay and the healthy clients.
    Full,
    /// Attackers get what others leave, and a tenth of a processor beside the relay: enough to send prepared bytes.
    Little,
}

/// Raises the limit of open files as far as it may be, and goes on as the program that follows.
const MANY_FILES: [&str; 4] = ["/bin/sh", "-c", r#"ulimit -S -n "$(ulimit -H -n)"; exec "$@""#, "sh"];

/// A command of its own session, which ends with this process.
pub(crate) fn command(program: &Path, claim: Claim) -> Command {
    let mut words: Vec<&str> = Vec::new();
    if matches!(claim, Claim::Little) {
        words.extend(MANY_FILES);
        words.extend(["nice", "-n", "19"]);
    }
    for wrapper in [&["/usr/bin/setsid"][..], &["/usr/bin/setpriv", "--pdeathsig", "KILL"]] {
        if Path::new(wrapper[0]).exists() {
            words.extend(wrapper);
        }
    }
    words.push(program.to_str().expect("a path of the tests"));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// Gives the session of a process its weight: ten times as much for those with a full claim. Where that cannot be done,
/// `nice` alone has to do.
pub(crate) fn weigh(pid: u32, claim: Claim) {
    static RAISED: AtomicBool = AtomicBool::new(false);
    let set = |nice: &str| std::fs::write(format!("/proc/{pid}/autogroup"), nice).is_ok();
    match claim {
        Claim::Full if set("-11") => RAISED.store(true, Ordering::Relaxed),
        Claim::Little if !RAISED.load(Ordering::Relaxed) => drop(set("10")),
        _ => {}
    }
}

/// A running child. Dropped, it is killed.
pub(crate) struct Role {
    process: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Role {
    /// Starts this program with these arguments.
    pub(crate) fn start(arguments: &[&str], claim: Claim) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut process =
            command(&program, claim).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        weigh(process.id(), claim);
        let stdin = process.stdin.take().unwrap();
        let stdout = process.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { process, stdin, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Says a line.
    pub(crate) fn tell(&mut self, line: &str) {
        // A child that died does not answer, which is told where its answer is awaited.
        let _ = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
    }

    /// The next line.
    pub(crate) fn hear(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a child does not answer")
    }

    /// Says a line, and reads the answer.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.tell(line);
        let answer = self.hear();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
