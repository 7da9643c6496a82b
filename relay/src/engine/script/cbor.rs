//! CBOR as cborg writes and reads it, straight to and from values of the runtime.
//!
//! Written: the shortest form of integers and floats, keys of maps by length and then by bytes. Read: any width, arrays and
//! maps of indefinite length. Refused, as by cborg: tags, indefinite strings, keys that are not texts, trailing bytes.

use rquickjs::{Array, BigInt, Ctx, Object, String as JsString, TypedArray, Value};

use super::value::{Kind, Unusable, kind};

/// How deep values may be nested.
pub const DEPTH_MAX: usize = 64;

/// The largest integer that a JavaScript number holds exactly.
pub(super) const SAFE_MAX: u64 = (1 << 53) - 1;

/// What is wrong with some CBOR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// It ends too early.
    #[error("the CBOR ends too early")]
    End,
    /// More follows after the value.
    #[error("the CBOR goes on after its value")]
    Trailing,
    /// Nested more deeply than [`DEPTH_MAX`].
    #[error("the CBOR is nested too deeply")]
    Depth,
    /// Something that cborg does not read either.
    #[error("the CBOR has {0}")]
    Unsupported(&'static str),
}

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

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed::End)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, len: usize) -> Result<u64, Malformed> {
        Ok(self.take(len)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

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
                (25, bits) => Head::Float(from_half(bits)),
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
        Ok(String::from_utf8_lossy(self.take(len)?))
    }

    fn key(&mut self, len: usize) -> Result<std::borrow::Cow<'a, str>, Malformed> {
        let key = self.text(len)?;
        // In JavaScript this would set the prototype instead of a member.
        if key == "__proto__" { Err(Malformed::Unsupported("the key __proto__")) } else { Ok(key) }
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

/// A value that could not be made of bytes.
pub enum DecodeError {
    /// The bytes are wrong.
    Malformed(Malformed),
    /// The runtime refused: no memory, as a rule.
    Script(rquickjs::Error),
}

impl From<Malformed> for DecodeError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<rquickjs::Error> for DecodeError {
    fn from(error: rquickjs::Error) -> Self {
        Self::Script(error)
    }
}

/// Reads one value, which must be all there is.
pub fn decode<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>, DecodeError> {
    let mut reader = Reader(bytes);
    let head = reader.head()?;
    let value = read(ctx, &mut reader, head, 0)?;
    if reader.0.is_empty() { Ok(value) } else { Err(Malformed::Trailing.into()) }
}

fn read<'js>(ctx: &Ctx<'js>, reader: &mut Reader<'_>, head: Head, depth: usize) -> Result<Value<'js>, DecodeError> {
    if depth > DEPTH_MAX {
        return Err(Malformed::Depth.into());
    }
    Ok(match head {
        Head::Unsigned(n) if n <= SAFE_MAX => number(ctx, n as f64),
        Head::Unsigned(n) => BigInt::from_u64(ctx.clone(), n)?.into_value(),
        Head::Negative(n) if n < SAFE_MAX => number(ctx, -1.0 - n as f64),
        Head::Negative(n) => {
            let n = i64::try_from(n).map_err(|_| Malformed::Unsupported("an integer below -2^63"))?;
            BigInt::from_i64(ctx.clone(), -1 - n)?.into_value()
        }
        Head::Bytes(len) => TypedArray::<u8>::new_copy(ctx.clone(), reader.take(len)?)?.into_value(),
        Head::Text(len) => JsString::from_str(ctx.clone(), &reader.text(len)?)?.into_value(),
        Head::Bool(value) => Value::new_bool(ctx.clone(), value),
        Head::Null => Value::new_null(ctx.clone()),
        Head::Undefined => Value::new_undefined(ctx.clone()),
        Head::Float(value) => Value::new_float(ctx.clone(), value),
        Head::Break => return Err(Malformed::Unsupported("a stray break").into()),
        Head::Array(len) => {
            let array = Array::new(ctx.clone())?;
            reader.elements::<DecodeError>(len, |reader, index, head| {
                Ok(array.set(index, read(ctx, reader, head, depth + 1)?)?)
            })?;
            array.into_value()
        }
        Head::Map(len) => {
            let object = Object::new(ctx.clone())?;
            reader.elements::<DecodeError>(len, |reader, _, head| {
                let Head::Text(len) = head else { return Err(Malformed::Unsupported("a key that is no text").into()) };
                let key = reader.key(len)?;
                let head = reader.head()?;
                Ok(object.set(key.as_ref(), read(ctx, reader, head, depth + 1)?)?)
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
    out.value(ctx, value, 0)?;
    Ok(out.out)
}

struct Writer {
    out: Vec<u8>,
    max: usize,
}

impl Writer {
    fn value<'js>(&mut self, ctx: &Ctx<'js>, value: &Value<'js>, depth: usize) -> Result<(), Unusable> {
        if depth > DEPTH_MAX {
            return Err(Unusable::Depth);
        }
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
                    self.value(ctx, &element?, depth + 1)?;
                }
            }
            Kind::Object(members) => {
                self.head(5, members.len() as u64);
                for (key, member) in in_order(members) {
                    self.head(3, key.len() as u64);
                    self.bytes(key.as_bytes());
                    self.value(ctx, &member, depth + 1)?;
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
        if let Some(half) = to_half(value) {
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

fn from_half(bits: u64) -> f64 {
    let (sign, exponent, mantissa) = (bits >> 15 & 1, bits >> 10 & 31, bits & 1023);
    let size = match exponent {
        0 => mantissa as f64 * 2f64.powi(-24),
        31 if mantissa == 0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024 + mantissa) as f64 * 2f64.powi(i32::try_from(exponent).unwrap_or_default() - 25),
    };
    if sign == 1 { -size } else { size }
}

/// The value in 16 bits, if nothing is lost.
fn to_half(value: f64) -> Option<u16> {
    if value.is_nan() {
        return Some(0x7e00);
    }
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    if size.is_infinite() {
        return Some(sign | 0x7c00);
    }
    if size == 0.0 {
        return Some(sign);
    }
    let exponent = i32::try_from((size.to_bits() >> 52) & 0x7ff).unwrap_or_default() - 1023;
    let (unit, biased) = if exponent < -14 { (-24, 0) } else { (exponent - 10, exponent + 15) };
    let mantissa = size * 2f64.powi(-unit);
    if biased > 30 || mantissa.fract() != 0.0 || mantissa >= 2048.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and below 2048")]
    let mantissa = mantissa as u16;
    Some(sign | u16::try_from(biased).ok()? << 10 | mantissa & 1023)
}

/// JSON text of a value, for people: bytes become lower-case hex, numbers that JSON does not have and what is undefined
/// become null, and so does what is no CBOR.
pub fn to_json(bytes: &[u8]) -> String {
    let mut reader = Reader(bytes);
    let json = reader.head().and_then(|head| json(&mut reader, head, 0));
    json.unwrap_or(serde_json::Value::Null).to_string()
}

fn json(reader: &mut Reader<'_>, head: Head, depth: usize) -> Result<serde_json::Value, Malformed> {
    use serde_json::Value as Json;
    if depth > DEPTH_MAX {
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
