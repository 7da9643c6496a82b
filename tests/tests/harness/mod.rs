//! Starts the real relay on a free port of the loopback and talks to it in raw text.

mod client;
mod event;
mod expect;
mod http;
pub(crate) mod pico;
mod raw;
pub(crate) mod relay;
pub(crate) mod script;
mod scripted;
mod tap;

use std::sync::{Arc, Mutex, PoisonError, Weak};

pub(crate) use client::{Client, PATIENCE};
pub(crate) use event::{Event, Key, now, sha256_hex};
pub(crate) use expect::{Names, matches};
pub(crate) use http::{Response, http};
pub(crate) use raw::{Raw, asks_and_reads_nothing, is_let_go};
pub(crate) use relay::{
    Output, Relay, binary, picorelay, picorelay_with_input, start_picorelay, start_picorelay_with_output,
};
pub(crate) use scripted::{Conversation, Scripted};
pub(crate) use tap::Tap;

/// A relay with default options that the tests of one file share while any of them runs; the last one stops it.
pub(crate) struct Shared(Mutex<Weak<Relay>>, &'static str);

impl Shared {
    pub(crate) const fn new() -> Self {
        Self::with("")
    }

    /// The same with a config file of this text.
    pub(crate) const fn with(config: &'static str) -> Self {
        Self(Mutex::new(Weak::new()), config)
    }

    /// The running one, or a new one.
    pub(crate) fn relay(&self) -> Arc<Relay> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.upgrade().unwrap_or_else(|| {
            let relay = Arc::new(Relay::with(self.1));
            *slot = Arc::downgrade(&relay);
            relay
        })
    }
}

/// Whether the long versions of tests are wanted: PICORELAY_TEST_LONG is set.
#[allow(clippy::disallowed_methods, reason = "the tests are no part of the relay")]
pub(crate) fn is_long() -> bool {
    std::env::var("PICORELAY_TEST_LONG").is_ok()
}
