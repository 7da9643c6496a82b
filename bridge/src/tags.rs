//! The tags that blocks, heads and frames have in common, written and read.
//!
//! Names of things are NIP-73 `i` tags, because those can be queried on every relay: `pico:block:<id>` and so on, in
//! lower-case hexadecimal. What is read has each name once and in the one way it is written, so that what an event is
//! found by is what it holds.

use std::str::FromStr;

use picofeed::{Id, Key};

use crate::{
    Room,
    event::{Parts, Tag, tag},
};

pub(crate) const BLOCK: &str = "block";
pub(crate) const CHAIN: &str = "chain";
pub(crate) const AUTHOR: &str = "author";
pub(crate) const PARENT: &str = "parent";
pub(crate) const ROOM: &str = "room";

/// A tag is missing, repeated, or does not say what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagInvalid {
    /// There is no such tag.
    #[error("no {0} tag")]
    Missing(&'static str),
    /// There is more than one.
    #[error("more than one {0} tag")]
    Repeated(&'static str),
    /// There is one, and it cannot be read: ids are 128 hexadecimal digits and keys 64, lower-case.
    #[error("bad {0} tag")]
    Malformed(&'static str),
    /// There is one where there should be none: a genesis block with a parent.
    #[error("unexpected {0} tag")]
    Unexpected(&'static str),
    /// There is one, and the block says otherwise.
    #[error("the {0} tag contradicts the block")]
    Contradicts(&'static str),
}

/// An `i` tag.
pub(crate) fn name(what: &str, value: impl std::fmt::Display) -> Tag {
    tag(["i", &format!("pico:{what}:{value}")])
}

pub(crate) fn kind_of_names(what: &str) -> Tag {
    tag(["k", &format!("pico:{what}")])
}

/// The value of the one `i` tag about `what`.
pub(crate) fn named<'a>(parts: &Parts<'a>, what: &'static str) -> Result<Option<&'a str>, TagInvalid> {
    let mut values =
        parts.values("i").filter_map(|value| value.strip_prefix("pico:")?.strip_prefix(what)?.strip_prefix(':'));
    let first = values.next();
    if values.next().is_some() { Err(TagInvalid::Repeated(what)) } else { Ok(first) }
}

pub(crate) fn optional_id(parts: &Parts<'_>, what: &'static str) -> Result<Option<Id>, TagInvalid> {
    named(parts, what)?.map(|text| parse_lower(text, what)).transpose()
}

pub(crate) fn id(parts: &Parts<'_>, what: &'static str) -> Result<Id, TagInvalid> {
    optional_id(parts, what)?.ok_or(TagInvalid::Missing(what))
}

pub(crate) fn author(parts: &Parts<'_>) -> Result<Key, TagInvalid> {
    parse_lower(named(parts, AUTHOR)?.ok_or(TagInvalid::Missing(AUTHOR))?, AUTHOR)
}

pub(crate) fn room(parts: &Parts<'_>) -> Result<Room, TagInvalid> {
    let text = named(parts, ROOM)?.ok_or(TagInvalid::Missing(ROOM))?;
    text.parse().map_err(|_| TagInvalid::Malformed(ROOM))
}

/// The value of the one tag called `name`.
pub(crate) fn only<'a>(parts: &Parts<'a>, name: &'static str) -> Result<&'a str, TagInvalid> {
    let mut values = parts.values(name);
    let first = values.next().ok_or(TagInvalid::Missing(name))?;
    if values.next().is_some() { Err(TagInvalid::Repeated(name)) } else { Ok(first) }
}

/// Checks that the `k` tag for names of this sort is there. Others may be, for names that are not pico's.
pub(crate) fn expect_kind_of_names(parts: &Parts<'_>, what: &str) -> Result<(), TagInvalid> {
    let found = parts.values("k").any(|value| value.strip_prefix("pico:") == Some(what));
    if found { Ok(()) } else { Err(TagInvalid::Missing("k")) }
}

pub(crate) fn parse_lower<T: FromStr>(text: &str, what: &'static str) -> Result<T, TagInvalid> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(TagInvalid::Malformed(what));
    }
    text.parse().map_err(|_| TagInvalid::Malformed(what))
}
