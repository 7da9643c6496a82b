//! What becomes of an event that somebody sends.

use std::borrow::Cow;
use std::fmt;

use crate::event::{Event, PublicKey};
use crate::verify::VerifyError;

/// The order in which events were saved: 1, 2, 3, .. for the life of a database. Not reused after a deletion.
pub type Seq = u64;

/// What became of an event. An outcome, not an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Saved {
    /// Stored now.
    New(Seq),
    /// Was already stored.
    Duplicate,
    /// A replaceable or addressable event of which a newer version is stored (or, at the same second, one of lower id).
    Superseded,
    /// It was deleted before (NIP-09).
    Deleted(By),
    /// Somebody asked to vanish later than it was made (NIP-62).
    Vanished(By),
    /// It has expired (NIP-40).
    Expired,
}

/// Who wanted an event gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum By {
    /// Its author.
    Author,
    /// The recipient of a gift wrap, whose author is a key that nobody has any more (NIP-59).
    Recipient,
}

impl By {
    /// Who the owner of this key is to an event of which `key` may dispose.
    pub fn of(key: &PublicKey, event: &Event) -> Self {
        if event.pubkey == *key { Self::Author } else { Self::Recipient }
    }

    /// Why an event that they deleted is not there, in words.
    pub fn deleted(self) -> &'static str {
        match self {
            Self::Author => "deleted by its author",
            Self::Recipient => "deleted by its recipient",
        }
    }

    /// The same for an event that went with their request to vanish.
    pub fn vanished(self) -> &'static str {
        match self {
            Self::Author => "its author asked to vanish",
            Self::Recipient => "its recipient asked to vanish",
        }
    }
}

/// What became of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The store's answer.
    Saved(Saved),
    /// An ephemeral event, passed on.
    Passed,
    /// Not kept, on the word of the operator's rules; who sent it is told otherwise.
    Shadowed,
    /// Refused.
    Refused(Refusal),
}

/// Why something is refused. `Display` is what is told, as NIP-01 has it: `pow: difficulty 3 is less than 20`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What kind of reason it is, for programs.
    pub prefix: Prefix,
    /// Who refuses: the name of a policy, or of a part of the relay.
    pub by: &'static str,
    /// The reason, for people, without the prefix.
    pub text: Cow<'static, str>,
}

/// The first word of a refusal, which programs understand (NIP-01, NIP-42).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Prefix {
    /// The same event, or a newer version of it, is here.
    Duplicate,
    /// The event needs more proof of work.
    Pow,
    /// The relay does not want it.
    Blocked,
    /// It comes too fast, or takes too much.
    RateLimited,
    /// It is wrong in itself.
    Invalid,
    /// The relay cannot do it now.
    Error,
    /// Whoever asks for it may not have it, though the relay knows who they are.
    Restricted,
    /// The relay must know who asks.
    AuthRequired,
    /// Nobody was asked for it who answers.
    Mute,
    /// The text is told as it is, and may begin with a word of the operator's own.
    Other,
}

/// Refuses what has a wrong id or signature.
const VERIFY: &str = "verify";

impl Prefix {
    /// All that have a word.
    const NAMED: [Self; 9] = [
        Self::Duplicate,
        Self::Pow,
        Self::Blocked,
        Self::RateLimited,
        Self::Invalid,
        Self::Error,
        Self::Restricted,
        Self::AuthRequired,
        Self::Mute,
    ];

    /// The word. Empty for [`Prefix::Other`].
    pub fn word(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Pow => "pow",
            Self::Blocked => "blocked",
            Self::RateLimited => "rate-limited",
            Self::Invalid => "invalid",
            Self::Error => "error",
            Self::Restricted => "restricted",
            Self::AuthRequired => "auth-required",
            Self::Mute => "mute",
            Self::Other => "",
        }
    }
}

impl Refusal {
    /// A refusal with a reason of the relay's own.
    pub fn new(prefix: Prefix, by: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { prefix, by, text: text.into() }
    }

    /// The relay stops, and takes nothing more.
    pub fn shutting_down(by: &'static str) -> Self {
        Self::new(Prefix::Error, by, "the relay is shutting down")
    }

