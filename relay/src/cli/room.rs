//! The pico half of `picorelay import` and `picorelay export`: rooms as files.

use std::path::Path;

use super::Failure;
use crate::pico::repo::RoomName;

mod export;
mod import;

pub(super) use export::export;
pub(super) use import::import;

/// Whether a file is a room and not a list of events.
pub(super) fn is_room(file: &Path, room: Option<&RoomName>) -> bool {
    room.is_some() || file.extension().is_some_and(|extension| extension == "pico")
}

/// A number of bytes: `64GB`, `1.5TB`, `700MiB`, `4096`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim().trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.trim().strip_prefix(digits).unwrap_or_default().to_ascii_lowercase();
    let factor: f64 = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{unit}` is no unit of bytes; expected kB, MB, GB, TB, KiB, MiB, GiB or TiB")),
    };
    let number: f64 = digits.trim().parse().map_err(|_| format!("`{digits}` is no number of bytes"))?;
    let whole = (number * factor).round();
    if !(0.0..9e18).contains(&whole) {
        return Err(format!("`{text}` is no number of bytes"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(whole as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("64GB", Some(64_000_000_000)),
            ("64 gb", Some(64_000_000_000)),
            ("1.5TB", Some(1_500_000_000_000)),
            ("2KiB", Some(2048)),
            ("1MiB", Some(1 << 20)),
            ("3kB", Some(3000)),
            ("", None),
            ("GB", None),
            ("-1", None),
            ("1e30", None),
            ("1 parsec", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
