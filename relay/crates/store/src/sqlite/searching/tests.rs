//! What the index finds against a plain look at everything, for random words and conditions.
//!
//! `PICORELAY_SEARCH_EVENTS` says how many events there are, and prints what was measured.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tests")]

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::config::{Durability, Storage};
use crate::event::{Event, Id};
use crate::filter::Filter;
use crate::search::Text;
use crate::sqlite::{FILE, Options, Sqlite};
use crate::testing::measured_events;
use crate::verify::Verified;
use crate::{Backend, Query, Reader, Row, Scan, Slice, Step, Writer};

const START: u64 = 1_700_000_000;
const AUTHORS: usize = 200;
/// Words there are: the first is said in every second event, the last hardly ever.
const VOCABULARY: usize = 20_000;

struct Story {
    rng: Xoshiro256PlusPlus,
    events: Vec<(Verified, Text)>,
}

impl Story {
    fn new(len: usize) -> Self {
        let mut story = Self { rng: Xoshiro256PlusPlus::seed_from_u64(1), events: Vec::with_capacity(len) };
        for number in 0..len {
            let event = story.event(number, len);
            let text = Text::of_event(event.json(), event.kind);
            story.events.push((event, text));
        }
        story
    }

    fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    /// A word; small numbers come often.
    fn word(&mut self) -> String {
        let number = (VOCABULARY as f64).powf(self.rng.random::<f64>()) as usize - 1;
        word(number)
    }

    fn event(&mut self, number: usize, len: usize) -> Verified {
        let words: Vec<String> = (0..self.below(40) + 2).map(|_| self.word()).collect();
        let kind = [1, 1, 1, 1, 1, 1, 7, 1111, 30023, 6][self.below(10)];
        let mut id = [0; 32];
        self.rng.fill(&mut id);
        let author = self.below(AUTHORS).min(self.below(AUTHORS));
        let created_at = START + (number * 3) as u64 + self.below(len / 4 + 10) as u64;
        let tags = json!([["t", self.word()], ["d", number.to_string()]]);
        let json = json!({
            "id": Id(id).to_hex(), "pubkey": format!("{author:064x}"), "created_at": created_at, "kind": kind,
            "tags": tags, "content": words.join(" "), "sig": "ab".repeat(64),
        });
        crate::read_back(Event::parse(&json.to_string()).unwrap())
    }

    fn question(&mut self, number: usize) -> Value {
        let mut words: Vec<String> = (0..[1, 1, 2, 3][self.below(4)]).map(|_| self.word()).collect();
        if number.is_multiple_of(10) {
            words = vec![word(0)];
        }
        if self.rng.random_bool(0.2) {
            words.iter_mut().for_each(|word| *word = word.chars().take(3).collect());
        }
        let mut filter = json!({"search": words.join(" ")});
        let latest = self.events.iter().map(|(event, _)| event.created_at).max().unwrap_or(START) - START;
        let [from, to] = [0, 1].map(|_| START + self.rng.random_range(0..latest));
        if self.rng.random_bool(0.3) {
            filter["until"] = json!(from);
        }
        if self.rng.random_bool(0.2) {
            filter["since"] = json!(to);
        }
        if self.rng.random_bool(0.3) {
            let author = self.below(AUTHORS);
            filter["authors"] = json!([format!("{author:064x}")]);
        }
        if self.rng.random_bool(0.2) {
            filter["kinds"] = json!([[1111], [30023], [7]][self.below(3)]);
        }
        if self.rng.random_bool(0.1) {
            filter["#t"] = json!([self.word()]);
        }
        filter
    }

    /// Every match, newest first.
    fn plain(&self, filter: &Filter) -> Vec<(crate::search::Score, &Verified)> {
        let search = filter.search.as_ref().unwrap();
        let mut found: Vec<_> = self
            .events
            .iter()
            .filter(|(event, _)| filter.matches_all_but_search(event))
            .filter_map(|(event, text)| Some((search.score(text)?, event)))
            .collect();
        found.sort_by_key(|(_, event)| (Reverse(event.created_at), event.id));
        found
    }
}

