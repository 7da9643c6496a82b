//! Runs the scripts of the suite.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Make;
use crate::event::Id;
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::testing::{Draft, key};
use crate::vanish::RelayUrls;
use crate::verify::Verified;
use crate::{Backend, Batch, By, End, Query, Reader, Row, Saved, Scan, Seq, Slice, Step, Writer};

/// A slice that is never used up.
pub(super) const ALL: Slice<'static> = Slice::WHOLE;

const AUTHORS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// A backend and the names of a script.
pub(super) struct Bench<'m> {
    make: Make<'m>,
    case: String,
    writer: Box<dyn Writer>,
    reader: Box<dyn Reader>,
    events: BTreeMap<String, Verified>,
    query: Query,
    /// Last, so that it goes after its halves.
    _backend: Arc<dyn Backend>,
}

impl<'m> Bench<'m> {
    /// A fresh backend.
    pub(super) fn new(make: Make<'m>, case: &str) -> Self {
        let backend = make(RelayUrls::new(["wss://relay.example", "wss://second.example:444"]));
        Self {
            make,
            case: case.to_owned(),
            writer: backend.writer().unwrap(),
            reader: backend.reader().unwrap(),
            events: BTreeMap::new(),
            query: Query::everything(Vec::new(), 1000),
            _backend: backend,
        }
    }

