//! A text as units: words, and single characters of scripts without spaces.

use std::borrow::Cow;

use serde_json::Value;

use super::fold::{Sort, fold};
use crate::event::json_string;

/// Letters that are enough to find a longer word by its beginning. Shorter ones find whole words only.
pub const BEGINNING_LETTERS_MIN: usize = 3;

/// An index has of each word the beginnings of these lengths.
const INDEXED_LETTERS: [usize; 3] = [BEGINNING_LETTERS_MIN, 5, 8];

/// More occurrences in one text make it no better.
const OCCURRENCES_MAX: u64 = 8;

/// Kind of profiles: their content is JSON, of which the values are searched (NIP-01).
const PROFILE: u16 = 0;

/// A text, folded, as units.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Text {
    /// The units, with nothing between them.
    folded: String,
    units: Vec<Unit>,
}

/// Where a unit stands in [`Text::folded`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Unit {
    start: u32,
    end: u32,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum What {
    Word,
    /// A character of a script without spaces.
    Sign,
    /// Here one field of an event ends and another begins.
    Gap,
}

/// How often something occurs in a text.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Occurrences {
    /// As it is.
    pub(super) whole: u64,
    /// As the beginning of a longer word.
    pub(super) beginning: u64,
}

impl Text {
    /// What is searched of the event with this canonical JSON: title, summary, subject, hashtags, and its content, of a
    /// profile the values in that.
    pub fn of_event(json: &str, kind: u16) -> Self {
        let mut text = Self::default();
        let Some(mut rest) = json.find(",\"tags\":[").and_then(|at| json.get(at + 9..)) else { return text };
        while let Some(tag) = rest.strip_prefix(',').unwrap_or(rest).strip_prefix('[') {
            let Some((name, value, after)) = tag_of(tag) else { return text };
            if let ("title" | "summary" | "subject" | "t", Some(value)) = (name, value) {
                text.add_field(&unescaped(value));
            }
            rest = after;
        }
        let content = rest.strip_prefix("],\"content\":").and_then(json_string);
        let content = unescaped(content.map_or("", |(content, _)| content));
        match (kind == PROFILE).then(|| serde_json::from_str(&content)) {
            Some(Ok(Value::Object(members))) => members.values().for_each(|value| text.add_values(value)),
            _ => text.add_field(&content),
        }
        text
    }

    /// A text that belongs to no event.
    pub(super) fn plain(text: &str) -> Self {
        let mut plain = Self::default();
        plain.add(text);
        plain
    }

