//! Scripts: slices written in JavaScript, in an embedded QuickJS.
//!
//! A script is an ES module. It can import files of its own folder and the packages that slices use, of which the relay has
//! small versions of its own (`modules.rs`, `host/`). It has no way to anything else: no files, no network, no timers, and no clock
//! but the time that each call is given. `Math.random` gives the same numbers in each call. Each file has a runtime of its
//! own, so that one slice cannot reach into another (`program.rs`); memory, stack, steps and time of each call are limited
//! ([`limits`]). Promises are driven until they are settled; one that nobody resolves is an error.
//!
//! What runs here is a [`program`]: slices for nostr events are asked by the policies, those of pico rooms by the engine. One
//! that keeps failing is not asked for a while ([`health`]); one that does not come to an end is given up ([`crate::pulse`]).

pub mod cbor;
pub mod config;
pub mod error;
pub mod fault;
mod fuel;
pub mod health;
pub mod limits;
mod lower;
pub mod modules;
pub mod msgpack;
mod natives;
pub mod program;
pub mod reader;
pub mod value;

pub use fault::FaultKind;
pub use limits::Limits;
pub use modules::Sources;
pub use reader::DEPTH_CEILING;

use picorelay_base::{clock, metrics, pulse};