    pub(super) fn run(&mut self, script: &str) {
        let case = self.case.clone();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.case = format!("{case}: {line}");
            let (verb, rest) = line.split_once(' ').unwrap();
            let (left, right) = rest.split_once("=>").unwrap_or((rest, ""));
            let (left, right): (&str, Vec<&str>) = (left.trim(), right.split_whitespace().collect());
            match verb {
                "event" => self.event(left),
                "sort" => self.sort(&left.split(' ').collect::<Vec<_>>()),
                "save" => self.save(&left.split(' ').collect::<Vec<_>>(), &right),
                "ask" => self.ask(left, &right),
                "orders" => self.orders(&left.split(' ').collect::<Vec<_>>(), &right),
                "now" => self.query.now = left.parse().unwrap(),
                "viewer" => self.query.viewer = viewer(left),
                "seq_max" => self.query.seq_max = left.parse().unwrap(),
                "limits" => {
                    let (default, max) = left.split_once(' ').unwrap();
                    self.query.limit_default = default.parse().unwrap();
                    self.query.limit_max = max.parse().unwrap();
                }
                "sweep" => self.sweep(left.parse().unwrap(), &right),
                "stored" => self.contains(left, true),
                "gone" => self.contains(left, false),
                other => panic!("{}: no verb {other}", self.case),
            }
        }
        self.case = case;
    }

    pub(super) fn last_seq(&self) -> Seq {
        self.writer.last_seq()
    }

    pub(super) fn save_events(&mut self, events: &[Verified]) -> Batch {
        self.writer.save(events, self.query.now).unwrap()
    }

    fn event(&mut self, line: &str) {
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, author, kind, at, rest) = (word(), word(), word(), word(), self.expand(word()));
        let (tags, content) = match rest.strip_prefix('[') {
            Some(_) => {
                let mut json = serde_json::Deserializer::from_str(&rest).into_iter::<Vec<Vec<String>>>();
                let tags = json.next().unwrap().unwrap();
                (tags, rest[json.byte_offset()..].trim())
            }
            None => (Vec::new(), rest.as_str()),
        };
        let draft = Draft {
            author: number(author),
            kind: kind.parse().unwrap(),
            created_at: at.strip_prefix('@').unwrap().parse().unwrap(),
            tags,
            content: if content.is_empty() { name.to_owned() } else { content.to_owned() },
        };
        self.events.insert(name.to_owned(), draft.sign());
    }

    fn sort(&mut self, names: &[&str]) {
        let mut events: Vec<_> = names.iter().map(|name| self.events[*name].clone()).collect();
        events.sort_by_key(|event| event.id);
        self.events.extend(names.iter().map(ToString::to_string).zip(events));
    }

    fn save(&mut self, names: &[&str], expected: &[&str]) {
        let events: Vec<_> = names.iter().map(|name| self.events[*name].clone()).collect();
        let mut seq = self.writer.last_seq();
        let batch = self.writer.save(&events, self.query.now).unwrap();
        let mut parts = expected.split(|word| *word == "-");
        let outcomes: Vec<_> = batch.saved.iter().map(outcome).collect();
        assert_eq!(outcomes, parts.next().unwrap_or_default(), "{}", self.case);
        self.same_names(&batch.removed, parts.next().unwrap_or_default());
        for saved in &batch.saved {
            if let Saved::New(number) = saved {
                seq += 1;
                assert_eq!(*number, seq, "{}: numbers ascend by one", self.case);
            }
        }
        assert_eq!(self.writer.last_seq(), seq, "{}", self.case);
        while self.writer.tend().unwrap() {}
    }

    fn ask(&mut self, filters: &str, expected: &[&str]) {
        let (end, names) = expected.split_last().unwrap();
        let allowed: &[End] = match *end {
            "finish" => &[End::Finish],
            "more" => &[End::More, End::Unknown],
            "limit" => &[End::Finish, End::Unknown],
            "any" => &[End::Finish, End::More, End::Unknown],
            other => panic!("{}: no end {other}", self.case),
        };
        let filters = self.expand(filters);
        let filters: Vec<_> = if filters.starts_with('[') {
            let list: Vec<serde_json::Value> = serde_json::from_str(&filters).unwrap();
            list.iter().map(|filter| Filter::parse(&filter.to_string()).unwrap()).collect()
        } else {
            vec![Filter::parse(&filters).unwrap()]
        };
        let query = Query { filters: filters.into(), ..self.query.clone() };
        let found = self.answer(&query, ALL);
        assert_eq!(self.names(&found.0), *names, "{}", self.case);
        assert!(allowed.contains(&found.1), "{}: ended with {:?}", self.case, found.1);
        self.slices(&query, &found, 1..=names.len() + 1);
    }

    /// Asks again in slices of rows of these sizes, and of one event or byte: the answer must be the same.
    pub(super) fn slices(&mut self, query: &Query, found: &(Vec<Id>, End), rows: impl Iterator<Item = usize>) {
        let by_rows = rows.map(|rows| Slice { rows, ..ALL });
        let small = [
            Slice { examined: 1, ..ALL },
            Slice { bytes: 1, ..ALL },
            Slice { time: Duration::ZERO, ..ALL },
            Slice { rows: 2, bytes: 700, examined: 3, ..ALL },
        ];
        for slice in by_rows.chain(small) {
            for bodies in [true, false] {
                // A scan that is dropped half-way harms nothing.
                let mut dropped = Scan::new(query.clone());
                self.reader.scan(&mut dropped, slice, &mut Vec::new()).unwrap();
                drop(dropped);
                let mut sliced = self.answer(&Query { bodies, ..query.clone() }, slice);
                if !bodies && query.filters.iter().any(|filter| filter.search.is_some()) {
                    // Which matches are given, and in which order, is open then.
                    assert_eq!(sliced.0.len(), found.0.len(), "{}: {slice:?}", self.case);
                    sliced = found.clone();
                }
                assert_eq!(&sliced, found, "{}: {slice:?}, bodies: {bodies}", self.case);
            }
        }
    }

    pub(super) fn slice(&mut self, scan: &mut Scan, slice: Slice<'_>, rows: &mut Vec<Row>) -> Step {
        self.reader.scan(scan, slice, rows).unwrap()
    }

    /// Checks that all events come newest first, equal times by lowest id.
    pub(super) fn check_order(&mut self) {
        let mut rows = Vec::new();
        let query = Query::everything(vec![Filter::default()], self.query.now);
        self.reader.scan(&mut Scan::new(query), ALL, &mut rows).unwrap();
        let order: Vec<_> = rows.iter().map(|row| (std::cmp::Reverse(row.created_at), row.id)).collect();
        assert!(order.is_sorted(), "{}: {order:?}", self.case);
    }

    /// Checks that `events` are all there is, in order, however one asks.
    pub(super) fn check_all(&mut self, events: &[Verified]) {
        let mut events = events.to_vec();
        events.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
        let times: BTreeSet<_> = events.iter().map(|event| event.created_at).collect();
        let mut filters = vec![Filter::default()];
        filters.push(Filter { authors: Some([events[0].pubkey].into()), ..Filter::default() });
        filters.extend(times.iter().map(|at| Filter { until: Some(*at), ..Filter::default() }));
        filters.extend(times.iter().map(|at| Filter { since: Some(*at), ..Filter::default() }));
        filters.extend(events.iter().map(|event| Filter { ids: Some([event.id].into()), ..Filter::default() }));
        for filter in filters {
            let wanted: Vec<_> = events.iter().filter(|event| filter.matches(event)).map(|event| event.id).collect();
            self.case = format!("{} {filter:?}", self.case.split(" Filter").next().unwrap_or_default());
            let query = Query { filters: [filter].into(), ..self.query.clone() };
            let found = self.answer(&query, ALL);
            assert_eq!(found, (wanted, End::Finish), "{}", self.case);
            self.slices(&query, &found, [1, 3, 10].into_iter());
        }
        for event in &events {
            assert!(self.reader.contains(&event.id).unwrap(), "{}: {event}", self.case);
        }
    }

    /// The ids of all rows, and the end.
    pub(super) fn answer(&mut self, query: &Query, slice: Slice<'_>) -> (Vec<Id>, End) {
        let mut scan = Scan::new(query.clone());
        let mut ids = Vec::new();
        let mut rows = Vec::new();
        for turn in 0.. {
            assert!(turn < 100_000, "{}: the scan does not end", self.case);
            rows.clear();
            let step = self.reader.scan(&mut scan, slice, &mut rows).unwrap();
            assert!(rows.len() <= slice.rows.max(1), "{}: {} rows in {slice:?}", self.case, rows.len());
            for row in &rows {
                self.check_row(row, query.bodies);
                ids.push(row.id);
            }
            if step == Step::Done {
                break;
            }
        }
        assert!(scan.streams.iter().all(|stream| stream.end.is_some()), "{}: done without an end", self.case);
        (ids, scan.end())
    }

    fn check_row(&self, row: &Row, bodies: bool) {
        if !bodies {
            assert_eq!(row.body.as_str(), "", "{}", self.case);
        }
        if let Some(event) = self.events.values().find(|event| event.id == row.id) {
            let (head, wanted) = ((row.pubkey, row.created_at, row.kind), (event.pubkey, event.created_at, event.kind));
            assert_eq!(head, wanted, "{}", self.case);
            if bodies {
                assert_eq!(row.body.as_str(), event.json(), "{}", self.case);
            }
        }
    }

    fn orders(&mut self, names: &[&str], expected: &[&str]) {
        let everything = Query::everything(vec![Filter::default()], self.query.now);
        for order in permutations(names) {
            for batch_size in [1, names.len()] {
                let mut fresh = Bench::new(self.make, &format!("{} as {order:?} by {batch_size}", self.case));
                fresh.events = self.events.clone();
                fresh.query = self.query.clone();
                let events: Vec<_> = order.iter().map(|name| self.events[*name].clone()).collect();
                for batch in events.chunks(batch_size) {
                    fresh.writer.save(batch, self.query.now).unwrap();
                }
                let (found, _) = fresh.answer(&everything, ALL);
                fresh.same_names(&found, expected);
            }
        }
    }

    fn sweep(&mut self, max: usize, expected: &[&str]) {
        let swept = self.writer.sweep_expired(self.query.now, max).unwrap();
        self.same_names(&swept, expected);
    }

    fn contains(&mut self, names: &str, expected: bool) {
        for name in names.split(' ') {
            let id = self.events[name].id;
            assert_eq!(self.reader.contains(&id).unwrap(), expected, "{}: {name}", self.case);
        }
    }

    fn same_names(&self, ids: &[Id], expected: &[&str]) {
        let mut found = self.names(ids);
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{}", self.case);
    }

    fn names(&self, ids: &[Id]) -> Vec<&str> {
        let name = |id: &Id| self.events.iter().find(|(_, event)| event.id == *id).map_or("?", |(name, _)| name);
        ids.iter().map(name).collect()
    }

    fn expand(&self, text: &str) -> String {
        let mut parts = text.split('$');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            out += &match self.events.get(name) {
                Some(event) => event.id.to_hex(),
                None => key(number(name)).to_hex(),
            };
            out += rest;
        }
        out
    }
}

