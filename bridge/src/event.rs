//! The parts of nostr events that matter here.

use picofeed::{Id, Key};

use crate::{Room, tags};

/// A tag: a name and values.
pub type Tag = Vec<String>;

/// An event that is still to be signed. [`Signer`] says by whom; id, public key and signature are the signer's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Who is to sign.
    pub signer: Signer,
    /// What the event means.
    pub kind: u16,
    /// Unix seconds.
    pub created_at: u64,
    /// Tags, in the order they are to be signed in.
    pub tags: Vec<Tag>,
    /// Content.
    pub content: String,
}

/// Who signs a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signer {
    /// Whoever carries blocks over: the relay, with its own key.
    Relay,
    /// The nostr key that stands for this pico author; see [`derivation_input`].
    Author(Key),
}

impl Draft {
    /// The draft, dated after `previous` (unix seconds).
    ///
    /// Of replaceable and addressable events relays keep the newest, and of two in the same second the one with the
    /// lowest id. Who signs such a draft passes the date of the last event at the same address, so that the later block
    /// wins.
    #[must_use]
    pub fn after(self, previous: u64) -> Self {
        let created_at = self.created_at.max(previous.saturating_add(1));
        Self { created_at, ..self }
    }

    /// The draft as what [`crate::unwrap`] and its siblings read.
    pub fn parts(&self) -> Parts<'_> {
        let tags = self.tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
        Parts { kind: self.kind, tags, content: &self.content }
    }
}

/// What of a signed event is read here. That its id and signature are good is for the caller to check, as for any event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Kind.
    pub kind: u16,
    /// Tags.
    pub tags: Vec<Vec<&'a str>>,
    /// Content.
    pub content: &'a str,
}

impl<'a> Parts<'a> {
    /// Values of all tags of this name. A tag without a value has the value "".
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.tags.iter().filter(move |tag| tag.first().is_some_and(|first| *first == name)).map(|tag| {
            match tag.get(1) {
                Some(value) => *value,
                None => "",
            }
        })
    }
}

/// What to feed into HMAC-SHA256, keyed with a secret of the relay, to get the secret nostr key of a pico author:
/// `"pico:author:"` and the 32 bytes of the author's key.
///
/// The result is used as it is. In the unlikely case (2⁻¹²⁸) that it is not a secp256k1 secret key, the author has no
/// readable copies. The secret does not leave the relay, so only it can speak in that name; another relay that copies the
/// same author does so under another key.
pub fn derivation_input(author: &Key) -> Vec<u8> {
    [DERIVATION_LABEL, author.as_bytes()].concat()
}

const DERIVATION_LABEL: &[u8] = b"pico:author:";

/// Whether an event is a readable copy of a pico block, by anybody: it has a NIP-48 `proxy` tag of the protocol `pico`.
///
/// Such events are not to be carried into a pico room: they come from one.
pub fn is_copy(parts: &Parts<'_>) -> bool {
    parts.tags.iter().any(|tag| matches!(tag.as_slice(), ["proxy", _, "pico", ..]))
}

/// What a readable copy says of itself. Whoever signed it can say anything: it is worth what the signer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The block that was copied.
    pub block: Id,
    /// Who wrote the block.
    pub author: Key,
    /// The room it was copied from.
    pub room: Room,
}

impl Copied {
    /// Reads the tags of a copy. None if it is not one, or does not have each of its names once.
    pub fn parse(parts: &Parts<'_>) -> Option<Self> {
        if !is_copy(parts) {
            return None;
        }
        let block = tags::id(parts, tags::BLOCK).ok()?;
        Some(Self { block, author: tags::author(parts).ok()?, room: tags::room(parts).ok()? })
    }
}

pub(crate) fn tag<const N: usize>(values: [&str; N]) -> Tag {
    values.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_drafts_win() {
        let draft =
            Draft { signer: Signer::Relay, kind: 37420, created_at: 5, tags: Vec::new(), content: String::new() };
        assert_eq!(draft.clone().after(3).created_at, 5);
        assert_eq!(draft.clone().after(5).created_at, 6);
        assert_eq!(draft.after(u64::MAX).created_at, u64::MAX);
    }

    #[test]
    fn the_label_comes_first() {
        let input = derivation_input(&Key::from([7; 32]));
        assert_eq!((&input[..12], &input[12..]), (&b"pico:author:"[..], &[7; 32][..]));
    }
}
