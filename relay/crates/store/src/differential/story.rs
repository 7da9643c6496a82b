//! Makes stories up.

use std::fmt;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::Slice;
use crate::clock::Timestamp;
use crate::event::{CREATED_AT_MAX, Id, PublicKey};
use crate::testing::{Draft, key};
use crate::verify::Verified;

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The second backend is given the events in batches of `split`.
    Save {
        events: Vec<Verified>,
        split: usize,
    },
    Clock(Timestamp),
    Sweep(usize),
    Tend,
    Ask(Question),
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Their JSON.
    pub(super) filters: Vec<String>,
    /// Numbers of the authors who ask; the operator when `None`.
    pub(super) viewer: Option<Vec<u8>>,
    /// How far back `seq_max` lies.
    pub(super) seq_back: Option<u64>,
    /// Default and maximum.
    pub(super) limits: (u64, u64),
    /// How far an answer may go beyond its limit.
    pub(super) oldest_second_max: u64,
    pub(super) bodies: bool,
    /// Of the two backends.
    pub(super) slices: [Slice<'static>; 2],
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Save { events, split } = self else { return write!(f, "{self:?}") };
        write!(f, "Save by {split}:")?;
        events.iter().try_for_each(|event| write!(f, "\n    {event}"))
    }
}

/// What stories are about besides the usual.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Theme {
    /// Filters with `search`.
    pub(super) searches: bool,
    /// Ids and keys that share their first bytes, as no real ones do.
    pub(super) crowds: bool,
}

/// A list of steps, the same for the same seed.
pub(super) struct Story {
    pub(super) steps: Vec<Step>,
    rng: Xoshiro256PlusPlus,
    theme: Theme,
    /// Made, but perhaps not saved yet, so that requests can come before what they name.
    events: Vec<Verified>,
    now: Timestamp,
}

const AUTHORS: u8 = 4;
const KINDS: &[u16] =
    &[1, 1, 7, 0, 3, 10_002, 10_002, 30_023, 30_023, 30_024, 4, 1059, 1059, 5, 5, 5, 5, 62, 41, 9_999, 40_000];
const ADDRESSED: &[u16] = &[0, 3, 10_002, 30_023, 30_024, 1];
const LETTERS: &[&str] = &["t", "T", "r", "d"];
const VALUES: &[&str] = &["x", "y", "", "\"\\\n\u{e4}", "X"];
const WORDS: &[&str] = &[
    "nostr",
    "nostrich",
    "relay",
    "Rust",
    "r\u{fc}sten",
    "\u{691c}\u{7d22}",
    "\u{691c}\u{67fb}\u{7d22}",
    "x",
    "\u{1f919}",
];
const SOUGHT: &[&str] = &[
    "nostr",
    "nost",
    "NOSTRICH",
    "relay rust",
    "rust\u{e9}n",
    "\u{691c}\u{7d22}",
    "\u{7d22}",
    "x",
    "nostr-relay",
    "rus lang:en",
    "\u{1f919}",
    "d:x",
    "x nos",
    "language:en",
];
const START: Timestamp = 1_000;

impl Story {
    pub(super) fn new(seed: u64, theme: Theme) -> Self {
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut story = Self { steps: Vec::new(), rng, theme, events: Vec::new(), now: START };
        for number in 0..story.below(70) + 10 {
            let event = story.event(number);
            story.events.push(event);
        }
        for _ in 0..story.below(100) + 20 {
            let step = story.step();
            story.steps.push(step);
        }
        story
    }

    fn step(&mut self) -> Step {
        match self.below(20) {
            0 => {
                self.now += self.below(3) as u64;
                Step::Clock(self.now)
            }
            1 => Step::Sweep([1, 3, usize::MAX][self.below(3)]),
            2 => Step::Tend,
            3..9 => {
                let count = self.below(9) + 1;
                let events = (0..count).map(|_| self.known().clone()).collect();
                Step::Save { events, split: self.below(4) + 1 }
            }
            _ => Step::Ask(self.question()),
        }
    }

    fn event(&mut self, number: usize) -> Verified {
        let author = self.author();
        let kind = self.pick(KINDS);
        let created_at = match self.below(60) {
            0 => 0,
            1 => CREATED_AT_MAX,
            _ => self.time(),
        };
        let mut tags: Vec<Vec<String>> = Vec::new();
        let mut add = |name: &str, value: String| tags.push(vec![name.to_owned(), value]);
        match kind {
            5 => {
                for _ in 0..self.below(4) {
                    if self.rng.random_bool(0.6) && !self.events.is_empty() {
                        add("e", self.known().id.to_hex());
                    } else {
                        add("a", self.address());
                    }
                }
            }
            62 => add("relay", self.pick(&["ALL_RELAYS", "wss://other.example", "wss://RELAY.example/"]).to_owned()),
            1059 => {
                for _ in 0..self.below(3) {
                    add("p", self.key_of_somebody().to_hex());
                }
            }
            _ => {}
        }
        for _ in 0..self.below(4) {
            let (name, value) = self.tag();
            add(&name, value);
        }
        if self.rng.random_bool(0.15) {
            let at = [self.now + self.below(8) as u64, u64::MAX, 1 << 62][self.below(20).saturating_sub(17)];
            add("expiration", at.to_string());
        }
        let mut content = format!("{} {} {number}", self.pick(WORDS), self.pick(WORDS));
        if kind == 0 && self.rng.random_bool(0.7) {
            content = json!({"name": content, "about": [self.pick(WORDS)], "relay": number}).to_string();
        }
        let draft = Draft { author, kind, created_at, tags, content };
        if !self.theme.crowds {
            return draft.sign();
        }
        // Ids that agree in 3 (not a crowd yet), 4, 8 or 31 bytes, and an author whose key agrees with another's in 31.
        let mut id = [7; 32];
        let from = [3, 4, 8, 31][self.below(4)];
        id[from] = u8::try_from(self.below(250)).unwrap();
        let mut pubkey = key(author);
        if self.rng.random_bool(0.2) {
            pubkey.0[31] ^= 1;
        }
        if self.events.iter().any(|event| event.id.0 == id) {
            return draft.sign();
        }
        draft.forge(Id(id), pubkey)
    }

