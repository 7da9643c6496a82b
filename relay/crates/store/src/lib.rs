//! Where events are kept: what a backend must do, and the threads that drive it.
//!
//! A backend is two blocking traits, [`Writer`] (there is one) and [`Reader`] (there are a few). [`WriterHandle`] and
//! [`Readers`] run them on threads. Backends: [`sqlite`] is the real one, [`memory`] the plain one that tests compare it
//! with. What must hold of any backend is written as code in `conformance`.

pub mod config;
#[cfg(test)]
mod conformance;
mod contract;
mod crew;
#[cfg(test)]
mod differential;
pub mod memory;
pub mod sqlite;
#[cfg(test)]
mod testing;

pub use contract::{
    After, Backend, Batch, Body, By, End, Query, Reader, Row, Saved, Scan, Searching, Seq, Slice, Step, StoreError,
    StoredTags, Stream, TagSearch, Writer, carry, repo, state, stored_tags,
};
pub use crew::{
    ChangeError, Coming, Commits, Crew, Pace, Party, ROOMS_ACCOUNT, Readers, SavedAll, Saving, Stopped, WriterHandle,
    WriterThread,
};

pub(crate) use contract::{Match, Stage, Turn, read_back};

use picorelay_base::{bound, clock, fair, metrics, rarely, threads};
use picorelay_nostr::{event, filter, guard, outcome, search, vanish, verify};
