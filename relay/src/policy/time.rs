//! How far `created_at` may lie from now, as announced in NIP-11.

use super::{Policy, Verdict};
use crate::clock::Timestamp;
use crate::event::Class;
use crate::guard::GIFT_WRAP;
use crate::outcome::Prefix;
use crate::source::Source;
use crate::verify::Verified;

/// Who refuses.
const NAME: &str = "time";

/// How far ahead, in seconds. 0: no limit.
pub(super) struct NotAhead {
    pub(super) max: u64,
}

impl Policy for NotAhead {
    fn event(&self, event: &Verified, source: &Source, now: Timestamp) -> Verdict {
        let is_ahead = self.max > 0 && event.created_at > now.saturating_add(self.max);
        if !is_ahead || matches!(source, Source::Bridge) || source.is_trusted_import() {
            return Verdict::Accept;
        }
        Verdict::reject(Prefix::Invalid, NAME, "created_at is too far in the future")
    }
}

/// How old, in seconds. 0: no limit.
pub(super) struct NotTooOld {
    pub(super) max: u64,
}

impl Policy for NotTooOld {
    fn event(&self, event: &Verified, source: &Source, now: Timestamp) -> Verdict {
        // Gift wraps are back-dated by intent (NIP-59), and profiles and lists may be old and still the newest.
        let may_be_old = matches!(source, Source::Bridge | Source::Upstream)
            || source.is_trusted_import()
            || event.kind == GIFT_WRAP
            || matches!(event.class(), Class::Replaceable | Class::Addressable);
        if self.max > 0 && !may_be_old && event.created_at < now.saturating_sub(self.max) {
            return Verdict::reject(Prefix::Invalid, NAME, "created_at is too far in the past");
        }
        Verdict::Accept
    }
}