    /// The id of an event is not its hash, or its signature is false.
    pub fn forged(error: VerifyError) -> Self {
        Self::new(Prefix::Invalid, VERIFY, error.to_string())
    }

    /// What the event carries is signed falsely, or is not what it says it is: as costly to find out, and as wrong, as a false
    /// signature of the event itself.
    pub fn false_content(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Prefix::Invalid, VERIFY, text)
    }

    /// A reason that a program of the operator gives, such as `pow: 20 bits are needed`. None if it begins with none of the
    /// known prefixes.
    pub fn with_prefix(by: &'static str, words: &str) -> Option<Self> {
        let (word, text) = words.split_once(": ")?;
        let prefix = Prefix::NAMED.into_iter().find(|prefix| prefix.word() == word)?;
        Some(Self::new(prefix, by, text.to_owned()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            Prefix::Other => f.write_str(&self.text),
            prefix => write!(f, "{}: {}", prefix.word(), self.text),
        }
    }
}

impl Outcome {
    /// Outcome and reason, as counted in metrics.
    pub fn labels(&self) -> (&'static str, &'static str) {
        match self {
            Self::Saved(Saved::New(_)) => ("accepted", ""),
            Self::Saved(Saved::Duplicate) => ("duplicate", ""),
            Self::Saved(Saved::Superseded) => ("superseded", ""),
            Self::Saved(Saved::Deleted(_)) => ("deleted", ""),
            Self::Saved(Saved::Vanished(_)) => ("vanished", ""),
            Self::Saved(Saved::Expired) => ("expired", ""),
            Self::Passed => ("ephemeral", ""),
            Self::Shadowed => ("rejected", "shadow"),
            Self::Refused(why) => match why.prefix {
                Prefix::Invalid => ("invalid", "verify"),
                Prefix::Pow => ("rejected", "pow"),
                Prefix::Blocked => ("rejected", "blocked"),
                Prefix::AuthRequired | Prefix::Restricted => ("rejected", "auth"),
                Prefix::Error => ("failed", ""),
                Prefix::Duplicate | Prefix::RateLimited | Prefix::Mute | Prefix::Other => ("rejected", "other"),
            },
        }
    }

    /// True when the id or the signature was wrong: no honest relay has such an event.
    pub fn is_forged(&self) -> bool {
        matches!(self, Self::Refused(Refusal { by: VERIFY, .. }))
    }

    /// True when the signature was seen to be right: nobody but who knows an author has such an event.
    pub fn is_of_true_event(&self) -> bool {
        match self {
            // The one is known by its id alone, the other is not looked at.
            Self::Saved(saved) => !matches!(saved, Saved::Duplicate | Saved::Expired),
            Self::Passed | Self::Shadowed => true,
            Self::Refused(_) => false,
        }
    }

    /// True when the relay could not do what it was asked, and might another time.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Refused(Refusal { prefix: Prefix::Error, .. }))
    }

    /// True when the same event would be refused again.
    pub fn is_final_refusal(&self) -> bool {
        match self {
            Self::Saved(saved) => !matches!(saved, Saved::New(_) | Saved::Duplicate),
            Self::Refused(_) => !self.is_failure(),
            Self::Shadowed => true,
            Self::Passed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_others_are_understood() {
        for prefix in Prefix::NAMED {
            let words = format!("{}: a: b", prefix.word());
            let refusal = Refusal::with_prefix("x", &words).unwrap();
            assert_eq!((refusal.prefix, refusal.text.as_ref(), refusal.to_string()), (prefix, "a: b", words));
        }
        for words in ["", "no", "no: a", "pow:20", ": a", "POW: 20"] {
            assert_eq!(Refusal::with_prefix("x", words), None, "{words}");
        }
        assert_eq!(Refusal::new(Prefix::Other, "x", "so: so").to_string(), "so: so");
    }

    #[test]
    fn only_what_is_forged_counts_as_forged() {
        for error in [VerifyError::Id, VerifyError::Signature] {
            assert!(Outcome::Refused(Refusal::forged(error)).is_forged());
            let same_words = Refusal::new(Prefix::Invalid, "slices", error.to_string());
            assert!(!Outcome::Refused(same_words).is_forged());
        }
    }
}
