//! CBOR (RFC 8949), as cborg writes it and more: indefinite lengths, any width, tags (which are looked through).

use ciborium_io::Read as _;
use ciborium_ll::{Decoder, Header, simple};

use super::{Budget, Value};

/// The one value these bytes are. None if they are not one, are followed by anything, or cost too much.
pub(super) fn decode(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader { decoder: Decoder::from(bytes), bytes_len: bytes.len(), budget: Budget::new() };
    let value = reader.value(0)?;
    (reader.decoder.offset() == bytes.len()).then_some(value)
}

struct Reader<'a> {
    decoder: Decoder<&'a [u8]>,
    bytes_len: usize,
    budget: Budget,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.value_or_break(depth)?
    }

    /// The next value; `Some(None)` is the end of something of indefinite length.
    #[allow(clippy::option_option, reason = "failed, ended, value")]
    fn value_or_break(&mut self, depth: usize) -> Option<Option<Value>> {
        self.budget.spend(depth)?;
        let value = match self.decoder.pull().ok()? {
            Header::Positive(number) => Value::Integer(number.into()),
            Header::Negative(number) => Value::Integer(-1 - i128::from(number)),
            Header::Float(number) => Value::Float(number),
            Header::Simple(simple::TRUE) => Value::Bool(true),
            Header::Simple(simple::FALSE) => Value::Bool(false),
            Header::Simple(_) => Value::Null,
            Header::Tag(_) => self.value(depth + 1)?,
            Header::Break => return Some(None),
            Header::Bytes(len) => Value::Bytes(self.chunks(len, |header| match header {
                Header::Bytes(len) => len,
                _ => None,
            })?),
            Header::Text(len) => Value::Text(
                String::from_utf8(self.chunks(len, |header| match header {
                    Header::Text(len) => len,
                    _ => None,
                })?)
                .ok()?,
            ),
            Header::Array(len) => Value::Array(self.array(len, depth + 1)?),
            Header::Map(len) => Value::Map(self.map(len, depth + 1)?),
        };
        Some(Some(value))
    }

    fn array(&mut self, len: Option<usize>, depth: usize) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        while len.is_none_or(|len| items.len() < len) {
            match self.value_or_break(depth)? {
                Some(item) => items.push(item),
                None if len.is_none() => break,
                None => return None,
            }
        }
        Some(items)
    }

    fn map(&mut self, len: Option<usize>, depth: usize) -> Option<Vec<(Value, Value)>> {
        let mut entries = Vec::new();
        while len.is_none_or(|len| entries.len() < len) {
            match self.value_or_break(depth)? {
                Some(key) => entries.push((key, self.value(depth)?)),
                None if len.is_none() => break,
                None => return None,
            }
        }
        Some(entries)
    }

    /// Bytes of this length, or of chunks up to a break. `chunk_len` knows the length of a chunk of the right sort.
    fn chunks(&mut self, len: Option<usize>, chunk_len: fn(Header) -> Option<usize>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let Some(len) = len else {
            loop {
                self.budget.spend(0)?;
                match self.decoder.pull().ok()? {
                    Header::Break => return Some(bytes),
                    header => self.exactly(chunk_len(header)?, &mut bytes)?,
                }
            }
        };
        self.exactly(len, &mut bytes)?;
        Some(bytes)
    }

    fn exactly(&mut self, len: usize, into: &mut Vec<u8>) -> Option<()> {
        if len > self.bytes_len.saturating_sub(self.decoder.offset()) {
            return None;
        }
        let start = into.len();
        into.resize(start + len, 0);
        self.decoder.read_exact(into.get_mut(start..)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER_PERMISSIVE;

    use super::*;

    fn check(hex: &str, expected: Option<Value>) {
        assert_eq!(decode(&HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).unwrap()), expected, "{hex}");
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn values() {
        check("00", Some(Value::Integer(0)));
        check("3bffffffffffffffff", Some(Value::Integer(-18_446_744_073_709_551_616)));
        check("f93e00", Some(Value::Float(1.5)));
        check("fb3ff8000000000000", Some(Value::Float(1.5)));
        check("f5", Some(Value::Bool(true)));
        check("f7", Some(Value::Null));
        check("6161", Some(text("a")));
        check("7f61616162ff", Some(text("ab")));
        check("5f41014102ff", Some(Value::Bytes(vec![1, 2])));
        check(
            "8201820203",
            Some(Value::Array(vec![Value::Integer(1), Value::Array(vec![Value::Integer(2), Value::Integer(3)])])),
        );
        check("bf616101ff", Some(Value::Map(vec![(text("a"), Value::Integer(1))])));
        check("9f01ff", Some(Value::Array(vec![Value::Integer(1)])));
        check("c11a514b67b0", Some(Value::Integer(1_363_896_240)));
    }

    #[test]
    fn hostile_bytes_are_nothing() {
        for hex in ["", "0000", "61ff", "62", "ff", "81ff", "bf01ff", "7f4161ff", "7f7f6161ffff", "9f01", "1c", "fc"] {
            check(hex, None);
        }
        check("5bffffffffffffffff", None);
        check("9bffffffffffffffff00", None);
        check(&"81".repeat(100_000), None);
        check(&"c1".repeat(100_000), None);
        check(&format!("9f{}ff", "00".repeat(100_000)), None);
        check(&format!("5f{}ff", "40".repeat(100_000)), None);
        check(&format!("{}00", "81".repeat(super::super::DEPTH_MAX)), {
            Some((0..super::super::DEPTH_MAX).fold(Value::Integer(0), |value, _| Value::Array(vec![value])))
        });
        check(&format!("{}00", "81".repeat(super::super::DEPTH_MAX + 1)), None);
    }
}
