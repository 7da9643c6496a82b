//! Where events come from, and what becomes of them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::order::Place;
use crate::event::{Id, PublicKey};
use crate::fair::Owner;
use crate::store::{ROOMS_ACCOUNT, Saved};
use crate::verify::VerifyError;

/// Where events come from. Policies differ.
#[derive(Clone, Debug)]
pub enum Source {
    /// A client.
    Client(Client),
    /// Files that the operator takes in.
    Import(Import),
    /// The relay itself, for blocks of pico rooms. No policy about work and age applies: nobody chose when the block came.
    Bridge,
    /// Another relay that the operator named. It is trusted in nothing, but what it gives may be old, and was not made for
    /// us: the age limit and proof of work do not apply. Protected events (NIP-70) are refused, as their authors did not
    /// bring them.
    Upstream,
}

/// A batch of an import.
#[derive(Clone, Debug)]
pub struct Import {
    /// The files are the operator's own, such as a backup: only what the NIPs demand of the store applies. Else every rule
    /// holds as for a client that has not authenticated.
    pub is_trusted: bool,
    /// Its place among the batches.
    pub place: Arc<Place>,
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
    /// Whose work events of this origin are, where that is no address.
    pub(super) fn owner(&self, lane: u64) -> Owner {
        let account = match self {
            Self::Client(_) => 0,
            Self::Import(_) => 1,
            Self::Upstream => 2,
            Self::Bridge => ROOMS_ACCOUNT,
        };
        Owner { account, key: 0, connection: lane }
    }

    /// The keys that were authenticated.
    pub fn keys(&self) -> &[PublicKey] {
        match self {
            Self::Client(client) => &client.keys,
            Self::Import(_) | Self::Bridge | Self::Upstream => &[],
        }
    }

    /// True for an import of the operator's own files.
    pub fn is_trusted_import(&self) -> bool {
        matches!(self, Self::Import(import) if import.is_trusted)
    }

    /// The place of a batch that must not overtake others.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Import(import) => Some(&import.place),
            Self::Client(_) | Self::Bridge | Self::Upstream => None,
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
            Self::Saved(Saved::Deleted(_)) => ("deleted", ""),
            Self::Saved(Saved::Vanished(_)) => ("vanished", ""),
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
        why.starts_with(INVALID) && [VerifyError::Id, VerifyError::Signature].iter().any(|error| *why == forged(*error))
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

/// How the text of such a refusal begins.
const INVALID: &str = "invalid: ";

pub(super) fn forged(error: VerifyError) -> String {
    format!("{INVALID}{error}")
}

/// Whom to tell. Called from several threads, for each event once.
pub trait Answers: Send + Sync + 'static {
    /// What became of some events.
    fn answer(&self, outcomes: Vec<(Id, Outcome)>);
}
