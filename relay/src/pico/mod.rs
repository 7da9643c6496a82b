//! The meeting point of pico nodes.

pub mod repo;
