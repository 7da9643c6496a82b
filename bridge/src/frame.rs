//! Kind 27420, written and read: piconet frames between nodes that share only a relay.

use data_encoding::BASE64;

use crate::{
    Room,
    event::{Draft, Parts, Signer, tag},
    kind,
    tags::{self, TagInvalid},
    unwrap::{self, UnwrapError},
};

/// A piconet frame: `dst u16 BE, src u16 BE, flags u8`, then at least one byte.
///
/// A pair of nostr keys stands for a connection: ports count per pair and direction. A frame that answers (`dst` is not
/// 0) or wants an answer (bit 0 of `flags`) makes sense on one connection only and names its recipient; others may go to
/// the whole room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The room.
    pub room: Room,
    /// Nostr key of the recipient; none if it is for everybody in the room.
    pub to: Option<[u8; 32]>,
    /// The frame as it would go over a WebSocket.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// The frame as an event to be signed by the node that sends it. `now` is unix seconds.
    ///
    /// # Errors
    ///
    /// [`UnwrapError::Frame`]: too short, or the recipient is missing.
    pub fn draft(&self, now: u64) -> Result<Draft, UnwrapError> {
        self.check()?;
        let mut tags = vec![tags::name(tags::ROOM, &self.room)];
        if let Some(to) = &self.to {
            tags.push(tag(["p", &data_encoding::HEXLOWER.encode(to)]));
        }
        tags.push(tags::kind_of_names(tags::ROOM));
        tags.push(tag(["alt", "Pico network frame"]));
        let content = BASE64.encode(&self.bytes);
        Ok(Draft { signer: Signer::Relay, kind: kind::FRAME, created_at: now, tags, content })
    }

    /// Reads an event of kind 27420 with a frame of at most `frame_bytes_max`.
    ///
    /// # Errors
    ///
    /// See [`UnwrapError`].
    pub fn parse(parts: &Parts<'_>, frame_bytes_max: usize) -> Result<Self, UnwrapError> {
        if parts.kind != kind::FRAME {
            return Err(UnwrapError::Kind { expected: kind::FRAME });
        }
        tags::expect_kind_of_names(parts, tags::ROOM)?;
        let room = tags::room(parts)?;
        let to = match tags::only(parts, "p") {
            Ok(text) => Some(<[u8; 32]>::from(tags::parse_lower::<picofeed::Key>(text, "p")?)),
            Err(TagInvalid::Missing(_)) => None,
            Err(invalid) => return Err(invalid.into()),
        };
        let frame = Self { room, to, bytes: unwrap::bytes(parts.content, frame_bytes_max)? };
        frame.check()?;
        Ok(frame)
    }

    fn check(&self) -> Result<(), UnwrapError> {
        match self.bytes.as_slice() {
            [0, 0, _, _, flags, _, ..] if flags & REPLY_EXPECTED == 0 => Ok(()),
            [_, _, _, _, _, _, ..] if self.to.is_some() => Ok(()),
            _ => Err(UnwrapError::Frame),
        }
    }
}

const REPLY_EXPECTED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_there_and_back() {
        let room: Room = "main".parse().unwrap();
        let frame = |to, bytes: &[u8]| Frame { room: room.clone(), to, bytes: bytes.to_vec() };
        let good = [
            frame(None, &[0, 0, 0, 0, 0, 2, 9]),
            frame(Some([7; 32]), &[0, 0, 0, 1, 1, 3, 9]),
            frame(Some([7; 32]), &[0, 1, 0, 0, 0, 0]),
        ];
        for frame in good {
            let draft = frame.draft(1_700_000_000).unwrap();
            assert_eq!(Frame::parse(&draft.parts(), 7), Ok(frame));
        }
        for bad in [frame(None, &[0, 0, 0, 1, 1, 3]), frame(None, &[0, 1, 0, 0, 0, 0]), frame(Some([7; 32]), &[0; 5])] {
            assert_eq!(bad.draft(0), Err(UnwrapError::Frame));
        }
        let draft = frame(None, &[0; 8]).draft(0).unwrap();
        assert_eq!(Frame::parse(&draft.parts(), 7), Err(UnwrapError::ContentTooLong));
    }
}
