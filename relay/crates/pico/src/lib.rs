//! The meeting point of pico nodes.
//!
//! In reading order: [`wire`] is what a frame is, [`rpc`] what two nodes say to each other, both as state machines
//! without IO; [`peer`] is one of them in a [`room`], where [`verify`], [`chain`] and [`mempool`] decide what is kept in
//! [`repo`], [`gossip`] tells the others, and [`upload`] whoever asks. [`rooms`] is the list. Sockets are in
//! [`websocket`], [`tcp`], [`follow`] and `swarm`; [`socket`] is what they have in common. [`file`](mod@file) is a room on a
//! thumb drive.

pub mod account;
pub mod carry;
pub mod config;
pub mod file;
pub mod follow;
pub mod gossip;
pub mod outbox;
pub mod peer;
pub mod repo;
pub mod room;
pub mod rooms;
pub mod rpc;
#[cfg(test)]
mod simulation;
pub mod socket;
pub mod strangers;
#[cfg(feature = "hyperswarm")]
pub mod swarm;
pub mod tcp;
pub mod topic;
pub mod upload;
pub mod verdict;
pub mod verify;
pub mod websocket;
pub mod wire;

pub use picorelay_engine::waiting::{chain, mempool};

use picorelay_base::{clock, fair, metrics, rarely, threads};
use picorelay_engine as engine;
use picorelay_net::{address, descriptors, dial, patience, rounds, unfinished};
use picorelay_nostr::{event, filter};
use picorelay_store as store;

#[cfg(test)]
use picorelay_nostr::vanish;
