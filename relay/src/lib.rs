//! picorelay: a self-hosted nostr relay, and the meeting point of pico nodes.
//!
//! The floors, from the bottom to the top, each of which uses only those before it:
//!
//! 1. crates: [`clock`], [`metrics`], [`fair`] and other small things (`picorelay-base`); what an event is ([`event`],
//!    [`verify`], [`filter`]) and who may see it ([`guard`]) (`picorelay-nostr`); connections ([`websocket`], [`dial`])
//!    (`picorelay-net`); where everything is kept ([`store`]); what a slice is run by ([`script`]), the rules of rooms
//!    ([`engine`]), and rooms of pico nodes ([`pico`]);
//! 2. [`config`], [`account`], [`door`]: what the operator set, and who comes in;
//! 3. [`policy`], [`ingest`], [`subscription`]: events in, and live events out;
//! 4. [`message`], [`session`], [`connection`]: nostr clients;
//! 5. [`bridge`], [`sync`]: events and blocks between rooms and other relays;
//! 6. [`http`], [`app`], [`cli`]: the one port, what is started and stopped, and the commands.

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
