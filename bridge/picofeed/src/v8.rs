//! picofeed 8 and 9: Ed25519, headers, sizes as varints. For the layout see `Format::V8`.
//!
//! The JavaScript reader also takes blocks without author or body, repeated and cut headers, padded sizes, and up to 65
//! stray bytes. Its writer makes none of these, some of them make other nodes hang, and all are refused here. The cases
//! are in `tests/vectors/feed-v8.json`.

use crate::{
    Defect, Id, Key, Limits, Misuse,
    block::Layout,
    format::{Draft, Segment},
    read::Reader,
    varint,
};

pub(crate) const MAGIC: &[u8] = b"PIC0";

const AUTHOR: u8 = 1;
const PARENT: u8 = 2;

pub(crate) fn segment(reader: &mut Reader<'_>, limits: &Limits) -> Result<Segment, Defect> {
    if reader.only_zeros() {
        return Ok(Segment::End);
    }
    let (layout, author) = block(reader, limits)?;
    Ok(Segment::Block { layout, author, last: false })
}

pub(crate) fn block(reader: &mut Reader<'_>, limits: &Limits) -> Result<(Layout, Option<Key>), Defect> {
    reader.take(64)?;
    let (size, size_len) = varint::decode(reader.rest())?;
    reader.take(size_len)?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let headers_len_max = 2 + 32 + 2 + 64;
    if size > limits.body_bytes_max.saturating_add(headers_len_max) {
        return Err(Defect::BodyTooLong);
    }
    let mut data = Reader::new(reader.take(size)?);
    let (mut author, mut parent) = (None, None);
    while data.skip(&[0]) {
        let [id] = data.array()?;
        match id {
            AUTHOR if author.is_none() => author = Some(data.array::<32>()?),
            PARENT if parent.is_none() => {
                parent = Some(data.at());
                if data.array()? == [0; 64] {
                    return Err(Defect::ParentZero);
                }
            }
            AUTHOR | PARENT => return Err(Defect::HeaderRepeated(id)),
            _ => return Err(Defect::HeaderUnknown(id)),
        }
    }
    match data.rest().len() {
        0 => return Err(Defect::BodyEmpty),
        len if len > limits.body_bytes_max => return Err(Defect::BodyTooLong),
        _ => {}
    }
    let author = author.map(Key::from).ok_or(Defect::AuthorMissing)?;
    let data_at = 64 + size_len;
    let layout = Layout::new(0, parent.map(|at| data_at + at), data_at + data.at());
    Ok((layout, Some(author)))
}

pub(crate) fn draft(author: &Key, parent: Option<&Id>, body: &[u8]) -> Result<Draft, Misuse> {
    if body.first() == Some(&0) {
        return Err(Misuse::BodyStartsWithZero);
    }
    let headers_len = 2 + 32 + parent.map_or(0, |_| 2 + 64);
    let size = u32::try_from(body.len().saturating_add(headers_len))
        .ok()
        .filter(|size| *size < varint::END)
        .ok_or(Misuse::BodyLength(body.len()))?;
    let mut signed = Vec::with_capacity(varint::BYTES_MAX + headers_len + body.len());
    varint::encode(size, &mut signed);
    signed.extend([0, AUTHOR]);
    signed.extend(author.as_bytes());
    let parent_at = parent.map(|parent| {
        signed.extend([0, PARENT]);
        let at = 64 + signed.len();
        signed.extend(parent.as_bytes());
        at
    });
    let layout = Layout::new(0, parent_at, 64 + signed.len());
    signed.extend(body);
    Ok(Draft { lead: None, signed, layout })
}
