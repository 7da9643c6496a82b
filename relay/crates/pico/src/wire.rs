//! Frames of piconet, and the ports that replies come to.
//!
//! ```text
//! frame = destination[u16] source[u16] flags[u8] payload     big endian
//! ```
//!
//! Destination 0 is a message out of the blue; any other is the reply to the request whose source was that number. Bit 0
//! of the flags asks for a reply, to this side's port in `source`; without it the source is 0. A reply may ask for a
//! reply itself: that is how conversations go on. (piconet 3.2.2; vector file wire.json)

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

/// Where replies go. 0 is nobody's.
pub type Port = u16;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 5;

/// Payloads have at least their type. JavaScript nodes die of frames that are too short to have a header.
pub const FRAME_BYTES_MIN: usize = HEADER_BYTES + 1;

const REPLY_EXPECTED: u8 = 1;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whose reply this is, or 0.
    pub to: Port,
    /// Where a reply is expected, if one is.
    pub reply: Option<Port>,
    /// Type and data.
    pub payload: Bytes,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFrame {
    /// Shorter than header and type.
    #[error("a frame of {0} bytes is too short")]
    Short(usize),
    /// A reply is asked for, to nowhere.
    #[error("a reply is expected at port 0")]
    PortZero,
}

impl Frame {
    /// Reads a frame. The payload shares memory with `bytes`.
    ///
    /// # Errors
    ///
    /// It is too short, or wants a reply and has no port for it.
    pub fn decode(bytes: &Bytes) -> Result<Self, NoFrame> {
        let Some((&[to_high, to_low, from_high, from_low, flags], payload)) = bytes.split_first_chunk() else {
            return Err(NoFrame::Short(bytes.len()));
        };
        if payload.is_empty() {
            return Err(NoFrame::Short(bytes.len()));
        }
        let source = u16::from_be_bytes([from_high, from_low]);
        let reply = match (flags & REPLY_EXPECTED != 0, source) {
            (false, _) => None,
            (true, 0) => return Err(NoFrame::PortZero),
            (true, port) => Some(port),
        };
        Ok(Self { to: u16::from_be_bytes([to_high, to_low]), reply, payload: bytes.slice_ref(payload) })
    }

    /// Writes a frame. `parts` are the payload; together they must not be empty.
    pub fn encode(to: Port, reply: Option<Port>, parts: &[&[u8]]) -> Bytes {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        debug_assert!(len > 0, "a payload has a type");
        let mut out = BytesMut::with_capacity(HEADER_BYTES + len);
        out.put_u16(to);
        out.put_u16(reply.unwrap_or(0));
        out.put_u8(if reply.is_some() { REPLY_EXPECTED } else { 0 });
        parts.iter().for_each(|part| out.put_slice(part));
        out.freeze()
    }
}

/// Time since the connection began.
pub type Elapsed = Duration;

/// The requests of one side of a connection that wait for their replies, each with what it was about.
///
/// Each port is used for one reply. Numbers go up from 1 and from 65535 back to 1, skipping those in use; upstream fails
/// there.
#[derive(Debug)]
pub struct Ports<T> {
    /// In the order they were opened.
    open: VecDeque<Waiting<T>>,
    last: Port,
    max: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    port: Port,
    since: Elapsed,
    about: T,
}

impl<T> Ports<T> {
    /// At most `max` requests may wait.
    pub fn new(max: usize) -> Self {
        Self { open: VecDeque::new(), last: 0, max: max.min(usize::from(Port::MAX)) }
    }

    /// A port for a new request. None if too many wait already.
    pub fn open(&mut self, about: T, now: Elapsed) -> Option<Port> {
        if self.open.len() >= self.max {
            return None;
        }
        let mut port = self.last;
        loop {
            port = port.checked_add(1).unwrap_or(1);
            if self.open.iter().all(|waiting| waiting.port != port) {
                break;
            }
        }
        self.last = port;
        self.open.push_back(Waiting { port, since: now, about });
        Some(port)
    }

    /// What the request was about to which a reply came. None if nobody waits there: a second reply, or nonsense.
    pub fn take(&mut self, port: Port) -> Option<T> {
        let at = self.open.iter().position(|waiting| waiting.port == port)?;
        self.open.remove(at).map(|waiting| waiting.about)
    }

    /// Gives up requests that match.
    pub fn forget(&mut self, is_over: impl Fn(&T) -> bool) {
        self.open.retain(|waiting| !is_over(&waiting.about));
    }