    fn question(&mut self) -> Question {
        let count = [1, 1, 1, 2, 3][self.below(5)];
        let mut filters: Vec<_> = (0..count).map(|_| self.filter()).collect();
        let bodies = self.rng.random_bool(0.7);
        let searches = self.theme.searches && self.rng.random_bool(0.4);
        if searches {
            let filter = &mut filters[self.below(count)];
            filter["search"] = json!(self.pick(SOUGHT));
            // Without bodies it is open which matches are given.
            if !bodies {
                filter["limit"] = json!(u64::MAX);
            }
        }
        Question {
            filters: filters.iter().map(Value::to_string).collect(),
            viewer: match self.below(3) {
                0 => None,
                _ => Some((0..self.below(3)).map(|_| self.author()).collect()),
            },
            seq_back: self.rng.random_bool(0.3).then(|| self.below(12) as u64),
            limits: match self.below(4) {
                _ if searches && !bodies => (u64::MAX, u64::MAX),
                0 => (3, 5),
                1 => (500, 2),
                _ => (u64::MAX, u64::MAX),
            },
            oldest_second_max: [0, 0, 2, u64::MAX][self.below(4)],
            bodies,
            slices: [self.slice(), self.slice()],
        }
    }

    fn filter(&mut self) -> Value {
        let mut filter = json!({});
        if self.rng.random_bool(0.15) {
            filter["ids"] = self.list(6, |story| json!(story.known().id.to_hex()));
        }
        if self.rng.random_bool(0.35) {
            filter["authors"] = self.list(3, |story| json!(story.key_of_somebody().to_hex()));
        }
        if self.rng.random_bool(0.4) {
            filter["kinds"] = self.list(4, |story| json!(story.pick(KINDS)));
        }
        for _ in 0..[0, 0, 1, 2][self.below(4)] {
            let (name, _) = self.tag();
            if name.len() == 1 {
                filter[format!("#{name}")] = self.list(3, |story| json!(story.value(&name)));
            }
        }
        if self.rng.random_bool(0.2) {
            filter["since"] = json!(self.time());
        }
        if self.rng.random_bool(0.2) {
            filter["until"] = json!(self.time());
        }
        if self.rng.random_bool(0.4) {
            filter["limit"] = json!(self.below(9));
        }
        filter
    }

    fn list(&mut self, max: usize, mut value: impl FnMut(&mut Self) -> Value) -> Value {
        let len = if self.rng.random_bool(0.03) { 0 } else { self.below(max) + 1 };
        (0..len).map(|_| value(self)).collect()
    }

    fn slice(&mut self) -> Slice<'static> {
        let mut part = |small: usize| if self.rng.random_bool(0.6) { usize::MAX } else { self.below(small) + 1 };
        let (rows, bytes, examined) = (part(8), part(2_000), part(30));
        let time = if self.rng.random_bool(0.8) { Duration::MAX } else { Duration::ZERO };
        Slice { rows, bytes, examined, time, others_wait: None }
    }

    fn tag(&mut self) -> (String, String) {
        let name = match self.below(12) {
            0 => "e",
            1 => "a",
            2..5 => "p",
            5 => "tt",
            _ => self.pick(LETTERS),
        };
        (name.to_owned(), self.value(name))
    }

    fn value(&mut self, name: &str) -> String {
        match name {
            "e" if !self.events.is_empty() => self.known().id.to_hex(),
            "e" => Id([0; 32]).to_hex(),
            "a" => self.address(),
            "p" => self.key_of_somebody().to_hex(),
            "t" if self.theme.searches => self.pick(WORDS).to_owned(),
            _ => self.pick(VALUES).to_owned(),
        }
    }

    fn address(&mut self) -> String {
        let kind = self.pick(ADDRESSED);
        let d = if kind >= 30_000 { self.pick(VALUES) } else { "" };
        format!("{kind}:{}:{d}", self.key_of_somebody())
    }

    fn key_of_somebody(&mut self) -> PublicKey {
        let mut key = key(self.author());
        if self.theme.crowds && self.rng.random_bool(0.2) {
            key.0[31] ^= 1;
        }
        key
    }

    fn author(&mut self) -> u8 {
        u8::try_from(self.below(usize::from(AUTHORS))).unwrap() + 1
    }

    fn time(&mut self) -> Timestamp {
        START + self.below(12) as u64
    }

    fn known(&mut self) -> &Verified {
        let at = self.below(self.events.len());
        &self.events[at]
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }
}
