//! Errors, by whose fault they are.

use crate::{Format, Key};

/// Bytes somebody sent are not a feed, or not one that its authors signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {block} at byte {at}: {defect}")]
pub struct InvalidFeed {
    /// How many blocks before the defect were good, as far as had been checked: decoding does not see signatures.
    pub block: usize,
    /// Where the block (or other segment) with the defect begins, in bytes from the start of the input.
    pub at: usize,
    /// What is wrong.
    pub defect: Defect,
}

/// What is wrong with a feed or block that somebody sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// The input ends inside a block. Stray bytes after the last block look the same.
    #[error("ends too early")]
    Truncated,
    /// The input goes on after its end.
    #[error("bytes after the end")]
    Trailing,
    /// The size of the block is not encoded in the one way a writer would have chosen.
    #[error("size is not encoded minimally")]
    Size,
    /// The block has no body.
    #[error("no body")]
    BodyEmpty,
    /// A v8 block has a header with an id other than 1 (author) and 2 (parent).
    #[error("unknown header {0}")]
    HeaderUnknown(u8),
    /// A v8 block has the same header twice.
    #[error("header {0} twice")]
    HeaderRepeated(u8),
    /// A segment of a POP-02 chain is neither a key nor a block.
    #[error("unknown segment {0:#04x}")]
    SegmentUnknown(u8),
    /// The block does not say who wrote it, and no key came before it.
    #[error("no author")]
    AuthorMissing,
    /// The block was written by somebody else than the caller says.
    #[error("other author than expected")]
    AuthorMismatch,
    /// The key is not a point on the curve, not canonical, or of small order.
    #[error("bad public key")]
    KeyInvalid,
    /// The block's parent is spelled out as 64 zeros, in a format where genesis has no parent field.
    #[error("parent is all zero")]
    ParentZero,
    /// The block's parent is not the block before it.
    #[error("parent is not the block before")]
    ParentMismatch,
    /// The signature of a v3 block begins like a key, so that in a feed it would be taken for one.
    #[error("signature begins like a key")]
    SignatureLikeKey,
    /// The signature was not made by the author over these bytes.
    #[error("signature does not verify")]
    Signature,
    /// More bytes than [`Limits::feed_bytes_max`](crate::Limits::feed_bytes_max).
    #[error("feed too long")]
    FeedTooLong,
    /// More bytes in a body than [`Limits::body_bytes_max`](crate::Limits::body_bytes_max).
    #[error("body too long")]
    BodyTooLong,
    /// More blocks than [`Limits::blocks_max`](crate::Limits::blocks_max).
    #[error("too many blocks")]
    BlocksTooMany,
    /// More distinct keys than [`Limits::keys_max`](crate::Limits::keys_max).
    #[error("too many keys")]
    KeysTooMany,
    /// More failed signature checks than [`Limits::trials_max`](crate::Limits::trials_max).
    #[error("too many keys to try")]
    TrialsTooMany,
}

/// The caller asked for something that cannot be done. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// Blocks without a body do not exist.
    #[error("a body cannot be empty")]
    BodyEmpty,
    /// In v8 a body cannot begin with a zero byte: that is how headers are told from it.
    #[error("a body cannot begin with a zero byte in this format")]
    BodyStartsWithZero,
    /// The format cannot express a body of this length.
    #[error("a body of {0} bytes cannot be written in this format")]
    BodyLength(usize),
    /// The signature of this v3 block would begin like a key; nobody could read it. Another body will do.
    #[error("signature would begin like a key")]
    SignatureLikeKey,
    /// The secret key is for another signature scheme than the format uses.
    #[error("{0} blocks are not signed with this kind of key")]
    SecretKind(Format),
    /// The bytes are not a secret key of the scheme.
    #[error("not a secret key")]
    SecretInvalid,
    /// A block of one format cannot join a feed of another.
    #[error("a {block} block cannot join a {feed} feed")]
    FormatMismatch {
        /// Format of the feed.
        feed: Format,
        /// Format of the block.
        block: Format,
    },
    /// The block's parent is not the last block of the feed.
    #[error("parent is not the block before")]
    ParentMismatch,
    /// A feed cannot be made of no blocks: it would have no format.
    #[error("no blocks")]
    NoBlocks,
    /// The range selects nothing, or reaches before the first block.
    #[error("range is empty or out of bounds")]
    Range,
    /// The block says that its author is this key, not the one given.
    #[error("the block's author is {0}")]
    AuthorMismatch(Key),
    /// Hexadecimal text of the wrong length or alphabet.
    #[error("not {0} hexadecimal digits")]
    Hex(usize),
}
