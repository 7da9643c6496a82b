//! One block.

use std::fmt;

use bytes::Bytes;

use crate::{Defect, Format, Id, Key, Limits, Misuse, format::Draft, read::Reader, signature::Verifier, v3};

/// A block: a body, who wrote it, and which block came before.
///
/// A block holds the bytes it was decoded from, shared with the rest of the feed: cloning is cheap, and keeps all of
/// them in memory ([`Block::detached`] does not). The type says whether the signature was checked: `Block` alone is
/// `Block<Verified>`, and there is no way to one but [`Block::verify`], [`Block::verify_by`], signing it oneself, and
/// the conspicuous [`Block::assume_verified`].
#[derive(Clone)]
pub struct Block<S = Verified> {
    raw: Bytes,
    format: Format,
    layout: Layout,
    state: S,
}

/// The signature was checked, and so the author is known.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    author: Key,
}

/// The signature was not checked.
#[derive(Clone, Copy, Debug)]
pub struct Unverified {
    claimed: Option<Key>,
    /// Where the block was in the input, for errors.
    at: usize,
}

/// Where things are in the bytes of a block. Everything after the signature is signed; the body comes last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) signature: u8,
    pub(crate) parent: Option<u8>,
    pub(crate) body: u8,
}

impl Unverified {
    pub(crate) fn new(claimed: Option<Key>, at: usize) -> Self {
        Self { claimed, at }
    }
}

impl Layout {
    /// The offsets fit: headers are short, and come first.
    pub(crate) fn new(signature: u8, parent: Option<usize>, body: usize) -> Self {
        let short = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
        Self { signature, parent: parent.map(short), body: short(body) }
    }
}

impl<S> Block<S> {
    /// The format the block is written in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Name of the block: its signature.
    pub fn id(&self) -> Id {
        Id::from(self.signature().first_chunk().copied().unwrap_or([0; 64]))
    }

    /// Name of the block before; none in a genesis block. The JavaScript packages show 64 zeros there.
    pub fn parent(&self) -> Option<Id> {
        self.parent_bytes()?.first_chunk().copied().map(Id::from)
    }

    /// Whether a chain begins here.
    pub fn is_genesis(&self) -> bool {
        self.layout.parent.is_none()
    }

    /// What the block says. Never empty.
    pub fn body(&self) -> &[u8] {
        self.raw.get(usize::from(self.layout.body)..).unwrap_or_default()
    }

    /// The body, sharing memory with the block.
    pub fn body_bytes(&self) -> Bytes {
        self.raw.slice_ref(self.body())
    }

    /// The whole block as it was read or written, without magic and without key segments.
    ///
    /// With [`Block::author`] this is all there is to store: [`Block::decode`] reads it back. In POP-02 the first byte
    /// says whether the block was the last of its feed, and is not signed; [`Feed::encode`](crate::Feed::encode) sets
    /// it right.
    pub fn bytes(&self) -> &Bytes {
        &self.raw
    }

    /// The same block in memory of its own.
    #[must_use]
    pub fn detached(&self) -> Self
    where
        S: Clone,
    {
        Self { raw: Bytes::copy_from_slice(&self.raw), ..self.clone() }
    }

    pub(crate) fn signature(&self) -> &[u8] {
        self.part(self.layout.signature)
    }

    pub(crate) fn parent_bytes(&self) -> Option<&[u8]> {
        self.layout.parent.map(|at| self.part(at))
    }

    /// The 64 bytes from `at`. Decoding made sure of them.
    fn part(&self, at: u8) -> &[u8] {
        let at = usize::from(at);
        self.raw.get(at..at + 64).unwrap_or_default()
    }

    fn signed(&self) -> &[u8] {
        self.raw.get(usize::from(self.layout.signature) + 64..).unwrap_or_default()
    }
}

impl Block<Unverified> {
    /// Reads a single block, as [`Block::bytes`] gives it.
    ///
    /// # Errors
    ///
    /// The block is malformed, longer than `limits` allow, or followed by anything.
    pub fn decode(format: Format, raw: impl Into<Bytes>, limits: &Limits) -> Result<Self, Defect> {
        let raw = raw.into();
        let mut reader = Reader::new(&raw);
        let (layout, claimed) = format.read_block(&mut reader, limits)?;
        if !reader.rest().is_empty() {
            return Err(Defect::Trailing);
        }
        Ok(Self::new(format, raw, layout, Unverified::new(claimed, 0)))
    }

