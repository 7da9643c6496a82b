//! The threads that drive a backend: one that writes, a few that read for whoever's turn it is.

mod asker;
mod coming;
mod pool;
mod turns;
mod writer;

pub use coming::Coming;
pub use pool::{Crew, Party, Readers, Stopped};
pub use writer::{ChangeError, Commits, Pace, ROOMS_ACCOUNT, SavedAll, Saving, WriterHandle, WriterThread};
