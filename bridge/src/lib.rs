//! Pico blocks as nostr events, and back.
//!
//! A block of a pico feed proves itself, so it can travel in anybody's event over any relay. [`wrap`] drafts such events,
//! [`unwrap`] gets the block back and believes nothing else. For people, [`wrap`] also drafts copies that ordinary clients
//! show: notes, profiles, articles. The shapes are specified in `docs/nostr-pico.md`, and `vectors/` has examples.
//!
//! ```
//! use pico_bridge::{Context, Mode, Room, kind, no_copies, unwrap, wrap};
//! use picofeed::{Feed, Format, Limits, Secret};
//!
//! let mut feed = Feed::new(Format::V8);
//! let block = feed.append(b"Hello", &Secret::ed25519([0xa1; 32]))?;
//!
//! let room: Room = "main".parse()?;
//! let context = Context {
//!     room: &room,
//!     chain: block.id(),
//!     height: 1,
//!     accepted: 1_700_000_000,
//!     mode: Mode::Copies,
//!     silo: None,
//!     copy_of: &no_copies,
//! };
//! let drafts = wrap(&block, &context);
//! assert_eq!(drafts.iter().map(|draft| draft.kind).collect::<Vec<_>>(), [kind::BLOCK, kind::HEAD, 1]);
//!
//! let back = unwrap(&drafts[0].parts(), &Limits::default())?;
//! assert_eq!(back.block, block);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate does no IO, holds no secret and reads no clock. It does not sign: a [`Draft`] says who should. Events that
//! come in have to have been verified as events, by whoever received them.

mod body;
mod context;
mod event;
mod frame;
mod head;
mod html;
mod note;
mod page;
mod room;
mod rule;
mod tags;
mod unwrap;

pub use body::{Body, Record, Value};
pub use context::{Context, CopyOf, Mode, no_copies};
pub use event::{Copied, Draft, Parts, Signer, Tag, derivation_input, is_copy};
pub use frame::Frame;
pub use head::Head;
pub use note::NostrEvent;
pub use page::{HEADERS_BYTES_MAX, Page, PageInvalid};
pub use room::{Room, RoomInvalid};
pub use rule::{FROM_NOSTR, NOTE_BYTES_MAX, copy_kinds, named_kinds};
pub use tags::TagInvalid;
pub use unwrap::{UnwrapError, Unwrapped, unwrap};

/// The kinds of events that carry pico.
pub mod kind {
    /// One block. Regular.
    pub const BLOCK: u16 = 7420;
    /// Head of a chain. Addressable.
    pub const HEAD: u16 = 37420;
    /// A piconet frame. Ephemeral.
    pub const FRAME: u16 = 27420;
}

/// What a block becomes, in the order the events should be published: the block itself, the head of its chain, and if
/// the room is copied what people can read of it.
///
/// The same block and context give the same drafts.
pub fn wrap(block: &picofeed::Block, context: &Context<'_>) -> Vec<Draft> {
    rule::drafts(block, context)
}

/// The code in the README works.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
