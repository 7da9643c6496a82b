//! Random events and random filters: what the running relay answers to REQ, COUNT and NEG-OPEN, and what it delivers
//! live, against the plain store in memory.
//!
//! PICORELAY_TEST_LONG runs many more; the seed is printed, and PICORELAY_TEST_SEED repeats one.

use std::collections::BTreeSet;
use std::sync::Arc;

use picorelay::config::Search;
use picorelay::event as parsed;
use picorelay::filter::Filter;
use picorelay::guard::Viewer;
use picorelay::store::memory::Memory;
use picorelay::store::{Backend, Query, Reader, Saved, Scan, Slice, Step};
use picorelay::vanish::RelayUrls;
use picorelay::verify::{Verified, verify};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::harness::{Client, Event, Key, Relay, is_long, now};
use crate::nip77;

/// Few of everything, so that everything meets.
const AUTHORS: u64 = 4;
const EVENTS: usize = 150;
const FILTERS: usize = 60;
const LISTENERS: usize = 12;
/// What is written, and what is searched for in it.
const WRITTEN: &[&str] = &[
    "",
    "x",
    "y",
    "a\"\\\n\u{1}\u{fc}",
    "nostr relay",
    "Nostrich",
    "\u{5168}\u{6587}\u{691c}\u{7d22}",
    "{\"name\":\"nostr\"}",
];
const SOUGHT: &[&str] = &["x", "nostr", "nost relay", "\u{691c}\u{7d22}", "a-u", "name", "!", "lang:en nostr"];

#[tokio::test]
async fn every_path_gives_the_same_answer() {
    let seeds: Vec<u64> = match seed() {
        Some(seed) => vec![seed],
        None => (0..if is_long() { 200 } else { 3 }).map(|_| rand::random()).collect(),
    };
    for seed in seeds {
        eprintln!("PICORELAY_TEST_SEED={seed}");
        Story::new(seed).run().await;
    }
}

#[allow(clippy::disallowed_methods, reason = "the tests are no part of the relay")]
fn seed() -> Option<u64> {
    std::env::var("PICORELAY_TEST_SEED").ok()?.parse().ok()
}

