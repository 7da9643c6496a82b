//! MessagePack, as msgpackr writes it. Extension types are nothing here: `Value::Null`.

use rmp::{
    Marker,
    decode::{RmpRead, read_marker},
};

use super::{Budget, Value};

/// The one value these bytes are. None if they are not one, are followed by anything, or cost too much.
pub(super) fn decode(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader { rest: bytes, budget: Budget::new() };
    let value = reader.value(0)?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a [u8],
    budget: Budget,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.budget.spend(depth)?;
        let marker = read_marker(&mut self.rest).ok()?;
        if let Some(len) = self.text_len(marker)? {
            return Some(Value::Text(std::str::from_utf8(self.take(len)?).ok()?.to_owned()));
        }
        if let Some(len) = self.array_len(marker)? {
            return (0..len).map(|_| self.value(depth + 1)).collect::<Option<_>>().map(Value::Array);
        }
        if let Some(len) = self.map_len(marker)? {
            let entries = (0..len).map(|_| Some((self.value(depth + 1)?, self.value(depth + 1)?)));
            return entries.collect::<Option<_>>().map(Value::Map);
        }
        self.scalar(marker)
    }

    fn scalar(&mut self, marker: Marker) -> Option<Value> {
        Some(match marker {
            Marker::Null => Value::Null,
            Marker::True => Value::Bool(true),
            Marker::False => Value::Bool(false),
            Marker::FixPos(number) => Value::Integer(number.into()),
            Marker::FixNeg(number) => Value::Integer(number.into()),
            Marker::U8 => Value::Integer(self.rest.read_data_u8().ok()?.into()),
            Marker::U16 => Value::Integer(self.rest.read_data_u16().ok()?.into()),
            Marker::U32 => Value::Integer(self.rest.read_data_u32().ok()?.into()),
            Marker::U64 => Value::Integer(self.rest.read_data_u64().ok()?.into()),
            Marker::I8 => Value::Integer(self.rest.read_data_i8().ok()?.into()),
            Marker::I16 => Value::Integer(self.rest.read_data_i16().ok()?.into()),
            Marker::I32 => Value::Integer(self.rest.read_data_i32().ok()?.into()),
            Marker::I64 => Value::Integer(self.rest.read_data_i64().ok()?.into()),
            Marker::F32 => Value::Float(self.rest.read_data_f32().ok()?.into()),
            Marker::F64 => Value::Float(self.rest.read_data_f64().ok()?),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                let len = self.len(marker, [Marker::Bin8, Marker::Bin16, Marker::Bin32])?;
                Value::Bytes(self.take(len)?.to_vec())
            }
            _ => {
                let len = self.extension_len(marker)?;
                self.take(len)?;
                Value::Null
            }
        })
    }

    /// `Some(None)`: the marker is not of text. The same goes for the next two.
    #[allow(clippy::option_option, reason = "failed, not of this sort, length")]
    fn text_len(&mut self, marker: Marker) -> Option<Option<usize>> {
        Some(Some(match marker {
            Marker::FixStr(len) => len.into(),
            Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                self.len(marker, [Marker::Str8, Marker::Str16, Marker::Str32])?
            }
            _ => return Some(None),
        }))
    }

    #[allow(clippy::option_option, reason = "failed, not of this sort, length")]
    fn array_len(&mut self, marker: Marker) -> Option<Option<usize>> {
        Some(Some(match marker {
            Marker::FixArray(len) => len.into(),
            Marker::Array16 => self.rest.read_data_u16().ok()?.into(),
            Marker::Array32 => usize::try_from(self.rest.read_data_u32().ok()?).ok()?,
            _ => return Some(None),
        }))
    }

    #[allow(clippy::option_option, reason = "failed, not of this sort, length")]
    fn map_len(&mut self, marker: Marker) -> Option<Option<usize>> {
        Some(Some(match marker {
            Marker::FixMap(len) => len.into(),
            Marker::Map16 => self.rest.read_data_u16().ok()?.into(),
            Marker::Map32 => usize::try_from(self.rest.read_data_u32().ok()?).ok()?,
            _ => return Some(None),
        }))
    }

    fn extension_len(&mut self, marker: Marker) -> Option<usize> {
        let len = match marker {
            Marker::FixExt1 => 1,
            Marker::FixExt2 => 2,
            Marker::FixExt4 => 4,
            Marker::FixExt8 => 8,
            Marker::FixExt16 => 16,
            _ => self.len(marker, [Marker::Ext8, Marker::Ext16, Marker::Ext32])?,
        };
        len.checked_add(1)
    }

    /// A length of one, two or four bytes.
    fn len(&mut self, marker: Marker, [short, middle, long]: [Marker; 3]) -> Option<usize> {
        match marker {
            _ if marker == short => Some(self.rest.read_data_u8().ok()?.into()),
            _ if marker == middle => Some(self.rest.read_data_u16().ok()?.into()),
            _ if marker == long => usize::try_from(self.rest.read_data_u32().ok()?).ok(),
            _ => None,
        }
    }

    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn check(hex: &str, expected: Option<Value>) {
        assert_eq!(decode(&HEXLOWER.decode(hex.as_bytes()).unwrap()), expected, "{hex}");
    }

    #[test]
    fn values() {
        check("de0001a161cb3ff8000000000000", Some(Value::Map(vec![(Value::Text("a".into()), Value::Float(1.5))])));
        check("9302ffcd0100", Some(Value::Array([2, -1, 256].map(Value::Integer).to_vec())));
        check("c4020102", Some(Value::Bytes(vec![1, 2])));
        check("d9026162", Some(Value::Text("ab".into())));
        check("92c0c3", Some(Value::Array(vec![Value::Null, Value::Bool(true)])));
        check("92d4ff00c702070102", Some(Value::Array(vec![Value::Null, Value::Null])));
    }

    #[test]
    fn hostile_bytes_are_nothing() {
        for hex in ["", "0000", "a1ff", "a2", "c1", "de0001a161", "92c0", "c6ffffffff00", "ddffffffff", "dfffffffff00"]
        {
            check(hex, None);
        }
        check(&"91".repeat(100_000), None);
        check(&format!("dc8000{}", "c0".repeat(0x8000)), None);
    }
}
