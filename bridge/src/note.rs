//! Nostr events as blocks: the record that an app of generation 2 finds, `[collection, payload, date]` in CBOR.

use ciborium_ll::{Encoder, Header};

use crate::FROM_NOSTR;

/// A signed event, as it goes into a room. That its id and signature are good is for the caller to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NostrEvent<'a> {
    /// 64 lower-case hexadecimal digits, as all ids and keys here.
    pub id: &'a str,
    /// Who signed it.
    pub pubkey: &'a str,
    /// Unix seconds.
    pub created_at: u64,
    /// Kind.
    pub kind: u16,
    /// Tags.
    pub tags: Vec<Vec<&'a str>>,
    /// Content.
    pub content: &'a str,
    /// 128 digits.
    pub sig: &'a str,
}

impl NostrEvent<'_> {
    /// The body of a v8 block that carries the event: the record `["nostr", event, date]`, the event a map of the seven
    /// members of NIP-01. `date` is unix milliseconds. The bytes are those that cborg writes: keys by length, then by
    /// letter; everything in its shortest form.
    pub fn body(&self, date: u64) -> Vec<u8> {
        let mut writer = Writer(Vec::new());
        writer.push(Header::Array(Some(3)));
        writer.text(FROM_NOSTR);
        writer.push(Header::Map(Some(7)));
        for (name, text) in [("id", self.id), ("sig", self.sig)] {
            writer.text(name);
            writer.text(text);
        }
        writer.text("kind");
        writer.push(Header::Positive(self.kind.into()));
        writer.text("tags");
        writer.push(Header::Array(Some(self.tags.len())));
        for tag in &self.tags {
            writer.push(Header::Array(Some(tag.len())));
            tag.iter().for_each(|text| writer.text(text));
        }
        for (name, text) in [("pubkey", self.pubkey), ("content", self.content)] {
            writer.text(name);
            writer.text(text);
        }
        writer.text("created_at");
        writer.push(Header::Positive(self.created_at));
        writer.push(Header::Positive(date));
        writer.0
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn push(&mut self, header: Header) {
        // Writing to memory does not fail.
        let _ = Encoder::from(&mut self.0).push(header);
    }

    fn text(&mut self, text: &str) {
        self.push(Header::Text(Some(text.len())));
        self.0.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use picofeed::{Block, Format, Secret};

    use super::*;
    use crate::{Body, Context, Mode, Value, kind, no_copies, wrap};

    #[test]
    fn an_event_there_and_back() {
        let event = NostrEvent {
            id: &"ab".repeat(32),
            pubkey: &"cd".repeat(32),
            created_at: 1_700_000_000,
            kind: 1,
            tags: vec![vec!["e", "x"], vec![], vec!["p"]],
            content: "héllo\n",
            sig: &"ef".repeat(64),
        };
        let body = event.body(1_700_000_000_500);
        let value: ciborium::Value = ciborium::from_reader(body.as_slice()).unwrap();
        let members = value.as_array().unwrap()[1].as_map().unwrap();
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_text().unwrap()).collect();
        assert_eq!(names, ["id", "sig", "kind", "tags", "pubkey", "content", "created_at"]);
        let mut again = Vec::new();
        ciborium::into_writer(&value, &mut again).unwrap();
        assert_eq!(again, body, "the shortest form");

        let block = Block::sign(Format::V8, None, &body, &Secret::ed25519([1; 32])).unwrap();
        let Body::Record(record) = Body::of(&block) else { panic!("not a record") };
        assert_eq!((record.collection.as_str(), record.date), (FROM_NOSTR, Some(1_700_000_000_500)));
        assert_eq!(record.payload.field("content").and_then(Value::as_text), Some(event.content));
        assert_eq!(record.payload.field("kind"), Some(&Value::Integer(1)));

        let room = "main".parse().unwrap();
        let context = Context {
            room: &room,
            chain: block.id(),
            height: 1,
            accepted: 1_700_000_100,
            mode: Mode::Copies,
            silo: None,
            copy_of: &no_copies,
        };
        let kinds: Vec<u16> = wrap(&block, &context).iter().map(|draft| draft.kind).collect();
        assert_eq!(kinds, [kind::BLOCK, kind::HEAD], "it is carried, and not copied back");
    }
}
