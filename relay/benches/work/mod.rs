//! The hot paths of the relay, made ready to be measured: by time in `paths.rs`, by instructions in `instructions.rs`.
//!
//! Everything is generated here from a fixed seed and written to a folder once, so that what is measured starts with
//! little to do beside its own work.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]
#![allow(dead_code, reason = "one bench counts steps, the other does not")]

mod filters;
mod generate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use picorelay::config::{Script, Storage};
use picorelay::event::Event;
use picorelay::filter::Filter;
use picorelay::guard::Viewer;
use picorelay::message::reply::{self, EventHead};
use picorelay::outbox::Outbox;
use picorelay::policy::slices::EventSlices;
use picorelay::pulse::Lookout;
use picorelay::store::sqlite::{Options, Sqlite};
use picorelay::store::{Backend, End, Query, Reader, Saved, Scan, Seq, Slice, Step, Writer};
use picorelay::subscription::Subscriptions;
use picorelay::verify::{self, Keys, Verified};

/// A path that is walked for every event, request or delivery.
pub(crate) struct HotPath {
    /// As in the recorded table.
    pub(crate) name: &'static str,
    /// What one step does of what is counted: events, requests, deliveries.
    pub(crate) operations: usize,
    /// Steps that are enough for a steady count of instructions.
    pub(crate) steps: usize,
    make: Make,
}

/// Makes a path ready.
type Make = fn(&Work, &str) -> Run;

/// Walks a path this many steps.
pub(crate) type Run = Box<dyn FnMut(usize)>;

/// Every hot path.
pub(crate) const PATHS: &[HotPath] = &[
    // From bytes to an event of which the id is right.
    path("parse and hash", 1, 400, parse),
    // From bytes to `Verified`: the same, and the signature.
    path("parse, hash and verify", 1, 100, verify),
    // A slice in JavaScript is asked about an event; one that only says yes, and one that looks at kind, tags and text.
    path("slice yes", 1, 400, slice),
    path("slice looks", 1, 400, slice),
    path("insert", COMMIT, 1, insert),
    // A request from its filter as JSON to the messages that answer it; its events are in the cache.
    path("query profile", 1, 256, query),
    path("query timeline", 1, 32, query),
    path("query thread", 1, 128, query),
    path("query notifications", 1, 64, query),
    path("query ids", 1, 64, query),
    path("query kinds and since", 1, 32, query),
    path("query addressable", 1, 256, query),
    path("query hashtag", 1, 64, query),
    // The same from the tables of the database.
    path("uncached profile", 1, REQUESTS, uncached),
    path("uncached timeline", 1, REQUESTS, uncached),
    path("uncached thread", 1, REQUESTS, uncached),
    path("uncached notifications", 1, REQUESTS, uncached),
    path("uncached ids", 1, REQUESTS, uncached),
    path("uncached kinds and since", 1, REQUESTS, uncached),
    path("uncached addressable", 1, REQUESTS, uncached),
    path("uncached hashtag", 1, REQUESTS, uncached),
    // An event, against all live filters.
    path("match", 1, 400, live_match),
    // An event that everybody wants: queued for each, then written as each one's message.
    path("deliver", SUBSCRIBERS, 20, deliver),
];

const fn path(name: &'static str, operations: usize, steps: usize, make: Make) -> HotPath {
    HotPath { name, operations, steps, make }
}

/// Events in the store.
const STORED: usize = 10_000;
/// Events that are not in it.
const FRESH: usize = COMMIT * 2;
/// Events in a commit.
const COMMIT: usize = 400;
/// Requests of each type, asked in turn.
const REQUESTS: usize = 32;
/// Live filters.
const LIVE: usize = 10_000;
/// Live filters that every event matches.
const SUBSCRIBERS: usize = 1_000;

/// A folder with what the paths need.
pub(crate) struct Work {
    folder: PathBuf,
}

