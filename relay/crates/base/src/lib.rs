//! What all rooms of the relay stand on, and what knows none of them: time, threads, turns between neighbours, bounds of what
//! is held, names of metrics.

pub mod bound;
pub mod clock;
pub mod fair;
pub mod metrics;
pub mod pulse;
pub mod rarely;
pub mod threads;

#[doc(hidden)]
pub use tracing as __tracing;
