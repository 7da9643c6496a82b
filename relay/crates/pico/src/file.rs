//! A room as a file, to travel on a thumb drive.
//!
//! ```text
//! file   = "PICROOM1" record*
//! record = length[u32, big endian] feed[length]
//! ```
//!
//! Each feed is as on the network: bytes of one chain or a part of one, partial feeds behind what they continue. What
//! holds one feed and nothing else is read as well, as picofeed and picotool write it: binary, or the text form of
//! picofeed 3.4 (`PIC0.K0...B0...`).

use std::io::{self, Read, Write};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;

/// What a room's file begins with.
pub const MAGIC: &[u8; 8] = b"PICROOM1";

/// The longest feed in a file.
pub const FEED_BYTES_MAX: usize = 1 << 30;

/// What the text form of picofeed 3.4 begins with.
const TEXT: &[u8] = b"PIC0.";

/// Reads feeds one after the other, without looking into them.
pub struct Feeds<R> {
    input: R,
    /// Read already, to see what it is.
    start: Vec<u8>,
    is_room: bool,
}

impl<R: Read> Feeds<R> {
    /// Looks at the first bytes.
    ///
    /// # Errors
    ///
    /// The input cannot be read.
    pub fn new(mut input: R) -> io::Result<Self> {
        let mut start = Vec::new();
        input.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start)?;
        let is_room = start == MAGIC;
        if is_room {
            start.clear();
        }
        Ok(Self { input, start, is_room })
    }

    /// The next feed. None at the end.
    ///
    /// # Errors
    ///
    /// The input cannot be read, ends inside a record, or holds one that is too long.
    pub fn next_feed(&mut self) -> io::Result<Option<Bytes>> {
        if self.is_room { self.record() } else { self.whole() }
    }

    fn record(&mut self) -> io::Result<Option<Bytes>> {
        let mut head = Vec::with_capacity(4);
        self.input.by_ref().take(4).read_to_end(&mut head)?;
        let len = match <[u8; 4]>::try_from(head.as_slice()) {
            Ok(head) => u64::from(u32::from_be_bytes(head)),
            Err(_) if head.is_empty() => return Ok(None),
            Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if len > FEED_BYTES_MAX as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a feed is too long"));
        }
        let mut feed = Vec::new();
        self.input.by_ref().take(len).read_to_end(&mut feed)?;
        if (feed.len() as u64) < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(feed.into()))
    }

    fn whole(&mut self) -> io::Result<Option<Bytes>> {
        let mut feed = std::mem::take(&mut self.start);
        self.input.by_ref().take(FEED_BYTES_MAX as u64).read_to_end(&mut feed)?;
        if feed.is_empty() {
            return Ok(None);
        }
        Ok(Some(from_text(&feed).unwrap_or(feed).into()))
    }
}

/// The binary form of a v3 feed from its text form; none if it is not one.
fn from_text(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text.strip_prefix(TEXT)?).ok()?;
    let mut feed = Vec::new();
    // `.` is no letter of base64, so the two letters before each say what follows.
    let mut parts = text.trim().split('.');
    let mut tag = parts.next()?.to_owned();
    while let Some(part) = parts.next() {
        let mut part = part.to_owned();
        let next =
            if parts.clone().next().is_some() { part.split_off(part.len().checked_sub(2)?) } else { String::new() };
        if tag == "K0" {
            feed.extend(b"K0.");
        } else if tag != "B0" {
            return None;
        }
        feed.extend(BASE64URL_NOPAD.decode(part.as_bytes()).ok()?);
        tag = next;
    }
    Some(feed)
}

/// Writes a room.
///
/// # Errors
///
/// The output cannot be written, or the feed is longer than [`FEED_BYTES_MAX`].
pub fn write_feed(out: &mut dyn Write, feed: &[u8]) -> io::Result<()> {
    let len = u32::try_from(feed.len()).ok().filter(|_| feed.len() <= FEED_BYTES_MAX);
    let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a feed is too long"))?;
    out.write_all(&len.to_be_bytes())?;
    out.write_all(feed)
}

#[cfg(test)]
mod tests {
    use picofeed::{Feed, Format, Limits, Secret};

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<Bytes>> {
        let mut feeds = Feeds::new(bytes)?;
        std::iter::from_fn(|| feeds.next_feed().transpose()).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut file = MAGIC.to_vec();
        for feed in [&b"one"[..], b"", b"three"] {
            write_feed(&mut file, feed).unwrap();
        }
        assert_eq!(read(&file).unwrap(), [&b"one"[..], b"", b"three"]);
        assert_eq!(read(MAGIC).unwrap(), Vec::<Bytes>::new());
        assert_eq!(read(b"").unwrap(), Vec::<Bytes>::new());
        for cut in 1..3 {
            assert!(read(&file[..file.len() - cut]).is_err());
        }
        let mut long = MAGIC.to_vec();
        long.extend([0xff; 4]);
        assert!(read(&long).is_err());
    }

    #[test]
    fn a_single_feed_is_a_file() {
        let mut feed = Feed::new(Format::V8);
        feed.append(b"x", &Secret::ed25519([1; 32])).unwrap();
        assert_eq!(read(&feed.encode()).unwrap(), [feed.encode()]);
    }

    #[test]
    fn the_text_form_of_old_feeds() {
        let secret = Secret::ed25519([1; 32]);
        let mut feed = Feed::new(Format::V3);
        feed.append(b"one", &secret).unwrap();
        feed.append(b"two", &secret).unwrap();
        let text = format!(
            "PIC0.K0.{}B0.{}B0.{}",
            BASE64URL_NOPAD.encode(secret.key().as_bytes()),
            BASE64URL_NOPAD.encode(feed[0].bytes()),
            BASE64URL_NOPAD.encode(feed[1].bytes()),
        );
        let found = read(text.as_bytes()).unwrap();
        let limits = Limits::default();
        assert_eq!(Feed::decode_any(found[0].clone(), &limits).unwrap().verify(&limits).unwrap(), feed);
        for strange in ["PIC0.", "PIC0.K0.", "PIC0.X0.AAAA", "PIC0.K0.A"] {
            read(strange.as_bytes()).unwrap();
        }
    }
}
