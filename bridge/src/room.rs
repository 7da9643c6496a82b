//! Names of rooms.

use std::{fmt, str::FromStr};

/// Name of a room: where pico nodes of one app meet. Matches `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Room(Box<str>);

/// The text is not the name of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a room: 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit")]
pub struct RoomInvalid;

impl Room {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Room {
    type Err = RoomInvalid;

    fn from_str(text: &str) -> Result<Self, RoomInvalid> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = text.len() <= 64
            && text.bytes().next().is_some_and(alphanumeric)
            && text.bytes().all(|byte| alphanumeric(byte) || b"._-".contains(&byte));
        if good { Ok(Self(text.into())) } else { Err(RoomInvalid) }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(64);
        for good in ["main", "a", "0", "a.b-c_d", &long] {
            assert_eq!(good.parse::<Room>().map(|room| room.to_string()), Ok(good.to_owned()));
        }
        let longer = "a".repeat(65);
        for bad in ["", "Main", ".a", "-a", "a b", "a/b", "é", "a:b", &longer] {
            assert_eq!(bad.parse::<Room>(), Err(RoomInvalid), "{bad}");
        }
    }
}
