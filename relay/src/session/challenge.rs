//! The challenge of a connection (NIP-42), and when the client is sent it.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::guard::Viewer;
use crate::message::reply;
use crate::outbox::Outbox;
use crate::outcome::Prefix;

/// What an AUTH event of this connection must repeat.
///
/// It is sent right before each `auth-required:` until the client has authenticated: whoever missed one, as clients do that
/// listen only once they have connected, gets it again. Sent to clients that need none it would do harm: some libraries
/// stand still while they hold a challenge that nobody answers.
pub struct Challenge {
    text: String,
    viewer: Arc<RwLock<Viewer>>,
}

impl Challenge {
    /// A new one, for somebody who is not known yet.
    pub fn new(viewer: Arc<RwLock<Viewer>>) -> Self {
        Self { text: data_encoding::HEXLOWER.encode(&rand::random::<[u8; 16]>()), viewer }
    }

    /// Whether this is it.
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }

    /// The message that brings it.
    pub fn message(&self) -> String {
        reply::auth(&self.text)
    }

    /// What must go before a refusal of this kind.
    pub fn before_refusal(&self, prefix: Prefix) -> Option<String> {
        let must_know = prefix == Prefix::AuthRequired && self.viewer.read().keys.is_empty();
        must_know.then(|| self.message())
    }

    /// The same for a refusal in words.
    pub fn before(&self, why: &str) -> Option<String> {
        let is_auth = why.split_once(':').is_some_and(|(word, _)| word == Prefix::AuthRequired.word());
        is_auth.then(|| self.before_refusal(Prefix::AuthRequired)).flatten()
    }

    /// Queues the answer that refuses something for this reason.
    pub fn refuse(&self, outbox: &Outbox, why: &str, answer: String) {
        match self.before(why) {
            Some(challenge) => outbox.texts([challenge, answer]),
            None => outbox.text(answer),
        }
    }
}
