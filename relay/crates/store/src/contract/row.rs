//! A stored event as it is read: its head, and its canonical JSON, which is never parsed on the way out.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use memchr::memmem::Finder;

use crate::clock::Timestamp;
use crate::event::{Event, Id, PublicKey, json_string};
use crate::filter::{Filter, TagFilter};
use crate::verify::Verified;

use super::Seq;

/// One answer of a scan.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number in the order of saving.
    pub seq: Seq,
    /// Event id.
    pub id: Id,
    /// Author.
    pub pubkey: PublicKey,
    /// Unix seconds.
    pub created_at: Timestamp,
    /// Kind.
    pub kind: u16,
    /// The canonical JSON, empty when the query wanted no bodies.
    pub body: Body,
}

/// Canonical JSON, shared by all who send it.
#[derive(Clone, Debug)]
pub enum Body {
    /// Of an event that is in memory anyway.
    Event(Verified),
    /// As read from the database.
    Json(Arc<str>),
}

impl Body {
    /// The JSON.
    #[inline]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Event(event) => event.json(),
            Self::Json(json) => json,
        }
    }

    /// How many have it in memory, about.
    #[inline]
    pub fn holders(&self) -> usize {
        match self {
            Self::Event(event) => Arc::strong_count(event.shared()),
            Self::Json(json) => Arc::strong_count(json),
        }
        .max(1)
    }
}

/// The conditions of a filter on tags, looked for in the canonical JSON of many events: of the first few tag by tag, of the
/// others by searches that take a while to make.
#[derive(Default)]
pub struct TagSearch {
    looked: Cell<u32>,
    starts: OnceCell<Starts>,
}

/// For each condition how a tag that meets it begins. None: there are too many, or a value would be written escaped.
type Starts = Option<Vec<Vec<Finder<'static>>>>;

/// Values above which it is shorter to go through the tags of an event.
const STARTS_MAX: usize = 8;

/// Events through whose tags one goes first: most answers have no more, and to make the searches takes as long as eight.
const LOOKED_MAX: u32 = 2;

impl TagSearch {
    /// Whether the event meets the conditions of `filter`, which must be the same each time.
    pub fn matches(&self, filter: &Filter, json: &str) -> bool {
        if self.looked.get() < LOOKED_MAX {
            self.looked.set(self.looked.get() + 1);
            return filter.matches_tags(|| stored_tags(json));
        }
        match self.starts.get_or_init(|| starts(filter)) {
            // A quote within a string is escaped, so this can only be found where a tag begins.
            Some(starts) => starts.iter().all(|any| any.iter().any(|start| start.find(json.as_bytes()).is_some())),
            None => filter.matches_tags(|| stored_tags(json)),
        }
    }
}

fn starts(filter: &Filter) -> Starts {
    let plain = |value: &String| !value.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f));
    let few = filter.tags.iter().map(|tag| tag.values.len()).sum::<usize>() <= STARTS_MAX;
    (few && filter.tags.iter().all(|tag| tag.values.iter().all(plain))).then(|| {
        let start = |letter: u8, value: &str| format!("[\"{}\",\"{value}\"", char::from(letter));
        let starts = |tag: &TagFilter| {
            tag.values.iter().map(|value| Finder::new(&start(tag.letter, value)).into_owned()).collect()
        };
        filter.tags.iter().map(starts).collect()
    })
}

/// The single-letter tags of an event, read from its canonical JSON without building it.
#[inline]
pub fn stored_tags(json: &str) -> StoredTags<'_> {
    let rest = json.find(",\"tags\":[").and_then(|at| json.get(at + 9..)).unwrap_or_default();
    StoredTags { rest }
}

/// Iterator of [`stored_tags`]: letter and value.
#[derive(Clone)]
pub struct StoredTags<'a> {
    rest: &'a str,
}

