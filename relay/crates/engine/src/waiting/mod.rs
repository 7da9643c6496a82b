//! Blocks that wait for their parents, and what follows when these are there.

pub mod chain;
pub mod mempool;
