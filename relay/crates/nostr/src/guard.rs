//! The read guard: who may see private events (NIP-04, NIP-17, NIP-59).
//!
//! Asked on every path by which an event leaves: REQ, live delivery, COUNT, negentropy, search, export to a client.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::event::{Event, PublicKey};

/// Kind of a gift wrap (NIP-59).
pub const GIFT_WRAP: u16 = 1059;
/// Kind of an ephemeral gift wrap (NIP-59).
pub const EPHEMERAL_GIFT_WRAP: u16 = 21059;

/// True for kinds that are signed by throw-away keys, so that their author is nobody.
#[inline]
pub fn is_signed_by_nobody(kind: u16) -> bool {
    matches!(kind, GIFT_WRAP | EPHEMERAL_GIFT_WRAP)
}

/// Somebody who asks for events, with the keys they have proved to hold (NIP-42).
#[derive(Clone, Default, Debug)]
pub struct Viewer {
    /// Authenticated keys, several for one connection.
    pub keys: SmallVec<[PublicKey; 1]>,
    /// The kinds that only the people they name may see, sorted.
    pub restricted: Arc<[u16]>,
    /// The operator's own tools see everything.
    pub sees_all: bool,
}

impl Viewer {
    /// The operator: export, check, migration.
    pub fn operator() -> Self {
        Self { sees_all: true, ..Self::default() }
    }

    /// True when events of this kind are private.
    #[inline]
    pub fn is_restricted(&self, kind: u16) -> bool {
        !self.sees_all && self.restricted.binary_search(&kind).is_ok()
    }

    /// True when no event of this kind may be sent to this viewer.
    #[inline]
    pub fn sees_none_of(&self, kind: u16) -> bool {
        self.keys.is_empty() && self.is_restricted(kind)
    }

    /// True when `event` may be sent to this viewer.
    #[inline]
    pub fn may_see(&self, event: &Event) -> bool {
        !self.is_restricted(event.kind) || self.is_party(event.kind, &event.pubkey, event.tags.indexed())
    }

    /// True when one of the keys is named by a `p` tag or, but for gift wraps, is the author. Gift wraps are signed by
    /// throw-away keys, so only the recipient counts.
    #[inline]
    pub fn is_party<'t>(
        &self,
        kind: u16,
        author: &PublicKey,
        mut tags: impl Iterator<Item = (u8, impl AsRef<str> + 't)>,
    ) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        let by_author = !is_signed_by_nobody(kind) && self.keys.contains(author);
        by_author
            || tags.any(|(letter, value)| {
                letter == b'p' && PublicKey::from_hex(value.as_ref()).is_some_and(|key| self.keys.contains(&key))
            })
    }
}
