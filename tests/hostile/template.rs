//! What is made once for all attacks of a run: signed events in files, and a data folder that holds many of them.

use std::path::{Path, PathBuf};
use std::thread;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::harness::{Key, now, picorelay};

/// A realistic mix of other people's events.
const EVENTS_2K: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/events-2k.jsonl");

/// Words, the commonest first.
const WORDS: &str = "the a to of and in is it you that he was for on are with as his they at be this from have or by one had \
     not but what all were when we there can an your which their said if do will each about how up out them then she many \
     some so these would other into has more her two like him see time could no make than first been its who now people my \
     made over did down only way find use may water long little very after words called just where most know relay nostr \
     event key note client signature block feed room slice tower meadow lantern orbit copper granite willow saffron ember";

/// Authors of stored events.
const AUTHORS: u64 = 2_000;

/// Private messages of the one about whom strangers ask.
const WRAPS: usize = 12_000;

/// The files that a run has made. Each has one event a line, except where said.
pub(crate) struct Files(PathBuf);

/// How many events the relay holds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Size {
    Short,
    Long,
    /// As many as make what is counted per event heavy.
    Large,
}

impl Size {
    fn notes(self) -> usize {
        match self {
            Self::Short => 40_000,
            Self::Long => 80_000,
            Self::Large => 400_000,
        }
    }
}

impl Files {
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        text.lines().map(str::to_owned).collect()
    }

    /// Of one author; the relay does not have them.
    pub(crate) fn healthy(&self) -> Vec<String> {
        self.lines("healthy.jsonl")
    }

    /// Filters that are answered with a few events.
    pub(crate) fn questions(&self) -> Vec<String> {
        self.lines("questions.jsonl")
    }

    /// The relay does not have them.
    pub(crate) fn strangers(&self) -> Vec<String> {
        self.lines("strangers.jsonl")
    }

    /// The same with signatures of other events.
    pub(crate) fn falsely_signed(&self) -> Vec<String> {
        let events: Vec<Value> = self.strangers().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let signatures = events.iter().cycle().skip(1).map(|event| event["sig"].clone());
        events
            .iter()
            .zip(signatures)
            .map(|(event, signature)| {
                let mut event = event.clone();
                event["sig"] = signature;
                event.to_string()
            })
            .collect()
    }

    pub(crate) fn ephemeral(&self) -> Vec<String> {
        self.lines("ephemeral.jsonl")
    }

    /// AUTH events for challenges that were never given.
    pub(crate) fn auth(&self) -> Vec<String> {
        self.lines("auth.jsonl")
    }

    /// Some of those that the relay has.
    pub(crate) fn stored(&self) -> Vec<String> {
        self.lines("stored-some.jsonl")
    }

    /// Keys of authors of stored events, one a line.
    pub(crate) fn authors(&self) -> Vec<String> {
        self.lines("authors")
    }

    pub(crate) fn author(&self) -> String {
        self.authors().swap_remove(7)
    }

    /// The key to whom all stored private messages are.
    pub(crate) fn victim(&self) -> String {
        self.lines("victim").swap_remove(0)
    }

    /// When the newest stored event was made.
    pub(crate) fn newest(&self) -> u64 {
        self.lines("newest")[0].parse().unwrap()
    }
}

/// One sentence.
fn sentence(random: &mut StdRng, words: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..random.random_range(8..40) {
        // The first ones are by far the commonest.
        let place = random.random_range(0.0..1.0_f64).powi(3) * words.len() as f64;
        text.push_str(words[place as usize]);
        text.push(' ');
    }
    text
}

/// So many drafts of notes and reactions, a second apart, the newest at `newest`.
fn notes(count: usize, newest: u64, authors: &[String]) -> Vec<(u64, Value)> {
    let mut random = StdRng::seed_from_u64(7);
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    (0..count)
        .map(|n| {
            let (author, created_at) = (random.random_range(0..AUTHORS), newest - n as u64);
            let topic = format!("topic{}", random.random_range(0.0..1.0_f64).powi(2) * 20.0);
            let topic = topic.split('.').next().unwrap();
            let about = authors.choose(&mut random).unwrap();
            let draft = match random.random_range(0..10) {
                0 | 1 => json!({"kind": 7, "tags": [["p", about], ["k", "1"]], "content": "+"}),
                2..5 => json!({"tags": [["t", topic], ["p", about]], "content": sentence(&mut random, &words)}),
                _ => json!({"tags": [["t", topic]], "content": sentence(&mut random, &words)}),
            };
            (author, with(draft, "created_at", created_at))
        })
        .collect()
}