impl<'a> Iterator for StoredTags<'a> {
    type Item = (u8, Cow<'a, str>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let inner = self.rest.strip_prefix(',').unwrap_or(self.rest).strip_prefix('[')?;
            let (name, mut rest) = json_string(inner)?;
            let mut value = None;
            while let Some(more) = rest.strip_prefix(',') {
                let (text, after) = json_string(more)?;
                value.get_or_insert(text);
                rest = after;
            }
            self.rest = rest.strip_prefix(']')?;
            if let ([letter], Some(value)) = (name.as_bytes(), value)
                && letter.is_ascii_alphabetic()
            {
                let value = if value.contains('\\') {
                    Cow::Owned(serde_json::from_str(&format!("\"{value}\"")).unwrap_or_default())
                } else {
                    Cow::Borrowed(value)
                };
                return Some((*letter, value));
            }
        }
    }
}

impl Row {
    /// The event, which was verified before it was stored. None if it cannot be read.
    pub fn verified(self) -> Option<Verified> {
        match self.body {
            Body::Event(event) => Some(event),
            Body::Json(json) => Event::parse(&json).ok().map(read_back),
        }
    }
}

/// An event that was read back from the store, where only verified ones are written.
#[allow(clippy::disallowed_methods, reason = "the one place that knows it")]
pub(crate) fn read_back(event: Event) -> Verified {
    Verified::from_store(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[test]
    fn reads_the_tags_that_the_event_has() {
        let hex = "ab".repeat(32);
        for tags in
            ["[]", r#"[["e","1","x"],["ee","2"],["p"],["t","a\"b\\"],["-"],["\n","x"],["Z","]["]]"#, r#"[["t",""]]"#]
        {
            let event = Event::parse(&format!(
                r#"{{"id":"{hex}","pubkey":"{hex}","created_at":1,"kind":1,"tags":{tags},"content":"[\"e\"]","sig":"{hex}{hex}"}}"#
            ))
            .unwrap();
            let stored: Vec<_> =
                stored_tags(event.json()).map(|(letter, value)| (letter, value.into_owned())).collect();
            let parsed: Vec<_> = event.tags.indexed().map(|(letter, value)| (letter, value.to_owned())).collect();
            assert_eq!(stored, parsed, "{tags}");
        }
    }

    #[test]
    fn a_search_finds_what_going_through_the_tags_finds() {
        let hex = "ab".repeat(32);
        let tags =
            r#"[["x","1","x"],["xx","2"],["y"],["t","a\"b\\"],["t","a b"],["t",""],["r","ü"],["c","[\"q\",\"1\""]]"#;
        let event = Event::parse(&format!(
            r#"{{"id":"{hex}","pubkey":"{hex}","created_at":1,"kind":1,"tags":{tags},"content":"[\"z\",\"1\"","sig":"{hex}{hex}"}}"#
        ))
        .unwrap();
        let yes = [
            r##"{"#x":["1"]}"##,
            r##"{"#x":["0","1"],"#t":["a b"]}"##,
            r##"{"#t":[""]}"##,
            r##"{"#r":["ü"]}"##,
            r##"{"#t":["a\"b\\"]}"##,
            r##"{"#c":["[\"q\",\"1\""]}"##,
            r##"{"#x":["0","1","2","3","4","5","6","7","8"]}"##,
        ];
        let no = [
            r##"{"#x":["x"]}"##,
            r##"{"#x":["2"]}"##,
            r##"{"#y":[""]}"##,
            r##"{"#t":["a"]}"##,
            r##"{"#t":["b\\"]}"##,
            r##"{"#q":["1"]}"##,
            r##"{"#z":["1"]}"##,
            r##"{"#x":["1"],"#t":["c"]}"##,
            r##"{"#x":["0","x","2","3","4","5","6","7","8"]}"##,
        ];
        for (filters, expected) in [(&yes[..], true), (&no[..], false)] {
            for filter in filters {
                let parsed = Filter::parse(filter).unwrap();
                let search = TagSearch::default();
                for number in 0..=LOOKED_MAX {
                    assert_eq!(search.matches(&parsed, event.json()), expected, "{filter}, {number}");
                }
                assert_eq!(parsed.matches_tags(|| stored_tags(event.json())), expected, "{filter}");
            }
        }
    }
}
