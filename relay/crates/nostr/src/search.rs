//! What a search finds (NIP-50): the one definition of a match, for the index of the database, the store in memory and live
//! delivery.
//!
//! - An event is searched in its content, title, summary, subject and hashtags; of a profile, whose content is JSON, in the
//!   values of that.
//! - Case, diacritics and width make no difference (`fold.rs`). What that means for single letters, such as the German sharp s
//!   and the Turkish i, is a table in docs/NIPS.md.
//! - A search is parts between spaces, and every part must occur. A part is words, and single characters of scripts that put
//!   no spaces between words (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese and others). They must stand in the text
//!   one after the other, whatever signs are between them: `foo-bar` finds `foo, bar`, `検索` finds `全文検索で`.
//! - The last word of a part may be the beginning of a longer word if it has at least [`BEGINNING_LETTERS_MIN`] letters:
//!   `alice` finds `alicewonder`.
//! - `key:value` parts are extensions. This relay knows none, and leaves them out as the NIP asks: the five keys of the NIP
//!   always, others if something else is left to be searched for. `re:zero` by itself is two words.
//! - A search of which nothing is left finds nothing.

mod fold;
mod text;

use std::collections::HashSet;
use std::sync::Arc;

pub use text::{BEGINNING_LETTERS_MIN, Text};

use crate::event::Event;

/// Counts up with every change of what [`Text::terms`] gives: an index that was made by an earlier one must be made anew.
pub const TERMS_VERSION: u32 = 1;

/// The keys that NIP-50 defines.
const EXTENSIONS: [&str; 5] = ["include", "domain", "language", "sentiment", "nsfw"];

/// Keys that are no extensions: `nostr:npub1..` is a link (NIP-21).
const SCHEMES: [&str; 1] = ["nostr"];

/// Characters of a script without spaces that are counted as a word.
const SIGNS_OF_A_WORD: usize = 8;

/// How many words a text of usual length has, for comparing how much of a text is what was searched for.
const USUAL_LEN: u64 = 50;

/// What a person typed into a search box.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Search {
    typed: Box<str>,
    /// Distinct; each has a unit at least.
    parts: Arc<[Text]>,
}

/// How well an event matches: larger is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Score {
    /// Parts that occur as they are, not only as the beginnings of words.
    whole: usize,
    /// How much of the text they are.
    weight: u64,
}

impl Search {
    /// Reads what was typed.
    pub fn parse(typed: &str) -> Self {
        let pieces = |is_left: fn(&str) -> bool| {
            let mut seen = HashSet::new();
            let texts = typed.split_whitespace().filter(|piece| is_left(piece)).map(Text::plain);
            let distinct = texts.filter(|text| !text.is_empty() && seen.insert(text.clone()));
            distinct.collect::<Arc<[Text]>>()
        };
        let mut parts = pieces(|piece| key_of(piece).is_none());
        if parts.is_empty() {
            parts = pieces(|piece| key_of(piece).is_none_or(|key| !EXTENSIONS.contains(&key)));
        }
        Self { typed: typed.into(), parts }
    }

    /// What was typed.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// Bytes of memory that it takes beside itself, about.
    pub fn heap_bytes(&self) -> usize {
        self.typed.len() + self.parts.iter().map(|part| size_of::<Text>() + part.heap_bytes()).sum::<usize>()
    }