impl Work {
    /// Generates everything into `folder`.
    pub(crate) fn generate(folder: &Path) -> Self {
        let events = generate::events(STORED + FRESH);
        let (stored, fresh) = events.split_at(STORED);
        let work = Self { folder: folder.to_owned() };
        let json = |event: &Verified| event.json().to_owned();
        work.write("fresh", fresh.iter().map(json));
        for path in PATHS {
            if let Some(name) = path.name.strip_prefix("query ") {
                work.write(name, (0..REQUESTS).map(|number| generate::request(name, stored, number)));
            }
        }
        work.write("live", (0..LIVE).map(|number| generate::live(stored, number)));

        let database = Sqlite::open(&folder.join("store"), Options::default()).unwrap();
        let mut writer = database.writer().unwrap();
        for batch in stored.chunks(COMMIT) {
            save(writer.as_mut(), batch);
        }
        while writer.tend().unwrap() {}
        work
    }

    /// What was generated into `folder`.
    pub(crate) fn open(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Makes a path ready.
    pub(crate) fn make(&self, path: &HotPath) -> Run {
        (path.make)(self, path.name)
    }

    fn write(&self, name: &str, lines: impl Iterator<Item = String>) {
        let text: String = lines.flat_map(|line| [line, "\n".to_owned()]).collect();
        std::fs::write(self.folder.join(name), text).unwrap();
    }

    fn lines(&self, name: &str) -> Vec<String> {
        std::fs::read_to_string(self.folder.join(name)).unwrap().lines().map(str::to_owned).collect()
    }

    fn fresh(&self, count: usize) -> Vec<Verified> {
        let mut keys = Keys::new(1_000);
        self.lines("fresh").iter().take(count).map(|line| verified(line, &mut keys)).collect()
    }

    /// A copy of the store, which only one may have open.
    fn store(&self, storage: Storage) -> (Sqlite, tempfile::TempDir) {
        let copy = tempfile::tempdir_in(&self.folder).unwrap();
        for file in std::fs::read_dir(self.folder.join("store")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        (Sqlite::open(copy.path(), Options { storage, ..Options::default() }).unwrap(), copy)
    }
}

fn verified(line: &str, keys: &mut Keys) -> Verified {
    verify::id(Event::parse(line).unwrap()).unwrap().signature(keys).unwrap()
}

fn save(writer: &mut dyn Writer, batch: &[Verified]) {
    let done = writer.save(batch, generate::NOW).unwrap();
    assert!(done.saved.iter().all(|saved| matches!(saved, Saved::New(_))), "an event was not stored");
}

fn parse(work: &Work, _: &str) -> Run {
    let lines = work.lines("fresh");
    let mut at = 0;
    Box::new(move |steps| {
        for _ in 0..steps {
            std::hint::black_box(verify::id(Event::parse(next::<String>(&lines, &mut at)).unwrap()).unwrap());
        }
    })
}

fn verify(work: &Work, _: &str) -> Run {
    let lines = work.lines("fresh");
    let mut keys = Keys::new(1_000);
    let mut at = 0;
    Box::new(move |steps| {
        for _ in 0..steps {
            std::hint::black_box(verified(next::<String>(&lines, &mut at), &mut keys));
        }
    })
}

fn slice(work: &Work, name: &str) -> Run {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("slices/nostr");
    std::fs::create_dir_all(&folder).unwrap();
    let text = if name == "slice yes" { filters::YES } else { filters::LOOKS };
    std::fs::write(folder.join("rules.js"), text).unwrap();
    let (lookout, _) = Lookout::start(Duration::from_secs(60)).unwrap();
    // Under valgrind all takes fifty times as long.
    let config = Script { reload_seconds: 0, load_ms_max: 60_000, call_ms_max: 60_000, ..Script::default() };
    let (slices, _) = EventSlices::start(data.path(), &config, &lookout).unwrap();
    let mut judge = slices.judge(Arc::default());
    let events: Vec<_> = work.fresh(FRESH).into_iter().map(Some).collect();
    // It is loaded.
    assert!(!judge.is_idle());
    assert_eq!(judge.stateless(events.get(..1).unwrap(), &[], generate::NOW), [None]);
    let mut at = 0;
    Box::new(move |steps| {
        let _ = &data;
        for _ in 0..steps {
            let event = std::slice::from_ref(next(&events, &mut at));
            assert_eq!(judge.stateless(event, &[], generate::NOW), [None]);
        }
    })
}

/// Two commits at most: each event can be new only once.
fn insert(work: &Work, _: &str) -> Run {
    let events = work.fresh(FRESH);
    let (database, folder) = work.store(Storage::default());
    let mut writer = database.writer().unwrap();
    let mut at = 0;
    Box::new(move |steps| {
        let _ = (&database, &folder);
        for _ in 0..steps {
            save(writer.as_mut(), events.get(at..at + COMMIT).unwrap());
            at += COMMIT;
        }
    })
}

fn query(work: &Work, name: &str) -> Run {
    requests(work, name.trim_start_matches("query "), Storage::default())
}

fn uncached(work: &Work, name: &str) -> Run {
    let storage = Storage { row_cache_mb: 0, newest_events_max: 0, ..Storage::default() };
    requests(work, name.trim_start_matches("uncached "), storage)
}

fn requests(work: &Work, name: &str, storage: Storage) -> Run {
    let lines = work.lines(name);
    let slice = Slice {
        rows: storage.slice_rows_max,
        bytes: storage.slice_bytes_max,
        examined: storage.slice_examined_max,
        time: Duration::from_millis(storage.slice_ms_max),
        others_wait: None,
    };
    let (database, folder) = work.store(storage);
    let mut reader = database.reader().unwrap();
    // Statements are prepared, and caches filled.
    let found: usize = lines.iter().map(|line| answer(reader.as_mut(), line, slice)).sum();
    assert!(found > lines.len() / 2, "{name}: {found} events answer {} requests", lines.len());
    let mut at = 0;
    Box::new(move |steps| {
        let _ = (&database, &folder);
        for _ in 0..steps {
            answer(reader.as_mut(), next::<String>(&lines, &mut at), slice);
        }
    })
}

/// How many events answer this filter; their messages are written as for a client.
fn answer(reader: &mut dyn Reader, filter: &str, slice: Slice) -> usize {
    let mut scan = Scan::new(Query {
        filters: [Filter::parse(filter).unwrap()].into(),
        viewer: Viewer { restricted: [4, 1059].into(), ..Viewer::default() },
        now: generate::NOW,
        seq_max: Seq::MAX,
        limit_default: 500,
        limit_max: 500,
        oldest_second_max: 0,
        bodies: true,
    });
    let head = EventHead::new("name");
    let mut found = 0;
    loop {
        let mut rows = Vec::new();
        let step = reader.scan(&mut scan, slice, &mut rows).unwrap();
        found += rows.len();
        for row in rows {
            std::hint::black_box(reply::event(&head, row.body.as_str()));
        }
        if step == Step::Done {
            return found;
        }
    }
}

fn live_match(work: &Work, _: &str) -> Run {
    let subscriptions = Subscriptions::new(0, 1_000);
    for line in work.lines("live") {
        subscribe(&subscriptions, &line);
    }
    let events = work.fresh(50);
    let mut at = 0;
    Box::new(move |steps| {
        for _ in 0..steps {
            // Of number 0, which all of them had from the store: who matches is found, nothing is delivered.
            subscriptions.broadcast(next(&events, &mut at), Some(0));
        }
    })
}

fn deliver(work: &Work, _: &str) -> Run {
    let subscriptions = Subscriptions::new(0, 1_000);
    let outboxes: Vec<_> = (0..SUBSCRIBERS).map(|_| subscribe(&subscriptions, "{}")).collect();
    for outbox in &outboxes {
        outbox.take().unwrap();
    }
    let events = work.fresh(50);
    let mut at = 0;
    Box::new(move |steps| {
        for _ in 0..steps {
            subscriptions.broadcast(next(&events, &mut at), Some(1));
            for outbox in &outboxes {
                std::hint::black_box(outbox.take().unwrap());
            }
        }
    })
}

/// A live subscription, and the outbox in which its EOSE lies.
fn subscribe(subscriptions: &Subscriptions, filter: &str) -> Arc<Outbox> {
    let outbox = Arc::new(Outbox::new(1 << 20));
    let filters = [Filter::parse(filter).unwrap()].into();
    let (key, _) =
        subscriptions.open(EventHead::new("name"), filters, Arc::clone(&outbox), Arc::new(RwLock::default()));
    subscriptions.go_live(key, reply::eose("name", Some(End::Finish)), 0);
    outbox
}

fn next<'l, T>(list: &'l [T], at: &mut usize) -> &'l T {
    let item = list.get(*at % list.len()).unwrap();
    *at += 1;
    item
}
