//! Which verified events are admitted. A policy is a small function; one file each.

mod content;
pub mod judge;
pub mod plugin;
mod pow;
mod protected;
mod time;

use std::borrow::Cow;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::ingest::Source;
use crate::verify::Verified;

pub(crate) use protected::is_protected;

/// What a policy says of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing against it.
    Accept,
    /// Refused; the text of the OK, with one of the standard prefixes of NIP-01.
    Reject(Cow<'static, str>),
}

/// One rule.
pub trait Policy: Send + Sync {
    /// Judges an event. The time is given. Called on threads that may wait.
    fn event(&self, event: &Verified, source: &Source, now: Timestamp) -> Verdict;
}

/// Every policy, in the order they are asked: cheapest first.
pub fn policies(config: &Config) -> Vec<Box<dyn Policy>> {
    let limits = &config.limits;
    vec![
        Box::new(protected::NeverPublished),
        Box::new(time::CreatedAt {
            future_max: limits.created_at_future_seconds_max,
            past_max: limits.created_at_past_seconds_max,
        }),
        Box::new(pow::Difficulty { min: limits.pow_min }),
        Box::new(content::Size { tags_max: limits.event_tags_max, content_chars_max: limits.content_chars_max }),
        Box::new(protected::Protected),
    ]
}
