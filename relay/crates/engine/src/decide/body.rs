//! The body of a block of generation 2: CBOR `[collection, payload, date]`.

use crate::slice::Body;

/// Splits a body. None if it is something else: not CBOR, not an array that begins with a text, or not all of it. Elements
/// after the third are allowed and ignored, as in picostore. What is in them is for the slices to read; here only lengths count.
pub(super) fn split(body: &[u8]) -> Option<Body<'_>> {
    let mut cbor = Items(body);
    let (4, len) = cbor.head()? else { return None };
    let (3, Some(bytes)) = cbor.head()? else { return None };
    let collection = std::str::from_utf8(cbor.take(bytes)?).ok()?;
    // A byte order mark is not part of a text, as cborg reads it.
    let collection = collection.strip_prefix('\u{feff}').unwrap_or(collection);
    let mut items: [&[u8]; 2] = [&[]; 2];
    let mut seen = 1;
    while len.is_none_or(|len| seen < len) {
        if len.is_none() && cbor.0.first() == Some(&BREAK) {
            cbor.take(1)?;
            break;
        }
        let item = cbor.item()?;
        if let Some(place) = usize::try_from(seen - 1).ok().and_then(|at| items.get_mut(at)) {
            *place = item;
        }
        seen += 1;
    }
    let [payload, date] = items;
    cbor.0.is_empty().then_some(Body { collection, payload, date })
}

const BREAK: u8 = 0xff;

/// What is left of some CBOR.
struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// The major type and the argument; none: indefinite, or a break.
    fn head(&mut self) -> Option<(u8, Option<u64>)> {
        let first = *self.take(1)?.first()?;
        let (major, info) = (first >> 5, first & 31);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => Some(self.take(1 << (info - 24))?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))),
            31 if !matches!(major, 0 | 1 | 6) => None,
            _ => return None,
        };
        Some((major, argument))
    }

    /// The bytes of the next item. How deep it is nested costs no stack.
    fn item(&mut self) -> Option<&'a [u8]> {
        let all = self.0;
        // How many items are still to come on each level; none: until a break.
        let mut levels = vec![Some(1_u64)];
        while let Some(level) = levels.last_mut() {
            match level {
                Some(0) => {
                    levels.pop();
                    continue;
                }
                Some(left) => *left -= 1,
                None if self.0.first() == Some(&BREAK) => {
                    self.take(1)?;
                    levels.pop();
                    continue;
                }
                None => {}
            }
            let mut head = self.head()?;
            // A tag is one item with what follows it.
            while head.0 == 6 {
                head = self.head()?;
            }
            match head {
                (0 | 1, _) | (7, Some(_)) => {}
                (2 | 3, Some(len)) => _ = self.take(len)?,
                (5, Some(len)) => levels.push(Some(len.checked_mul(2)?)),
                (2..=5, len) => levels.push(len),
                // A break where none may be.
                _ => return None,
            }
        }
        all.get(..all.len() - self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        // ["x", 1, 1700000035000]
        let body = hex("8361780 11b0000018bcfe5f0b8".replace(' ', "").as_str());
        let split_of =
            |body: &[u8]| split(body).map(|b| (b.collection.to_owned(), b.payload.to_vec(), b.date.to_vec()));
        assert_eq!(split_of(&body), Some(("x".into(), vec![1], hex("1b0000018bcfe5f0b8"))));
        // Shorter, longer, of unknown length.
        assert_eq!(split_of(&hex("816178")), Some(("x".into(), vec![], vec![])));
        assert_eq!(split_of(&hex("846178010203")), Some(("x".into(), vec![1], vec![2])));
        assert_eq!(split_of(&hex("9f6178a1616101f6ff")), Some(("x".into(), hex("a1616101"), vec![0xf6])));
        assert_eq!(split_of(&hex("83617881f600")), Some(("x".into(), hex("81f6"), vec![0])));
        for bad in ["", "80", "8101", "a0", "48656c6c6f", "82617801 00", "826178", "9f617801", "81ff", "8161"] {
            assert_eq!(split_of(&hex(&bad.replace(' ', ""))), None, "{bad}");
        }
        assert_eq!(split_of(&hex("8264efbbbf7801")).map(|body| body.0), Some("x".into()), "a byte order mark");
        // What slices read as cborg does: no UTF-8, less than -2^63, tags and what else has a length.
        for odd in [
            "62fffe",
            "3bffffffffffffffff",
            "c1c21a00000001",
            "5f4101ff",
            "bf6161bf61629fffffff",
            "f8ff",
            "fb0000000000000000",
        ] {
            assert_eq!(split_of(&hex(&format!("836178{odd}00"))), Some(("x".into(), hex(odd), vec![0])), "{odd}");
            assert_eq!(split_of(&hex(&format!("836178{odd}"))), None, "{odd} and no date");
        }
        for bad in
            ["836178ff00", "836178bf61ff00", "8361789f00", "836178bbffffffffffffffff00", "8361785bffffffffffffffff00"]
        {
            assert_eq!(split_of(&hex(bad)), None, "{bad}");
        }
        let deep = [vec![0x82, 0x61, b'x'], vec![0x81; 100_000], vec![0]].concat();
        assert!(split(&deep).is_some(), "depth costs no stack");
    }
}
