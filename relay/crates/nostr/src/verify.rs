//! From bytes to [`Verified`]: the one place where events become trustworthy.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use hashbrown::HashMap;
use secp256k1::schnorr::Signature;
use secp256k1::{SECP256K1, XOnlyPublicKey};

use crate::clock::Timestamp;
use crate::event::{Event, Id, PublicKey};

/// An event whose id and signature are right. The type is the proof: only this module makes it, and [`Verified::from_store`].
#[derive(Clone, Debug)]
pub struct Verified(Arc<Event>);

impl Deref for Verified {
    type Target = Event;
    #[inline]
    fn deref(&self) -> &Event {
        &self.0
    }
}

impl Verified {
    /// An event read back from our own database, where only verified ones are written. For nobody else: it is among the
    /// disallowed methods of `clippy.toml`.
    pub fn from_store(event: Event) -> Self {
        Self(Arc::new(event))
    }

    /// The shared event.
    #[inline]
    pub fn shared(&self) -> &Arc<Event> {
        &self.0
    }
}

/// What is wrong with an event; `Display` is the text behind `invalid: `.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VerifyError {
    /// The id is not the hash of the event.
    #[error("event id does not match")]
    Id,
    /// The signature is not the author's over the id.
    #[error("bad signature")]
    Signature,
}

/// An event whose id is right, and whose signature nobody has looked at.
#[derive(Debug)]
pub struct Hashed(Event);

impl Hashed {
    /// Its id, which is the hash of what it says.
    #[inline]
    pub fn id(&self) -> &Id {
        &self.0.id
    }

    /// True when it has expired at `now`, whoever signed it (NIP-40).
    #[inline]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.0.is_expired(now)
    }

    /// Checks the BIP-340 signature. About 33 microseconds of CPU, 3 more for an author who is new to `keys`: not for
    /// async threads.
    pub fn signature(self, keys: &mut Keys) -> Result<Verified, VerifyError> {
        let event = &self.0;
        let key = keys.of(&event.pubkey).ok_or(VerifyError::Signature)?;
        let signature = Signature::from_slice(&event.sig).map_err(|_| VerifyError::Signature)?;
        SECP256K1.verify_schnorr(&signature, &event.id.0, &key).map_err(|_| VerifyError::Signature)?;
        Ok(Verified(Arc::new(self.0)))
    }
}

/// Checks the id (NIP-01). Cheap: a tenth of the signature.
pub fn id(event: Event) -> Result<Hashed, VerifyError> {
    if event.id_is_right() { Ok(Hashed(event)) } else { Err(VerifyError::Id) }
}

/// Checks id and signature.
pub fn verify(event: Event) -> Result<Verified, VerifyError> {
    id(event)?.signature(&mut Keys::new(0))
}

/// Keys of authors who wrote lately, as points of the curve: finding the point takes a square root each time.
pub struct Keys {
    max: usize,
    young: HashMap<PublicKey, XOnlyPublicKey>,
    old: HashMap<PublicKey, XOnlyPublicKey>,
}

impl Keys {
    /// Remembers between `max / 2` and `max` keys, about 150 bytes each.
    pub fn new(max: usize) -> Self {
        Self { max, young: HashMap::new(), old: HashMap::new() }
    }

    /// The point. None: this is no key.
    fn of(&mut self, author: &PublicKey) -> Option<XOnlyPublicKey> {
        if let Some(key) = self.young.get(author) {
            return Some(*key);
        }
        let key = match self.old.get(author) {
            Some(key) => *key,
            None => XOnlyPublicKey::from_slice(&author.0).ok()?,
        };
        if self.max >= 2 {
            if self.young.len() >= self.max / 2 {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(*author, key);
        }
        Some(key)
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json())
    }
}
