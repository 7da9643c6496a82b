//! Nostr without IO: what an event is ([`event`], [`verify`]), which filter finds it ([`filter`], [`search`]), who may see it
//! ([`guard`]), where it comes from ([`source`]) and what becomes of it ([`outcome`]).

pub mod event;
pub mod filter;
pub mod guard;
pub mod kinds;
pub mod outcome;
pub mod search;
pub mod source;
pub mod vanish;
pub mod verify;

use picorelay_base::clock;
