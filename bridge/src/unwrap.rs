//! Kind 7420, read.

use std::borrow::Cow;

use data_encoding::BASE64;
use picofeed::{Block, Defect, Format, Id, Limits};

use crate::{
    Room,
    event::Parts,
    kind,
    tags::{self, TagInvalid},
};

/// A block that came in an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwrapped {
    /// The block. Its author signed it, whoever signed the event.
    pub block: Block,
    /// Genesis id of its chain. Proven for a genesis block; otherwise a claim, to be compared with the chain of the parent.
    pub chain: Id,
    /// The room it is meant for, as the signer of the event says. The block itself does not know.
    pub room: Room,
}

/// An event does not carry a block, or not the one it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnwrapError {
    /// Not an event of the kind.
    #[error("not an event of kind {expected}")]
    Kind {
        /// The kind that could have been read.
        expected: u16,
    },
    /// A tag is missing, repeated, malformed or wrong.
    #[error(transparent)]
    Tag(#[from] TagInvalid),
    /// The content is not base64 in its one canonical form, padded.
    #[error("content is not base64")]
    Base64,
    /// More bytes than the caller allows.
    #[error("content too long")]
    ContentTooLong,
    /// The content is not a block, or the author did not sign it.
    #[error("not a block by this author: {0}")]
    Block(#[from] Defect),
    /// The unsigned flag of a POP-02 block that ends a feed is set. In an event it is not.
    #[error("end-of-chain flag is set")]
    EndFlag,
    /// The content is not a piconet frame, or one that has to name its recipient and does not.
    #[error("bad frame")]
    Frame,
}

/// The block in an event of kind 7420.
///
/// Tags must agree with the block, and the block must prove itself, strictly: a parsed event has one block, and a block
/// one content.
///
/// # Errors
///
/// See [`UnwrapError`]. All of them mean that the event is invalid, not that something is unknown.
pub fn unwrap(parts: &Parts<'_>, limits: &Limits) -> Result<Unwrapped, UnwrapError> {
    if parts.kind != kind::BLOCK {
        return Err(UnwrapError::Kind { expected: kind::BLOCK });
    }
    tags::expect_kind_of_names(parts, tags::BLOCK)?;
    let room = tags::room(parts)?;
    let chain = tags::id(parts, tags::CHAIN)?;
    let author = tags::author(parts)?;
    let (id, parent) = (tags::id(parts, tags::BLOCK)?, tags::optional_id(parts, tags::PARENT)?);
    let format: Format = tags::parse_lower(tags::only(parts, "format")?, "format")?;

    let raw = bytes(parts.content, limits.body_bytes_max.saturating_add(OVERHEAD_BYTES_MAX))?;
    if format == Format::Pop02 && raw.first().is_some_and(|flags| flags & POP02_END != 0) {
        return Err(UnwrapError::EndFlag);
    }
    let block = Block::decode(format, raw, limits)?;
    if block.id() != id {
        return Err(TagInvalid::Contradicts(tags::BLOCK).into());
    }
    match (block.parent(), parent) {
        (Some(says), Some(tag)) if says == tag => {}
        (None, None) if chain == id => {}
        (None, None) => return Err(TagInvalid::Contradicts(tags::CHAIN).into()),
        (Some(_), Some(_)) => return Err(TagInvalid::Contradicts(tags::PARENT).into()),
        (Some(_), None) => return Err(TagInvalid::Missing(tags::PARENT).into()),
        (None, Some(_)) => return Err(TagInvalid::Unexpected(tags::PARENT).into()),
    }
    if !block.is_genesis() && chain == id {
        return Err(TagInvalid::Contradicts(tags::CHAIN).into());
    }
    let block = block.verify_by(&author).map_err(|defect| match defect {
        Defect::AuthorMismatch => TagInvalid::Contradicts(tags::AUTHOR).into(),
        defect => UnwrapError::Block(defect),
    })?;
    Ok(Unwrapped { block, chain, room })
}

/// The bytes of a block as they go into an event: without the flag of POP-02 that says where a feed ended.
pub(crate) fn content_bytes(block: &Block) -> Cow<'_, [u8]> {
    match block.bytes().split_first() {
        Some((flags, rest)) if block.format() == Format::Pop02 && flags & POP02_END != 0 => {
            let mut bytes = vec![flags & !POP02_END];
            bytes.extend(rest);
            Cow::Owned(bytes)
        }
        _ => Cow::Borrowed(block.bytes()),
    }
}

/// What base64 text says, if no more than `bytes_max`.
pub(crate) fn bytes(text: &str, bytes_max: usize) -> Result<Vec<u8>, UnwrapError> {
    if text.len() / 4 > bytes_max / 3 + 1 {
        return Err(UnwrapError::ContentTooLong);
    }
    let bytes = BASE64.decode(text.as_bytes()).map_err(|_| UnwrapError::Base64)?;
    if bytes.len() > bytes_max { Err(UnwrapError::ContentTooLong) } else { Ok(bytes) }
}

/// Bit 3 of the first byte of a POP-02 block. Not signed.
const POP02_END: u8 = 0b1000;

/// More than any format has around a body.
const OVERHEAD_BYTES_MAX: usize = 256;
