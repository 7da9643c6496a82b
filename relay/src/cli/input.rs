//! Files as people have them: gzip and zstd are known by their first bytes, UTF-16 by its byte order mark. Whatever comes out
//! is read a piece at a time.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// What is read of a file at a time.
const READ_BYTES: usize = 1 << 18;

/// A zstd frame may ask for a window of this many bytes as a power of two: as much as `zstd` itself allows unless told
/// otherwise (`--long=27`), 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Behind a first byte of 0x50 to 0x5f: a frame of zstd without contents.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// The text of an input, decompressed, in UTF-8 if it was UTF-16.
pub(super) fn text<'a>(input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let (start, input) = look(BufReader::with_capacity(READ_BYTES, input))?;
    let input: Box<dyn Read + 'a> = if start.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, input)))
    } else if start.starts_with(ZSTD) || is_skippable(&start) {
        let mut decoder = zstd::stream::read::Decoder::new(input)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Box::new(decoder)
    } else {
        Box::new(input)
    };
    let (start, input) = look(input)?;
    match start.as_slice() {
        [0xff, 0xfe, ..] => Ok(Box::new(Utf16::new(input, u16::from_le_bytes))),
        [0xfe, 0xff, ..] => Ok(Box::new(Utf16::new(input, u16::from_be_bytes))),
        _ => Ok(Box::new(input)),
    }
}

fn is_skippable(start: &[u8]) -> bool {
    matches!(start, [0x50..=0x5f, rest @ ..] if rest == ZSTD_SKIPPABLE)
}

/// The first four bytes, fewer if there are no more, and the whole.
fn look<R: Read>(mut input: R) -> io::Result<(Vec<u8>, impl Read)> {
    let mut start = Vec::new();
    input.by_ref().take(4).read_to_end(&mut start)?;
    Ok((start.clone(), io::Cursor::new(start).chain(input)))
}

/// UTF-16 as UTF-8. What is no text becomes the replacement character.
struct Utf16<R> {
    input: R,
    unit: fn([u8; 2]) -> u16,
    /// Bytes of half a unit, units of half a character.
    odd: Option<u8>,
    high: Option<u16>,
    out: io::Cursor<Vec<u8>>,
}

impl<R: Read> Utf16<R> {
    fn new(input: R, unit: fn([u8; 2]) -> u16) -> Self {
        Self { input, unit, odd: None, high: None, out: io::Cursor::default() }
    }

    /// Reads a piece. False at the end.
    fn piece(&mut self) -> io::Result<bool> {
        let mut bytes: Vec<u8> = self.odd.take().into_iter().collect();
        let len = self.input.by_ref().take(READ_BYTES as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() && self.high.is_none() {
            return Ok(false);
        }
        let mut units: Vec<u16> = self.high.take().into_iter().collect();
        let (pairs, rest) = bytes.as_chunks::<2>();
        units.extend(pairs.iter().map(|pair| (self.unit)(*pair)));
        if len > 0 {
            self.odd = rest.first().copied();
            self.high = units.pop_if(|last| (0xd800..0xdc00).contains(last));
        }
        let letters = char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER));
        self.out = io::Cursor::new(letters.collect::<String>().into_bytes());
        Ok(true)
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = self.out.read(buffer)?;
            if len > 0 || buffer.is_empty() || !self.piece()? {
                return Ok(len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Gives a byte at a time, as a slow pipe may.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }

    fn read(bytes: &[u8]) -> io::Result<String> {
        let (mut all, mut slow) = (String::new(), String::new());
        let read = text(bytes)?.read_to_string(&mut all);
        assert_eq!(text(Slow(bytes))?.read_to_string(&mut slow).is_ok(), read.is_ok());
        assert_eq!(slow, all);
        read.map(|_| all)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_it_is_shows_in_its_first_bytes() {
        let said = "one \u{1f600}\ntwo\n";
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        let utf16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
            mark.into_iter().chain(said.encode_utf16().flat_map(bytes)).collect::<Vec<u8>>()
        };
        let skippable = [&[0x51, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7], zstd(said.as_bytes()).as_slice()].concat();
        for bytes in [
            said.as_bytes().to_vec(),
            gzip(said.as_bytes()),
            [gzip(b"one "), gzip("\u{1f600}\n".as_bytes()), gzip(b"two\n")].concat(),
            zstd(said.as_bytes()),
            [zstd(b"one "), zstd(&said.as_bytes()[4..])].concat(),
            skippable,
            utf16([0xff, 0xfe], u16::to_le_bytes),
            utf16([0xfe, 0xff], u16::to_be_bytes),
            gzip(&utf16([0xff, 0xfe], u16::to_le_bytes)),
        ] {
            let read = read(&bytes).unwrap();
            assert_eq!(read.trim_start_matches('\u{feff}'), said, "{:x?}", &bytes[..4]);
        }
        assert_eq!(read(b"").unwrap(), "");
        assert_eq!(read(b"{").unwrap(), "{");
        for cut in [gzip(said.as_bytes()), zstd(said.as_bytes())] {
            assert!(read(&cut[..cut.len() - 3]).is_err(), "what is cut off is not taken for whole");
        }
    }

    #[test]
    fn half_a_character_is_no_text() {
        assert_eq!(read(&[0xff, 0xfe, 0x3d, 0xd8]).unwrap(), "\u{feff}\u{fffd}");
        assert_eq!(read(&[0xff, 0xfe, b'a', 0, b'b']).unwrap(), "\u{feff}a");
    }
}
