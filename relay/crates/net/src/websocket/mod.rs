//! WebSockets that clients and peers open: how they begin, and how they end.

mod alive;
mod ending;
mod handshake;

pub use alive::{Alive, Look};
pub use ending::{End, Parked, fault_of};
pub use handshake::{Asked, Handshake, NoHandshake, Socket};
