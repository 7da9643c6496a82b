//! The body of a block of generation 2: CBOR `[collection, payload, date]`.

use minicbor::Decoder;

use super::slice::Body;

/// Splits a body. None if it is something else: not CBOR, not an array that begins with a text, or not all of it. Elements
/// after the third are allowed and ignored, as in picostore.
pub(super) fn split(body: &[u8]) -> Option<Body<'_>> {
    let mut cbor = Decoder::new(body);
    let len = cbor.array().ok()?;
    let collection = cbor.str().ok()?;
    let mut items: [&[u8]; 2] = [&[]; 2];
    let mut seen = 1;
    loop {
        let more = match len {
            Some(len) => seen < len,
            None => cbor.datatype().ok()? != minicbor::data::Type::Break,
        };
        if !more {
            break;
        }
        let from = cbor.position();
        cbor.skip().ok()?;
        if let Some(item) = usize::try_from(seen - 1).ok().and_then(|at| items.get_mut(at)) {
            *item = body.get(from..cbor.position())?;
        }
        seen += 1;
    }
    if len.is_none() {
        cbor.skip().ok()?;
    }
    let [payload, date] = items;
    (cbor.position() == body.len()).then_some(Body { collection, payload, date })
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
        let deep = [vec![0x82, 0x61, b'x'], vec![0x81; 100_000], vec![0]].concat();
        assert!(split(&deep).is_some(), "depth costs no stack");
    }
}
