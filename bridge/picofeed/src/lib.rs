//! Pico feeds: signed, append-only chains of blocks.
//!
//! A [`Block`] is a body signed by an author; a [`Feed`] is a run of blocks, each of which names the signature of the
//! one before it as its parent. The first block of a chain has no parent and is called *genesis*; a feed that begins
//! elsewhere is *partial*, and just as good: updates travel that way. Ids are signatures, 64 bytes.
//!
//! Three generations of the format are in use ([`Format`]): picofeed 8 and 9, picofeed 3.4, and the POP-02 draft that
//! picofeed 4 wrote. All are read, written, compared and merged through the same types.
//!
//! Reading takes two steps, and the types keep them apart. [`Feed::decode`] looks at the shape only and gives a
//! `Feed<`[`Unverified`]`>`; [`Feed::verify`] checks the signatures and gives a `Feed`, short for
//! `Feed<`[`Verified`]`>`. Only the latter knows the authors of its blocks and can be merged, sliced or extended.
//!
//! ```
//! use picofeed::{Feed, Format, Limits, Merged, Secret};
//!
//! let alice = Secret::ed25519([0xa1; 32]);
//! let mut feed = Feed::new(Format::V8);
//! feed.append(b"Hello", &alice)?;
//! feed.append(b"Picoverse", &alice)?;
//!
//! // What a peer sends is decoded, then verified.
//! let limits = Limits::default();
//! let received = Feed::decode(Format::V8, feed.encode(), &limits)?.verify(&limits)?;
//! assert_eq!(received.last().unwrap().body(), b"Picoverse");
//! assert_eq!(received.last().unwrap().author(), alice.key());
//!
//! // Who has the first block only learns the second.
//! let mut behind = feed.slice(0, Some(1))?;
//! assert_eq!(behind.merge(&received), Merged::Appended(1));
//! assert_eq!(behind, feed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Errors say whose fault it was: [`InvalidFeed`] is about bytes somebody sent, [`Misuse`] about what the caller asked
//! for. That two feeds do not fit together is neither: it is one of the outcomes [`Diff`] and [`Merged`].
//!
//! Reading is stricter than the JavaScript packages are, and accepts all that they write. It never panics, reads past
//! the end or loops, whatever the bytes are, and costs no more than [`Limits`] allows. Blocks are slices of the bytes
//! they were decoded from; nothing is copied. The crate does no IO, keeps no secret and reads no clock.

mod block;
mod error;
mod feed;
mod format;
mod id;
mod limits;
mod merge;
mod pop02;
mod read;
mod signature;
mod v3;
mod v8;
pub mod varint;
mod verify;

pub use block::{Block, Unverified, Verified};
pub use error::{Defect, InvalidFeed, Misuse};
pub use feed::{Feed, Keys};
pub use format::{Format, FormatUnknown};
pub use id::{Id, Key};
pub use limits::Limits;
pub use merge::{Diff, Merged, Step};
pub use signature::Secret;

/// The code in the README works.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
