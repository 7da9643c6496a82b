//! CBOR as cborg writes and reads it, straight to and from values of the runtime.
//!
//! Written: the shortest form of integers and floats, keys of maps by length and then by bytes. Read: any width, arrays and
//! maps of indefinite length, texts that are no UTF-8 (each wrong part is U+FFFD), integers down to -2^64, the key `__proto__`
//! (which sets the prototype of that one object, as with cborg: what a block says must mean the same here and in a node). Refused,
//! as by cborg: tags, indefinite strings, keys that are not texts, trailing bytes.

mod half;
mod json;

use rquickjs::{Array, BigInt, Ctx, Object, String as JsString, Value};

pub use self::json::to_json;
use super::reader::{DecodeError, Malformed, Reader, SAFE_MAX, depth_max};
use super::value::{Kind, MakeBytes, Unusable, below_zero, buffer, kind, plain_bytes};

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One step of reading.
enum Head {
    Unsigned(u64),
    /// -1 - n.
    Negative(u64),
    Bytes(usize),
    Text(usize),
    /// None: until a break.
    Array(Option<usize>),
    Map(Option<usize>),
    Bool(bool),
    Null,
    Undefined,
    Float(f64),
    Break,
}

impl<'a> Reader<'a> {
    fn head(&mut self) -> Result<Head, Malformed> {
        let first = self.take(1)?.first().copied().unwrap_or_default();
        let (major, info) = (first >> 5, first & 31);
        let argument = match info {
            0..=23 => u64::from(info),
            24 => self.number(1)?,
            25 => self.number(2)?,
            26 => self.number(4)?,
            27 => self.number(8)?,
            31 => 0,
            _ => return Err(Malformed::Unsupported("a reserved length")),
        };
        let indefinite = info == 31;
        let len = || usize::try_from(argument).map_err(|_| Malformed::End);
        Ok(match (major, indefinite) {
            (0, false) => Head::Unsigned(argument),
            (1, false) => Head::Negative(argument),
            (2, false) => Head::Bytes(len()?),
            (3, false) => Head::Text(len()?),
            (4, false) => Head::Array(Some(len()?)),
            (5, false) => Head::Map(Some(len()?)),
            (4, true) => Head::Array(None),
            (5, true) => Head::Map(None),
            (7, true) => Head::Break,
            (7, false) => match (info, argument) {
                (25, bits) => Head::Float(half::read(bits)),
                (26, bits) => Head::Float(f64::from(f32::from_bits(u32::try_from(bits).unwrap_or_default()))),
                (27, bits) => Head::Float(f64::from_bits(bits)),
                (20, _) => Head::Bool(false),
                (21, _) => Head::Bool(true),
                (22, _) => Head::Null,
                (23, _) => Head::Undefined,
                _ => return Err(Malformed::Unsupported("a simple value")),
            },
            (6, _) => return Err(Malformed::Unsupported("a tag")),
            _ => return Err(Malformed::Unsupported("a string of indefinite length")),
        })
    }

    fn text(&mut self, len: usize) -> Result<std::borrow::Cow<'a, str>, Malformed> {
        let bytes = self.take(len)?;
        // As TextDecoder does, and with it cborg in a node: a byte order mark is not part of the text.
        Ok(String::from_utf8_lossy(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)))
    }

    /// Calls `each` for every element, until it says that there is none.
    fn elements<E: From<Malformed>>(
        &mut self,
        len: Option<usize>,
        mut each: impl FnMut(&mut Self, usize, Head) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut index = 0;
        while len.is_none_or(|len| index < len) {
            match (self.head()?, len) {
                (Head::Break, None) => return Ok(()),
                (head, _) => each(self, index, head)?,
            }
            index += 1;
        }
        Ok(())
    }
}

/// Reads one value, which must be all there is.
pub fn decode<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>, DecodeError> {
    decode_with(ctx, bytes, plain_bytes)
}

/// The same, with Buffers for bytes.
pub fn decode_with_buffers<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>, DecodeError> {
    decode_with(ctx, bytes, buffer)
}

fn decode_with<'js>(ctx: &Ctx<'js>, bytes: &[u8], make: MakeBytes) -> Result<Value<'js>, DecodeError> {
    let mut reader = Reader(bytes);
    let head = reader.head()?;
    let value = read(ctx, &mut reader, head, depth_max(ctx), make)?;
    reader.end(value)
}

