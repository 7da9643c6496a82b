//! Unsigned LEB128, as v8 writes the size of a block.

use crate::Defect;

/// Longest encoding that is read: sizes below 2²⁸.
///
/// JavaScript works with signed 32 bit numbers here; five bytes can make them negative.
pub const BYTES_MAX: usize = 4;

/// The first number that does not fit into [`BYTES_MAX`] bytes.
pub const END: u32 = 1 << (7 * BYTES_MAX);

/// Reads a number from the start of `bytes`; gives it and how many bytes it took.
///
/// # Errors
///
/// [`Defect::Truncated`] if `bytes` ends inside the number, [`Defect::Size`] if the number takes more than
/// [`BYTES_MAX`] bytes or more than it needs (`a8 00` for 40): two encodings would be two ids for one block.
///
/// ```
/// assert_eq!(picofeed::varint::decode(&[0x80, 0x01, 0xff]), Ok((128, 2)));
/// ```
pub fn decode(bytes: &[u8]) -> Result<(u32, usize), Defect> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let padded = byte == 0 && at > 0;
            return if padded { Err(Defect::Size) } else { Ok((value, at + 1)) };
        }
    }
    Err(if bytes.len() < BYTES_MAX { Defect::Truncated } else { Defect::Size })
}

/// Appends `value` to `out`, in as few bytes as it takes: up to five.
///
/// ```
/// let mut out = Vec::new();
/// picofeed::varint::encode(128, &mut out);
/// assert_eq!(out, [0x80, 0x01]);
/// ```
pub fn encode(mut value: u32, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}
