//! Cases with more data than fits in a script.

use std::collections::BTreeSet;

use super::Make;
use super::bench::{ALL, Bench};
use crate::event::{CREATED_AT_MAX, Id, PublicKey};
use crate::filter::Filter;
use crate::testing::{Draft, key};
use crate::vanish::RelayUrls;
use crate::verify::Verified;
use crate::{End, Query, Saved, Scan, Slice, Step};

pub(super) fn run(make: Make<'_>) {
    one_second(make);
    long_tags(make);
    sweeping_in_parts(make);
    writing_between_slices(make);
}

/// 3,000 events of one second: order by id, in slices that end within the second.
fn one_second(make: Make<'_>) {
    let mut events: Vec<_> = (0..3_000_u32).map(|n| note(1 + u8::try_from(n % 3).unwrap(), 10, n)).collect();
    let mut bench = Bench::new(make, "one second");
    for batch in events.chunks(500) {
        assert!(bench.save_events(batch).saved.iter().all(|saved| matches!(saved, Saved::New(_))));
    }
    events.sort_by_key(|event| event.id);
    for filter in ["{}", r#"{"kinds":[1]}"#, r##"{"#t":["0","1"]}"##, r#"{"since":10,"until":10,"limit":1700}"#] {
        let filter = Filter::parse(filter).unwrap();
        let limit = filter.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
        let wanted: Vec<Id> = events.iter().filter(|e| filter.matches(e)).map(|e| e.id).take(limit).collect();
        let query = Query::everything(vec![filter], 1000);
        for slice in [ALL, Slice { rows: 7, ..ALL }, Slice { rows: 1000, ..ALL }, Slice { examined: 11, ..ALL }] {
            let (found, end) = bench.answer(&query, slice);
            assert_eq!(found, wanted, "one second: {slice:?}");
            assert_eq!(end == End::Finish, limit == usize::MAX, "one second: {end:?}");
        }
    }
}

/// Events of one second the ids of which begin alike: in 4, 8 or 31 bytes, with all bits set, with none.
pub(super) fn crowds(make: Make<'_>, seconds: &[u64]) {
    for (byte, same) in [(7, 4), (7, 8), (7, 31), (0, 4), (0, 8), (255, 4), (255, 8)] {
        for &created_at in seconds {
            // A fixed shuffle: later events have lower, higher and middle ids.
            let id = |n: usize| {
                let mut id = [byte; 32];
                id[same] = u8::try_from(n * 37 % 101).unwrap();
                Id(id)
            };
            let forge = |n: usize| {
                Draft { author: 1, kind: 1, created_at, content: n.to_string(), ..Draft::default() }
                    .forge(id(n), key(1))
            };
            let mut events: Vec<_> = (0..20).map(forge).collect();
            // In the same second and those beside it, ids that begin otherwise.
            let beside = created_at.saturating_sub(1)..=(created_at + 1).min(CREATED_AT_MAX);
            events.extend(beside.map(|at| note(1, at, 50)));
            let mut bench = Bench::new(make, &format!("crowd of {same} bytes {byte} at {created_at}"));
            bench.save_events(&events[..10]);
            bench.check_all(&events[..10]);
            let request = |n: &[usize]| {
                let tags = n.iter().map(|n| vec!["e".to_owned(), id(*n).to_hex()]).collect();
                Draft { author: 1, kind: 5, created_at: 5_000, tags, content: String::new() }.sign()
            };
            let gone = [0, 3, 5, 6];
            let first = request(&gone);
            bench.save_events(std::slice::from_ref(&first));
            for event in &events[10..] {
                bench.save_events(std::slice::from_ref(event));
                bench.check_order();
            }
            bench.save_events(&events);
            let mut left: Vec<_> = events.iter().filter(|e| gone.iter().all(|n| id(*n) != e.id)).cloned().collect();
            left.push(first);
            bench.check_all(&left);
        }
    }
}

/// An event that comes between two that were given already does not make the scan give one of them again.
pub(super) fn crowd_between_slices(make: Make<'_>) {
    for rows in 1..6 {
        let old: Vec<_> = (0..8).map(|n| crowded(10 + n * 10)).collect();
        let backend = make(RelayUrls::default());
        let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
        writer.save(&old, 1_000).unwrap();
        let mut query = Query::everything(vec![Filter::default()], 1_000);
        query.seq_max = writer.last_seq();
        let (mut scan, mut found) = (Scan::new(query), Vec::new());
        for n in 1.. {
            let step = reader.scan(&mut scan, Slice { rows, ..ALL }, &mut found).unwrap();
            if step == Step::Done {
                break;
            }
            writer.save(&[crowded(n), crowded(100 - n)], 1_000).unwrap();
        }
        let found: Vec<_> = found.iter().map(|row| row.id).collect();
        assert_eq!(found, old.iter().map(|event| event.id).collect::<Vec<_>>(), "by {rows}");
    }
}

