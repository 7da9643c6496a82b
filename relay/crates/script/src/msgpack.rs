//! msgpack as msgpackr writes and reads it by default, straight to and from values of the runtime. Bodies of blocks of the
//! first generation are written so. Bytes are Buffers, and whole numbers of 64 bits BigInts, as in node. Of its extensions only
//! undefined and times are read.

use rquickjs::{Array, BigInt, Ctx, Object, String as JsString, Value};

use super::cbor::number;
use super::reader::{DecodeError, Malformed, Reader, depth_max};
use super::value::{Kind, Unusable, buffer, date, kind};

/// Type -1, of which times are.
const TIMESTAMP: u64 = 0xff;

impl Reader<'_> {
    fn signed(&mut self, len: usize) -> Result<i64, Malformed> {
        let bits = 64 - 8 * len;
        Ok((self.number(len)? << bits).cast_signed() >> bits)
    }
}

/// Reads one value, which must be all there is.
pub fn decode<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>, DecodeError> {
    let mut reader = Reader(bytes);
    let value = read(ctx, &mut reader, 0)?;
    reader.end(value)
}

fn read<'js>(ctx: &Ctx<'js>, reader: &mut Reader<'_>, depth: usize) -> Result<Value<'js>, DecodeError> {
    if depth > depth_max(ctx) {
        return Err(Malformed::Depth.into());
    }
    let first = u8::try_from(reader.number(1)?).unwrap_or_default();
    let whole = |n: i64| match i32::try_from(n) {
        Ok(n) => Value::new_int(ctx.clone(), n),
        Err(_) => number(ctx, n as f64),
    };
    let small = usize::from(first);
    Ok(match first {
        0x00..=0x7f => whole(i64::from(first)),
        0xe0..=0xff => whole(i64::from(first.cast_signed())),
        0x80..=0x8f => map(ctx, reader, small & 15, depth)?,
        0x90..=0x9f => array(ctx, reader, small & 15, depth)?,
        0xa0..=0xbf => text(ctx, reader.take(small & 31)?)?,
        0xc0 => Value::new_null(ctx.clone()),
        0xc2 => Value::new_bool(ctx.clone(), false),
        0xc3 => Value::new_bool(ctx.clone(), true),
        0xc4..=0xc6 => {
            let len = reader.len(1 << (first - 0xc4))?;
            buffer(ctx, reader.take(len)?)?
        }
        0xca => number(ctx, f64::from(f32::from_bits(u32::try_from(reader.number(4)?).unwrap_or_default()))),
        0xcb => number(ctx, f64::from_bits(reader.number(8)?)),
        0xcc..=0xce => number(ctx, reader.number(1 << (first - 0xcc))? as f64),
        // Whatever it is: only a BigInt is written so.
        0xcf => BigInt::from_u64(ctx.clone(), reader.number(8)?)?.into_value(),
        0xd0..=0xd2 => whole(reader.signed(1 << (first - 0xd0))?),
        0xd3 => BigInt::from_i64(ctx.clone(), reader.signed(8)?)?.into_value(),
        // fixext 1 of type 0 is undefined.
        0xd4 if reader.number(2)? == 0 => Value::new_undefined(ctx.clone()),
        0xd6 if reader.number(1)? == TIMESTAMP => date(ctx, reader.number(4)? as f64 * 1e3)?,
        0xd7 if reader.number(1)? == TIMESTAMP => {
            let both = reader.number(8)?;
            date(ctx, (both & ((1 << 34) - 1)) as f64 * 1e3 + (both >> 34) as f64 / 1e6)?
        }
        0xc7 if reader.number(2)? == (12 << 8 | TIMESTAMP) => {
            let nanos = reader.number(4)? as f64;
            date(ctx, reader.signed(8)? as f64 * 1e3 + nanos / 1e6)?
        }
        0xd9..=0xdb => {
            let len = reader.len(1 << (first - 0xd9))?;
            text(ctx, reader.take(len)?)?
        }
        0xdc | 0xdd => {
            let len = reader.len(2 << (first - 0xdc))?;
            array(ctx, reader, len, depth)?
        }
        0xde | 0xdf => {
            let len = reader.len(2 << (first - 0xde))?;
            map(ctx, reader, len, depth)?
        }
        _ => return Err(Malformed::Unsupported("an extension").into()),
    })
}

fn text<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>, DecodeError> {
    Ok(JsString::from_str(ctx.clone(), &String::from_utf8_lossy(bytes))?.into_value())
}

fn array<'js>(ctx: &Ctx<'js>, reader: &mut Reader<'_>, len: usize, depth: usize) -> Result<Value<'js>, DecodeError> {
    let array = Array::new(ctx.clone())?;
    for index in 0..len {
        array.set(index, read(ctx, reader, depth + 1)?)?;
    }
    Ok(array.into_value())
}

