//! A request to vanish of somebody who has much.

use super::Make;
use super::bench::ALL;
use crate::filter::Filter;
use crate::testing::{Draft, key};
use crate::vanish::RelayUrls;
use crate::verify::Verified;
use crate::{By, Query, Reader, Saved, Scan, Step, Writer};

/// Notes and messages of the one who asks, and gift wraps to them.
const NOTES: u64 = 900;

/// Nobody sees any of it from the moment on when the request is saved, and in the end nothing is left; what came later
/// stays.
pub(super) fn run(make: Make<'_>) {
    let backend = make(RelayUrls::default());
    let mut writer = backend.writer().unwrap();
    let me = key(1).to_hex();
    let events: Vec<Verified> = (0..NOTES)
        .map(|n| match n % 3 {
            0 => draft(1, 1, n, vec![]),
            1 => draft(1, 4, n, vec![vec!["p".into(), key(2).to_hex()]]),
            _ => draft(2, 1059, n, vec![vec!["p".into(), me.clone()]]),
        })
        .collect();
    let other = draft(2, 1, 5, vec![vec!["p".into(), me.clone()]]);
    for batch in events.chunks(300) {
        writer.save(batch, 10_000).unwrap();
    }
    writer.save(std::slice::from_ref(&other), 10_000).unwrap();
    let request = draft(1, 62, 5_000, vec![vec!["relay".into(), "ALL_RELAYS".into()]]);
    assert!(matches!(writer.save(std::slice::from_ref(&request), 10_000).unwrap().saved[..], [Saved::New(_)]));
    // Dated back, and new.
    let wrap = draft(2, 1059, 7, vec![vec!["p".into(), me.clone()], vec!["x".into(), "new".into()]]);
    assert!(matches!(writer.save(std::slice::from_ref(&wrap), 10_000).unwrap().saved[..], [Saved::New(_)]));
    let left = [&request, &other, &wrap];
    let mut reader = backend.reader().unwrap();
    check(reader.as_mut(), &left, &events);
    sends_again(writer.as_mut(), &events);
    writer.sweep_expired(10_000, 50).unwrap();
    check(reader.as_mut(), &left, &events);
    // A stop in the midst of it.
    drop((reader, writer));
    let mut writer = backend.writer().unwrap();
    let mut reader = backend.reader().unwrap();
    check(reader.as_mut(), &left, &events);
    sends_again(writer.as_mut(), &events[..20]);
    while !writer.sweep_expired(10_000, 50).unwrap().is_empty() || writer.has_removals() {}
    assert!(!writer.has_removals());
    check(reader.as_mut(), &left, &events);
    sends_again(writer.as_mut(), &events);
    assert_eq!(reader.len_estimate().unwrap(), 3, "nothing is left");
}

fn draft(author: u8, kind: u16, created_at: u64, tags: Vec<Vec<String>>) -> Verified {
    Draft { author, kind, created_at, tags, content: created_at.to_string() }.sign()
}

fn check(reader: &mut dyn Reader, left: &[&Verified], gone: &[Verified]) {
    let me = key(1).to_hex();
    for filter in [
        "{}".to_owned(),
        r#"{"kinds":[1,4,62,1059]}"#.to_owned(),
        format!(r#"{{"authors":["{me}"]}}"#),
        format!(r##"{{"#p":["{me}"]}}"##),
        format!(r#"{{"ids":["{}","{}","{}"]}}"#, gone[0].id, gone[1].id, gone[2].id),
    ] {
        let filter = Filter::parse(&filter).unwrap();
        let mut wanted: Vec<_> = left.iter().filter(|event| filter.matches(event)).map(|event| event.id).collect();
        wanted.sort_unstable();
        for bodies in [true, false] {
            let query = Query { bodies, ..Query::everything(vec![filter.clone()], 10_000) };
            let mut rows = Vec::new();
            assert_eq!(reader.scan(&mut Scan::new(query), ALL, &mut rows).unwrap(), Step::Done);
            let mut found: Vec<_> = rows.iter().map(|row| row.id).collect();
            found.sort_unstable();
            assert_eq!(found, wanted, "{filter:?}, bodies: {bodies}");
        }
    }
    assert!(gone.iter().all(|event| !reader.contains(&event.id).unwrap()));
}

fn sends_again(writer: &mut dyn Writer, events: &[Verified]) {
    for (event, saved) in events.iter().zip(writer.save(events, 10_000).unwrap().saved) {
        // A gift wrap that is not removed yet is known, one that is, too.
        assert_eq!(saved, Saved::Vanished(By::of(&key(1), event)), "{event}");
    }
}
