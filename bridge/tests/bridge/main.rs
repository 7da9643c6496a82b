//! The crate, from outside: golden vectors, rules, pages, properties, and the specification.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail where it stands")]

mod common;
mod golden;
mod laws;
mod pages;
mod reject;
mod rules;
mod spec;
mod wire;
