//! Requests to vanish that name no relay (NIP-62).

use super::{Policy, Verdict};
use crate::clock::Timestamp;
use crate::outcome::Prefix;
use crate::source::Source;
use crate::vanish::VANISH;
use crate::verify::Verified;

/// Who refuses.
const NAME: &str = "vanish";

/// "The tag list MUST include at least one `relay` value."
pub(super) struct NamesRelays;

impl Policy for NamesRelays {
    fn event(&self, event: &Verified, source: &Source, _: Timestamp) -> Verdict {
        if event.kind != VANISH || source.is_trusted_import() || event.tags.values("relay").any(|url| !url.is_empty()) {
            return Verdict::Accept;
        }
        Verdict::reject(Prefix::Invalid, NAME, "a request to vanish needs a relay tag")
    }
}