    /// `raw` must be what `layout` was read from.
    pub(crate) fn new(format: Format, raw: Bytes, layout: Layout, state: Unverified) -> Self {
        Self { raw, format, layout, state }
    }

    pub(crate) fn at(&self) -> usize {
        self.state.at
    }

    /// Who the block says wrote it. v8 blocks do; v3 and POP-02 blocks leave it to the feed around them.
    pub fn author_claimed(&self) -> Option<Key> {
        self.state.claimed
    }

    /// Checks the signature against the author that the block names.
    ///
    /// # Errors
    ///
    /// [`Defect::AuthorMissing`] in formats whose blocks name none, [`Defect::KeyInvalid`], [`Defect::Signature`].
    pub fn verify(self) -> Result<Block, Defect> {
        let author = self.state.claimed.ok_or(Defect::AuthorMissing)?;
        self.check(&author, &mut Verifier::default())?;
        Ok(self.proven(author))
    }

    /// Checks that `author` signed the block.
    ///
    /// # Errors
    ///
    /// [`Defect::AuthorMismatch`] if the block names another author, [`Defect::KeyInvalid`], [`Defect::Signature`].
    pub fn verify_by(self, author: &Key) -> Result<Block, Defect> {
        if self.state.claimed.is_some_and(|claimed| claimed != *author) {
            return Err(Defect::AuthorMismatch);
        }
        self.check(author, &mut Verifier::default())?;
        Ok(self.proven(*author))
    }

    /// Takes the caller's word that `author` signed the block. For blocks that come back from the caller's own store,
    /// and went into it verified; nothing else.
    ///
    /// # Errors
    ///
    /// [`Misuse::AuthorMismatch`] if the block names another author.
    pub fn assume_verified(self, author: Key) -> Result<Block, Misuse> {
        match self.state.claimed {
            Some(claimed) if claimed != author => Err(Misuse::AuthorMismatch(claimed)),
            _ => Ok(self.proven(author)),
        }
    }

    pub(crate) fn check(&self, author: &Key, verifier: &mut Verifier) -> Result<(), Defect> {
        verifier.check(self.format, author, self.signed(), self.signature())
    }

    /// To be called after `check`.
    pub(crate) fn proven(self, author: Key) -> Block {
        Block { raw: self.raw, format: self.format, layout: self.layout, state: Verified { author } }
    }
}

impl Block {
    /// Writes and signs a block. [`Feed::append`](crate::Feed::append) is the usual way here.
    ///
    /// # Errors
    ///
    /// The format cannot express the body, or the key is for another format.
    pub fn sign(format: Format, parent: Option<&Id>, body: &[u8], secret: &crate::Secret) -> Result<Self, Misuse> {
        let author = secret.key();
        let Draft { lead, signed, layout } = format.draft(&author, parent, body)?;
        let signature = secret.sign(format, &signed)?;
        if format == Format::V3 && v3::reads_as_key(&signature) {
            return Err(Misuse::SignatureLikeKey);
        }
        let raw = lead.into_iter().chain(signature).chain(signed).collect();
        Ok(Self { raw, format, layout, state: Verified { author } })
    }

    /// Who wrote the block.
    pub fn author(&self) -> Key {
        self.state.author
    }
}

/// Blocks are the same if everything signed, and the signature, are.
impl<S> PartialEq for Block<S> {
    fn eq(&self, other: &Self) -> bool {
        self.format == other.format && self.signature() == other.signature() && self.signed() == other.signed()
    }
}

impl<S> Eq for Block<S> {}

impl<S: fmt::Debug> fmt::Debug for Block<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("format", &self.format)
            .field("id", &self.id())
            .field("parent", &self.parent())
            .field("state", &self.state)
            .field("body_bytes", &self.body().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_small() {
        assert!(size_of::<Block>() <= 72);
        assert!(size_of::<Block<Unverified>>() <= 88);
    }
}