    fn add_values(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add_field(text),
            Value::Array(values) => values.iter().for_each(|value| self.add_values(value)),
            Value::Object(members) => members.values().for_each(|value| self.add_values(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn add_field(&mut self, text: &str) {
        self.add(text);
        let end = self.end();
        self.units.push(Unit { start: end, end, what: What::Gap });
    }

    fn add(&mut self, text: &str) {
        self.folded.reserve(text.len());
        let mut word = None;
        fold(text, |c, sort| match sort {
            Sort::Letter => {
                word.get_or_insert(self.end());
                self.folded.push(c);
            }
            Sort::Mark => {
                if word.is_some() {
                    self.folded.push(c);
                }
            }
            Sort::Sign => {
                self.end_word(word.take());
                let start = self.end();
                self.folded.push(c);
                self.units.push(Unit { start, end: self.end(), what: What::Sign });
            }
            Sort::Separator => self.end_word(word.take()),
        });
        self.end_word(word);
    }

    fn end_word(&mut self, start: Option<u32>) {
        if let Some(start) = start {
            self.units.push(Unit { start, end: self.end(), what: What::Word });
        }
    }

    fn end(&self) -> u32 {
        u32::try_from(self.folded.len()).unwrap_or(u32::MAX)
    }

    fn str(&self, unit: Unit) -> &str {
        self.slice(unit.start, unit.end)
    }

    fn slice(&self, start: u32, end: u32) -> &str {
        self.folded.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Bytes of memory that it takes beside itself, about.
    pub(super) fn heap_bytes(&self) -> usize {
        self.folded.capacity() + self.units.capacity() * size_of::<Unit>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// How many units it has.
    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    /// How many words a person would count, about: `signs` of a script without spaces, begun, are one.
    pub(super) fn words_len(&self, signs: usize) -> usize {
        let runs = self.units.chunk_by(|a, b| a.what == What::Sign && b.what == What::Sign);
        runs.map(|run| run.len().div_ceil(signs)).sum()
    }

    /// How often the units of `part` stand here, each after the other. The last one, if it is a word, may be the beginning
    /// of a longer word.
    pub(super) fn occurrences(&self, part: &Self) -> Occurrences {
        let mut found = Occurrences::default();
        let Some((last, before)) = part.units.split_last() else { return found };
        let last_word = part.str(*last);
        let begins = last.what == What::Word && last_word.chars().nth(BEGINNING_LETTERS_MIN - 1).is_some();
        let same = |(a, b): (&Unit, &Unit)| a.what == b.what && self.str(*a) == part.str(*b);
        for window in self.units.windows(part.len()) {
            let (Some(first), Some((ours, ours_before))) = (window.first(), window.split_last()) else { break };
            // The letters at once before the units one by one: many parts begin alike.
            if ours.what != last.what
                || self.slice(first.start, ours.start) != part.slice(0, last.start)
                || !ours_before.iter().zip(before).all(same)
            {
                continue;
            }
            let word = self.str(*ours);
            if word == last_word {
                found.whole += 1;
                if found.whole >= OCCURRENCES_MAX {
                    break;
                }
            } else if begins && word.starts_with(last_word) {
                found.beginning += 1;
            }
        }
        found
    }

    /// The terms under which an index finds it, sorted, each once: beginnings of words, and signs one by one and in pairs.
    pub fn terms(&self) -> Vec<&str> {
        let mut terms = Vec::with_capacity(self.units.len() * 2);
        let mut before: Option<Unit> = None;
        for unit in &self.units {
            match unit.what {
                What::Word => terms.extend(beginnings(self.str(*unit))),
                What::Sign => {
                    terms.push(self.str(*unit));
                    terms.extend(before.map(|before| self.slice(before.start, unit.end)));
                }
                What::Gap => {}
            }
            before = Some(*unit).filter(|unit| unit.what == What::Sign);
        }
        terms.sort_unstable();
        terms.dedup();
        terms
    }

    /// Terms of every text in which this one occurs.
    pub(super) fn wanted_terms(&self) -> Vec<&str> {
        let mut terms = Vec::new();
        for (number, unit) in self.units.iter().enumerate() {
            let beside = |other: Option<&Unit>| other.is_some_and(|other| other.what == What::Sign);
            let next = self.units.get(number + 1);
            match unit.what {
                What::Word => terms.extend(beginnings(self.str(*unit)).last()),
                What::Sign => match next {
                    Some(next) if next.what == What::Sign => terms.push(self.slice(unit.start, next.end)),
                    _ if beside(number.checked_sub(1).and_then(|before| self.units.get(before))) => {}
                    _ => terms.push(self.str(*unit)),
                },
                What::Gap => {}
            }
        }
        terms
    }
}

/// The beginnings of a word that an index has, the longest last.
fn beginnings(word: &str) -> impl Iterator<Item = &str> {
    let is_short = word.chars().nth(BEGINNING_LETTERS_MIN - 1).is_none();
    let beginning = |letters: usize| {
        let (last, c) = word.char_indices().nth(letters - 1)?;
        word.get(..last + c.len_utf8())
    };
    is_short.then_some(word).into_iter().chain(INDEXED_LETTERS.into_iter().filter_map(beginning))
}

/// Reads a tag behind its `[`: its name and value, still escaped, and what follows it.
fn tag_of(json: &str) -> Option<(&str, Option<&str>, &str)> {
    let (name, mut rest) = json_string(json)?;
    let mut value = None;
    while let Some(more) = rest.strip_prefix(',') {
        let (text, after) = json_string(more)?;
        value.get_or_insert(text);
        rest = after;
    }
    Some((name, value, rest.strip_prefix(']')?))
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if text.contains('\\') {
        Cow::Owned(serde_json::from_str(&format!("\"{text}\"")).unwrap_or_default())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    fn event(kind: u16, tags: &str, content: &str) -> Event {
        let hex = "ab".repeat(32);
        let content = serde_json::to_string(content).unwrap();
        Event::parse(&format!(
            r#"{{"id":"{hex}","pubkey":"{hex}","created_at":1,"kind":{kind},"tags":{tags},"content":{content},"sig":"{hex}{hex}"}}"#
        ))
        .unwrap()
    }

    /// The fields of an event, each as its units.
    fn units(kind: u16, tags: &str, content: &str) -> String {
        let text = Text::of_event(event(kind, tags, content).json(), kind);
        let unit = |unit: &Unit| if unit.what == What::Gap { "|".to_owned() } else { text.str(*unit).to_owned() };
        text.units.iter().map(unit).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn reads_what_is_searched_of_an_event() {
        for (kind, tags, content, expected) in [
            (1, "[]", "", "|"),
            (1, r#"[["e","x"],["t"],["t","Tag \"1\"","y"],["T","z"],["title","]["]]"#, "a \"b\"\n", "tag 1 | | a b |"),
            (1, r#"[["subject","s"],["summary","u","summary","v"]]"#, r#"","sig":"c"#, "s | u | sig c |"),
            (1, "[]", r#"{"name":"Alice"}"#, "name alice |"),
            (0, "[]", r#"{"name":"Alice","n":1,"l":["b",{"k":"c"}],"x":null}"#, "b | c | alice |"),
            (0, "[]", "no {json", "no json |"),
            (0, "[]", r#"["list"]"#, "list |"),
        ] {
            assert_eq!(units(kind, tags, content), expected, "{kind} {tags} {content}");
        }
    }

    #[test]
    fn folds_letters_and_takes_texts_apart() {
        for (text, expected) in [
            ("Hello, World!", "hello world"),
            ("\u{c5}ngstr\u{f6}m A\u{30a}ngstro\u{308}m", "angstrom angstrom"),
            (
                "\u{3a3}\u{3af}\u{3c3}\u{3c5}\u{3c6}\u{3bf}\u{3c2} \u{419}\u{43e}\u{301}\u{434}",
                "\u{3c3}\u{3b9}\u{3c3}\u{3c5}\u{3c6}\u{3bf}\u{3c3} \u{438}\u{43e}\u{434}",
            ),
            ("\u{1d4d7}\u{1d4f2} \u{ff21}\u{ff22}", "hi ab"),
            ("\u{130}zmir stra\u{df}e don't x\u{b2}", "izmir stra\u{df}e don t x2"),
            ("STRA\u{1e9e}E I\u{131} \u{d8}\u{141}\u{c6}", "stra\u{df}e i\u{131} \u{f8}\u{142}\u{e6}"),
            ("\u{fb01}n \u{2167} \u{3c2}", "fin viii \u{3c3}"),
            ("Rust言語とWASM", "rust 言 語 と wasm"),
            ("ｶﾞラス か\u{3099}", "ガ ラ ス が"),
            ("한국어 \u{1112}\u{1161}\u{11ab}", "한 국 어 한"),
            ("สวัสดี", "ส ว \u{e31} ส ด \u{e35}"),
            ("हिन्दी भाषा", "हिन्दी भाषा"),
            ("مَرْحَبًا العـالم", "مرحبا العالم"),
            ("שָׁלוֹם", "שלום"),
            ("🤙 ☕ … 1\u{fe0f}\u{20e3} \u{301}", "1"),
        ] {
            let text_of = Text::plain(text);
            let found: Vec<_> = text_of.units.iter().map(|unit| text_of.str(*unit)).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn has_every_term_under_which_it_is_looked_for() {
        let texts = [
            "a ab abc abcd abcde abcdefgh abcdefghij",
            "検索のテスト, x検 索",
            "한국어는 nostr_relay",
            "über übermäßig",
        ];
        for text in texts {
            let text = Text::plain(text);
            for start in 0..text.len() {
                for end in start + 1..=text.len() {
                    let (Some(first), Some(last)) = (text.units.get(start), text.units.get(end - 1)) else { continue };
                    let whole = text.slice(first.start, last.end);
                    let mut part = Text { folded: whole.to_owned(), units: text.units[start..end].to_vec() };
                    part.units.iter_mut().for_each(|unit| {
                        unit.start -= first.start;
                        unit.end -= first.start;
                    });
                    while text.occurrences(&part) != Occurrences::default() {
                        for term in part.wanted_terms() {
                            assert!(text.terms().contains(&term), "{term:?} of {part:?}");
                        }
                        // The same without its last letter.
                        let Some(unit) = part.units.last_mut() else { break };
                        let Some(letter) = part.folded.pop() else { break };
                        unit.end -= u32::try_from(letter.len_utf8()).unwrap();
                        if unit.start == unit.end {
                            break;
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn terms_are_few() {
        let terms = |text: &str| Text::plain(text).terms().join(" ");
        assert_eq!(terms("the Then nostrich nostr go"), "go nos nostr nostrich the");
        assert_eq!(terms("猫は猫だ"), "だ は は猫 猫 猫だ 猫は");
        assert_eq!(Text::plain("nostrichs go 検索語 猫").wanted_terms(), ["nostrich", "go", "検索", "索語", "語猫"]);
    }
}
