//! A nostr event (NIP-01): parsed once, kept as its canonical JSON.
//!
//! [`Event::parse`] checks shape only. Whether the id and the signature are right is for [`crate::verify`], which alone
//! makes a [`crate::verify::Verified`].

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;
use std::ops::Range;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

mod tags;

pub use tags::{Tag, Tags};

/// The largest `created_at` that can be stored: in the year 2514. It leaves 29 bits beside it in a 63 bit sort key, and
/// the last key unused.
pub const CREATED_AT_MAX: Timestamp = (1 << 34) - 2;

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Reads exactly 64 lower-case hex digits.
            pub fn from_hex(hex: &str) -> Option<Self> {
                unhex(hex).map(Self)
            }

            /// 64 lower-case hex digits.
            pub fn to_hex(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0)
            }

            /// The first eight bytes, as the database keys them.
            #[inline]
            pub fn prefix(&self) -> i64 {
                let [a, b, c, d, e, f, g, h, ..] = self.0;
                i64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }
    };
}

bytes32! {
    /// An event id: SHA-256 of the event's serialisation (NIP-01).
    Id
}
bytes32! {
    /// An x-only secp256k1 public key (BIP-340).
    PublicKey
}

/// Reads exactly `2 * N` lower-case hex digits.
#[inline]
pub fn unhex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if hex.len() != N * 2 || hex.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    faster_hex::hex_decode(hex.as_bytes(), &mut bytes).ok()?;
    Some(bytes)
}

/// How a kind is kept (NIP-01).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Every event is kept.
    Regular,
    /// The newest for each author and kind is kept.
    Replaceable,
    /// Never stored, only passed on.
    Ephemeral,
    /// The newest for each author, kind and first `d` value is kept.
    Addressable,
}

impl Class {
    /// The class of a kind. Kinds in no range of NIP-01 are regular.
    #[inline]
    pub fn of(kind: u16) -> Self {
        match kind {
            0 | 3 | 10_000..=19_999 => Self::Replaceable,
            20_000..=29_999 => Self::Ephemeral,
            30_000..=39_999 => Self::Addressable,
            _ => Self::Regular,
        }
    }
}

/// An event of the right shape, with its canonical JSON. Its id and signature may still be wrong.
pub struct Event {
    /// The id it claims.
    pub id: Id,
    /// Its author.
    pub pubkey: PublicKey,
    /// Unix seconds, at most [`CREATED_AT_MAX`].
    pub created_at: Timestamp,
    /// 0 to 65535.
    pub kind: u16,
    /// Its tags.
    pub tags: Tags,
    /// The BIP-340 signature it claims.
    pub sig: [u8; 64],
    json: Box<str>,
    tags_json: Range<usize>,
    content_json: Range<usize>,
}

impl Event {
    /// Parses a NIP-01 event object. Unknown members are dropped; a member that is missing, doubled or of the wrong
    /// type is an error whose text names it.
    pub fn parse(json: &str) -> Result<Self, String> {
        if !json.trim_start().starts_with('{') {
            return Err("an event is a JSON object".into());
        }
        let wire: Wire<'_> = serde_json::from_str(json).map_err(shape_error)?;
        let id = Id::from_hex(&wire.id).ok_or("id is not 64 lower-case hex digits")?;
        let pubkey = PublicKey::from_hex(&wire.pubkey).ok_or("pubkey is not 64 lower-case hex digits")?;
        let sig = unhex(&wire.sig).ok_or("sig is not 128 lower-case hex digits")?;
        let kind = u16::try_from(wire.kind).map_err(|_| "kind is above 65535")?;
        if wire.created_at > CREATED_AT_MAX {
            return Err("created_at is too large".into());
        }
        Ok(Self::build(id, pubkey, wire.created_at, kind, wire.tags, &wire.content, sig, &wire.sig))
    }

    #[expect(clippy::too_many_arguments, reason = "the seven members of an event, and the text of one")]
    fn build(
        id: Id,
        pubkey: PublicKey,
        created_at: Timestamp,
        kind: u16,
        tags: Tags,
        content: &str,
        sig: [u8; 64],
        sig_hex: &str,
    ) -> Self {
        let mut json = Vec::with_capacity(360 + tags.json_bytes() + content.len() * 9 / 8);
        let mut hex = [0; 64];
        let mut put_hex = |json: &mut Vec<u8>, bytes: &[u8; 32]| {
            let _ = faster_hex::hex_encode(bytes, &mut hex);
            json.extend_from_slice(&hex);
        };
        json.extend_from_slice(b"{\"id\":\"");
        put_hex(&mut json, &id.0);
        json.extend_from_slice(b"\",\"pubkey\":\"");
        put_hex(&mut json, &pubkey.0);
        let _ = write!(json, "\",\"created_at\":{created_at},\"kind\":{kind},\"tags\":");
        let tags_start = json.len();
        tags.write_json(&mut json);
        let tags_json = tags_start..json.len();
        json.extend_from_slice(b",\"content\":");
        let content_start = json.len();
        write_string(&mut json, content);
        let content_json = content_start..json.len();
        json.extend_from_slice(b",\"sig\":\"");
        json.extend_from_slice(sig_hex.as_bytes());
        json.extend_from_slice(b"\"}");
        // Only whole strings and ASCII were written.
        let json = String::from_utf8(json).unwrap_or_default().into_boxed_str();
        Self { id, pubkey, created_at, kind, tags, sig, json, tags_json, content_json }
    }

