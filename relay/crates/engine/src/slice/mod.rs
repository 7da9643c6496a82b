//! What a slice is: the rules of a room, and what they compute.
//!
//! picostore 2 calls it a slice, picostore 3 a collection or `Memory`. A slice only says what should change; the engine
//! keeps the state, and writes it in one transaction with the block that changed it. A slice is made on the thread that
//! calls it, and stays there: it may block, for as long as its limits say, and need not be `Send`.
//!
//! Of each block in turn, the engine asks those slices that see it ([`Sees`]):
//! 1. [`Slice::decide`], of all of them in order. What they say of the state they see is the state before the block.
//! 2. One [`Verdict::Veto`], or nobody who accepts: the block is not kept, and nothing of this is. Otherwise the effects of
//!    those that accepted are made visible, in order, and [`Slice::reduce`] is called for each of them, in order: each
//!    sees what those before it changed.
//! 3. Objects that were put get their expiry, by [`Slice::expires_at`] if it is not known.
//! 4. Each signal, in order, goes to [`Slice::trap`] of every slice of the room, the one that raised it included. Signals
//!    that traps raise go after those.
//! 5. Block and changes are committed together. If the store does not take the block, nothing of it happened.
//!
//! Because nothing happens before the end, the engine may call a slice again for the same block: when the view could not
//! answer at once (see [`View::expiry`]), when the store did not take a block before it, or when a block that was
//! postponed is due. What a slice says must therefore follow from its arguments and the view alone.

mod archive;
mod fault;
mod load;
mod owners;
mod rate;
mod tasks;

use bytes::Bytes;
use picofeed::{Block, Id, Key};

pub use self::archive::Archive;
pub use self::fault::{Fault, FaultKind};
pub use self::load::{LoadError, Loader, NATIVE, native};
pub use self::owners::Owners;
pub use self::rate::{Pace, Rate};
pub use self::tasks::Tasks;

pub use crate::clock::Millis;

/// How deep objects may latch onto others that latch onto others. Beyond that an expiry counts as never, as in picostore.
pub const LATCH_DEPTH_MAX: usize = 5;

/// One set of rules.
///
/// Values of objects, payloads of signals and marks, and what they mean are the slice's own business: for the engine
/// they are bytes. Both generations of scripts write them as CBOR.
pub trait Slice {
    /// Its name: that of the collection, and that in `/pico/<room>/state/<name>`. 1 to 64 bytes, unique in the room.
    fn name(&self) -> &str;

    /// Which blocks it is asked about.
    fn sees(&self) -> Sees;

    /// The value that people see when the slice has stored none: in generation 2 the initial state. Otherwise none.
    fn initial(&self) -> Option<Bytes> {
        None
    }

    /// Decides on a block: `filter` of generation 2, without effects; `idOf`, `compute` and, if that is convenient,
    /// `expiresAt` of generation 3, with all effects.
    fn decide(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Verdict, Fault>;

    /// `reducer` of generation 2: what an accepted block changes.
    fn reduce(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        let _ = (block, view);
        Ok(Effects::default())
    }

    /// Hears a signal. Only puts and signals of the effects count; what is put here is not referenced, and keeps the expiry
    /// it had.
    fn trap(&mut self, signal: &Signal, block: &Context<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        let _ = (signal, block, view);
        Ok(Effects::default())
    }

    /// When an object expires; none is never. It is asked again when that time has come: only if it is still not later,
    /// the object goes.
    fn expires_at(&mut self, id: &str, value: &[u8], view: &mut dyn View) -> Result<Option<Millis>, Fault> {
        let _ = (id, value, view);
        Ok(None)
    }

    /// Hears that the time of a mark has come (generation 2). Only puts, marks and drops of the effects count; marks are
    /// for the same block.
    fn sweep(&mut self, due: &Due<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        let _ = (due, view);
        Ok(Effects::default())
    }

    /// How much a chain is worth keeping when the room is over its budget: the least goes first. None leaves it to the
    /// engine. The first slice of the room that has an opinion decides.
    fn weight(&mut self, chain: &ChainSummary, view: &mut dyn View) -> Result<Option<f64>, Fault> {
        let _ = (chain, view);
        Ok(None)
    }

    /// Turns a value into JSON text, for people. Bytes become lower-case hex, numbers that JSON does not have become null.
    fn show(&self) -> Show;

    /// Why the slice does not run any more, if it failed too often. Blocks of its collection are rejected then.
    fn disabled(&self) -> Option<&str> {
        None
    }
}

/// Turns a value of a slice into JSON text. Called on other threads than the slice.
pub type Show = fn(&[u8]) -> String;

/// Which blocks a slice is asked about, and how the objects it writes bind the blocks that wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sees {
    /// All of the room (generation 2). A chain of which it accepted a block stays until a slice drops it, or the room is
    /// over its budget.
    Everything,
    /// Those whose body is CBOR `[name, payload, date]` with its name (generation 3). Each object that a block puts is
    /// referenced by the chain of the block; a chain that loses its last reference goes.
    Collection,
}

