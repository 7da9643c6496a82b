//! How far `created_at` may lie from now.

use super::{Policy, Verdict};
use crate::clock::Timestamp;
use crate::event::Class;
use crate::guard::GIFT_WRAP;
use crate::ingest::Source;
use crate::verify::Verified;

/// Limits in seconds, as announced in NIP-11. 0: none.
pub(super) struct CreatedAt {
    pub(super) future_max: u64,
    pub(super) past_max: u64,
}

impl Policy for CreatedAt {
    fn event(&self, event: &Verified, source: &Source, now: Timestamp) -> Verdict {
        if matches!(source, Source::Import | Source::Bridge) {
            return Verdict::Accept;
        }
        if self.future_max > 0 && event.created_at > now.saturating_add(self.future_max) {
            return Verdict::Reject("invalid: created_at is too far in the future".into());
        }
        // Gift wraps are back-dated by intent (NIP-59), and profiles and lists may be old and still the newest.
        let may_be_old = event.kind == GIFT_WRAP || matches!(event.class(), Class::Replaceable | Class::Addressable);
        if self.past_max > 0 && !may_be_old && event.created_at < now.saturating_sub(self.past_max) {
            return Verdict::Reject("invalid: created_at is too far in the past".into());
        }
        Verdict::Accept
    }
}
