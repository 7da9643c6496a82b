//! Where events come from.

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::event::PublicKey;

/// Where events come from. Policies differ.
#[derive(Clone, Debug)]
pub enum Source {
    /// A client.
    Client(Client),
    /// Files that the operator takes in.
    Import {
        /// The files are the operator's own, such as a backup: only what the NIPs demand of the store applies. Else every
        /// rule holds as for a client that has not authenticated.
        is_trusted: bool,
    },
    /// The relay itself, for blocks of pico rooms. No policy about work and age applies: nobody chose when the block came.
    Bridge,
    /// Another relay that the operator named. It is trusted in nothing, but what it gives may be old, and was not made for
    /// us: the age limit and proof of work do not apply. Protected events (NIP-70) are refused, as their authors did not
    /// bring them.
    Upstream,
}

/// Somebody who sends events.
#[derive(Clone, Debug)]
pub struct Client {
    /// The keys it has authenticated.
    pub keys: SmallVec<[PublicKey; 1]>,
    /// Where it is.
    pub address: IpAddr,
}

impl Source {
    /// The keys that were authenticated.
    pub fn keys(&self) -> &[PublicKey] {
        match self {
            Self::Client(client) => &client.keys,
            Self::Import { .. } | Self::Bridge | Self::Upstream => &[],
        }
    }

    /// True for an import of the operator's own files.
    pub fn is_trusted_import(&self) -> bool {
        matches!(self, Self::Import { is_trusted: true })
    }
}
