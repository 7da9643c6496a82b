//! Where events come from, and what becomes of them.

use std::borrow::Cow;
use std::net::IpAddr;

use smallvec::SmallVec;

use crate::event::{Id, PublicKey};
use crate::store::Saved;
use crate::verify::VerifyError;

/// Where events come from. Policies differ.
#[derive(Clone, Debug)]
pub enum Source {
    /// A client.
    Client(Client),
    /// The operator's own files: only what the NIPs demand of the store applies.
    Import,
    /// The relay itself, for blocks of pico rooms. No policy about work and age applies: nobody chose when the block came.
    Bridge,
    /// Another relay that the operator named. It is trusted in nothing, but what it gives may be old, and was not made for
    /// us: the age limit and proof of work do not apply. Protected events (NIP-70) are refused, as their authors did not
    /// bring them.
    Upstream,
}

/// Somebody who sends events.
#[derive(Clone, Debug)]
pub struct Client {
    /// The keys it has authenticated.
    pub keys: SmallVec<[PublicKey; 1]>,
    /// Where it is.
    pub address: IpAddr,
}

impl Source {
    /// The keys that were authenticated.
    pub fn keys(&self) -> &[PublicKey] {
        match self {
            Self::Client(client) => &client.keys,
            Self::Import | Self::Bridge | Self::Upstream => &[],
        }
    }

    /// The address of a client.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Client(client) => Some(client.address),
            Self::Import | Self::Bridge | Self::Upstream => None,
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
    /// Refused, with the text of the OK, prefix included.
    Refused(Cow<'static, str>),
}

impl Outcome {
    /// Outcome and reason, as counted in metrics.
    pub fn labels(&self) -> (&'static str, &'static str) {
        match self {
            Self::Saved(Saved::New(_)) => ("accepted", ""),
            Self::Saved(Saved::Duplicate) => ("duplicate", ""),
            Self::Saved(Saved::Superseded) => ("superseded", ""),
            Self::Saved(Saved::Deleted) => ("deleted", ""),
            Self::Saved(Saved::Vanished) => ("vanished", ""),
            Self::Saved(Saved::Expired) => ("expired", ""),
            Self::Passed => ("ephemeral", ""),
            Self::Shadowed => ("rejected", "shadow"),
            Self::Refused(why) => match why.split(':').next() {
                Some("invalid") => ("invalid", "verify"),
                Some("pow") => ("rejected", "pow"),
                Some("blocked") => ("rejected", "blocked"),
                Some("auth-required" | "restricted") => ("rejected", "auth"),
                Some("error") => ("failed", ""),
                _ => ("rejected", "other"),
            },
        }
    }

    /// True when the id or the signature was wrong: no honest relay has such an event.
    pub fn is_forged(&self) -> bool {
        let Self::Refused(why) = self else { return false };
        [VerifyError::Id, VerifyError::Signature].iter().any(|error| *why == forged(*error))
    }

    /// True when the same event would be refused again.
    pub fn is_final_refusal(&self) -> bool {
        match self {
            Self::Saved(saved) => !matches!(saved, Saved::New(_) | Saved::Duplicate),
            Self::Refused(why) => !why.starts_with("error:"),
            Self::Shadowed => true,
            Self::Passed => false,
        }
    }
}

pub(super) fn forged(error: VerifyError) -> String {
    format!("invalid: {error}")
}

/// Whom to tell. Called from several threads, for each event once.
pub trait Answers: Send + Sync + 'static {
    /// What became of some events.
    fn answer(&self, outcomes: Vec<(Id, Outcome)>);
}
