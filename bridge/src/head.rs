//! Kind 37420, read.

use picofeed::{Id, Key};

use crate::{
    Room,
    event::Parts,
    kind,
    tags::{self, TagInvalid},
    unwrap::UnwrapError,
};

/// What somebody says is the head of a chain. Nothing in it is proven; a head tells what to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Genesis id.
    pub chain: Id,
    /// Id of the last block.
    pub block: Id,
    /// Author of the last block.
    pub author: Key,
    /// The room.
    pub room: Room,
    /// Blocks in the chain, at least 1.
    pub height: u64,
}

impl Head {
    /// Reads an event of kind 37420.
    ///
    /// # Errors
    ///
    /// The kind is another, or a tag is missing, repeated or malformed.
    pub fn parse(parts: &Parts<'_>) -> Result<Self, UnwrapError> {
        if parts.kind != kind::HEAD {
            return Err(UnwrapError::Kind { expected: kind::HEAD });
        }
        tags::expect_kind_of_names(parts, tags::BLOCK)?;
        let chain = tags::parse_lower(tags::only(parts, "d")?, "d")?;
        let height = tags::only(parts, "height")?;
        let digits = !height.starts_with('0') && height.bytes().all(|byte| byte.is_ascii_digit());
        let height = height.parse().ok().filter(|_| digits).ok_or(TagInvalid::Malformed("height"))?;
        let block = tags::id(parts, tags::BLOCK)?;
        if (block == chain) != (height == 1) {
            return Err(TagInvalid::Malformed("height").into());
        }
        Ok(Self { chain, block, author: tags::author(parts)?, room: tags::room(parts)?, height })
    }
}