/// `depth`: how many levels there may be below.
fn read<'js>(
    ctx: &Ctx<'js>,
    reader: &mut Reader<'_>,
    head: Head,
    depth: usize,
    make: MakeBytes,
) -> Result<Value<'js>, DecodeError> {
    let below = || depth.checked_sub(1).ok_or(Malformed::Depth);
    Ok(match head {
        Head::Unsigned(n) if n <= SAFE_MAX => number(ctx, n as f64),
        Head::Unsigned(n) => BigInt::from_u64(ctx.clone(), n)?.into_value(),
        Head::Negative(n) if n < SAFE_MAX => number(ctx, -1.0 - n as f64),
        Head::Negative(n) => match i64::try_from(n) {
            Ok(n) => BigInt::from_i64(ctx.clone(), -1 - n)?.into_value(),
            Err(_) => below_zero(ctx, n)?,
        },
        Head::Bytes(len) => make(ctx, reader.take(len)?)?,
        Head::Text(len) => JsString::from_str(ctx.clone(), &reader.text(len)?)?.into_value(),
        Head::Bool(value) => Value::new_bool(ctx.clone(), value),
        Head::Null => Value::new_null(ctx.clone()),
        Head::Undefined => Value::new_undefined(ctx.clone()),
        Head::Float(value) => Value::new_float(ctx.clone(), value),
        Head::Break => return Err(Malformed::Unsupported("a stray break").into()),
        Head::Array(len) => {
            let array = Array::new(ctx.clone())?;
            reader.elements::<DecodeError>(len, |reader, index, head| {
                Ok(array.set(index, read(ctx, reader, head, below()?, make)?)?)
            })?;
            array.into_value()
        }
        Head::Map(len) => {
            let object = Object::new(ctx.clone())?;
            reader.elements::<DecodeError>(len, |reader, _, head| {
                let Head::Text(len) = head else { return Err(Malformed::Unsupported("a key that is no text").into()) };
                let key = reader.text(len)?;
                let head = reader.head()?;
                Ok(object.set(key.as_ref(), read(ctx, reader, head, below()?, make)?)?)
            })?;
            object.into_value()
        }
    })
}

/// A number as JavaScript keeps it: small integers are integers.
pub(super) fn number<'js>(ctx: &Ctx<'js>, value: f64) -> Value<'js> {
    Value::new_number(ctx.clone(), value)
}

/// Writes a value, in at most `max` bytes.
pub fn encode<'js>(ctx: &Ctx<'js>, value: &Value<'js>, max: usize) -> Result<Vec<u8>, Unusable> {
    let mut out = Writer { out: Vec::new(), max };
    out.value(ctx, value, depth_max(ctx))?;
    Ok(out.out)
}

struct Writer {
    out: Vec<u8>,
    max: usize,
}

impl Writer {
    fn value<'js>(&mut self, ctx: &Ctx<'js>, value: &Value<'js>, depth: usize) -> Result<(), Unusable> {
        let below = || depth.checked_sub(1).ok_or(Unusable::Depth);
        match kind(ctx, value)? {
            Kind::Undefined => self.byte(0xf7),
            Kind::Null => self.byte(0xf6),
            Kind::Bool(value) => self.byte(if value { 0xf5 } else { 0xf4 }),
            Kind::Number(value) => self.number(value),
            Kind::BigInt(value) => match (u64::try_from(value), u64::try_from(-1 - value)) {
                (Ok(value), _) => self.head(0, value),
                (_, Ok(value)) => self.head(1, value),
                _ => return Err(Unusable::Type("a large BigInt".into())),
            },
            Kind::Text(text) => {
                self.head(3, text.len() as u64);
                self.bytes(text.as_bytes());
            }
            Kind::Bytes(bytes) => {
                self.head(2, bytes.len() as u64);
                self.bytes(&bytes);
            }
            Kind::Array(array) => {
                self.head(4, array.len() as u64);
                for element in array.iter::<Value<'js>>() {
                    self.value(ctx, &element?, below()?)?;
                }
            }
            Kind::Object(members) => {
                self.head(5, members.len() as u64);
                for (key, member) in in_order(members) {
                    self.head(3, key.len() as u64);
                    self.bytes(key.as_bytes());
                    self.value(ctx, &member, below()?)?;
                }
            }
        }
        if self.out.len() > self.max { Err(Unusable::Size(self.max)) } else { Ok(()) }
    }

    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // What is too long is refused after this value; here it only must not grow without end.
        if self.out.len() <= self.max {
            self.out.extend_from_slice(bytes);
        }
    }

    fn head(&mut self, major: u8, argument: u64) {
        let [.., a, b, c, d, e, f, g, h] = argument.to_be_bytes();
        let major = major << 5;
        match argument {
            0..=23 => self.bytes(&[major | h]),
            24..=0xff => self.bytes(&[major | 24, h]),
            0x100..=0xffff => self.bytes(&[major | 25, g, h]),
            0x1_0000..=0xffff_ffff => self.bytes(&[major | 26, e, f, g, h]),
            _ => self.bytes(&[major | 27, a, b, c, d, e, f, g, h]),
        }
    }

    fn integer(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(0, value),
            Err(_) => self.head(1, value.unsigned_abs() - 1),
        }
    }

    fn number(&mut self, value: f64) {
        if value.fract() == 0.0 && value.abs() <= SAFE_MAX as f64 {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            return self.integer(value as i64);
        }
        if let Some(half) = half::write(value) {
            let [a, b] = half.to_be_bytes();
            return self.bytes(&[0xf9, a, b]);
        }
        #[expect(clippy::cast_possible_truncation, reason = "taken only if nothing is lost")]
        let single = value as f32;
        if f64::from(single) == value {
            self.byte(0xfa);
            self.bytes(&single.to_be_bytes());
        } else {
            self.byte(0xfb);
            self.bytes(&value.to_be_bytes());
        }
    }
}

/// Members as they are written: by the length of the key, then by its bytes.
fn in_order<'js>(mut members: Vec<(String, Value<'js>)>) -> Vec<(String, Value<'js>)> {
    members.sort_unstable_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    members
}
