//! CBOR shown to people.

use super::{Head, Malformed, Reader};
use crate::reader::DEPTH_CEILING;

/// JSON text of a value, for people: bytes become lower-case hex, numbers that JSON does not have and what is undefined
/// become null, and so does what is no CBOR.
pub fn to_json(bytes: &[u8]) -> String {
    let mut reader = Reader(bytes);
    let json = reader.head().and_then(|head| json(&mut reader, head, 0));
    json.unwrap_or(serde_json::Value::Null).to_string()
}

fn json(reader: &mut Reader<'_>, head: Head, depth: usize) -> Result<serde_json::Value, Malformed> {
    use serde_json::Value as Json;
    if depth > DEPTH_CEILING {
        return Err(Malformed::Depth);
    }
    Ok(match head {
        Head::Unsigned(n) => n.into(),
        Head::Negative(n) => i64::try_from(n).map_or(Json::Null, |n| (-1 - n).into()),
        Head::Bytes(len) => data_encoding::HEXLOWER.encode(reader.take(len)?).into(),
        Head::Text(len) => reader.text(len)?.into(),
        Head::Bool(value) => value.into(),
        Head::Null | Head::Undefined => Json::Null,
        Head::Float(value) => value.into(),
        Head::Break => return Err(Malformed::Unsupported("a stray break")),
        Head::Array(len) => {
            let mut array = Vec::new();
            reader.elements::<Malformed>(len, |reader, _, head| {
                array.push(json(reader, head, depth + 1)?);
                Ok(())
            })?;
            array.into()
        }
        Head::Map(len) => {
            let mut members = serde_json::Map::new();
            reader.elements::<Malformed>(len, |reader, _, head| {
                let Head::Text(len) = head else { return Err(Malformed::Unsupported("a key that is no text")) };
                let key = reader.text(len)?.into_owned();
                let head = reader.head()?;
                members.insert(key, json(reader, head, depth + 1)?);
                Ok(())
            })?;
            members.into()
        }
    })
}
