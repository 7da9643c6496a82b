//! Topics, by which rooms are found on hyperswarm.

use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256};

/// What a topic is on hyperswarm: 64 hex digits as they are, any other text by its SHA-256, as pico apps do.
pub fn topic(text: &str) -> [u8; 32] {
    let literal = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    literal.unwrap_or_else(|| Sha256::digest(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_a_text_or_64_hex_digits() {
        let check =
            |text: &str, expected: &str| assert_eq!(HEXLOWER_PERMISSIVE.encode(&topic(text)), expected, "{text}");
        let digits = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        check(digits, digits);
        check(&digits.to_uppercase(), digits);
        check("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        // One digit less is a text.
        check(&digits[1..], &HEXLOWER_PERMISSIVE.encode(&Sha256::digest(&digits[1..])));
    }
}
