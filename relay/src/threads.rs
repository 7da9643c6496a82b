//! What a piece of work costs a thread.

use std::time::{Duration, Instant};

/// Of the time that passes while a thread waits (for the disk, or for a core) this part counts as work.
const WAITING: u32 = 8;

/// What a piece of work costs: the time that the thread had a core. Where the thread mostly waited, as for a slow disk, an
/// eighth of the time that passed. Who shares a busy machine is therefore not charged for others.
pub(crate) struct Stopwatch {
    started: Instant,
    cpu: Option<Duration>,
}

impl Stopwatch {
    /// For work of this thread that begins now.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), cpu: cpu() }
    }

    /// What it has cost so far. To be asked on the same thread.
    pub(crate) fn cost(&self) -> Duration {
        let passed = self.started.elapsed();
        match (self.cpu, cpu()) {
            (Some(before), Some(now)) => now.saturating_sub(before).max(passed / WAITING),
            _ => passed,
        }
    }
}

/// How long this thread has had a core.
fn cpu() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_costs_little_and_work_its_time() {
        let watch = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(80));
        let waited = watch.cost();
        assert!(waited >= Duration::from_millis(10) && waited < Duration::from_millis(60), "{waited:?}");
        let watch = Stopwatch::start();
        let mut sum = 0_u64;
        while watch.started.elapsed() < Duration::from_millis(1) || watch.cost() < Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(watch.cost() <= watch.started.elapsed());
    }
}
