//! What slices cost: `cargo bench -p picorelay --bench slices`.
//!
//! A filter for events beside the check of a signature, events through the path in with and without one, and blocks through
//! a room's engine with rules in JavaScript beside `archive`. docs/PERFORMANCE.md has the numbers.

#![allow(missing_docs, reason = "criterion's macros write functions")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[path = "work/filters.rs"]
mod filters;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_channel::Sender;
use filters::{LOOKS, YES};
use picofeed::{Feed, Format, Secret};
use picorelay::app::Core;
use picorelay::config::Config;
use picorelay::engine::offline::Offline;
use picorelay::engine::scripted::Scripts;
use picorelay::engine::slice::{Pace, Slice, native};
use picorelay::engine::{Limits, Mode};
use picorelay::event::{Event, Id};
use picorelay::ingest::Answers;
use picorelay::outcome::Outcome;
use picorelay::policy::slices::EventSlices;
use picorelay::pulse::Lookout;
use picorelay::script::Sources;
use picorelay::source::{Client, Source};
use picorelay::store::repo::Bounds;
use picorelay::store::sqlite::{Options, Sqlite};
use picorelay::vanish::RelayUrls;
use picorelay::verify::{self, Keys, Verified};
use tempfile::TempDir;

// As in the relay.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Signed events of many kinds, one a line.
const EVENTS: &str = include_str!("../../tests/data/events-2k.jsonl");

/// Blocks of one run.
const BLOCKS: usize = 1_000;

/// Milliseconds: when the blocks were made.
const NOW: u64 = 1_700_000_000_000;

fn events() -> Vec<Event> {
    EVENTS.lines().map(|line| Event::parse(line).unwrap()).collect()
}

fn check(event: Event, keys: &mut Keys) -> Verified {
    verify::id(event).unwrap().signature(keys).unwrap()
}

fn write_nostr(data: &Path, text: &str) {
    let folder = data.join("slices/nostr");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("rules.js"), text).unwrap();
}

fn one_event(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("an event");
    group.throughput(Throughput::Elements(events().len() as u64)).sample_size(20);
    let mut keys = Keys::new(1_000);
    group.bench_function("id and signature", |bencher| {
        let work = |all: Vec<Event>| all.into_iter().map(|event| check(event, &mut keys)).collect::<Vec<_>>();
        bencher.iter_batched(events, work, BatchSize::LargeInput);
    });
    let mut keys = Keys::new(1_000);
    let all: Vec<Option<Verified>> = events().into_iter().map(|event| Some(check(event, &mut keys))).collect();
    for (name, text) in [("a filter that accepts everything", YES), ("a filter that looks", LOOKS)] {
        let folder = tempfile::tempdir().unwrap();
        write_nostr(folder.path(), text);
        let (lookout, _) = Lookout::start(Duration::from_secs(5)).unwrap();
        let (slices, _) = EventSlices::start(folder.path(), &Config::default().script, &lookout).unwrap();
        let mut judge = slices.judge(Arc::default());
        assert!(!judge.is_idle());
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(judge.stateless(&all, &[], 1_900_000_000).len(), all.len()));
        });
    }
    group.finish();
}

struct Counter(Sender<usize>);

impl Answers for Counter {
    fn answer(&self, outcomes: Vec<(Id, Outcome)>) {
        assert!(outcomes.iter().all(|(_, outcome)| !matches!(outcome, Outcome::Refused(_))), "{outcomes:?}");
        self.0.send(outcomes.len()).unwrap();
    }
}

