//! Size of an event.

use super::{Policy, Verdict};
use crate::clock::Timestamp;
use crate::outcome::Prefix;
use crate::source::Source;
use crate::verify::Verified;

/// Who refuses.
const NAME: &str = "size";

/// Limits of tags and content, as announced in NIP-11.
pub(super) struct Size {
    pub(super) tags_max: usize,
    pub(super) content_chars_max: usize,
}

impl Policy for Size {
    fn event(&self, event: &Verified, source: &Source, _: Timestamp) -> Verdict {
        if source.is_trusted_import() {
            return Verdict::Accept;
        }
        if event.tags.len() > self.tags_max {
            return Verdict::reject(Prefix::Blocked, NAME, "too many tags");
        }
        let content = event.content();
        if content.len() > self.content_chars_max && content.chars().count() > self.content_chars_max {
            return Verdict::reject(Prefix::Blocked, NAME, "content is too long");
        }
        Verdict::Accept
    }
}
