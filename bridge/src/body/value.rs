//! Values, whatever they were encoded in.

/// A decoded value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null, undefined, or something with no place here.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// A list.
    Array(Vec<Value>),
    /// Keys and values, in the order they were written.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The value of a map under a text key. Of several the last, as in JavaScript.
    pub fn field(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().rev().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
    }

    /// The first of these fields that is there and not null.
    pub fn any_field(&self, names: &[&str]) -> Option<&Self> {
        names.iter().filter_map(|name| self.field(name)).find(|value| **value != Self::Null)
    }

    /// The text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A date in milliseconds since 1970, if before the year 10,000. JavaScript writes them as integers or floats.
    pub fn as_date(&self) -> Option<u64> {
        let date = match self {
            Self::Integer(date) => u64::try_from(*date).ok()?,
            // In range, so nothing but a fraction is cut off.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
            Self::Float(date) if (0.0..=DATE_MAX as f64).contains(date) => *date as u64,
            _ => return None,
        };
        (date <= DATE_MAX).then_some(date)
    }
}

const DATE_MAX: u64 = 253_402_300_799_999;
