//! picorelay: a self-hosted nostr relay, and the meeting point of pico nodes.
//!
//! Modules in reading order: what an event is ([`event`], [`verify`], [`filter`]), who may see it ([`guard`]), where it is
//! kept ([`store`]).

pub mod account;
pub mod address;
pub mod app;
pub mod bridge;
pub mod cli;
pub mod clientlog;
pub mod config;
pub mod connection;
pub mod descriptors;
pub mod dial;
pub mod door;
pub mod engine;
pub mod event;
pub mod filter;
pub mod guard;
pub mod holdings;
pub mod http;
pub mod ingest;
pub mod keys;
pub mod kinds;
pub mod memory;
pub mod message;
pub mod nips;
pub mod outbox;
pub mod outcome;
pub mod patience;
pub mod pico;
pub mod policy;
pub mod rounds;
pub mod script;
pub mod search;
pub mod session;
pub mod source;
pub mod store;
pub mod subscription;
pub mod sync;
pub mod unfinished;
pub mod vanish;
pub mod verify;
pub mod websocket;

pub use picorelay_base::{bound, clock, fair, metrics, pulse, rarely, threads};