fn all_events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("events saved");
    group.throughput(Throughput::Elements(events().len() as u64)).sample_size(15);
    for (name, text) in [("without a slice", ""), ("with a filter that looks", LOOKS)] {
        group.bench_function(name, |bencher| {
            // An event is new only once: each sample has a database of its own.
            let make = || {
                let folder = tempfile::tempdir().unwrap();
                let mut config = Config::default();
                config.server.data = folder.path().to_owned();
                if !text.is_empty() {
                    write_nostr(folder.path(), text);
                }
                let core = Core::start(&config, RelayUrls::default()).unwrap();
                (folder, core, events())
            };
            let work = |(folder, core, events): (TempDir, Core, Vec<Event>)| {
                let len = events.len();
                let (sender, answers) = crossbeam_channel::bounded(len);
                let mut events = events.into_iter().peekable();
                for lane in 0.. {
                    if events.peek().is_none() {
                        break;
                    }
                    let some = events.by_ref().take(20).collect();
                    let done = Arc::new(Counter(sender.clone()));
                    let from = Client { keys: Default::default(), address: [127, 0, 0, 1].into() };
                    core.ingest.submit_blocking(lane, some, Source::Client(from), None, done);
                }
                let mut answered = 0;
                while answered < len {
                    answered += answers.recv().unwrap();
                }
                (folder, core)
            };
            bencher.iter_batched(make, work, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// A collection of picostore 3 with an object for each block.
const OBJECTS: &str = "
    import { Memory } from '@telamon/picostore'
    import { toHex } from 'picofeed'
    class Lines extends Memory {
      idOf ({ block }) { return toHex(block.id) }
      compute (_, { payload, block, AUTHOR, date, reject }) {
        if (toHex(block.key) !== AUTHOR) return reject('not yours')
        return { from: AUTHOR, text: payload.text, date }
      }
      expiresAt ({ date }) { return date + 86_400_000 }
    }
    export default store => store.register('lines', Lines)";

/// A slice of picostore 2 whose state is small.
const STATE: &str = "
    export default store => store.register({ name: 'sum', initialValue: { blocks: 0, bytes: 0 },
      filter: ({ block, AUTHOR }) => block.key.equals(AUTHOR) ? false : 'not yours',
      reducer: ({ block, state }) => ({ blocks: state.blocks + 1, bytes: state.bytes + block.body.length }) })";

/// Bodies are CBOR `['lines', { text }, date]`.
fn chain() -> Feed {
    let mut feed = Feed::new(Format::V8);
    for number in 0..BLOCKS {
        let text = format!("{number:>4}: a line of a chat, as people write it");
        let len = u8::try_from(text.len()).unwrap();
        let body =
            [&b"\x83\x65lines\xa1\x64text\x78"[..], &[len], text.as_bytes(), &[0x1b], &NOW.to_be_bytes()].concat();
        feed.append(&body, &Secret::ed25519([7; 32])).unwrap();
    }
    feed
}

/// Makes the slices of a room.
type Rules<'a> = &'a dyn Fn() -> Vec<Box<dyn Slice>>;

fn blocks(criterion: &mut Criterion) {
    let feed = chain();
    let scripts = Scripts::new((&Config::default().script).into());
    let script = |text: &str| scripts.load_sources(vec![Sources::text("rules.js", text)], &Arc::default()).unwrap();
    let archive = || native("archive", Pace { blocks_per_minute: 1, burst: 1 }).into_iter().collect();
    let kinds: [(&str, Rules<'_>); 3] = [
        ("archive", &archive),
        ("picostore 3, an object each", &|| script(OBJECTS)),
        ("picostore 2, one state", &|| script(STATE)),
    ];
    let mut group = criterion.benchmark_group("blocks");
    group.throughput(Throughput::Elements(BLOCKS as u64)).sample_size(15);
    for (name, slices) in kinds {
        group.bench_function(name, |bencher| {
            let make = || {
                let folder = tempfile::tempdir().unwrap();
                let backend = Sqlite::open(folder.path(), Options::default()).unwrap();
                let room = Offline::on(&backend, slices(), Bounds::NONE, Limits::default()).unwrap();
                (folder, backend, room)
            };
            let work = |(folder, backend, mut room): (TempDir, Sqlite, Offline)| {
                let done = room.dispatch(&feed, i64::try_from(NOW).unwrap(), Mode::Quiet).unwrap();
                assert_eq!(done.merged.len(), BLOCKS);
                (folder, backend, room)
            };
            bencher.iter_batched(make, work, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, one_event, all_events, blocks);
criterion_main!(benches);
