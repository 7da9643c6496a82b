//! The generations of the format, and how to tell them apart.

use std::{fmt, str::FromStr};

use crate::{Defect, Id, Key, Limits, Misuse, block::Layout, pop02, read::Reader, v3, v8};

/// A generation of the feed format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// picofeed 8 and 9, used by picostack 2. Ed25519; every block names its author.
    ///
    /// ```text
    /// feed   = [ "PIC0" ] block*           zeros may follow
    /// block  = signature[64] size data     signed: size, data
    /// size   = varint, length of data
    /// data   = header* body                body begins at the first byte that is not zero
    /// header = 00 01 author[32] / 00 02 parent[64]
    /// ```
    V8,
    /// picofeed 3.4, used by picostack 1. Ed25519; keys stand between the blocks.
    ///
    /// ```text
    /// feed  = ( key / block )*
    /// key   = "K0." public key[32]
    /// block = signature[64] parent[64] size[u32, big endian] body     signed: parent, size, body
    /// ```
    ///
    /// The parent of a genesis block is 64 zeros. A block is by the latest of the keys before it that verifies it.
    V3,
    /// The POP-02 draft, written by picofeed 4. BIP-340 over secp256k1.
    ///
    /// ```text
    /// feed  = [ "PIC0" ] ( key / block )*                           zeros may follow
    /// key   = b0 public key[32]
    /// block = flags signature[64] [ parent[64] ] size body          signed: parent, size, body
    /// flags = 1011 end? wide? child? 1                              size is u32 if wide, else u16; big endian
    /// ```
    ///
    /// The flags are not signed. A stranger can change where a feed ends. Turning a genesis block into a child, or the
    /// other way round, takes a block that happens to have its own length in the right place: rare, but an author can
    /// arrange it. So a chain of this format proves a little less than one of the others.
    Pop02,
}

/// What a feed is made of.
pub(crate) enum Segment {
    Key(Key),
    Block { layout: Layout, author: Option<Key>, last: bool },
    End,
}

/// A block to be signed: `lead`, if any, goes before the signature, `signed` after it.
pub(crate) struct Draft {
    pub(crate) lead: Option<u8>,
    pub(crate) signed: Vec<u8>,
    pub(crate) layout: Layout,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::V8, Self::V3, Self::Pop02];

    /// Short name: `v8`, `v3`, `pop02`. [`Format::from_str`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V8 => "v8",
            Self::V3 => "v3",
            Self::Pop02 => "pop02",
        }
    }

    /// Guesses the format of a feed from how it begins; none if it looks like no feed. Costs the reading of one block.
    ///
    /// | begins with | format |
    /// |---|---|
    /// | `K0.` | v3 |
    /// | optional `PIC0`, a well-formed v8 block | v8 |
    /// | optional `PIC0`, `b0`, 32 bytes, another key or a block's flags | POP-02 |
    /// | `PIC0` and otherwise | v8 |
    ///
    /// `PIC0` alone does not tell, and neither does `b0` after it: one v8 signature in 256 begins with it. So a feed is
    /// taken for POP-02 only if it is not a v8 feed. With `PIC0` in front, as all writers leave it, every feed that
    /// [`Feed::decode`](crate::Feed::decode) reads as v8 is found to be v8; a POP-02 feed looks like v8 once in more
    /// than 2¹⁵ cases, and is then refused when decoded, never misread, as the signatures would have to fit too. Without
    /// the magic a v8 feed is taken for v3 if its signature begins with `K0.`, once in 2²⁴ cases.
    ///
    /// [`Feed::decode_any`](crate::Feed::decode_any) has the last word: it tries the second candidate too.
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        Self::candidates(bytes).into_iter().flatten().next()
    }

    /// The formats these bytes may have, likeliest first.
    pub(crate) fn candidates(bytes: &[u8]) -> [Option<Self>; 2] {
        if bytes.starts_with(v3::KEY) {
            return [Some(Self::V3), None];
        }
        let mut reader = Reader::new(bytes);
        let magic = reader.skip(v8::MAGIC);
        let rest = reader.rest();
        let is_v8 = v8::block(&mut reader, &Limits::NONE).is_ok();
        let is_pop02 = rest.first() == Some(&pop02::KEY)
            && rest.get(33).is_none_or(|flags| *flags == pop02::KEY || pop02::is_block(*flags));
        match (is_v8, is_pop02, magic) {
            (true, true, _) => [Some(Self::V8), Some(Self::Pop02)],
            (true, false, _) | (false, false, true) => [Some(Self::V8), None],
            (false, true, _) => [Some(Self::Pop02), Some(Self::V8)],
            (false, false, false) => [None, None],
        }
    }

    /// What every feed of the format begins with. Reading does without.
    pub(crate) fn magic(self) -> &'static [u8] {
        match self {
            Self::V8 | Self::Pop02 => v8::MAGIC,
            Self::V3 => b"",
        }
    }

    /// What announces a key, before its 32 bytes; none where blocks name their authors.
    pub(crate) fn key_prefix(self) -> Option<&'static [u8]> {
        match self {
            Self::V8 => None,
            Self::V3 => Some(v3::KEY),
            Self::Pop02 => Some(&[pop02::KEY]),
        }
    }

    pub(crate) fn read_segment(self, reader: &mut Reader<'_>, limits: &Limits) -> Result<Segment, Defect> {
        match self {
            Self::V8 => v8::segment(reader, limits),
            Self::V3 => v3::segment(reader, limits),
            Self::Pop02 => pop02::segment(reader, limits),
        }
    }

    /// Reads a block; gives its author if it names one.
    pub(crate) fn read_block(self, reader: &mut Reader<'_>, limits: &Limits) -> Result<(Layout, Option<Key>), Defect> {
        match self {
            Self::V8 => v8::block(reader, limits),
            Self::V3 => v3::block(reader, limits),
            Self::Pop02 => pop02::block(reader, limits),
        }
    }

    pub(crate) fn draft(self, author: &Key, parent: Option<&Id>, body: &[u8]) -> Result<Draft, Misuse> {
        if body.is_empty() {
            return Err(Misuse::BodyEmpty);
        }
        match self {
            Self::V8 => v8::draft(author, parent, body),
            Self::V3 => v3::draft(parent, body),
            Self::Pop02 => pop02::draft(parent, body),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a feed format: expected v8, v3 or pop02")]
pub struct FormatUnknown;

impl FromStr for Format {
    type Err = FormatUnknown;

    fn from_str(text: &str) -> Result<Self, FormatUnknown> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or(FormatUnknown)
    }
}

/// Length of a body that a size field announces.
pub(crate) fn body_len(size: u32, limits: &Limits) -> Result<usize, Defect> {
    match usize::try_from(size) {
        Ok(0) => Err(Defect::BodyEmpty),
        Ok(len) if len <= limits.body_bytes_max => Ok(len),
        _ => Err(Defect::BodyTooLong),
    }
}
