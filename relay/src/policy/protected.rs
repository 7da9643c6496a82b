//! Events that only some may publish (NIP-70), and those that nobody may (NIP-42).

use super::{Policy, Verdict, repost};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::kinds::AUTH;
use crate::outcome::Prefix;
use crate::source::Source;
use crate::verify::Verified;

/// Who refuses.
const NAME: &str = "protected";

/// AUTH events are for one relay's eyes: never stored, never passed on (NIP-42).
pub(super) struct NeverPublished;

impl Policy for NeverPublished {
    fn event(&self, event: &Verified, _: &Source, _: Timestamp) -> Verdict {
        if event.kind == AUTH {
            return Verdict::reject(Prefix::Invalid, NAME, "AUTH events are not published");
        }
        Verdict::Accept
    }
}

/// A `["-"]` tag: only its author may publish it here, and nobody may repost it with its text (NIP-70).
pub(super) struct Protected;

impl Policy for Protected {
    fn event(&self, event: &Verified, source: &Source, _: Timestamp) -> Verdict {
        if matches!(source, Source::Bridge) || source.is_trusted_import() {
            return Verdict::Accept;
        }
        let keys = source.keys();
        if is_protected(event) && !keys.contains(&event.pubkey) {
            return Verdict::reject(
                if keys.is_empty() { Prefix::AuthRequired } else { Prefix::Restricted },
                NAME,
                OTHERS,
            );
        }
        if repost::is_repost(event.kind) && repost::embeds_protected(&event.content()) {
            return Verdict::reject(
                Prefix::Blocked,
                NAME,
                "this repost holds a protected event, or too many reposts in each other",
            );
        }
        Verdict::Accept
    }
}

/// What is told to others.
const OTHERS: &str = "this event may only be published by its author";

/// A tag that is `-` and nothing else. With more strings it is some other tag of that name, to the letter of NIP-70; it
/// is treated as one all the same, since an author who writes it can mean nothing else.
pub(crate) fn is_protected(event: &Event) -> bool {
    event.tags.iter().any(|tag| tag.name() == "-")
}
