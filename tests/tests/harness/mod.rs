//! Starts the real relay on a free port of the loopback and talks to it in raw text.

mod client;
mod event;
mod expect;
mod http;
pub(crate) mod pico;
mod relay;
pub(crate) mod script;

use std::sync::{Arc, Mutex, PoisonError, Weak};

pub(crate) use client::{Client, PATIENCE};
pub(crate) use event::{Event, Key, now, sha256_hex};
pub(crate) use expect::{Names, matches};
pub(crate) use http::{Response, http};
pub(crate) use relay::{Output, Relay, picorelay, picorelay_with_input};

/// A relay with default options that the tests of one file share while any of them runs; the last one stops it.
pub(crate) struct Shared(Mutex<Weak<Relay>>);

impl Shared {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The running one, or a new one.
    pub(crate) fn relay(&self) -> Arc<Relay> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.upgrade().unwrap_or_else(|| {
            let relay = Arc::new(Relay::start());
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
