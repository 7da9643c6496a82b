//! How the body of an event is kept: its canonical JSON as it is, or compressed with zstd. Both are always read, so the
//! option can be changed at any time.

use std::cell::RefCell;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use zstd::bulk::{Compressor, Decompressor};

use crate::config::Compression;

/// Bodies are small and half of each is hex digits: higher levels take longer and gain nothing.
const LEVEL: i32 = 1;

/// The most bytes that a compressed body may claim to have. No frame that a client can send is as large.
const BYTES_MAX: usize = 1 << 28;

/// Writes bodies.
pub(super) struct Packer {
    zstd: Option<Compressor<'static>>,
    packed: Vec<u8>,
}

impl Packer {
    pub(super) fn new(compression: Compression) -> std::io::Result<Self> {
        let zstd = match compression {
            Compression::Off => None,
            Compression::Zstd => Some(Compressor::new(LEVEL)?),
        };
        Ok(Self { zstd, packed: Vec::new() })
    }

    /// The column for an event with this JSON.
    pub(super) fn pack<'a>(&'a mut self, json: &'a str) -> std::io::Result<ToSqlOutput<'a>> {
        if let Some(zstd) = &mut self.zstd {
            self.packed.clear();
            self.packed.reserve(zstd::zstd_safe::compress_bound(json.len()));
            zstd.compress_to_buffer(json.as_bytes(), &mut self.packed)?;
            if self.packed.len() < json.len() {
                return Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.packed)));
            }
        }
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(json.as_bytes())))
    }
}

thread_local! {
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The JSON in a column of `body`.
pub(super) fn json(value: ValueRef<'_>) -> rusqlite::Result<Arc<str>> {
    let text =
        |bytes: &[u8]| std::str::from_utf8(bytes).map(Arc::from).map_err(|error| rusqlite::Error::Utf8Error(0, error));
    match value {
        ValueRef::Text(json) => text(json),
        ValueRef::Blob(packed) => {
            let bytes = UNPACKER.with_borrow_mut(|unpacker| unpack(unpacker, packed));
            text(&bytes.map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error))
            })?)
        }
        _ => Err(rusqlite::Error::InvalidQuery),
    }
}

fn unpack(unpacker: &mut Option<Decompressor<'static>>, packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let unpacker = match unpacker {
        Some(unpacker) => unpacker,
        None => unpacker.insert(Decompressor::new()?),
    };
    let claimed = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    let bytes = claimed.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes <= BYTES_MAX);
    unpacker.decompress(packed, bytes.ok_or_else(|| std::io::Error::other("a body of no known size"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read_again() {
        let long = format!("{{\"id\":\"{}\"}}", "ab".repeat(5_000));
        let mut zstd = Packer::new(Compression::Zstd).unwrap();
        let mut off = Packer::new(Compression::Off).unwrap();
        for text in ["", "x", "{}", &long, "aüö\u{1F600}"] {
            for packer in [&mut zstd, &mut off] {
                let ToSqlOutput::Borrowed(column) = packer.pack(text).unwrap() else { panic!("not borrowed") };
                assert_eq!(&*json(column).unwrap(), text);
            }
        }
        let ToSqlOutput::Borrowed(ValueRef::Blob(packed)) = zstd.pack(&long).unwrap() else { panic!("not packed") };
        assert!(packed.len() < 100);
        let packed = packed.to_vec();
        for len in 0..packed.len() {
            assert!(json(ValueRef::Blob(&packed[..len])).is_err(), "cut after {len}");
        }
        assert!(json(ValueRef::Null).is_err());
        assert!(json(ValueRef::Text(b"\xff")).is_err());
    }
}