fn with(mut draft: Value, member: &str, value: impl Into<Value>) -> Value {
    draft[member] = value.into();
    draft
}

/// Signs on two threads: each draft by the author of its number.
fn signed(drafts: Vec<(u64, Value)>) -> Vec<String> {
    let sign = |drafts: &[(u64, Value)]| -> Vec<String> {
        let mut keys: std::collections::HashMap<u64, Key> = std::collections::HashMap::new();
        let mut sign = |author: u64, draft: &Value| {
            keys.entry(author).or_insert_with(|| Key::numbered(author)).event(draft.clone()).to_string()
        };
        drafts.iter().map(|(author, draft)| sign(*author, draft)).collect()
    };
    let (one, two) = drafts.split_at(drafts.len() / 2);
    thread::scope(|scope| {
        let other = scope.spawn(move || sign(two));
        let mut events = sign(one);
        events.extend(other.join().unwrap());
        events
    })
}

/// Makes the files, and a data folder that holds the events that a relay of this size has.
pub(crate) fn make(folder: &Path, size: Size) -> PathBuf {
    let write = |name: &str, lines: &[String]| std::fs::write(folder.join(name), lines.join("\n")).unwrap();
    let newest = now() - 60;
    let authors: Vec<String> = (0..AUTHORS).map(|number| Key::numbered(number).public()).collect();
    let victim = Key::numbered(1_000_000).public();
    let stored = signed(notes(size.notes(), newest, &authors));
    let wrap = |n: u64| json!({"kind": 1059, "created_at": newest - n, "tags": [["p", victim]], "content": "private"});
    let wraps = signed((0..WRAPS as u64).map(|n| (n % 50, wrap(n))).collect());
    write("authors", &authors);
    write("victim", &[victim]);
    write("newest", &[newest.to_string()]);
    write("stored.jsonl", &stored);
    write("wraps.jsonl", &wraps);
    write("stored-some.jsonl", &stored[..6_000.min(stored.len())]);
    write("questions.jsonl", &questions(&stored, &authors, newest));
    let note = |n: u64| json!({"content": format!("note {n}, which is {}", "as long as usual, ".repeat(8))});
    write("healthy.jsonl", &signed((0..12_000).map(|n| (2_000_000, note(n))).collect()));
    write("strangers.jsonl", &signed((0..5_600).map(|n| (3_000_000 + n % 200, note(n))).collect()));
    let ephemeral = |n: u64| with(note(n), "kind", 20_001);
    write("ephemeral.jsonl", &signed((0..4_000).map(|n| (4_000_000, ephemeral(n))).collect()));
    let auth = |n: u64| json!({"kind": 22242, "tags": [["relay", "ws://127.0.0.1"], ["challenge", n.to_string()]]});
    write("auth.jsonl", &signed((0..1_000).map(|n| (5_000_000 + n, auth(n))).collect()));

    let data = folder.join("data");
    let path = |name: &str| folder.join(name).display().to_string();
    let (stored, wraps) = (path("stored.jsonl"), path("wraps.jsonl"));
    let output = picorelay(folder, &["import", EVENTS_2K, &stored, &wraps, "--data", &data.display().to_string()]);
    assert!(output.success, "{output:?}");
    data
}

/// Filters with few results, none of which matches what is published meanwhile.
fn questions(stored: &[String], authors: &[String], until: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(8);
    let mut one = |n: usize| {
        let (author, event) = (authors.choose(&mut random).unwrap(), stored.choose(&mut random).unwrap());
        let event: Value = serde_json::from_str(event).unwrap();
        match n % 5 {
            0 => json!({"ids": [event["id"]]}),
            1 => json!({"authors": [author], "kinds": [1]}),
            2 => json!({"kinds": [1]}),
            3 => json!({"#p": [author]}),
            _ => json!({"#t": [format!("topic{}", n % 20)]}),
        }
    };
    (0..400).map(|n| with(with(one(n), "limit", 20), "until", until).to_string()).collect()
}
