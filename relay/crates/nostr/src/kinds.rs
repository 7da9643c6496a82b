//! Numbers of kinds that several rooms know.

/// A client proves that it holds a key (NIP-42).
pub const AUTH: u16 = 22242;
