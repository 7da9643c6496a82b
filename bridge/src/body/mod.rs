//! What a block says, as far as it can be understood.
//!
//! Formats do not say what bodies are; apps do. Three kinds are understood: a page ([`Page`]), plain text, and the
//! records that picostore 2 and 3 write. The rest is opaque, and so is what is too deep or has too many parts: that costs
//! a copy, never the block.

mod cbor;
mod msgpack;
mod value;

use picofeed::{Block, Format};

use crate::page::Page;
pub use value::Value;

/// A body.
#[derive(Clone, Debug, PartialEq)]
pub enum Body<'a> {
    /// A web page, valid by POP-04.
    Page(Page<'a>),
    /// Plain text: UTF-8, not blank, no control characters but tabs and line ends, and not JSON.
    Text(&'a str),
    /// A record of an app.
    Record(Record),
    /// Anything else.
    Opaque,
}

/// What picostore writes: CBOR `[collection, payload, date]` in generation 2 (v8), a MessagePack map
/// `{...payload, type, seq, date}` in generation 1 (v3).
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The collection, or type.
    pub collection: String,
    /// The payload; in generation 1 the whole map.
    pub payload: Value,
    /// When the author says it was written, in unix milliseconds.
    pub date: Option<u64>,
}

impl<'a> Body<'a> {
    /// Understands the body of a block.
    pub fn of(block: &'a Block) -> Self {
        let bytes = block.body();
        if bytes.starts_with(b"html") {
            if let Ok(page) = Page::parse(bytes, &block.author()) {
                return Self::Page(page);
            }
            if bytes.get(4).is_some_and(u8::is_ascii_digit) {
                return Self::Opaque;
            }
        }
        let record = match block.format() {
            Format::V8 => cbor::decode(bytes).and_then(Record::generation_2),
            Format::V3 => msgpack::decode(bytes).and_then(Record::generation_1),
            Format::Pop02 => None,
        };
        match (record, std::str::from_utf8(bytes)) {
            (Some(record), _) => Self::Record(record),
            (None, Ok(text)) if is_prose(text) => Self::Text(text),
            _ => Self::Opaque,
        }
    }
}

impl Record {
    fn generation_2(value: Value) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let [Value::Text(collection), payload, date] = <[Value; 3]>::try_from(parts).ok()? else { return None };
        Some(Self { collection, payload, date: date.as_date() })
    }

    fn generation_1(value: Value) -> Option<Self> {
        let collection = value.field("type")?.as_text()?.to_owned();
        let date = value.field("date").and_then(Value::as_date);
        Some(Self { collection, payload: value, date })
    }
}

fn is_prose(text: &str) -> bool {
    let trimmed = text.trim();
    let json =
        (trimmed.starts_with('{') && trimmed.ends_with('}')) || (trimmed.starts_with('[') && trimmed.ends_with(']'));
    !trimmed.is_empty() && !json && !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

/// How deep arrays and maps may be in each other.
const DEPTH_MAX: usize = 16;

/// How many values, with those in arrays and maps, a body may have. Each costs some ten times as much memory as bytes.
const VALUES_MAX: usize = 1024;

/// What is left of the two while a body is decoded.
struct Budget {
    values: usize,
}

impl Budget {
    fn new() -> Self {
        Self { values: VALUES_MAX }
    }

    /// Pays for a value at this depth.
    fn spend(&mut self, depth: usize) -> Option<()> {
        self.values = self.values.checked_sub(1)?;
        (depth <= DEPTH_MAX).then_some(())
    }
}
