//! What is answered over HTTP. [`listen`] takes connections; the others are functions from the configuration and numbers
//! to text, which the router calls.

pub mod exporter;
pub mod health;
pub mod host;
pub mod landing;
pub mod listen;
pub mod nip11;
mod pace;
mod page;
mod pico;
mod prefix;
pub mod room;
pub mod router;
pub mod shared;
pub mod state;
