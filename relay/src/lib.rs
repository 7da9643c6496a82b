//! picorelay: a self-hosted nostr relay, and the meeting point of pico nodes.
//!
//! Modules in reading order: what an event is ([`event`], [`verify`], [`filter`]), who may see it ([`guard`]), where it is
//! kept ([`store`]).

pub mod account;
pub mod app;
pub mod bridge;
pub mod cli;
pub mod clientlog;
pub mod config;
pub mod connection;
pub mod door;
pub mod holdings;
pub mod http;
pub mod ingest;
pub mod keys;
pub mod memory;
pub mod message;
pub mod nips;
pub mod outbox;
pub mod policy;
pub mod session;
pub mod subscription;
pub mod sync;

pub use picorelay_base::{bound, clock, fair, metrics, pulse, rarely, threads};
pub use picorelay_engine as engine;
pub use picorelay_net::{address, descriptors, dial, patience, rounds, seldom, unfinished, websocket};
pub use picorelay_nostr::{event, filter, guard, kinds, outcome, search, source, vanish, verify};
pub use picorelay_pico as pico;
pub use picorelay_script as script;
pub use picorelay_store as store;