    /// The oldest request that has waited for `patience` or longer, removed.
    pub fn expired(&mut self, now: Elapsed, patience: Duration) -> Option<T> {
        let is_late = self.open.front().is_some_and(|waiting| now.saturating_sub(waiting.since) >= patience);
        if is_late { self.open.pop_front().map(|waiting| waiting.about) } else { None }
    }

    /// Whether a request waits that matches.
    pub fn any(&self, is_it: impl Fn(&T) -> bool) -> bool {
        self.open.iter().any(|waiting| is_it(&waiting.about))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!("vectors/wire.json")).unwrap()
    }

    fn bytes(hex: &serde_json::Value) -> Bytes {
        data_encoding::HEXLOWER.decode(hex.as_str().unwrap().as_bytes()).unwrap().into()
    }

    /// Every frame that was recorded between real nodes is read as recorded, and written again byte for byte.
    #[test]
    fn recorded_frames() {
        let vectors = vectors();
        let mut seen = 0;
        for generation in ["generation_1", "generation_2"] {
            for step in vectors[generation]["steps"].as_array().unwrap() {
                for recorded in step["frames"].as_array().unwrap() {
                    let raw = bytes(&recorded["hex"]);
                    let frame = Frame::decode(&raw).unwrap();
                    assert_eq!(u64::from(frame.to), recorded["dst"], "{recorded}");
                    assert_eq!(u64::from(frame.reply.unwrap_or(0)), recorded["src"], "{recorded}");
                    assert_eq!(frame.reply.is_some(), recorded["flags"] == 1, "{recorded}");
                    assert_eq!(Frame::encode(frame.to, frame.reply, &[&frame.payload]), raw);
                    seen += 1;
                }
            }
        }
        for recorded in vectors["bare_wswire_conversation"].as_array().unwrap() {
            let raw = bytes(&recorded["hex"]);
            let frame = Frame::decode(&raw).unwrap();
            assert_eq!(Frame::encode(frame.to, frame.reply, &[&frame.payload]), raw);
            seen += 1;
        }
        assert!(seen > 90, "{seen}");
    }

    #[test]
    fn what_is_no_frame() {
        for len in 0..FRAME_BYTES_MIN {
            assert_eq!(Frame::decode(&vec![0; len].into()), Err(NoFrame::Short(len)));
        }
        assert_eq!(Frame::decode(&Bytes::from_static(&[0, 0, 0, 0, 1, 0])), Err(NoFrame::PortZero));
        // Other flags say nothing, and a source without a flag neither.
        let odd = Frame::decode(&Bytes::from_static(&[0, 0, 0, 9, 0xfe, 7])).unwrap();
        assert_eq!(odd, Frame { to: 0, reply: None, payload: Bytes::from_static(&[7]) });
    }

    #[test]
    fn ports_go_round_and_skip_those_in_use() {
        let mut ports = Ports::new(2);
        assert_eq!(ports.open("kept", Duration::ZERO), Some(1));
        for turn in 0..3 {
            for port in 2..=Port::MAX {
                assert_eq!(ports.open("short", Duration::ZERO), Some(port), "turn {turn}");
                assert_eq!(ports.open("too many", Duration::ZERO), None);
                assert_eq!(ports.take(port), Some("short"));
                assert_eq!(ports.take(port), None, "each port is used once");
            }
        }
        assert_eq!(ports.take(1), Some("kept"));
        assert!(ports.is_empty());
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (patience, at) = (Duration::from_secs(30), Duration::from_secs);
        let mut ports = Ports::new(10);
        ports.open("a", at(0)).unwrap();
        ports.open("b", at(10)).unwrap();
        ports.open("c", at(10)).unwrap();
        assert_eq!(ports.expired(at(29), patience), None);
        assert_eq!(ports.expired(at(30), patience), Some("a"));
        assert_eq!(ports.expired(at(30), patience), None);
        ports.forget(|about| *about == "b");
        assert_eq!(ports.expired(at(99), patience), Some("c"));
        assert!(ports.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            let raw = Bytes::from(raw);
            if let Ok(frame) = Frame::decode(&raw) {
                let again = Frame::decode(&Frame::encode(frame.to, frame.reply, &[&frame.payload])).unwrap();
                prop_assert_eq!(again, frame);
            }
        }

        #[test]
        fn what_is_written_is_read(to: u16, reply in proptest::option::of(1u16..), payload in proptest::collection::vec(any::<u8>(), 1..64)) {
            let (front, back) = payload.split_at(payload.len() / 2);
            let raw = Frame::encode(to, reply, &[front, back]);
            prop_assert!(raw.len() >= FRAME_BYTES_MIN);
            prop_assert_eq!(Frame::decode(&raw).unwrap(), Frame { to, reply, payload: payload.into() });
        }
    }
}
