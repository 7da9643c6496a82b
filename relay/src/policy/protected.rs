//! Events that only some may publish (NIP-70), and those that nobody may (NIP-42).

use super::{Policy, Verdict};
use crate::clock::Timestamp;
use crate::event::{Event, PublicKey};
use crate::ingest::{Client, Source};
use crate::message::auth::AUTH;
use crate::verify::Verified;

/// Kinds of reposts (NIP-18).
const REPOSTS: [u16; 2] = [6, 16];

/// AUTH events are for one relay's eyes: never stored, never passed on (NIP-42).
pub(super) struct NeverPublished;

impl Policy for NeverPublished {
    fn event(&self, event: &Verified, _: &Source, _: Timestamp) -> Verdict {
        if event.kind == AUTH {
            return Verdict::Reject("invalid: AUTH events are not published".into());
        }
        Verdict::Accept
    }
}

/// A `["-"]` tag: only its author may publish it here, and nobody may repost it with its text (NIP-70).
pub(super) struct Protected;

impl Policy for Protected {
    fn event(&self, event: &Verified, source: &Source, _: Timestamp) -> Verdict {
        let keys = match source {
            Source::Client(Client { keys, .. }) => keys.as_slice(),
            Source::Upstream => &[],
            Source::Import | Source::Bridge => return Verdict::Accept,
        };
        if is_protected(event) && !keys.contains(&event.pubkey) {
            return Verdict::Reject(refusal(keys).into());
        }
        if REPOSTS.contains(&event.kind) && embeds_protected(&event.content()) {
            return Verdict::Reject("blocked: this repost holds a protected event".into());
        }
        Verdict::Accept
    }
}

/// Read as leniently as clients read it: whatever else is wrong with it, the last `tags` count.
fn embeds_protected(content: &str) -> bool {
    let Ok(inner) = serde_json::from_str::<serde_json::Value>(content) else { return false };
    let tags = inner.get("tags").and_then(serde_json::Value::as_array);
    tags.is_some_and(|tags| tags.iter().any(|tag| tag.get(0).is_some_and(|name| name == "-")))
}

fn refusal(keys: &[PublicKey]) -> &'static str {
    if keys.is_empty() {
        "auth-required: this event may only be published by its author"
    } else {
        "restricted: this event may only be published by its author"
    }
}

/// A tag that is `-` and nothing else. With more strings it is some other tag of that name, to the letter of NIP-70; it
/// is treated as one all the same, since an author who writes it can mean nothing else.
pub(crate) fn is_protected(event: &Event) -> bool {
    event.tags.iter().any(|tag| tag.name() == "-")
}
