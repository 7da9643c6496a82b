//! The relay that is attacked, as a process that is watched.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::child::{Claim, command, weigh};
use crate::harness::relay::serve;
use crate::harness::{binary, http};
use crate::small::{is_small, settings};

/// How long a stop may take before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// A running relay. Dropped, it is killed.
pub(crate) struct Target {
    folder: TempDir,
    process: Child,
    pub(crate) port: u16,
}

/// How a relay ended.
pub(crate) struct Stopped {
    pub(crate) took: Duration,
    /// None: by a signal.
    pub(crate) code: Option<i32>,
}

impl Target {
    /// Starts one on a copy of a data folder.
    pub(crate) fn start(template: &Path, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let copied = Command::new("cp").arg("-a").arg(template).arg(&data).status().unwrap();
        assert!(copied.success(), "{} cannot be copied", template.display());
        std::fs::write(folder.path().join("picorelay.toml"), config).unwrap();
        let mut command = command(binary(), Claim::Full);
        command.current_dir(folder.path()).env_clear().envs(if is_small() { settings() } else { Vec::new() });
        let (process, port) = serve(folder.path(), 0, command);
        weigh(process.id(), Claim::Full);
        Self { folder, process, port }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// A number of `/proc/PID/status`, in MiB.
    fn memory_mb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap_or_default() / 1024
    }

    pub(crate) fn rss_mb(&self) -> u64 {
        self.memory_mb("VmRSS")
    }

    pub(crate) fn rss_peak_mb(&self) -> u64 {
        self.memory_mb("VmHWM")
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.process.id())
    }

    /// Connections of clients, as the relay counts them. None if it does not say.
    pub(crate) fn connections(&self) -> Option<u64> {
        let metrics = std::panic::catch_unwind(|| http(self.port, "GET /metrics", &[])).ok()?;
        let line = metrics.body.lines().find_map(|line| line.strip_prefix("picorelay_connections "))?.to_owned();
        line.parse::<f64>().ok().map(|count| count as u64)
    }

    /// Asks it to stop (SIGTERM), and waits.
    pub(crate) fn stop(&mut self) -> Stopped {
        let began = Instant::now();
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Stopped { took: began.elapsed(), code: status.code() };
            }
            if began.elapsed() > STOP_PATIENCE {
                let _ = self.process.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Seconds of a processor that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which is in brackets: state is the first, user and system time the 12th and 13th, in hundredths.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}