/// Word number so much: common ones are short, and many begin alike.
fn word(number: usize) -> String {
    const SYLLABLES: [&str; 16] =
        ["the", "an", "to", "re", "lay", "no", "str", "bit", "co", "in", "wa", "ve", "ka", "検索", "ü", "語"];
    let mut rest = number;
    let mut word = SYLLABLES[rest % 16].to_owned();
    while rest >= 16 {
        rest /= 16;
        word.push_str(SYLLABLES[rest % 16]);
    }
    word
}

/// How long this thread has run: others may use the machine, too. On Linux, by the scheduler's tick.
fn on_cpu() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let spent = spent.and_then(|text| text.split(' ').next()?.parse().ok()).map(Duration::from_nanos);
    spent.unwrap_or_else(|| BEGAN.get_or_init(Instant::now).elapsed())
}

/// Everything a scan gives, and how long each slice took.
fn ask(reader: &mut dyn Reader, query: Query, slice: Slice, took: &mut Vec<Duration>) -> Vec<Id> {
    let (mut scan, mut rows): (Scan, Vec<Row>) = (Scan::new(query), Vec::new());
    loop {
        let started = on_cpu();
        let step = reader.scan(&mut scan, slice, &mut rows).unwrap();
        took.push(on_cpu().saturating_sub(started));
        if step == Step::Done {
            return rows.iter().map(|row| row.id).collect();
        }
    }
}

#[test]
fn agrees_with_a_plain_look_at_everything() {
    let len = measured_events().unwrap_or(1_500);
    let mut story = Story::new(len);
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let storage = Storage { durability: Durability::Normal, ..Storage::default() };
    let mut options = Options { storage: storage.clone(), ..Options::default() };
    options.search.candidates_max = if measured_events().is_some() { 1_000 } else { 30 };
    let candidates_max = options.search.candidates_max;
    let database = Sqlite::open(folder.path(), options).unwrap();
    let mut writer: Box<dyn Writer> = database.writer().unwrap();
    let mut indexing = Duration::ZERO;
    let mut longest = Duration::ZERO;
    let unindexed = len / 50;
    for (number, batch) in story.events.chunks(500).enumerate() {
        let batch: Vec<_> = batch.iter().map(|(event, _)| event.clone()).collect();
        writer.save(&batch, START).unwrap();
        if (number + 1) * 500 + unindexed < len {
            loop {
                let started = on_cpu();
                let more = writer.tend().unwrap();
                let took = on_cpu().saturating_sub(started);
                longest = longest.max(took);
                indexing += took;
                if !more {
                    break;
                }
            }
        }
    }
    let mut reader = database.reader().unwrap();
    let slice = Slice {
        rows: storage.slice_rows_max,
        bytes: storage.slice_bytes_max,
        examined: storage.slice_examined_max,
        time: std::time::Duration::from_millis(storage.slice_ms_max),
        others_wait: None,
    };
    let questions = if measured_events().is_some() { 200 } else { 60 };
    let (mut slices, mut matches, mut slowest) = (Vec::new(), 0, Vec::new());
    for number in 0..questions {
        let json = story.question(number);
        let mut filter = Filter::parse(&json.to_string()).unwrap();
        filter.search_only(&crate::config::Search::default().kinds);
        let limit = [1, 20, 100, 500][story.below(4)];
        let wanted = story.plain(&filter);
        matches += wanted.len();
        let everything = Query::everything(vec![filter.clone()], START);
        let before = slices.len();
        let counted = ask(reader.as_mut(), Query { bodies: false, ..everything.clone() }, slice, &mut slices);
        assert_eq!(counted.len(), wanted.len(), "COUNT {json}");
        let ids: BTreeSet<Id> = wanted.iter().map(|(_, event)| event.id).collect();
        assert_eq!(counted.into_iter().collect::<BTreeSet<_>>(), ids, "{json}");
        let query = Query { limit_default: limit, limit_max: limit, ..everything };
        let limit = usize::try_from(limit).unwrap();
        let best = ask(reader.as_mut(), query, slice, &mut slices);
        let mut ranked: Vec<_> = wanted.iter().take(limit.max(candidates_max)).collect();
        ranked.sort_by_key(|(score, _)| Reverse(*score));
        let ranked: Vec<Id> = ranked.into_iter().take(limit).map(|(_, event)| event.id).collect();
        assert_eq!(best, ranked, "{json} limit {limit}");
        let most = slices[before..].iter().max().copied().unwrap_or_default();
        slowest.push((most, slices[before..].iter().sum::<Duration>(), wanted.len(), json.to_string()));
    }
    let integrity = "INSERT INTO search (search) VALUES ('integrity-check')";
    drop(writer);
    Connection::open(folder.path().join(FILE)).unwrap().execute(integrity, []).unwrap();
    if measured_events().is_some() {
        let bytes: i64 = Connection::open(folder.path().join(FILE))
            .unwrap()
            .query_row("SELECT sum(length(block)) FROM search_data", [], |row| row.get(0))
            .unwrap();
        slices.sort_unstable();
        slowest.sort();
        eprintln!("{len} events, {matches} matches of {questions} questions");
        eprintln!(
            "indexing: {:?} an event, {:?} the longest step, {} bytes an event",
            indexing / u32::try_from(len).unwrap(),
            longest,
            bytes / len as i64
        );
        for part in [50, 90, 99, 100] {
            eprintln!("slices, {part} %: {:?}", slices[(slices.len() - 1) * part / 100]);
        }
        slowest.iter().rev().take(8).for_each(|slow| eprintln!("{slow:?}"));
    }
}

