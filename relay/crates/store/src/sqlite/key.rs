//! How events and tags become the integers that the indexes are made of.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

use crate::clock::Timestamp;
use crate::event::Id;

/// Bits of the id in a position.
pub(super) const ID_BITS: u32 = 29;
const ID_MASK: i64 = (1 << ID_BITS) - 1;

/// How far a crowd of events with the same second and the same 29 bits may push one of them from its place.
pub(super) const CROWD: i64 = 1 << 12;

/// Where an event belongs: larger is newer, and among equal times lower id. Two events can belong to one place; the
/// writer then moves the one with the higher id down by one.
pub(super) fn home(created_at: Timestamp, id: &Id) -> i64 {
    let [a, b, c, d, ..] = id.0;
    let bits = i64::from(u32::from_be_bytes([a, b, c, d]) >> (32 - ID_BITS));
    (i64::try_from(created_at).unwrap_or(i64::MAX >> ID_BITS) << ID_BITS) | (!bits & ID_MASK)
}

/// The smallest position an event of this second can have.
pub(super) fn lowest(created_at: Timestamp) -> i64 {
    i64::try_from(created_at).ok().and_then(|at| at.checked_mul(1 << ID_BITS)).map_or(i64::MAX, |pos| pos - CROWD)
}

/// The largest position an event of this second can have.
pub(super) fn highest(created_at: Timestamp) -> i64 {
    i64::try_from(created_at).ok().and_then(|at| at.checked_mul(1 << ID_BITS)).map_or(i64::MAX, |pos| pos | ID_MASK)
}

/// Hashes tags with a key that is drawn for each database, so that nobody can make values that collide.
#[derive(Clone, Copy)]
pub(super) struct TagHash {
    key: [u8; 16],
}

impl TagHash {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// Of a tag letter and value.
    pub(super) fn of(&self, letter: u8, value: &str) -> i64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u8(letter);
        hasher.write(value.as_bytes());
        hasher.finish().cast_signed()
    }

    /// Of the same in events of a kind that is filed apart.
    pub(super) fn of_kind(&self, letter: u8, value: &str, kind: u16) -> i64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        // No letter has this bit.
        hasher.write_u8(letter | 0x80);
        hasher.write_u16(kind);
        hasher.write(value.as_bytes());
        hasher.finish().cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_order_like_answers() {
        let id = |byte| Id([byte; 32]);
        assert!(home(2, &id(0xff)) > home(1, &id(0)));
        assert!(home(1, &id(1)) > home(1, &id(2)));
        for at in [0, 1, 1_800_000_000, crate::event::CREATED_AT_MAX] {
            for byte in [0, 7, 0xff] {
                assert!(lowest(at) <= home(at, &id(byte)) && home(at, &id(byte)) <= highest(at));
            }
        }
        assert_eq!(lowest(u64::MAX), i64::MAX);
    }
}
