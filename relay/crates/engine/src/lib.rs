//! The engine: what the slices of a room decide, before anything is kept or told.
//!
//! An [`Engine`] belongs to one room and lives on one thread. It finds where blocks join, asks the slices, and commits the
//! blocks they accept together with all that these change. What it may cost is in [`Limits`]; how a slice is asked is said
//! in [`mod@slice`]; what is kept between two blocks, in [`picorelay_store::state`]. Time is an argument, and what happens is
//! a function of the order of blocks and of their times: whatever is due at the time of a block is swept before it.

pub mod config;
mod decide;
pub mod host;
pub mod offline;
pub mod rules;
pub mod scripted;
pub mod slice;
pub mod waiting;
pub mod watch;

pub use decide::{Decision, Engine, EngineError, Limits, Mode, Outcome, Rejection, Store, Update, Updates, replay};

use picorelay_base::{clock, metrics, pulse, rarely, threads};
use picorelay_nostr::vanish;
use picorelay_script as script;
use picorelay_store as store;