struct Story {
    random: StdRng,
    keys: Vec<Key>,
    /// The first second of the story.
    start: u64,
    sent: Vec<Event>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let keys = (0..AUTHORS).map(Key::numbered).collect();
        Self { random: StdRng::seed_from_u64(seed), keys, start: now() - 10_000, sent: Vec::new() }
    }

    async fn run(mut self) {
        let relay = Relay::with("[limits]\nqueries_per_minute = 0\nmessages_per_minute = 0\nsubscriptions_max = 1000");
        let urls = RelayUrls::new([relay.url.as_str()]);
        let oracle = Memory::new(urls);
        let mut writer = oracle.writer().unwrap();

        let mut listener = relay.client().await;
        listener.auth(&self.keys[0]).await;
        let me = self.viewer(&[0]);
        let mut listening = Vec::new();
        for number in 0..LISTENERS {
            let filters = self.filters();
            let mut silent = filters.clone();
            silent.iter_mut().for_each(|filter| filter["limit"] = json!(0));
            listener.subscribe(&format!("live{number}"), json!(silent)).await;
            listening.push((parse(&filters), Vec::new()));
        }

        let mut publisher = relay.client().await;
        for _ in 0..EVENTS {
            let event = self.event(&relay.url);
            let (accepted, why) = publisher.offer(&event).await;
            let verified = verified(&event);
            let ephemeral = verified.class() == parsed::Class::Ephemeral;
            // Of those that are not stored, too, what has expired is refused.
            let saved = match ephemeral {
                true if verified.is_expired(now()) => Some(Saved::Expired),
                true => None,
                false => Some(writer.save(&[verified.clone()], now()).unwrap().saved[0]),
            };
            let expected = matches!(saved, None | Some(Saved::New(_) | Saved::Duplicate));
            assert_eq!(accepted, expected, "{event}: {saved:?}, but {why:?}");
            if matches!(saved, None | Some(Saved::New(_))) {
                for (filters, due) in &mut listening {
                    if me.may_see(&verified) && filters.iter().any(|filter| filter.matches(&verified)) {
                        due.push(event.id().to_owned());
                    }
                }
            }
            self.sent.push(event);
        }
        self.check_live(&mut listener, listening).await;
        self.check_stored(&relay, &oracle).await;
    }

    async fn check_live(&self, listener: &mut Client, listening: Vec<(Vec<Filter>, Vec<String>)>) {
        let total: usize = listening.iter().map(|(_, due)| due.len()).sum();
        let mut got = vec![Vec::new(); listening.len()];
        for _ in 0..total {
            let message = listener.recv_where(|message| message[0] == "EVENT").await;
            let number: usize = message[1].as_str().unwrap().trim_start_matches("live").parse().unwrap();
            got[number].push(message[2]["id"].as_str().unwrap().to_owned());
        }
        for (number, (filters, due)) in listening.into_iter().enumerate() {
            assert_eq!(got[number], due, "live: {filters:?}");
        }
        // Nothing is left over.
        listener.send(r#"["COUNT","fence",{"kinds":[]}]"#).await;
        let next = listener.recv_where(|message| message[0] == "EVENT" || message[1] == "fence").await;
        assert_eq!(next[1], "fence", "an event too many: {next}");
    }

    async fn check_stored(&mut self, relay: &Relay, oracle: &Memory) {
        let mut reader = oracle.reader().unwrap();
        for keys in [&[][..], &[0], &[1, 2]] {
            let mut client = relay.client().await;
            for key in keys {
                client.auth(&self.keys[*key]).await;
            }
            let viewer = self.viewer(keys);
            for _ in 0..FILTERS / 3 {
                let filters = self.filters();
                let wanted = ask(reader.as_mut(), &parse(&filters), &viewer);
                assert_eq!(client.ids(json!(filters)).await, wanted, "REQ {filters:?} as {keys:?}");

                let mut unlimited = filters.clone();
                unlimited.iter_mut().for_each(|filter| {
                    filter.as_object_mut().unwrap().remove("limit");
                });
                let all = ask(reader.as_mut(), &parse(&unlimited), &viewer);
                let count = client.count(json!(filters)).await;
                assert_eq!(count["count"], all.len(), "COUNT {filters:?} as {keys:?}");

                let mut filter = unlimited[0].clone();
                // A search cannot be reconciled.
                filter.as_object_mut().unwrap().remove("search");
                let unlimited = [filter.clone()];
                let mut wanted = ask(reader.as_mut(), &parse(&unlimited[..1]), &viewer);
                wanted.sort_unstable();
                let found = nip77::missing(&mut client, filter.clone(), &[]).await.unwrap();
                assert_eq!(found, wanted, "NEG-OPEN {filter} as {keys:?}");
            }
        }
    }

    fn viewer(&self, keys: &[usize]) -> Viewer {
        let keys = keys.iter().map(|key| parsed::PublicKey::from_hex(&self.keys[*key].public()).unwrap());
        Viewer { keys: keys.collect(), restricted: Arc::from([4, 1059, 21059]), sees_all: false }
    }

    fn event(&mut self, url: &str) -> Event {
        // Sometimes one that was sent before.
        if self.random.random_bool(0.1)
            && let Some(event) = self.sent.choose(&mut self.random)
        {
            return event.clone();
        }
        let kinds = [1, 1, 1, 7, 0, 3, 10_002, 30_023, 30_023, 20_001, 4, 1059, 5, 5, 62, 45, 40_000];
        let kind = *kinds.choose(&mut self.random).unwrap();
        let mut tags = Vec::new();
        for _ in 0..self.random.random_range(0..3) {
            tags.push(self.tag());
        }
        match kind {
            5 => tags.push(self.target()),
            62 if self.random.random_bool(0.3) => tags.push(json!(["relay", url])),
            62 => tags.push(json!(["relay", "wss://elsewhere.example"])),
            30_023 if self.random.random_bool(0.8) => tags.push(json!(["d", self.word()])),
            1059 => tags.push(json!(["p", self.key().public()])),
            _ if self.random.random_bool(0.1) => {
                let at = if self.random.random_bool(0.5) { self.start } else { self.start + 1_000_000 };
                tags.push(json!(["expiration", at.to_string()]));
            }
            _ => {}
        }
        let created_at = self.start + self.random.random_range(0..20);
        let content = self.word();
        let author = self.random.random_range(0..self.keys.len());
        self.keys[author].event(json!({"kind": kind, "created_at": created_at, "tags": tags, "content": content}))
    }

    fn key(&mut self) -> &Key {
        self.keys.choose(&mut self.random).unwrap()
    }

    fn word(&mut self) -> &'static str {
        WRITTEN.choose(&mut self.random).unwrap()
    }

    fn tag(&mut self) -> Value {
        match self.random.random_range(0..4) {
            0 => json!(["p", self.key().public()]),
            1 => json!(["t", self.word()]),
            2 => json!(["T", self.word(), "more"]),
            _ => self.target(),
        }
    }

    /// A tag that names an event or an address, sent or not.
    fn target(&mut self) -> Value {
        match self.sent.choose(&mut self.random) {
            Some(event) if self.random.random_bool(0.5) => json!(["e", event.id()]),
            Some(event) => json!(["a", event.address()]),
            None => json!(["e", "ab".repeat(32)]),
        }
    }

    fn filters(&mut self) -> Vec<Value> {
        (0..self.random.random_range(1..4)).map(|_| self.filter()).collect()
    }

    fn filter(&mut self) -> Value {
        let mut filter = serde_json::Map::new();
        let mut put = |name: &str, value: Value| {
            filter.insert(name.to_owned(), value);
        };
        if self.random.random_bool(0.4) {
            // Never private kinds alone: that is refused to strangers, which other tests look at.
            let mut kinds: Vec<u16> = vec![1];
            for _ in 0..self.random.random_range(0..4) {
                kinds.push(*[0, 3, 4, 5, 7, 62, 1059, 10_002, 20_001, 30_023].choose(&mut self.random).unwrap());
            }
            put("kinds", json!(kinds));
        }
        if self.random.random_bool(0.4) {
            let some = self.random.random_range(0..3);
            let authors: Vec<String> = (0..some).map(|_| self.key().public()).collect();
            put("authors", json!(authors));
        }
        if self.random.random_bool(0.1) {
            let ids: Vec<String> =
                (0..5).filter_map(|_| Some(self.sent.choose(&mut self.random)?.id().into())).collect();
            put("ids", json!(ids));
        }
        if self.random.random_bool(0.3) {
            let tag = self.tag();
            put(&format!("#{}", tag[0].as_str().unwrap()), json!([tag[1]]));
        }
        if self.random.random_bool(0.2) {
            put("since", json!(self.start + self.random.random_range(0..20)));
        }
        if self.random.random_bool(0.2) {
            put("until", json!(self.start + self.random.random_range(0..20)));
        }
        if self.random.random_bool(0.3) {
            put("search", json!(SOUGHT.choose(&mut self.random).unwrap()));
        }
        if self.random.random_bool(0.4) {
            put("limit", json!(self.random.random_range(0..12)));
        }
        filter.into()
    }
}

fn parse(filters: &[Value]) -> Vec<Filter> {
    let mut filters: Vec<_> = filters.iter().map(|filter| Filter::parse(&filter.to_string()).unwrap()).collect();
    filters.iter_mut().for_each(|filter| filter.search_only(&Search::default().kinds));
    filters
}

fn verified(event: &Event) -> Verified {
    verify(parsed::Event::parse(&event.to_string()).unwrap()).unwrap()
}

/// The ids that the plain store gives, in order.
fn ask(reader: &mut dyn Reader, filters: &[Filter], viewer: &Viewer) -> Vec<String> {
    let query = Query { viewer: viewer.clone(), limit_default: 500, ..Query::everything(filters.to_vec(), now()) };
    let mut rows = Vec::new();
    let whole = Slice::WHOLE;
    assert_eq!(reader.scan(&mut Scan::new(query), whole, &mut rows).unwrap(), Step::Done);
    let ids: Vec<String> = rows.iter().map(|row| row.id.to_hex()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    ids
}
