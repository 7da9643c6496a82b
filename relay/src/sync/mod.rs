//! Syncing with other nostr relays: those of the bridge (`[[bridge.upstream]]`) and the one of `picorelay sync`.
//!
//! From the wire up: [`client`] is the protocol as a state machine without IO, [`link`] its socket, [`session`] a
//! connection at work. [`walk`] goes through time, newest first, a range that fits into memory at a time, and finds what
//! either side lacks: by negentropy ([`compare`]), or by paging where there is none. [`upstream`] does that for the rooms
//! of the bridge and then stays to follow. Everything that comes enters through `ingest`.

pub mod client;
mod compare;
pub mod done;
pub mod fault;
pub mod known;
pub mod link;
pub mod local;
pub mod session;
pub mod upstream;
pub mod walk;

use nostr::key::Keys;
use nostr::{EventBuilder, JsonUtil, Tag};

use crate::clock;
use crate::event::Id;
use crate::message::auth::AUTH;

/// Signs AUTH events for the relay at `url` (NIP-42) with our own key.
pub fn signer(keys: &Keys, url: &str) -> client::Signer {
    let (keys, url) = (keys.clone(), url.to_owned());
    Box::new(move |challenge| {
        let tags = [["relay", &url], ["challenge", challenge]].map(|[name, value]| Tag::parse([name, value]));
        let tags: Vec<Tag> = tags.into_iter().collect::<Result<_, _>>().ok()?;
        let event = EventBuilder::new(AUTH.into(), "")
            .tags(tags)
            .custom_created_at(clock::now().into())
            .sign_with_keys(&keys)
            .ok()?;
        Some((Id(event.id.to_bytes()), event.as_json()))
    })
}