/// An event that goes, and was given already, does not make the scan pass over another.
pub(super) fn crowd_leaves_between_slices(make: Make<'_>) {
    for rows in 1..6 {
        let old: Vec<_> = (0..8).map(|n| crowded(10 + n * 10)).collect();
        let backend = make(RelayUrls::default());
        let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
        writer.save(&old, 1_000).unwrap();
        let query = Query::everything(vec![Filter { kinds: Some([1].into()), ..Filter::default() }], 1_000);
        let (mut scan, mut found) = (Scan::new(query), Vec::new());
        while reader.scan(&mut scan, Slice { rows, ..ALL }, &mut found).unwrap() == Step::Again {
            let tags = found.iter().map(|row| vec!["e".to_owned(), row.id.to_hex()]).collect();
            let request = Draft { author: 1, kind: 5, created_at: 20, tags, content: String::new() }.sign();
            writer.save(&[request], 1_000).unwrap();
        }
        let found: Vec<_> = found.iter().map(|row| row.id).collect();
        assert_eq!(found, old.iter().map(|event| event.id).collect::<Vec<_>>(), "by {rows}");
    }
}

/// A sweep takes what has expired, and nothing that lies beside it.
pub(super) fn crowd_expires(make: Make<'_>) {
    // Which of eight expire, and whether the first or the last of them do so first.
    for (expiring, rising) in (0_u8..=255).flat_map(|bits| [(bits, true), (bits, false)]) {
        let event = |n: u8| {
            let mut id = [7; 32];
            id[8] = n;
            let at = 1_001 + u64::from(if rising { n } else { 8 - n });
            let is_expiring = expiring & (1 << n) != 0;
            let tags = is_expiring.then(|| vec!["expiration".to_owned(), at.to_string()]).into_iter().collect();
            let draft = Draft { author: 1, kind: 1, created_at: 10, tags, content: n.to_string() };
            draft.forge(Id(id), key(1))
        };
        let events: Vec<_> = (0..8).map(event).collect();
        let backend = make(RelayUrls::default());
        let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
        writer.save(&events, 1_000).unwrap();
        while !writer.sweep_expired(2_000, 3).unwrap().is_empty() {}
        for event in &events {
            let stays = !event.is_expired(2_000);
            assert_eq!(reader.contains(&event.id).unwrap(), stays, "{expiring:08b}, rising: {rising}: {event}");
        }
    }
}

/// One of the events of a second the ids of which share eight bytes.
fn crowded(n: u8) -> Verified {
    let mut id = [7; 32];
    id[8] = n;
    Draft { author: 1, kind: 1, created_at: 10, content: n.to_string(), ..Draft::default() }.forge(Id(id), key(1))
}

/// Values that differ only far behind their beginning, or are very long.
fn long_tags(make: Make<'_>) {
    let long = "x".repeat(60_000);
    let values = [long.clone(), format!("{long}y"), "x".repeat(255), "x".repeat(256), "ü".repeat(30_000)];
    let tagged = |(n, value): (usize, &String)| {
        let tags = vec![vec!["t".to_owned(), value.clone()], vec!["d".to_owned(), value.clone()]];
        Draft { author: 1, kind: 30_023, created_at: n as u64, tags, content: String::new() }.sign()
    };
    let events: Vec<_> = values.iter().enumerate().map(tagged).collect();
    let mut bench = Bench::new(make, "long tags");
    let batch = bench.save_events(&events);
    assert!(batch.removed.is_empty(), "long tags: d values are told apart");
    for (event, value) in events.iter().zip(&values) {
        for letter in ["#t", "#d"] {
            let mut filter = serde_json::json!({ "kinds": [30_023] });
            filter[letter] = serde_json::json!([value]);
            let query = Query::everything(vec![Filter::parse(&filter.to_string()).unwrap()], 1000);
            assert_eq!(bench.answer(&query, ALL), (vec![event.id], End::Finish), "long tags: {} bytes", value.len());
        }
    }
}

/// However many values a filter lists, a slice gives more than a row or two: else long lists cost their square.
pub(super) fn long_lists(make: Make<'_>) {
    let events: Vec<_> = (0..200).map(|n| note(1, u64::from(n), n)).collect();
    let mut bench = Bench::new(make, "long lists");
    bench.save_events(&events);
    let stranger = |n: u8| PublicKey([n; 32]);
    let authors = |count: u8| (0..count).map(stranger).chain([key(1)]).collect::<BTreeSet<_>>().into_iter().collect();
    let ids = events.iter().map(|event| event.id).collect::<BTreeSet<_>>().into_iter().collect();
    for filter in [
        Filter { authors: Some(authors(50)), ..Filter::default() },
        Filter { authors: Some(authors(5)), kinds: Some((1..20).collect()), ..Filter::default() },
        Filter { ids: Some(ids), ..Filter::default() },
    ] {
        let query = Query::everything(vec![filter], 1_000);
        let (mut scan, mut rows, mut slices) = (Scan::new(query), Vec::new(), 1);
        while bench.slice(&mut scan, Slice { examined: 40, ..ALL }, &mut rows) == Step::Again {
            slices += 1;
        }
        assert_eq!(rows.len(), events.len());
        assert!(slices <= 50, "{slices} slices for {} rows", rows.len());
    }
}

