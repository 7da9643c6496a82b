//! picofeed 3.4, used by picostack 1: Ed25519, keys beside the blocks. For the layout see `Format::V3`.
//!
//! Keys may be repeated: picostack sends stored feeds with the key before every block. Any three bytes `K0.` where a
//! segment may begin are a key. A signature that begins with them, once in 2²⁴ blocks, makes a block that nobody can read
//! in a feed; such blocks are refused also when they come alone, and are not written.
//!
//! The JavaScript reader never objects to bad content: the feed just ends there. `Feed::decode_prefix` and
//! `Feed::verify_prefix` do that too, and say why. The cases are in `tests/vectors/feed-v3.json`.

use crate::{
    Defect, Id, Key, Limits, Misuse,
    block::Layout,
    format::{Draft, Segment, body_len},
    read::Reader,
};

pub(crate) const KEY: &[u8] = b"K0.";

pub(crate) fn segment(reader: &mut Reader<'_>, limits: &Limits) -> Result<Segment, Defect> {
    if reader.rest().is_empty() {
        return Ok(Segment::End);
    }
    if reader.skip(KEY) {
        return Ok(Segment::Key(Key::from(reader.array()?)));
    }
    let (layout, author) = block(reader, limits)?;
    Ok(Segment::Block { layout, author, last: false })
}

pub(crate) fn block(reader: &mut Reader<'_>, limits: &Limits) -> Result<(Layout, Option<Key>), Defect> {
    if reads_as_key(reader.take(64)?) {
        return Err(Defect::SignatureLikeKey);
    }
    let parent = if reader.array()? == [0; 64] { None } else { Some(64) };
    let size = u32::from_be_bytes(reader.array()?);
    reader.take(body_len(size, limits)?)?;
    Ok((Layout::new(0, parent, 64 + 64 + 4), None))
}

/// Whether a block with this signature would be taken for a key.
pub(crate) fn reads_as_key(signature: &[u8]) -> bool {
    signature.starts_with(KEY)
}

pub(crate) fn draft(parent: Option<&Id>, body: &[u8]) -> Result<Draft, Misuse> {
    let size = u32::try_from(body.len()).map_err(|_| Misuse::BodyLength(body.len()))?;
    let mut signed = Vec::with_capacity(64 + 4 + body.len());
    signed.extend(parent.map_or(&[0; 64], Id::as_bytes));
    signed.extend(size.to_be_bytes());
    signed.extend(body);
    Ok(Draft { lead: None, signed, layout: Layout::new(0, parent.map(|_| 64), 64 + 64 + 4) })
}
