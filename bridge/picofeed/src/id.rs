//! Names of blocks and authors.

use std::{fmt, str::FromStr};

use crate::Misuse;

/// Name of a block: its signature, 64 bytes. Shown and parsed as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 64]);

/// Public key of an author, 32 bytes: an Ed25519 key in v8 and v3, the x coordinate of a secp256k1 key in POP-02.
/// Shown and parsed as lower-case hexadecimal.
///
/// Having a `Key` says nothing about whether it is a valid one; having a block verified by it does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

macro_rules! name {
    ($name:ident, $len:literal) => {
        impl $name {
            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl From<$name> for [u8; $len] {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        /// Reads hexadecimal digits of either case. Anything else is [`Misuse::Hex`].
        impl FromStr for $name {
            type Err = Misuse;

            fn from_str(text: &str) -> Result<Self, Misuse> {
                let wrong = Misuse::Hex(2 * $len);
                let (pairs, odd) = text.as_bytes().as_chunks::<2>();
                if pairs.len() != $len || !odd.is_empty() {
                    return Err(wrong);
                }
                let mut bytes = [0; $len];
                for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
                    *byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low).ok_or(wrong)?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

name!(Id, 64);
name!(Key, 32);

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
