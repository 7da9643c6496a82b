//! Threads that the relay cannot do without, and what a piece of work costs a thread.

use std::cell::Cell;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Starts a thread that the relay cannot do without. If it panics, the process says so and ends with code 1: whoever
/// watches it starts it anew, and what was acknowledged is on disk. Without that a relay would go on that saves nothing.
///
/// # Errors
///
/// There is no thread.
pub fn essential<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    let name = name.into();
    let alarm = Alarm(name.clone());
    std::thread::Builder::new().name(name).spawn(move || {
        let _alarm = alarm;
        work()
    })
}

/// The same for a task.
pub async fn needed<T>(name: impl Into<String>, task: impl Future<Output = T>) -> T {
    let _alarm = Alarm(name.into());
    task.await
}

/// Ends the process if it is dropped by a panic.
struct Alarm(String);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("`{}` ended by a panic, and the relay cannot do without it: it stops", self.0);
            std::process::exit(1);
        }
    }
}

/// Waits until a thread has ended, and those that took its place.
pub fn wait_for(thread: &Mutex<Option<JoinHandle<()>>>) {
    while thread.lock().as_ref().is_some_and(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Of the time that passes while a thread waits (for the disk, or for a core) this part counts as work.
const WAITING: u32 = 8;

/// What takes no longer than this costs what has passed: to ask how long a thread had a core is dear beside it.
const SHORT: Duration = Duration::from_micros(200);

/// How long it is taken for granted that a thread that has not slept has a core.
const STEADY: Duration = Duration::from_millis(1);

thread_local! {
    /// When this thread was last asked how long it has had a core, and the answer.
    static ASKED: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// What a piece of work costs: the time that the thread had a core. Where the thread mostly waited, as for a slow disk, an
/// eighth of the time that passed. Who shares a busy machine is therefore not charged for others.
pub struct Stopwatch {
    started: Instant,
    cpu: Option<Duration>,
}

impl Stopwatch {
    /// For work of this thread that begins now.
    #[inline]
    pub fn start() -> Self {
        Self::start_at(Instant::now())
    }

    /// For work of this thread that begins now, where the time is known.
    #[inline]
    pub fn start_at(now: Instant) -> Self {
        let lately = ASKED.get().and_then(|(at, cpu)| {
            let passed = now.saturating_duration_since(at);
            (passed < STEADY).then(|| cpu + passed)
        });
        Self { started: now, cpu: lately.or_else(|| cpu(now)) }
    }

    /// What it has cost so far. To be asked on the same thread.
    #[inline]
    pub fn cost(&self) -> Duration {
        self.cost_at(Instant::now())
    }

    /// What it has cost so far, where the time is known.
    #[inline]
    pub fn cost_at(&self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.started);
        if passed <= SHORT {
            return passed;
        }
        match (self.cpu, cpu(now)) {
            (Some(before), Some(now)) => now.saturating_sub(before).max(passed / WAITING),
            _ => passed,
        }
    }
}

/// To be told after this thread has slept for want of work: it had no core in that time.
#[inline]
pub fn has_slept() {
    ASKED.set(None);
}

/// How long this thread has had a core.
fn cpu(now: Instant) -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let cpu = Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
        ASKED.set(Some((now, cpu)));
        Some(cpu)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = now;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a process of its own, since that ends.
    #[test]
    fn a_panic_of_what_is_needed_ends_the_process() {
        const CHILD: &str = "PICORELAY_TEST_PANIC";
        #[allow(clippy::disallowed_methods, reason = "tests")]
        match std::env::var(CHILD).as_deref() {
            Ok("thread") => drop(essential("needed", || panic!("on purpose")).unwrap().join()),
            Ok("task") => {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
                let task = needed("needed", async {
                    tokio::task::yield_now().await;
                    panic!("on purpose")
                });
                let _: Result<(), _> = runtime.block_on(runtime.spawn(task));
            }
            _ => {
                let name = "threads::tests::a_panic_of_what_is_needed_ends_the_process";
                for what in ["thread", "task"] {
                    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
                    child.args(["--exact", name, "--nocapture"]).env(CHILD, what);
                    let child = child.output().unwrap();
                    assert_eq!(child.status.code(), Some(1), "{child:?}");
                    assert!(String::from_utf8_lossy(&child.stderr).contains("on purpose"), "{child:?}");
                }
                assert_eq!(essential("done", || 5).unwrap().join().unwrap(), 5);
                return;
            }
        }
        // Only if the process was not ended. The test's own failure has another code.
        std::process::exit(3);
    }

    #[test]
    fn waiting_costs_little_and_work_its_time() {
        let watch = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(80));
        let waited = watch.cost();
        assert!(waited >= Duration::from_millis(10) && waited < Duration::from_millis(60), "{waited:?}");
        let watch = Stopwatch::start();
        toil(&watch, Duration::from_millis(5));
        assert!(watch.cost() <= watch.started.elapsed());
    }

    /// Works until it has cost so much.
    fn toil(watch: &Stopwatch, cost: Duration) {
        let mut sum = 0_u64;
        while watch.started.elapsed() < Duration::from_millis(1) || watch.cost() < cost {
            sum = std::hint::black_box(sum + 1);
        }
    }

    #[test]
    fn work_after_work_costs_its_own_time() {
        toil(&Stopwatch::start(), Duration::from_millis(5));
        let second = Stopwatch::start();
        assert!(second.cost() < Duration::from_millis(2), "not what was done before it");
        toil(&second, Duration::from_millis(3));
        std::thread::sleep(Duration::from_micros(500));
        has_slept();
        let third = Stopwatch::start();
        toil(&third, Duration::from_millis(2));
        assert!(third.cost() >= Duration::from_millis(2) && third.cost() <= third.started.elapsed());
    }
}
