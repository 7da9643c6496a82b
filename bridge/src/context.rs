//! What wrapping needs to know beside the block.

use std::fmt;

use picofeed::Id;

use crate::Room;

/// Where a block stands, and when it came.
pub struct Context<'a> {
    /// The room that took the block.
    pub room: &'a Room,
    /// Genesis id of the block's chain. Not looked at for a genesis block, which is its own.
    pub chain: Id,
    /// Blocks in the chain up to and with this one.
    pub height: u64,
    /// Unix seconds when the room took the block. Wrapping the same block again with the same time gives the same drafts.
    pub accepted: u64,
    /// What is wanted.
    pub mode: Mode,
    /// Address of the silo, without a slash at the end: `https://relay.example/silo`. Pages are copied only if it is given.
    pub silo: Option<&'a str>,
    /// Finds the readable copy of a block, for replies and deletions. [`no_copies`] if there are none.
    pub copy_of: &'a dyn Fn(&Id) -> Option<CopyOf>,
}

/// How much of a room is carried to nostr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Off,
    /// Every block as it is, and the head of every chain.
    #[default]
    Wrap,
    /// That, and copies that ordinary clients can show.
    Copies,
}

/// The readable copy of another block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOf {
    /// Id of the event.
    pub event: [u8; 32],
    /// Who signed it, as a nostr key.
    pub pubkey: [u8; 32],
    /// The pico author it was signed for.
    pub author: picofeed::Key,
    /// Kind of the event.
    pub kind: u16,
    /// First event of the thread the copy belongs to; none if it begins one.
    pub root: Option<[u8; 32]>,
}

/// A [`Context::copy_of`] that knows of none.
pub fn no_copies(_: &Id) -> Option<CopyOf> {
    None
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("room", &self.room)
            .field("chain", &self.chain)
            .field("height", &self.height)
            .field("accepted", &self.accepted)
            .field("mode", &self.mode)
            .field("silo", &self.silo)
            .finish_non_exhaustive()
    }
}
