//! The id of an event that could not be read, so that its OK can name it.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::event::unhex;

/// A broken event of more bytes is not read again.
const READ_MAX: usize = 32 << 10;

/// The id that a broken event claims, if it has one of the right shape.
pub(crate) fn claimed_id(json: &str) -> Option<String> {
    if json.len() > READ_MAX {
        return claimed_id_in(json);
    }
    #[derive(Deserialize)]
    struct Claim {
        id: String,
        #[serde(flatten)]
        _rest: std::collections::HashMap<String, IgnoredAny>,
    }
    match serde_json::from_str::<Claim>(json) {
        Ok(claim) => unhex::<32>(&claim.id.to_ascii_lowercase()).map(|_| claim.id),
        Err(_) => claimed_id_in(json),
    }
}

/// The same by sight, for what is no JSON or too large to be read.
pub(crate) fn claimed_id_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("\"id\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let id = value.get(..64)?;
    (value.as_bytes().get(64) == Some(&b'"') && unhex::<32>(&id.to_ascii_lowercase()).is_some()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_id_of_a_broken_event() {
        let id = "ab".repeat(32);
        for json in [
            format!(r#"{{"id":"{id}"}}"#),
            format!(r#"{{"kind":{{}},"id": "{id}","x":[1]}}"#),
            format!(r#"{{"id":"{id}","id":"{id}"}}"#),
            format!(r#"{{"id" : "{id}","#),
        ] {
            assert_eq!(claimed_id(&json), Some(id.clone()), "{json}");
        }
        assert_eq!(claimed_id(r#"{"id":"ab"}"#), None);
        assert_eq!(claimed_id("1"), None);
    }
}
