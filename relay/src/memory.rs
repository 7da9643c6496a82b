//! Memory that was freed goes back to the system.

use std::time::Duration;

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(1);

/// What the allocator is asked for, so that it knows the thread.
const ASKED_BYTES: usize = 1024;

/// Gives back what was freed, again and again.
///
/// The allocator (mimalloc) returns freed pages to the system when one of its threads asks for memory of the same kind, or
/// when a thread ends. After a peak, when everybody is idle, neither happens, and a gigabyte would stay for good. So now and
/// then a thread begins and ends; when nothing was freed that takes less than a millisecond.
pub async fn give_back() {
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        // Not of the runtime, whose threads stay.
        let thread = std::thread::Builder::new().name("memory".into()).spawn(|| {
            drop(std::hint::black_box(Vec::<u8>::with_capacity(ASKED_BYTES)));
        });
        if let Err(error) = thread {
            tracing::debug!(%error, "there is no thread to give memory back");
        }
    }
}