fn sweeping_in_parts(make: Make<'_>) {
    let expiring = |n: u32| {
        let tags = vec![vec!["expiration".to_owned(), (1_001 + n % 3).to_string()]];
        Draft { author: 1, kind: 1, created_at: u64::from(n), tags, content: String::new() }.sign()
    };
    let events: Vec<_> = (0..30).map(expiring).collect();
    let backend = make(RelayUrls::default());
    let mut writer = backend.writer().unwrap();
    writer.save(&events, 1_000).unwrap();
    let mut swept = Vec::new();
    for wanted in [7, 7, 6, 0] {
        let part = writer.sweep_expired(1_002, 7).unwrap();
        assert_eq!(part.len(), wanted, "a sweep takes what it may");
        swept.extend(part);
    }
    let mut wanted: Vec<_> = events.iter().filter(|event| event.is_expired(1_002)).map(|event| event.id).collect();
    swept.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(swept, wanted);
}

/// What is saved or removed while a scan goes on does not move what it still has to give.
fn writing_between_slices(make: Make<'_>) {
    for rows in 1..12 {
        let old: Vec<_> = (0..40).map(|n| note(1, 100 + u64::from(n / 4), n)).collect();
        let backend = make(RelayUrls::default());
        let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
        writer.save(&old, 1_000).unwrap();
        for filter in ["{}", r##"{"kinds":[1],"#t":["0","1","2"]}"##, r#"{"authors":["KEY"],"kinds":[1]}"#] {
            let filter = filter.replace("KEY", &old[0].pubkey.to_hex());
            let mut query = Query::everything(vec![Filter::parse(&filter).unwrap()], 1_000);
            query.seq_max = writer.last_seq();
            let mut scan = Scan::new(query);
            let mut found = Vec::new();
            for turn in 0_u32.. {
                let step = reader.scan(&mut scan, Slice { rows, ..ALL }, &mut found).unwrap();
                // New events beside the place where the scan is.
                let beside = found.last().map_or(100, |row| row.created_at);
                writer.save(&[note(2, beside, 1_000 + turn), note(2, beside + 1, 2_000 + turn)], 1_000).unwrap();
                if step == Step::Done {
                    break;
                }
            }
            let ids: Vec<_> = found.iter().map(|row| row.id).collect();
            let mut wanted: Vec<_> = old.iter().map(|event| (u64::MAX - event.created_at, event.id)).collect();
            wanted.sort_unstable();
            let stored: Vec<_> = ids.iter().filter(|id| wanted.iter().any(|(_, old)| old == *id)).copied().collect();
            assert_eq!(stored, wanted.iter().map(|(_, id)| *id).collect::<Vec<_>>(), "{filter} by {rows}");
        }
        removing_between_slices(rows, &old, writer.as_mut(), reader.as_mut());
    }
}

fn removing_between_slices(
    rows: usize,
    old: &[Verified],
    writer: &mut dyn crate::Writer,
    reader: &mut dyn crate::Reader,
) {
    let filter = Filter::parse(&format!(r#"{{"authors":["{}"],"kinds":[1]}}"#, old[0].pubkey.to_hex())).unwrap();
    let mut scan = Scan::new(Query::everything(vec![filter], 1_000));
    let mut found = Vec::new();
    reader.scan(&mut scan, Slice { rows, ..ALL }, &mut found).unwrap();
    // The row where it stopped goes, and one that it has not reached.
    let last = found.last().unwrap().id;
    let ahead = old.iter().find(|event| event.created_at == 101).unwrap().id;
    let tags = [last, ahead].map(|id| vec!["e".to_owned(), id.to_hex()]).to_vec();
    let request = Draft { author: 1, kind: 5, created_at: 2_000, tags, content: String::new() }.sign();
    writer.save(&[request], 1_000).unwrap();
    while reader.scan(&mut scan, Slice { rows, ..ALL }, &mut found).unwrap() == Step::Again {}
    let mut ids: Vec<_> = found.iter().map(|row| row.id).collect();
    assert!(ids.is_sorted_by_key(|id| old.iter().find(|e| e.id == *id).map(|e| (u64::MAX - e.created_at, e.id))));
    ids.sort_unstable();
    let mut wanted: Vec<_> = old.iter().map(|event| event.id).filter(|id| *id != ahead).collect();
    wanted.sort_unstable();
    assert_eq!(ids, wanted, "removing between slices of {rows}");
}

fn note(author: u8, created_at: u64, n: u32) -> Verified {
    let tags = vec![vec!["t".to_owned(), (n % 3).to_string()]];
    Draft { author, kind: 1, created_at, tags, content: n.to_string() }.sign()
}