fn map<'js>(ctx: &Ctx<'js>, reader: &mut Reader<'_>, len: usize, depth: usize) -> Result<Value<'js>, DecodeError> {
    let object = Object::new(ctx.clone())?;
    for _ in 0..len {
        let key = read(ctx, reader, depth + 1)?;
        if key.is_object() {
            return Err(Malformed::Unsupported("a key that is no text and no number").into());
        }
        let key: rquickjs::Coerced<String> = key.get()?;
        // As msgpackr has it.
        let key = if key.0 == "__proto__" { "__proto_" } else { &key.0 };
        object.set(key, read(ctx, reader, depth + 1)?)?;
    }
    Ok(object.into_value())
}

/// Writes a value, in at most `max` bytes.
pub fn encode<'js>(ctx: &Ctx<'js>, value: &Value<'js>, max: usize) -> Result<Vec<u8>, Unusable> {
    let mut out = Vec::new();
    write(ctx, value, &mut out, max, 0)?;
    Ok(out)
}

fn write<'js>(ctx: &Ctx<'js>, value: &Value<'js>, out: &mut Vec<u8>, max: usize, depth: usize) -> Result<(), Unusable> {
    if depth > depth_max(ctx) {
        return Err(Unusable::Depth);
    }
    match kind(ctx, value)? {
        Kind::Undefined => out.extend([0xd4, 0, 0]),
        Kind::Null => out.push(0xc0),
        Kind::Bool(value) => out.push(if value { 0xc3 } else { 0xc2 }),
        Kind::Number(value) => write_number(out, value),
        Kind::BigInt(value) => match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => {
                out.push(0xd3);
                out.extend(value.to_be_bytes());
            }
            (_, Ok(value)) => {
                out.push(0xcf);
                out.extend(value.to_be_bytes());
            }
            _ => return Err(Unusable::Type("a large BigInt".into())),
        },
        Kind::Text(text) => {
            write_len(out, text.len(), [(31, 0xa0), (255, 0xd9), (65_535, 0xda)], 0xdb);
            out.extend_from_slice(text.as_bytes().get(..max.min(text.len())).unwrap_or_default());
        }
        Kind::Bytes(bytes) => {
            write_len(out, bytes.len(), [(0, 0), (255, 0xc4), (65_535, 0xc5)], 0xc6);
            out.extend_from_slice(bytes.get(..max.min(bytes.len())).unwrap_or_default());
        }
        Kind::Array(array) => {
            write_len(out, array.len(), [(15, 0x90), (0, 0), (65_535, 0xdc)], 0xdd);
            for element in array.iter::<Value<'js>>() {
                write(ctx, &element?, out, max, depth + 1)?;
            }
        }
        Kind::Object(members) => {
            // msgpackr leaves two bytes for the number of members, whatever it is.
            write_len(out, members.len(), [(0, 0), (0, 0), (65_535, 0xde)], 0xdf);
            for (key, member) in members {
                write_len(out, key.len(), [(31, 0xa0), (255, 0xd9), (65_535, 0xda)], 0xdb);
                out.extend_from_slice(key.as_bytes());
                write(ctx, &member, out, max, depth + 1)?;
            }
        }
    }
    if out.len() > max { Err(Unusable::Size(max)) } else { Ok(()) }
}

/// A header: the first of the three short forms that the length fits in and that has a tag, or the long one.
fn write_len(out: &mut Vec<u8>, len: usize, forms: [(usize, u8); 3], long: u8) {
    let [a, b, c, d, ..] = (u32::try_from(len).unwrap_or(u32::MAX)).to_be_bytes();
    let fits = |(max, tag): (usize, u8)| tag != 0 && len <= max;
    match forms.map(fits) {
        [true, _, _] => out.push(forms[0].1 | d),
        [_, true, _] => out.extend([forms[1].1, d]),
        [_, _, true] => out.extend([forms[2].1, c, d]),
        _ => out.extend([long, a, b, c, d]),
    }
}

fn write_number(out: &mut Vec<u8>, value: f64) {
    if value.fract() != 0.0 || !(-2_147_483_648.0..4_294_967_296.0).contains(&value) {
        out.push(0xcb);
        out.extend(value.to_be_bytes());
        return;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole, and in the range of 33 bits")]
    let whole = value as i64;
    let [.., a, b, c, d] = whole.to_be_bytes();
    match whole {
        -32..=127 => out.push(d),
        128..=255 => out.extend([0xcc, d]),
        256..=65_535 => out.extend([0xcd, c, d]),
        65_536.. => out.extend([0xce, a, b, c, d]),
        -128..=-33 => out.extend([0xd0, d]),
        -32_768..=-129 => out.extend([0xd1, c, d]),
        _ => out.extend([0xd2, a, b, c, d]),
    }
}