    /// The canonical JSON: members in the order of NIP-01, no white space, as stored and sent.
    #[inline]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Bytes it holds beside itself.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        self.json.len() + self.tags.heap_bytes()
    }

    /// The content, unescaped.
    pub fn content(&self) -> Cow<'_, str> {
        let raw = self.json.get(self.content_json.clone()).unwrap_or("\"\"");
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        if inner.contains('\\') {
            Cow::Owned(serde_json::from_str(raw).unwrap_or_default())
        } else {
            Cow::Borrowed(inner)
        }
    }

    /// Id, author and signature in hex, as they stand in the JSON.
    #[inline]
    pub fn hexes(&self) -> [&str; 3] {
        let (id, end) = (r#"{"id":""#.len(), self.json.len().saturating_sub(r#""}"#.len()));
        let pubkey = id + 64 + r#"","pubkey":""#.len();
        [id..id + 64, pubkey..pubkey + 64, end.saturating_sub(128)..end]
            .map(|range| self.json.get(range).unwrap_or_default())
    }

    /// The tags as JSON.
    #[inline]
    pub fn tags_json(&self) -> &str {
        self.json.get(self.tags_json.clone()).unwrap_or("[]")
    }

    /// How its kind is kept.
    #[inline]
    pub fn class(&self) -> Class {
        Class::of(self.kind)
    }

    /// The value of the first `d` tag, `""` when there is none (NIP-01, addressable events).
    #[inline]
    pub fn d(&self) -> &str {
        self.tags.iter().find(|tag| tag.name() == "d").and_then(|tag| tag.value()).unwrap_or_default()
    }

    /// When it expires (NIP-40). A value that is no number is no expiration.
    #[inline]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.tags.value("expiration").and_then(|value| value.parse().ok())
    }

    /// True when it has expired at `now`. Ephemeral events are not kept, but they are not sent either when they have
    /// expired (NIP-40).
    #[inline]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// True when its id is the SHA-256 of its serialisation.
    ///
    /// NIP-01 escapes seven characters and leaves the other control characters verbatim, while the JSON writers of
    /// most languages write them as `\u00XX`. Signers hash either form, so an id that matches either is right.
    pub fn id_is_right(&self) -> bool {
        let tags = self.tags_json();
        let content = self.json.get(self.content_json.clone()).unwrap_or_default();
        if self.hash(tags.as_bytes(), content.as_bytes()) == self.id.0 {
            return true;
        }
        if !tags.contains("\\u00") && !content.contains("\\u00") {
            return false;
        }
        self.hash(&verbatim_controls(tags), &verbatim_controls(content)) == self.id.0
    }

    fn hash(&self, tags: &[u8], content: &[u8]) -> [u8; 32] {
        let mut sha = Sha256::new();
        let mut head = [0; 128];
        let mut room = head.as_mut_slice();
        let mut hex = [0; 64];
        let _ = faster_hex::hex_encode(&self.pubkey.0, &mut hex);
        let _ = room.write_all(b"[0,\"");
        let _ = room.write_all(&hex);
        let _ = write!(room, "\",{},{},", self.created_at, self.kind);
        let used = 128 - room.len();
        sha.update(head.get(..used).unwrap_or_default());
        sha.update(tags);
        sha.update(b",");
        sha.update(content);
        sha.update(b"]");
        sha.finalize().into()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json)
    }
}

