//! The tags of an event: how they are packed, read and written.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use super::write_string;

/// The tags of an event, packed: one text and two lists of offsets, however many tags there are.
#[derive(Default, Clone)]
pub struct Tags {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<u32>,
    /// Where each tag ends in `ends`.
    tags: Vec<u32>,
}

impl Tags {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// True when there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Each tag in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Tag<'_>> + Clone {
        (0..self.tags.len()).filter_map(|index| self.nth(index))
    }

    fn nth(&self, index: usize) -> Option<Tag<'_>> {
        let start = if index == 0 { 0 } else { *self.tags.get(index - 1)? };
        let end = *self.tags.get(index)?;
        Some(Tag { of: self, strings: start as usize..end as usize })
    }

    /// The value (second string) of the first tag of that name.
    #[inline]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().find(|tag| tag.name() == name && tag.len() > 1).and_then(|tag| tag.value())
    }

    /// The values (second string) of all tags of that name.
    #[inline]
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |tag| tag.name() == name).filter_map(|tag| tag.value())
    }

    /// What relays index (NIP-01): letter and value of every tag with a single-letter name and a value.
    #[inline]
    pub fn indexed(&self) -> impl Iterator<Item = (u8, &str)> {
        self.iter().filter_map(|tag| match tag.name().as_bytes() {
            [letter] if letter.is_ascii_alphabetic() => tag.value().map(|value| (*letter, value)),
            _ => None,
        })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.text.capacity() + (self.ends.capacity() + self.tags.capacity()) * size_of::<u32>()
    }

    /// About how many bytes they have as JSON.
    pub(super) fn json_bytes(&self) -> usize {
        self.text.len() + self.ends.len() * 3
    }

    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, tag) in self.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.push(b'[');
            for (index, text) in tag.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(out, text);
            }
            out.push(b']');
        }
        out.push(b']');
    }
}

/// One tag.
#[derive(Clone)]
pub struct Tag<'a> {
    of: &'a Tags,
    strings: Range<usize>,
}

impl<'a> Tag<'a> {
    /// The string at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a str> {
        let at = self.strings.start + index;
        if at >= self.strings.end {
            return None;
        }
        let start = if at == 0 { 0 } else { *self.of.ends.get(at - 1)? };
        self.of.text.get(start as usize..*self.of.ends.get(at)? as usize)
    }

    /// The first string.
    #[inline]
    pub fn name(&self) -> &'a str {
        self.get(0).unwrap_or_default()
    }

    /// The second string.
    #[inline]
    pub fn value(&self) -> Option<&'a str> {
        self.get(1)
    }

    /// How many strings it has, at least one.
    #[inline]
    pub fn len(&self) -> usize {
        self.strings.len()
    }

    /// Never: a tag has at least one string.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }

    /// Its strings.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Tags;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tags: an array of arrays of strings")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tags, A::Error> {
                let mut tags = Tags::default();
                while seq.next_element_seed(OneTag(&mut tags))?.is_some() {}
                tags.text.shrink_to_fit();
                tags.ends.shrink_to_fit();
                tags.tags.shrink_to_fit();
                Ok(tags)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

struct OneTag<'t>(&'t mut Tags);

impl<'de> serde::de::DeserializeSeed<'de> for OneTag<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for OneTag<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag: an array of strings")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let tags = self.0;
        let before = tags.ends.len();
        while seq.next_element_seed(OneString(tags))?.is_some() {}
        if tags.ends.len() == before {
            return Err(A::Error::custom("a tag is empty"));
        }
        let end = u32::try_from(tags.ends.len()).map_err(|_| A::Error::custom("too many tags"))?;
        tags.tags.push(end);
        Ok(())
    }
}

struct OneString<'t>(&'t mut Tags);

impl<'de> serde::de::DeserializeSeed<'de> for OneString<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for OneString<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.0.text.push_str(text);
        let end = u32::try_from(self.0.text.len()).map_err(|_| E::custom("tags are too long"))?;
        self.0.ends.push(end);
        Ok(())
    }
}
