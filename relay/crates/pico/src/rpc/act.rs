//! What a conversation wants of its caller.

use bytes::Bytes;
use picofeed::Format;

use super::NodeId;
use crate::wire::Port;

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send this frame.
    Send(Bytes),
    /// The peer said who it is.
    Introduced(NodeId),
    /// The peer understands feeds of this format: send it new blocks.
    Hears(Format),
    /// Begin to read out the room, and give the first [`part`](super::Conversation::part).
    Upload(UploadNumber, Format),
    /// Give the next part.
    Part(UploadNumber),
    /// The peer has the room, or does not want the rest.
    Uploaded,
    /// Decode, verify and merge a feed, then say [`dispatched`](super::Conversation::dispatched).
    Dispatch(Received),
    /// The peer has told all it had.
    Downloaded,
    /// Something was ignored; count it under this reason.
    Ignored(&'static str),
}

/// Tells answers to successive QUERYs apart.
pub type UploadNumber = u64;

/// A feed, as bytes that nobody has looked at, and what its sender waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The feed.
    pub feed: Bytes,
    /// Where the sender wants to hear that it may go on, if it has not heard that already.
    pub reply: Option<Port>,
    /// Part of the answer to our QUERY.
    pub answer: bool,
}
