//! A subscription filter (NIP-01, and `search` of NIP-50).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::clock::Timestamp;
use crate::event::{Event, Id, PublicKey};
use crate::search::Search;

/// Conditions on events. Lists are sorted and without doubles; `None` means no condition, an empty list matches nothing.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Filter {
    /// Event ids.
    pub ids: Option<Box<[Id]>>,
    /// Authors.
    pub authors: Option<Box<[PublicKey]>>,
    /// Kinds.
    pub kinds: Option<Box<[u16]>>,
    /// For each tag letter the values of which an event must have one. Letters are distinct.
    pub tags: Vec<TagFilter>,
    /// `created_at` is at least this.
    pub since: Option<Timestamp>,
    /// `created_at` is at most this.
    pub until: Option<Timestamp>,
    /// The most stored events to send; no matter for live ones.
    pub limit: Option<u64>,
    /// What to search for (NIP-50).
    pub search: Option<Search>,
}

/// One `#<letter>` condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TagFilter {
    /// a-z or A-Z.
    pub letter: u8,
    /// Values, sorted.
    pub values: Box<[String]>,
}

/// Why a filter cannot be used; `Display` gives the text of a CLOSED with its prefix.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilterError {
    /// A known key with a wrong value.
    #[error("invalid: {0}")]
    Invalid(String),
    /// A key that this relay does not know.
    #[error("unsupported: filter contains unknown elements: {0}")]
    Unknown(String),
}

impl Filter {
    /// Parses one filter object.
    pub fn parse(json: &str) -> Result<Self, FilterError> {
        let parsed: Parsed = serde_json::from_str(json).map_err(|error| {
            let text = error.to_string();
            FilterError::Invalid(text.split(" at line ").next().unwrap_or_default().to_owned())
        })?;
        match parsed.unknown {
            Some(key) => Err(FilterError::Unknown(key)),
            None => Ok(parsed.filter),
        }
    }

    /// Its JSON, as in a REQ.
    pub fn json(&self) -> String {
        let Self { ids, authors, kinds, tags, since, until, limit, search } = self;
        let mut object = serde_json::Map::new();
        let mut put = |key: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                object.insert(key.to_owned(), value);
            }
        };
        put("ids", ids.as_ref().map(|ids| ids.iter().map(Id::to_hex).collect()));
        put("authors", authors.as_ref().map(|keys| keys.iter().map(PublicKey::to_hex).collect()));
        put("kinds", kinds.as_ref().map(|kinds| kinds.iter().copied().collect()));
        for tag in tags {
            put(&format!("#{}", char::from(tag.letter)), Some(tag.values.iter().map(String::as_str).collect()));
        }
        put("since", since.map(Into::into));
        put("until", until.map(Into::into));
        put("limit", limit.map(Into::into));
        put("search", search.as_ref().map(|search| search.as_str().into()));
        serde_json::Value::Object(object).to_string()
    }

    /// True when it can match no event at all.
    #[inline]
    pub fn is_never(&self) -> bool {
        self.ids.as_ref().is_some_and(|list| list.is_empty())
            || self.authors.as_ref().is_some_and(|list| list.is_empty())
            || self.kinds.as_ref().is_some_and(|list| list.is_empty())
            || self.tags.iter().any(|tag| tag.values.is_empty())
            || self.since.zip(self.until).is_some_and(|(since, until)| since > until)
            || self.search.as_ref().is_some_and(Search::is_nothing)
    }

    /// How many values its lists hold.
    pub fn values_len(&self) -> usize {
        self.ids.as_ref().map_or(0, |list| list.len())
            + self.authors.as_ref().map_or(0, |list| list.len())
            + self.kinds.as_ref().map_or(0, |list| list.len())
            + self.tags.iter().map(|tag| tag.values.len()).sum::<usize>()
    }

    /// A search is about events of these kinds only, sorted.
    pub fn search_only(&mut self, kinds: &[u16]) {
        if self.search.is_some() {
            self.kinds = Some(match self.kinds.take() {
                Some(own) => own.into_iter().filter(|kind| kinds.binary_search(kind).is_ok()).collect(),
                None => kinds.into(),
            });
        }
    }

    /// True when all conditions but `limit` hold. The plain definition: indexes only make it faster.
    #[inline]
    pub fn matches(&self, event: &Event) -> bool {
        self.matches_all_but_search(event) && self.search.as_ref().is_none_or(|search| search.matches(event))
    }

    /// True when all conditions but `search` and `limit` hold.
    #[inline]
    pub fn matches_all_but_search(&self, event: &Event) -> bool {
        self.matches_head(&event.id, &event.pubkey, event.created_at, event.kind)
            && self.matches_tags(|| event.tags.indexed())
    }

    /// Bytes of memory that its values take.
    pub fn heap_bytes(&self) -> usize {
        let Self { ids, authors, kinds, tags, search, .. } = self;
        // A string has a piece of memory of its own, of at least 16 bytes.
        let tag = |tag: &TagFilter| {
            size_of::<TagFilter>()
                + tag.values.iter().map(|v| size_of::<String>() + v.len().next_multiple_of(16)).sum::<usize>()
        };
        ids.as_deref().map_or(0, size_of_val)
            + authors.as_deref().map_or(0, size_of_val)
            + kinds.as_deref().map_or(0, size_of_val)
            + tags.iter().map(tag).sum::<usize>()
            + search.as_ref().map_or(0, Search::heap_bytes)
    }

    /// The conditions that need no tags.
    #[inline]
    pub fn matches_head(&self, id: &Id, pubkey: &PublicKey, created_at: Timestamp, kind: u16) -> bool {
        self.since.is_none_or(|since| created_at >= since)
            && self.until.is_none_or(|until| created_at <= until)
            && self.kinds.as_ref().is_none_or(|kinds| kinds.binary_search(&kind).is_ok())
            && self.ids.as_ref().is_none_or(|ids| ids.binary_search(id).is_ok())
            && self.authors.as_ref().is_none_or(|authors| authors.binary_search(pubkey).is_ok())
    }

    /// The conditions on tags, against the indexed tags of an event.
    #[inline]
    pub fn matches_tags<V: AsRef<str>, I: Iterator<Item = (u8, V)>>(&self, tags: impl Fn() -> I) -> bool {
        self.tags.iter().all(|wanted| {
            tags().any(|(letter, value)| {
                letter == wanted.letter && wanted.values.binary_search_by(|v| v.as_str().cmp(value.as_ref())).is_ok()
            })
        })
    }
}