    /// True when nothing is left to be searched for, so that nothing is found.
    #[inline]
    pub fn is_nothing(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many words it has, about: eight characters of a script without spaces count as one.
    pub fn words_len(&self) -> usize {
        self.parts.iter().map(|part| part.words_len(SIGNS_OF_A_WORD)).sum()
    }

    /// Whether and how well it matches a text.
    pub fn score(&self, text: &Text) -> Option<Score> {
        let mut score = Score { whole: 0, weight: 0 };
        let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
        for part in self.parts.iter() {
            let found = text.occurrences(part);
            let times = found.whole + found.beginning;
            if times == 0 {
                return None;
            }
            score.whole += usize::from(found.whole > 0);
            // As in BM25: the first times count most, and those in a short text.
            let dampened = 1_000 * times + 300 + (900 * len) / USUAL_LEN;
            score.weight += 2_200_000 * times / dampened;
        }
        (!self.is_nothing()).then_some(score)
    }

    /// Whether it matches the event with this canonical JSON.
    pub fn matches_json(&self, json: &str, kind: u16) -> bool {
        !self.is_nothing() && self.score(&Text::of_event(json, kind)).is_some()
    }

    /// Whether it matches this event.
    pub fn matches(&self, event: &Event) -> bool {
        self.matches_json(event.json(), event.kind)
    }

    /// Terms that every text has in which it is found (see [`Text::terms`]), the longest first, each once.
    pub fn terms(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let mut terms: Vec<&str> =
            self.parts.iter().flat_map(Text::wanted_terms).filter(|term| seen.insert(*term)).collect();
        terms.sort_by_key(|term| std::cmp::Reverse(term.chars().count()));
        terms
    }
}

/// The key of a `key:value` that may be an extension.
fn key_of(piece: &str) -> Option<&str> {
    let (key, value) = piece.split_once(':')?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase()) && !SCHEMES.contains(&key);
    (is_key && !value.is_empty() && !value.starts_with("//")).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds() {
        for (search, text) in [
            ("Nostr relay", "a relay, for NOSTR"),
            ("alice", "alicewonder"),
            ("foo-bar lang:en", "x foo, bar"),
            ("foo-bar", "foo barrel"),
            ("https://x.y", "see https://x.y/z"),
            ("\"quoted text\"", "text quoted"),
            ("cafe", "Caf\u{e9}"),
            ("Caf\u{e9}", "cafe"),
            ("検索", "今夜の検索テストは成功です"),
            ("検索テスト", "検索\nテスト"),
            ("猫", "吾輩は猫である"),
            ("rust言語", "最新Rust言語仕様"),
            ("新Rust", "最新Rust言語"),
            ("搜索", "我们测试中文搜索功能"),
            ("อากาศ", "พรุ่งนี้อากาศดี"),
            ("서울", "서울에서"),
            ("re:zero", "Re: Zero"),
            ("zero re:x", "zero"),
            ("nostr:npub1abc", "see nostr:npub1abcdef"),
            ("c", "in C"),
            ("ai", "AI, of course"),
            // Case, marks, width and other forms of the same letter.
            ("ÜBER", "uber"),
            ("jalapeno", "Jalapeño"),
            ("Ёлка", "елка"),
            ("αθήνα", "ΑΘΗΝΑ"),
            ("σίσυφος", "ΣΊΣΥΦΟΣ"),
            ("nostr", "Ｎｏｓｔｒ"),
            ("Ｎｏｓｔｒ", "nostr"),
            ("nostr", "𝓷𝓸𝓼𝓽𝓻"),
            ("file", "ﬁle"),
            ("viii", "Ⅷ"),
            ("カナ", "ｶﾅ"),
            ("احمد", "أَحْمَد"),
            // German: the capital sharp s is one, too. Turkish: the capital with a dot is an i.
            ("STRAẞE", "straße"),
            ("istanbul", "İstanbul"),
            ("ISTANBUL", "istanbul"),
        ] {
            assert!(Search::parse(search).score(&Text::plain(text)).is_some(), "{search:?} in {text:?}");
        }
    }

    #[test]
    fn does_not_find() {
        for (search, text) in [
            ("nostr bitcoin", "nostr"),
            ("wonder", "alicewonder"),
            ("foo-bar", "foo x bar"),
            ("fo-bar", "foo bar"),
            ("bar-foo", "foo bar"),
            ("検索", "検査と探索"),
            ("検索", "索検"),
            ("no", "nostr"),
            ("https://x.y", "x.y"),
            ("nostr:npub1abc", "nostr"),
            ("", "x"),
            ("🤙", "🤙"),
            ("!!! … #", "!!!"),
            ("language:en nsfw:false", "language en nsfw false"),
            ("re:", "x"),
            // Letters of their own, whatever they are written with elsewhere.
            ("strasse", "straße"),
            ("STRASSE", "straße"),
            ("ISPARTA", "ısparta"),
            ("isparta", "ısparta"),
            ("oresund", "Øresund"),
            ("lodz", "Łódź"),
            ("encyclopaedia", "encyclopædia"),
            ("uber", "ueber"),
            ("カナ", "かな"),
            ("搜尋", "搜寻"),
        ] {
            assert!(Search::parse(search).score(&Text::plain(text)).is_none(), "{search:?} in {text:?}");
        }
        assert!(Search::parse("include:spam ☕").is_nothing());
    }

    #[test]
    fn ranks() {
        let search = Search::parse("nostr relay");
        let score = |text: &str| search.score(&Text::plain(text)).unwrap();
        let long = format!("nostr relay {}", "and many other words ".repeat(20));
        let ascending = [score("nostrich relays"), score("nostr relays"), score(&long), score("a nostr relay")];
        assert!(ascending.is_sorted_by(|a, b| a < b), "{ascending:?}");
        assert!(score("nostr relay, nostr relay") > score("nostr relay, other words"));
    }

    #[test]
    fn counts_words() {
        for (search, words, terms) in [
            ("a-b-c a a", 4, vec!["a", "b", "c"]),
            ("the the THE", 1, vec!["the"]),
            ("今夜の検索テストは成功です x", 3, vec![]),
            ("language:en 🤙", 0, vec![]),
        ] {
            let search = Search::parse(search);
            assert_eq!(search.words_len(), words, "{search:?}");
            if !terms.is_empty() {
                assert_eq!(search.terms(), terms);
            }
        }
    }
}
