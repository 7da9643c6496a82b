//! The program as a process.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Client, PATIENCE, Response, http};

/// A running relay with its own data folder. Dropped, it is killed.
pub(crate) struct Relay {
    folder: TempDir,
    process: Child,
    /// The port it listens on.
    pub(crate) port: u16,
    /// `ws://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// By how much its clock is ahead, from the next start on.
    pub(crate) ahead_ms: u64,
}

impl Relay {
    /// With default options.
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// With a config file of this text.
    pub(crate) fn with(config: &str) -> Self {
        Self::with_port(config, 0)
    }

    /// The same on a port that others know already.
    pub(crate) fn with_port(config: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("picorelay.toml"), config).unwrap();
        let (process, port) = serve(folder.path(), port, command_ahead(folder.path(), 0));
        Self { folder, process, port, url: format!("ws://127.0.0.1:{port}"), ahead_ms: 0 }
    }

    /// Started by a shell that was told something before, such as `ulimit -n 100`.
    pub(crate) fn after(shell: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("picorelay.toml"), config).unwrap();
        let mut command = Command::new("/bin/sh");
        command.current_dir(folder.path()).env_clear();
        command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")]).arg(binary());
        let (process, port) = serve(folder.path(), 0, command);
        Self { folder, process, port, url: format!("ws://127.0.0.1:{port}"), ahead_ms: 0 }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A new connection.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.url).await
    }

    /// A request without body, such as `GET /health`.
    pub(crate) fn http(&self, method_path: &str, headers: &[(&str, &str)]) -> Response {
        http(self.port, method_path, headers)
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The sum of the metrics that have this name, and `label` among their labels.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        self.http("GET /metrics", &[])
            .body
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until [`Relay::metric`] is that much.
    pub(crate) async fn until_metric(&self, name: &str, label: &str, least: f64) {
        let began = std::time::Instant::now();
        while self.metric(name, label) < least {
            assert!(began.elapsed() < PATIENCE, "{name} {label} is {}, not {least}", self.metric(name, label));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many blocks of pico rooms were stored.
    pub(crate) async fn until_blocks(&self, count: usize) {
        self.until_metric("picorelay_pico_blocks_total", "outcome=\"new\"", count as f64).await;
    }

    /// Waits until its log has this text.
    pub(crate) async fn until_log(&self, text: &str) {
        let began = std::time::Instant::now();
        while !self.log().contains(text) {
            assert!(began.elapsed() < PATIENCE, "the log does not say {text:?}\n{}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Asks it to stop (SIGTERM) and waits: it must exit with 0.
    pub(crate) fn stop(&mut self) {
        let status = self.terminate();
        assert_eq!(status.code(), Some(0), "SIGTERM: {status}\n{}", self.log());
    }

    /// Asks it to look at its files again (SIGHUP).
    pub(crate) fn hang_up(&self) {
        assert!(Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status().unwrap().success());
    }

    fn terminate(&mut self) -> ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = wait(&mut self.process, PATIENCE);
        assert_ne!(status.signal(), Some(9), "it does not stop on SIGTERM\n{}", self.log());
        status
    }

    /// Kills it at once (SIGKILL).
    pub(crate) fn kill9(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again on the same data, stopping it first if it runs. The port is a new one.
    pub(crate) fn restart(&mut self) {
        self.restart_on(0);
    }

    /// The same on the port that its clients know.
    pub(crate) fn restart_here(&mut self) {
        self.restart_on(self.port);
    }

    fn restart_on(&mut self, port: u16) {
        if self.process.try_wait().unwrap().is_none() {
            self.stop();
        }
        let command = command_ahead(self.folder.path(), self.ahead_ms);
        (self.process, self.port) = serve(self.folder.path(), port, command);
        self.url = format!("ws://127.0.0.1:{}", self.port);
    }

    /// Starts it again with another configuration.
    pub(crate) fn reconfigure(&mut self, config: &str) {
        std::fs::write(self.folder.path().join("picorelay.toml"), config).unwrap();
        self.restart();
    }

    /// Runs another command on its configuration and data, with its clock. It must have stopped.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> Output {
        assert!(self.process.try_wait().unwrap().is_some(), "it runs");
        output(command_ahead(self.folder.path(), self.ahead_ms).args(arguments), b"")
    }

    /// What it wrote to stderr.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Resident memory in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the relay's last log lines:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// Starts a relay on the configuration and the data of a folder, and waits until it says its port. Its log is there, too.
pub(crate) fn serve(folder: &Path, port: u16, mut command: Command) -> (Child, u16) {
    let listen = format!("127.0.0.1:{port}");
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut process = command
        .args(["serve", "--listen", &listen])
        .args(["--config".as_ref(), folder.join("picorelay.toml").as_os_str()])
        .args(["--data".as_ref(), folder.join("data").as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let stdout = process.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        if let Some(port) = port_in(&line) {
            return (process, port);
        }
    }
    let _ = process.kill();
    let status = process.wait();
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("the relay does not say where it listens; {status:?}\n{log}");
}

fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("://127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// How long a command may work.
const WORK: Duration = Duration::from_secs(300);

/// Waits until it ends; when that takes too long it is killed.
fn wait(process: &mut Child, patience: Duration) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > patience {
            process.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) success: bool,
    /// The exit code; none if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `picorelay` with arguments in an own folder until it ends.
pub(crate) fn picorelay(folder: &Path, arguments: &[&str]) -> Output {
    picorelay_with_input(folder, arguments, "")
}

/// Starts it, for those who end it themselves.
pub(crate) fn start_picorelay(folder: &Path, arguments: &[&str]) -> Child {
    let quiet =
        |command: &mut Command| command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    quiet(command(folder).args(arguments)).unwrap()
}

/// The same; what it writes to stdout can be read.
pub(crate) fn start_picorelay_with_output(folder: &Path, arguments: &[&str]) -> Child {
    command(folder).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// The same with text on stdin.
pub(crate) fn picorelay_with_input(folder: &Path, arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    output(command(folder).args(arguments), input.as_ref())
}

fn output(command: &mut Command, input: &[u8]) -> Output {
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_owned();
    let feeder = thread::spawn(move || {
        // A command that does not read its input closes it early.
        let _ = stdin.write_all(&input);
    });
    let mut stderr = process.stderr.take().unwrap();
    let errors = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut out = process.stdout.take().unwrap();
    let output = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        text
    });
    let status = wait(&mut process, WORK);
    feeder.join().unwrap();
    Output {
        success: status.success(),
        code: status.code(),
        stdout: output.join().unwrap(),
        stderr: errors.join().unwrap(),
    }
}

/// The program, in a folder without a config file and an environment without options.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(folder).env_clear();
    command
}

/// The same with a clock that is ahead.
fn command_ahead(folder: &Path, ahead_ms: u64) -> Command {
    let mut command = command(folder);
    if ahead_ms > 0 {
        command.env("PICORELAY_TEST_CLOCK_MS", ahead_ms.to_string());
    }
    command
}

/// The program that PICORELAY_TEST_BINARY names. Without it, the program is built once a run, with the profile of the
/// tests.
#[allow(clippy::disallowed_methods, reason = "what cargo sets is no option of the relay")]
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = std::env::var_os("PICORELAY_TEST_BINARY") {
            return std::path::absolute(named).expect("PICORELAY_TEST_BINARY is a path");
        }
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            // What `cargo test --workspace` has built: the tests of a part of the workspace would want it otherwise, and
            // everything beneath with it.
            "--workspace",
            "--test",
            "wire",
            "--bin",
            "picorelay",
            "--message-format=json-render-diagnostics",
        ]);
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).stderr(Stdio::inherit());
        // Set while tests run. Build scripts that look at them would run again, and all that depends on them be built again.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_")) {
            if name.starts_with("CARGO_MANIFEST") || name.starts_with("CARGO_PKG") {
                build.env_remove(name);
            }
        }
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let output = build.output().unwrap();
        assert!(output.status.success(), "picorelay does not build");
        let messages = String::from_utf8(output.stdout).unwrap();
        let executable = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "picorelay")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from));
        executable.expect("cargo names the program")
    })
}
