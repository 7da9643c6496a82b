//! Talks to the running relay over sockets, as strangers would: one file for each NIP and capability.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cloned_ref_to_slice_refs,
    clippy::indexing_slicing,
    clippy::large_futures,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod harness;

mod bad_input;
mod beside;
mod bounds;
mod bridge;
mod bridge_crash;
mod bridge_ring;
mod bridge_upstream;
mod bridge_upstream_hostile;
mod cli;
mod closing;
mod crash;
mod differential;
mod engine_rooms;
mod http;
mod import;
mod js;
mod limits;
mod log;
mod matrix;
mod names;
mod neighbours;
mod nip01;
mod nip01_events;
mod nip01_live;
mod nip09;
mod nip11;
mod nip13;
mod nip17_59_04;
mod nip22;
mod nip40;
mod nip42;
mod nip45;
mod nip50;
mod nip62;
mod nip65_66;
mod nip67;
mod nip70;
mod nip77;
mod nostr_sdk;
mod pico_attacks;
mod pico_files;
mod pico_hyperswarm;
mod pico_js;
mod pico_relays;
mod pico_rooms;
mod pico_strangers;
mod pico_swarm;
mod slices;
mod slices_docs;
mod slices_rooms;
mod slow_client;
mod sync;