/// A viewer with these keys who is shown no private events of others; `operator` is shown all.
fn viewer(names: &str) -> Viewer {
    if names == "operator" {
        return Viewer::operator();
    }
    let keys = names.split(' ').filter(|name| *name != "nobody").map(|name| key(number(name))).collect();
    Viewer { keys, restricted: [4, 1059].into(), sees_all: false }
}

fn number(author: &str) -> u8 {
    let index = AUTHORS.iter().position(|name| *name == author).unwrap_or_else(|| panic!("no author {author}"));
    u8::try_from(index + 1).unwrap()
}

fn outcome(saved: &Saved) -> &'static str {
    match saved {
        Saved::New(_) => "new",
        Saved::Duplicate => "dup",
        Saved::Superseded => "superseded",
        Saved::Deleted(By::Author) => "deleted",
        Saved::Deleted(By::Recipient) => "deleted_by_recipient",
        Saved::Vanished(By::Author) => "vanished",
        Saved::Vanished(By::Recipient) => "recipient_vanished",
        Saved::Expired => "expired",
    }
}

fn permutations<'n>(names: &[&'n str]) -> Vec<Vec<&'n str>> {
    let Some((first, rest)) = names.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for shorter in permutations(rest) {
        for at in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(at, *first);
            all.push(longer);
        }
    }
    all
}
