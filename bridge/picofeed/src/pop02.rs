//! The POP-02 draft, as picofeed 4.1 wrote it: BIP-340, flags before each block. For the layout see `Format::Pop02`.
//!
//! What BIP-340 signs is a blake3 output of 256 bytes, not the usual 32. The printed samples of the specification verify
//! that way and no other, and genesis blocks have no parent field, whatever its text says; they are in
//! `tests/vectors/pop02.json`.
//!
//! That `wide` is not signed does no harm: it is only read with sizes that need it.

use crate::{
    Defect, Id, Key, Limits, Misuse,
    block::Layout,
    format::{Draft, Segment, body_len},
    read::Reader,
};

pub(crate) const KEY: u8 = 0b1011_0000;
const BLOCK: u8 = 0b1011_0001;
const CHILD: u8 = 0b0010;
const WIDE: u8 = 0b0100;
const END: u8 = 0b1000;

pub(crate) fn segment(reader: &mut Reader<'_>, limits: &Limits) -> Result<Segment, Defect> {
    if reader.only_zeros() {
        return Ok(Segment::End);
    }
    if reader.skip(&[KEY]) {
        return Ok(Segment::Key(Key::from(reader.array()?)));
    }
    let last = reader.rest().first().is_some_and(|flags| flags & END != 0);
    let (layout, author) = block(reader, limits)?;
    Ok(Segment::Block { layout, author, last })
}

pub(crate) fn block(reader: &mut Reader<'_>, limits: &Limits) -> Result<(Layout, Option<Key>), Defect> {
    let [flags] = reader.array()?;
    if !is_block(flags) {
        return Err(Defect::SegmentUnknown(flags));
    }
    reader.take(64)?;
    let parent = flags & CHILD != 0;
    if parent && reader.array()? == [0; 64] {
        return Err(Defect::ParentZero);
    }
    let wide = flags & WIDE != 0;
    let size = if wide { u32::from_be_bytes(reader.array()?) } else { u16::from_be_bytes(reader.array()?).into() };
    if wide && size <= u32::from(u16::MAX) {
        return Err(Defect::Size);
    }
    reader.take(body_len(size, limits)?)?;
    Ok((layout(parent, wide), None))
}

/// Bodies of exactly 65,536 bytes are refused: picofeed 4.1 takes them for narrow and for wide in different places, so
/// nobody could read them.
pub(crate) fn draft(parent: Option<&Id>, body: &[u8]) -> Result<Draft, Misuse> {
    let mut signed = Vec::with_capacity(64 + 4 + body.len());
    let mut flags = BLOCK | END;
    if let Some(parent) = parent {
        flags |= CHILD;
        signed.extend(parent.as_bytes());
    }
    match (u16::try_from(body.len()), u32::try_from(body.len())) {
        (Ok(size), _) => signed.extend(size.to_be_bytes()),
        (_, Ok(size)) if size > 1 << 16 => {
            flags |= WIDE;
            signed.extend(size.to_be_bytes());
        }
        _ => return Err(Misuse::BodyLength(body.len())),
    }
    signed.extend(body);
    Ok(Draft { lead: Some(flags), signed, layout: layout(parent.is_some(), flags & WIDE != 0) })
}

/// The message that is signed for these bytes.
pub(crate) fn digest(signed: &[u8]) -> [u8; 256] {
    let mut digest = [0; 256];
    blake3::Hasher::new().update(signed).finalize_xof().fill(&mut digest);
    digest
}

/// The flags of a block that is, or is not, the last of its feed.
pub(crate) fn ending(flags: u8, last: bool) -> u8 {
    if last { flags | END } else { flags & !END }
}

pub(crate) fn is_block(flags: u8) -> bool {
    flags & 0xf1 == BLOCK
}

fn layout(parent: bool, wide: bool) -> Layout {
    let size_at = if parent { 1 + 64 + 64 } else { 1 + 64 };
    Layout::new(1, parent.then_some(1 + 64), size_at + if wide { 4 } else { 2 })
}