struct Parsed {
    filter: Filter,
    unknown: Option<String>,
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a filter object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        use serde::de::Error as _;
        let mut filter = Filter::default();
        let mut unknown = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let doubled = || A::Error::custom(format!("duplicate key {key} in filter"));
            match key.as_ref() {
                "ids" if filter.ids.is_some() => return Err(doubled()),
                "ids" => filter.ids = Some(hexes(&mut map, "ids", Id::from_hex)?),
                "authors" if filter.authors.is_some() => return Err(doubled()),
                "authors" => filter.authors = Some(hexes(&mut map, "authors", PublicKey::from_hex)?),
                "kinds" if filter.kinds.is_some() => return Err(doubled()),
                "kinds" => filter.kinds = Some(sorted(map.next_value::<Vec<u16>>()?)),
                "since" if filter.since.is_some() => return Err(doubled()),
                "since" => filter.since = Some(map.next_value()?),
                "until" if filter.until.is_some() => return Err(doubled()),
                "until" => filter.until = Some(map.next_value()?),
                "limit" if filter.limit.is_some() => return Err(doubled()),
                "limit" => filter.limit = Some(map.next_value()?),
                "search" if filter.search.is_some() => return Err(doubled()),
                "search" => filter.search = Some(Search::parse(&map.next_value::<Cow<'de, str>>()?)),
                other => match other.as_bytes() {
                    [b'#', letter] if letter.is_ascii_alphabetic() => {
                        if filter.tags.iter().any(|tag| tag.letter == *letter) {
                            return Err(doubled());
                        }
                        let values: Vec<String> = map.next_value()?;
                        if matches!(letter, b'e' | b'p') && values.iter().any(|v| Id::from_hex(v).is_none()) {
                            return Err(A::Error::custom(format!(
                                "#{} must hold 64 lower-case hex digits",
                                *letter as char
                            )));
                        }
                        filter.tags.push(TagFilter { letter: *letter, values: sorted(values) });
                    }
                    _ => {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        unknown = Some(other.chars().take(40).collect());
                    }
                },
            }
        }
        Ok(Parsed { filter, unknown })
    }
}

fn hexes<'de, A: MapAccess<'de>, T: Ord>(
    map: &mut A,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Box<[T]>, A::Error> {
    use serde::de::Error as _;
    let texts: Vec<Cow<'de, str>> = map.next_value()?;
    let values: Option<Vec<T>> = texts.iter().map(|text| read(text)).collect();
    values.map(sorted).ok_or_else(|| A::Error::custom(format!("{name} must hold 64 lower-case hex digits")))
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Box<[T]> {
    list.sort_unstable();
    list.dedup();
    list.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        let id = "ab".repeat(32);
        let filter = Filter::parse(&format!(
            r##"{{"ids":["{id}","{id}"],"kinds":[7,1],"#E":["x"],"#t":["b","a","a"],"since":1,"until":2,"limit":0,"search":"q"}}"##
        ))
        .unwrap();
        assert_eq!(filter.ids.as_deref().map(<[Id]>::len), Some(1));
        assert_eq!(filter.kinds.as_deref(), Some([1, 7].as_slice()));
        assert_eq!(filter.tags.len(), 2);
        assert_eq!(filter.limit, Some(0));
        assert!(!filter.is_never());
        assert!(Filter::parse(r#"{"kinds":[]}"#).unwrap().is_never());
        assert_eq!(Filter::parse(&filter.json()), Ok(filter));
        assert_eq!(Filter::default().json(), "{}");
    }

    #[test]
    fn refuses() {
        for bad in [
            "[]",
            "1",
            "null",
            r#"{"ids":["ab"]}"#,
            r#"{"ids":null}"#,
            r#"{"kinds":[65536]}"#,
            r#"{"kinds":[1.0]}"#,
            r#"{"kinds":1}"#,
            r#"{"since":1e10}"#,
            r#"{"since":-1}"#,
            r#"{"limit":-1}"#,
            r##"{"#e":["AB"]}"##,
            r#"{"kinds":[1],"kinds":[2]}"#,
            r#"{"search":1}"#,
        ] {
            assert!(matches!(Filter::parse(bad), Err(FilterError::Invalid(_))), "{bad}");
        }
        for unknown in [r#"{"kind":3}"#, r##"{"#ee":["x"]}"##, r##"{"#1":["x"]}"##, r##"{"&t":["x"]}"##] {
            assert!(matches!(Filter::parse(unknown), Err(FilterError::Unknown(_))), "{unknown}");
        }
    }
}
