//! The connection of one nostr client: its socket, which its session and its outbox are on.

mod socket;

pub use socket::upgrade;