/// Positions that move when events collide, and leave when they go, do so in the index.
#[test]
fn the_index_follows_events_that_move() {
    let folder = tempfile::tempdir().unwrap();
    let database = Sqlite::open(folder.path(), Options::default()).unwrap();
    let mut writer: Box<dyn Writer> = database.writer().unwrap();
    let mut reader = database.reader().unwrap();
    let event = |last: u8, tags: Value, content: &str, kind: u16| {
        let mut id = [9; 32];
        id[31] = last;
        let json = json!({
            "id": Id(id).to_hex(), "pubkey": "cd".repeat(32), "created_at": 10, "kind": kind, "tags": tags,
            "content": content, "sig": "ab".repeat(64),
        });
        crate::read_back(Event::parse(&json.to_string()).unwrap())
    };
    let rows = |folder: &std::path::Path| -> Vec<i64> {
        let db = Connection::open(folder.join(FILE)).unwrap();
        let mut rows = db.prepare("SELECT rowid FROM search WHERE search MATCH 'wor' ORDER BY rowid").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let events: Vec<_> = [5, 3, 8, 1].map(|last| event(last, json!([]), &format!("word {last}"), 1)).into();
    let check = |writer: &mut Box<dyn Writer>, reader: &mut Box<dyn Reader>, wanted: &[u8]| {
        while writer.tend().unwrap() {}
        for number in [1_u8, 3, 5, 8] {
            let filter = Filter::parse(&json!({"search": format!("word {number}")}).to_string()).unwrap();
            let all = Slice::WHOLE;
            let found = ask(reader.as_mut(), Query::everything(vec![filter], 20), all, &mut Vec::new());
            assert_eq!(found.len(), usize::from(wanted.contains(&number)), "{number} of {wanted:?}");
        }
        let places = rows(folder.path());
        assert_eq!(places.len(), wanted.len());
        assert!(places.windows(2).all(|two| two[1] == two[0] + 1), "{places:?}");
        let db = Connection::open(folder.path().join(FILE)).unwrap();
        db.execute("INSERT INTO search (search) VALUES ('integrity-check')", []).unwrap();
    };
    let mut there = Vec::new();
    for event in &events {
        writer.save(std::slice::from_ref(event), 20).unwrap();
        there.push(event.id.0[31]);
        check(&mut writer, &mut reader, &there);
    }
    let deletion = event(100, json!([["e", events[1].id.to_hex()]]), "", 5);
    // Not of their crowd.
    let deletion = Event::parse(&deletion.json().replacen("0909", "0a09", 1)).unwrap();
    writer.save(&[crate::read_back(deletion)], 20).unwrap();
    there.retain(|last| *last != 3);
    check(&mut writer, &mut reader, &there);
}
