//! Syncing with other nostr relays: those of the bridge (`[[bridge.upstream]]`) and the one of `picorelay sync`.
//!
//! From the wire up: [`client`] is the protocol as a state machine without IO, [`link`] its socket, [`session`] a
//! connection at work. [`walk`] goes through time, newest first, a range that fits into memory at a time, and finds what
//! either side lacks: by negentropy (`compare`), or by paging where there is none ([`crowd`]: where pages end in the
//! middle of a second, [`stride`]: how large they are). [`upstream`] does that for what is `shared` of the rooms of the
//! bridge, and then stays to follow. Everything that comes enters through `ingest`; [`tally`] counts what became of it.

pub mod client;
mod compare;
pub mod crowd;
pub mod done;
pub mod fault;
pub mod known;
pub mod link;
pub mod local;
pub mod pace;
pub mod record;
mod sample;
pub mod session;
mod shared;
pub mod stride;
pub mod tally;
pub mod upstream;
pub mod walk;

use std::sync::Arc;

use pico_bridge::{Draft, Signer};

use crate::bridge::keys::Signers;
use crate::clock;
use crate::kinds::AUTH;

/// Signs AUTH events for the relay at `url` (NIP-42) with our own key.
pub fn signer(signers: &Arc<Signers>, url: &str) -> client::Signer {
    let (signers, url) = (Arc::clone(signers), url.to_owned());
    Box::new(move |challenge| {
        let tags = [["relay", &url], ["challenge", challenge]].map(|tag| tag.map(str::to_owned).to_vec());
        let (kind, created_at, content) = (AUTH, clock::now(), String::new());
        let event = signers.sign(&Draft { signer: Signer::Relay, kind, created_at, tags: tags.into(), content })?;
        Some((event.id, event.json().to_owned()))
    })
}
