//! Which generations a node speaks.

use picofeed::Format;

/// A set of the two formats that travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    v8: bool,
    v3: bool,
}

impl Formats {
    /// Whether it is one of them.
    pub fn contains(self, format: Format) -> bool {
        match format {
            Format::V8 => self.v8,
            Format::V3 => self.v3,
            Format::Pop02 => false,
        }
    }

    /// Adds one. False if it was there.
    pub fn insert(&mut self, format: Format) -> bool {
        let place = match format {
            Format::V8 => &mut self.v8,
            Format::V3 => &mut self.v3,
            Format::Pop02 => return false,
        };
        !std::mem::replace(place, true)
    }

    /// Whether it is none.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether it is both.
    pub fn is_full(self) -> bool {
        self.v8 && self.v3
    }
}