/// A block to decide on, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The block.
    pub block: &'a Block,
    /// The one before it; none for a genesis.
    pub parent: Option<&'a Block>,
    /// `AUTHOR`: author of the first block of the chain, who need not be that of this block.
    pub owner: Key,
    /// `CHAIN`: id of the first block of the chain.
    pub chain: Id,
    /// How many blocks of the chain come before it.
    pub height: u64,
    /// What the body says, if it is CBOR `[text, ..]`.
    pub body: Option<Body<'a>>,
    /// The time of the decision. The same when the block is replayed.
    pub now: Millis,
}

/// A body of generation 3: CBOR `[collection, payload, date]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// First element.
    pub collection: &'a str,
    /// Second element as it is written, one CBOR item; empty if there is none.
    pub payload: &'a [u8],
    /// Third element, likewise.
    pub date: &'a [u8],
}

/// What a slice says of a block.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// It is to be kept. In generation 2 without effects, which [`Slice::reduce`] gives.
    Accept(Effects),
    /// No opinion: not mine. (`true` of a filter.)
    Pass,
    /// No opinion, but if another slice accepts it, this is to change.
    Watch(Effects),
    /// It is against the rules. Of several slices that see everything, another may accept it all the same.
    Reject(String),
    /// Against the rules, whoever accepts it.
    Veto(String),
    /// Not yet: ask again after so many milliseconds, so many times, before it is rejected with this reason.
    Postpone {
        /// Milliseconds from now.
        after: Millis,
        /// For people.
        reason: String,
        /// How often it is asked again.
        retries: u32,
    },
}

/// What should change.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Effects {
    /// Objects of this slice, in order.
    pub puts: Vec<Put>,
    /// Keys under which [`View::lookup`] finds this block from now on.
    pub index: Vec<Bytes>,
    /// For the slices of the room, in order.
    pub signals: Vec<Signal>,
    /// Times at which [`Slice::sweep`] is to be called.
    pub marks: Vec<Mark>,
    /// Chains to remove, or the ends of them. From [`Slice::sweep`] only.
    pub drops: Vec<Removal>,
}

/// An object to write.
#[derive(Clone, PartialEq, Debug)]
pub struct Put {
    /// Its id as a text: for bytes, lower-case hex. Generation 2 keeps all its state in one object with an empty id.
    pub id: String,
    /// Its new value; none removes it.
    pub value: Option<Bytes>,
    /// When it goes.
    pub expires: Expires,
}

/// When an object goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expires {
    /// The engine asks [`Slice::expires_at`].
    #[default]
    Ask,
    /// Never.
    Never,
    /// Then.
    At(Millis),
}

/// Something that slices of a room tell each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signal {
    /// `type` or `code`. Text as a rule; as the slice writes it.
    pub code: Bytes,
    /// As the slice writes it.
    pub payload: Bytes,
}

/// A time at which to be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// When.
    pub at: Millis,
    /// As the slice writes it.
    pub payload: Bytes,
}

/// A chain to remove, or the end of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removal {
    /// Any block of it.
    pub chain: Id,
    /// The block that becomes its head; none: everything goes.
    pub stop_at: Option<Id>,
}

/// A mark whose time has come.
#[derive(Clone, Copy, Debug)]
pub struct Due<'a> {
    /// What was marked.
    pub payload: &'a [u8],
    /// For when it was.
    pub at: Millis,
    /// The time; later than `at`.
    pub now: Millis,
    /// Id of the block that was marked.
    pub id: Id,
    /// The block, if it is still there.
    pub block: Option<&'a Block>,
    /// The one before it, if it is still there.
    pub parent: Option<&'a Block>,
    /// As in [`Context`].
    pub owner: Key,
    /// As in [`Context`].
    pub chain: Id,
}

/// A chain, when the room has to choose which ones to keep.
#[derive(Clone, Copy, Debug)]
pub struct ChainSummary {
    /// Author of its first block.
    pub owner: Key,
    /// Its first block.
    pub chain: Id,
    /// Its last block.
    pub head: Id,
    /// Number of blocks.
    pub blocks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Blocks that others than the owner wrote.
    pub foreign: u64,
}

/// The state of all slices of the room as a slice may see it: what is stored, and what was changed since, by blocks that
/// are not committed yet or by other slices for the same block.
pub trait View {
    /// An object.
    fn object(&mut self, slice: &str, id: &str) -> Result<Option<Object>, Unavailable>;

    /// When an object expires, as [`Slice::expires_at`] of its slice says now; none is never. An object that is gone has
    /// expired at 0. After an `Err` the slice must end its call, with whatever result: the engine finds out what was
    /// asked for, and calls again.
    fn expiry(&mut self, slice: &str, id: &str) -> Result<Option<Millis>, Unavailable>;

    /// The block that was indexed last under this key of this slice.
    fn lookup(&mut self, slice: &str, key: &[u8]) -> Result<Option<Id>, Unavailable>;

    /// Ids of objects, in the order of their bytes: at most `max` of them, from the first after `after`.
    fn ids(&mut self, slice: &str, after: Option<&str>, max: usize) -> Result<Vec<String>, Unavailable>;
}

/// An object as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// As the slice wrote it.
    pub value: Bytes,
    /// Two objects of the same slice and id with the same version are the same, for as long as the process runs: a slice
    /// may keep what it decoded.
    pub version: u64,
}

/// The view cannot answer now. The slice's call must end; its result does not matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the state cannot be read now")]
pub struct Unavailable;