/// The escapes that `serde_json` writes as `\u00XX`, turned back into the characters themselves.
fn verbatim_controls(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut rest = json.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'\\', [b'u', b'0', b'0', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let code = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(code.unwrap_or(b'?'));
                rest = after;
            }
            (b'\\', [escaped, after @ ..]) => {
                out.extend_from_slice(&[b'\\', *escaped]);
                rest = after;
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

/// Writes a JSON string. `serde_json` escapes exactly the seven characters of NIP-01 by name, and the other control
/// characters as `\u00XX`.
fn write_string(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}

/// Splits a JSON string of canonical JSON, still escaped, from what follows it.
#[inline]
pub fn json_string(json: &str) -> Option<(&str, &str)> {
    let body = json.strip_prefix('"')?;
    let bytes = body.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some((body.get(..at)?, body.get(at + 1..)?)),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    pubkey: Cow<'a, str>,
    created_at: u64,
    kind: u64,
    tags: Tags,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

/// serde's message without the position, which says nothing to a client that sent one line.
fn shape_error(error: serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// A `kind:pubkey:d` reference, the value of an `a` tag (NIP-01).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// A replaceable or addressable kind.
    pub kind: u16,
    /// The author.
    pub pubkey: PublicKey,
    /// The first `d` value; empty for replaceable kinds.
    pub d: String,
}

impl Address {
    /// Reads `kind:pubkey:d`. For replaceable kinds the part after the second colon is empty and the colon may be
    /// missing. `None` for kinds that have no address.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let kind = parts.next()?.parse().ok()?;
        let pubkey = PublicKey::from_hex(parts.next()?)?;
        let d = match (Class::of(kind), parts.next()) {
            (Class::Replaceable, None | Some("")) => "",
            (Class::Addressable, Some(d)) => d,
            _ => return None,
        };
        Some(Self { kind, pubkey, d: d.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tags: &str, content: &str) -> Result<Event, String> {
        Event::parse(&format!(
            r#"{{"id":"{0}","pubkey":"{0}","created_at":1,"kind":1,"tags":{tags},"content":{content},"sig":"{0}{0}"}}"#,
            "ab".repeat(32)
        ))
    }

    #[test]
    fn parses_to_canonical_json() {
        let event = with(r#"[["d","x","y"],["e"]]"#, r#""a\/b\u000a\u0001\u007f""#).unwrap();
        assert!(event.json().ends_with(&format!(
            r#""tags":[["d","x","y"],["e"]],"content":"a/b\n\u0001{}","sig":"{}"}}"#,
            '\u{7f}',
            "ab".repeat(64)
        )));
        assert_eq!(event.content(), "a/b\n\u{1}\u{7f}");
        let sig = data_encoding::HEXLOWER.encode(&event.sig);
        assert_eq!(event.hexes(), [&*event.id.to_hex(), &*event.pubkey.to_hex(), &*sig]);
        assert_eq!(event.tags_json(), r#"[["d","x","y"],["e"]]"#);
        assert_eq!(event.d(), "x");
        assert_eq!(event.tags.indexed().collect::<Vec<_>>(), [(b'd', "x")]);
        assert_eq!(event.tags.len(), 2);
        assert_eq!(verbatim_controls("\"a\\\\u0001\\u0001\\n\""), b"\"a\\\\u0001\x01\\n\"");
    }

    #[test]
    fn refuses_wrong_shapes() {
        for (tags, content) in [
            ("[[]]", "\"\""),
            ("[[1]]", "\"\""),
            ("[null]", "\"\""),
            ("{}", "\"\""),
            ("[]", "1"),
            ("[]", "\"\\ud800\""),
        ] {
            assert!(with(tags, content).is_err(), "{tags} {content}");
        }
        let good = with("[]", "\"\"").unwrap();
        for (from, to) in [
            ("\"kind\":1", "\"kind\":65536"),
            ("\"kind\":1", "\"kind\":-1"),
            ("\"kind\":1", "\"kind\":1e0"),
            ("\"kind\":1", "\"kind\":\"1\""),
            ("\"kind\":1", "\"kind\":1,\"kind\":1"),
            ("\"created_at\":1", "\"created_at\":1e10"),
            ("\"created_at\":1", "\"created_at\":17179869183"),
            ("{\"id\":\"ab", "[\"ab"),
            ("{\"id\":\"ab", "{\"id\":\"AB"),
            ("\"content\":\"\",", ""),
        ] {
            assert!(good.json().contains(from));
            assert!(Event::parse(&good.json().replace(from, to)).is_err(), "{from} -> {to}");
        }
        assert!(Event::parse(&good.json().replace("\"kind\":1", "\"extra\":[{}],\"kind\":1")).is_ok());
    }

    #[test]
    fn reads_addresses() {
        let key = "ab".repeat(32);
        let address = |text: &str| Address::parse(&text.replace("KEY", &key));
        assert_eq!(address("30023:KEY:a:b").map(|a| a.d), Some("a:b".to_owned()));
        assert_eq!(address("10002:KEY:").map(|a| a.d), Some(String::new()));
        assert_eq!(address("0:KEY").map(|a| a.kind), Some(0));
        for bad in ["1:KEY:", "30023:KEY", "10002:KEY:x", "x:KEY:", "30023:AB:", ""] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
