//! Making and checking signatures: strict Ed25519, and BIP-340 for POP-02.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use secp256k1::{Keypair, SECP256K1, XOnlyPublicKey, schnorr};

use crate::{Defect, Format, Key, Misuse, pop02};

/// A secret key that blocks can be signed with. Shows its public key only.
#[derive(Clone)]
pub struct Secret(Scheme);

#[derive(Clone)]
enum Scheme {
    Ed25519(Box<SigningKey>),
    Secp256k1(Keypair),
}

impl Secret {
    /// A key for v8 and v3 from its 32 byte seed. The 64 byte secret keys of picofeed 3.4 begin with it.
    pub fn ed25519(seed: [u8; 32]) -> Self {
        Self(Scheme::Ed25519(Box::new(SigningKey::from_bytes(&seed))))
    }

    /// A key for POP-02 from its 32 bytes.
    ///
    /// # Errors
    ///
    /// [`Misuse::SecretInvalid`] if the number is zero or not below the order of the curve.
    pub fn secp256k1(bytes: [u8; 32]) -> Result<Self, Misuse> {
        let pair = Keypair::from_seckey_slice(SECP256K1, &bytes).map_err(|_| Misuse::SecretInvalid)?;
        Ok(Self(Scheme::Secp256k1(pair)))
    }

    /// The public key: the author of what is signed with this.
    pub fn key(&self) -> Key {
        match &self.0 {
            Scheme::Ed25519(key) => Key::from(key.verifying_key().to_bytes()),
            Scheme::Secp256k1(pair) => Key::from(pair.x_only_public_key().0.serialize()),
        }
    }

    /// Signs, always in the same way: no randomness is involved.
    pub(crate) fn sign(&self, format: Format, signed: &[u8]) -> Result<[u8; 64], Misuse> {
        match (&self.0, format) {
            (Scheme::Ed25519(key), Format::V8 | Format::V3) => Ok(key.sign(signed).to_bytes()),
            (Scheme::Secp256k1(pair), Format::Pop02) => {
                Ok(SECP256K1.sign_schnorr_no_aux_rand(&pop02::digest(signed), pair).to_byte_array())
            }
            _ => Err(Misuse::SecretKind(format)),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(of {})", self.key())
    }
}

/// Checks signatures. Most blocks of a feed have one author, so the last key is kept in the form checks need.
#[derive(Default)]
pub(crate) struct Verifier {
    ed25519: Option<(Key, VerifyingKey)>,
}

impl Verifier {
    /// Whether `signature` was made by `key` over `signed`, the bytes of a block after its signature.
    pub(crate) fn check(&mut self, format: Format, key: &Key, signed: &[u8], signature: &[u8]) -> Result<(), Defect> {
        match format {
            Format::V8 | Format::V3 => {
                let signature = Signature::from_slice(signature).map_err(|_| Defect::Signature)?;
                self.ed25519(key)?.verify_strict(signed, &signature).map_err(|_| Defect::Signature)
            }
            Format::Pop02 => {
                let key = XOnlyPublicKey::from_slice(key.as_bytes()).map_err(|_| Defect::KeyInvalid)?;
                let signature = schnorr::Signature::from_slice(signature).map_err(|_| Defect::Signature)?;
                SECP256K1.verify_schnorr(&signature, &pop02::digest(signed), &key).map_err(|_| Defect::Signature)
            }
        }
    }

    /// The point behind a key. A key of small order would verify any message, and one that is not canonical would be a
    /// second name for the same author; both are refused.
    fn ed25519(&mut self, key: &Key) -> Result<&VerifyingKey, Defect> {
        if self.ed25519.as_ref().is_none_or(|(known, _)| known != key) {
            let point = VerifyingKey::from_bytes(key.as_bytes()).map_err(|_| Defect::KeyInvalid)?;
            if point.is_weak() || !is_canonical(key.as_bytes()) {
                return Err(Defect::KeyInvalid);
            }
            self.ed25519 = Some((*key, point));
        }
        self.ed25519.as_ref().map(|(_, point)| point).ok_or(Defect::KeyInvalid)
    }
}

/// Whether the y coordinate is below 2²⁵⁵ - 19.
fn is_canonical(key: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = key;
    !(high & 0x7f == 0x7f && middle.iter().all(|byte| *byte == 0xff) && *low >= 0xed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_keys_are_refused() {
        let p_plus = |n: u8| {
            let mut key = [0xff; 32];
            key[0] = 0xed + n;
            key[31] = 0x7f;
            key
        };
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut order_8 = [0; 32];
        order_8[..4].copy_from_slice(&[0x26, 0xe8, 0x95, 0x8f]);
        let off_curve = {
            let mut key = [0; 32];
            key[0] = 2;
            key
        };
        for key in [[0; 32], identity, order_8, off_curve, p_plus(0), p_plus(3), p_plus(18)] {
            let result = Verifier::default().check(Format::V8, &Key::from(key), b"any", &[0; 64]);
            assert_eq!(result, Err(Defect::KeyInvalid), "{}", Key::from(key));
        }
        // y = 3 is on the curve; 3 + p is the same point, spelled otherwise.
        let mut three = [0; 32];
        three[0] = 3;
        assert_eq!(Verifier::default().check(Format::V8, &Key::from(three), b"any", &[0; 64]), Err(Defect::Signature));
    }
}
