//! The engine: what the slices of a room decide, before anything is kept or told.

pub mod slice;
