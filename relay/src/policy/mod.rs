//! Which verified events are admitted. A policy is a small function; one file each.

mod content;
pub mod judge;
pub mod plugin;
mod pow;
mod protected;
mod repost;
pub mod slices;
mod time;
mod vanish;

use std::borrow::Cow;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::outcome::{Prefix, Refusal};
use crate::source::Source;
use crate::verify::Verified;

pub(crate) use protected::is_protected;

/// What a policy says of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing against it.
    Accept,
    /// Refused.
    Reject(Refusal),
}

impl Verdict {
    /// Refused by the policy of this name. `text`: the reason, for people, without the prefix.
    pub fn reject(prefix: Prefix, by: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::Reject(Refusal::new(prefix, by, text))
    }
}

/// One rule.
pub trait Policy: Send + Sync {
    /// Judges an event. The time is given. Called on threads that may wait.
    fn event(&self, event: &Verified, source: &Source, now: Timestamp) -> Verdict;
}

/// Every policy.
pub struct Policies {
    /// What makes an event wrong for everybody.
    always: Vec<Box<dyn Policy>>,
    /// What this operator does not want. A request to vanish that names this relay is obeyed whatever the operator wants: it is
    /// not asked about these, nor about the operator's plugin and slices (NIP-62: "regardless of the user's status").
    operators: Vec<Box<dyn Policy>>,
}

impl Policies {
    /// In the order they are asked: cheapest first.
    pub fn new(config: &Config, gate: Option<Box<dyn Policy>>) -> Self {
        let limits = &config.limits;
        let mut operators: Vec<Box<dyn Policy>> = vec![
            Box::new(time::NotTooOld { max: limits.created_at_past_seconds_max }),
            Box::new(pow::Difficulty { min: limits.pow_min }),
            Box::new(content::Size { tags_max: limits.event_tags_max, content_chars_max: limits.content_chars_max }),
        ];
        operators.extend(gate);
        Self {
            always: vec![
                Box::new(protected::NeverPublished),
                Box::new(vanish::NamesRelays),
                Box::new(time::NotAhead { max: limits.created_at_future_seconds_max }),
                Box::new(protected::Protected),
            ],
            operators,
        }
    }

    /// What they say of an event; `is_obeyed`: it asks this relay to forget its author.
    pub fn event(&self, event: &Verified, is_obeyed: bool, source: &Source, now: Timestamp) -> Verdict {
        let operators = if is_obeyed { &[] } else { self.operators.as_slice() };
        for policy in self.always.iter().chain(operators) {
            if let Verdict::Reject(why) = policy.event(event, source, now) {
                return Verdict::Reject(why);
            }
        }
        Verdict::Accept
    }
}
