//! What only this backend can get wrong: its log, its files, the order of its rows on disk.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{FILE, Options, Sqlite};
use crate::config::{Durability, Storage};
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::testing::{Draft, key};
use crate::verify::Verified;
use crate::{Backend, Query, Reader, Row, Saved, Scan, Slice, Step, StoreError};

fn open(folder: &Path, log_mb_max: usize, private_kinds: &[u16]) -> Sqlite {
    let storage = Storage { durability: Durability::Normal, log_mb_max, ..Storage::default() };
    Sqlite::open(folder, Options { storage, private_kinds: private_kinds.to_vec(), ..Options::default() }).unwrap()
}

fn note(n: u64, bytes: usize) -> Verified {
    Draft { author: 1, kind: 1, created_at: n, content: "x".repeat(bytes), ..Draft::default() }.sign()
}

fn log_bytes(folder: &Path) -> u64 {
    std::fs::metadata(folder.join(format!("{FILE}-wal"))).map_or(0, |file| file.len())
}

/// Another program that reads, and keeps on.
fn reading(folder: &Path) -> Connection {
    let other = Connection::open(folder.join(FILE)).unwrap();
    other.execute_batch("BEGIN").unwrap();
    other.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0)).unwrap();
    other
}

#[test]
fn the_log_waits_for_no_reader_and_shrinks_when_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path(), 1, &[]);
    let mut writer = database.writer().unwrap();
    writer.save(&[note(0, 100)], 1_000).unwrap();
    let other = reading(folder.path());
    let mut longest = Duration::ZERO;
    for n in 1..150 {
        let started = Instant::now();
        writer.save(&[note(n, 50_000)], 1_000).unwrap();
        writer.tend_under_load().unwrap();
        writer.tend().unwrap();
        longest = longest.max(started.elapsed());
    }
    assert!(log_bytes(folder.path()) > 6 << 20, "the other program holds it: {}", log_bytes(folder.path()));
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    drop(other);
    let until = Instant::now() + Duration::from_secs(60);
    while log_bytes(folder.path()) > 0 {
        assert!(Instant::now() < until, "{} bytes of log", log_bytes(folder.path()));
        writer.tend().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_log_starts_afresh_beside_readers_that_never_rest() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path(), 1, &[]);
    let mut writer = database.writer().unwrap();
    writer.save(&(0..500).map(|n| note(n, 200)).collect::<Vec<_>>(), 1_000).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let mut is_cut = false;
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let mut reader = database.reader().unwrap();
                let slice = Slice { time: Duration::from_millis(5), ..Slice::WHOLE };
                while !is_over.load(std::sync::atomic::Ordering::Acquire) {
                    let mut scan = Scan::new(Query::everything(vec![Filter::default()], 1_000));
                    while reader.scan(&mut scan, slice, &mut Vec::new()).unwrap() == Step::Again {}
                }
            });
        }
        let mut before = 0;
        // On a busy machine it takes some tries, and there are pauses between them.
        let until = Instant::now() + Duration::from_secs(150);
        for n in 0.. {
            writer.save(&[note(1_000 + n, 50_000)], 1_000).unwrap();
            writer.tend_under_load().unwrap();
            let bytes = log_bytes(folder.path());
            is_cut = bytes < before;
            before = bytes;
            if is_cut || Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        is_over.store(true, std::sync::atomic::Ordering::Release);
    });
    assert!(is_cut);
}

#[test]
fn a_foreign_write_lock_delays_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path(), 1, &[]);
    let mut writer = database.writer().unwrap();
    let other = Connection::open(folder.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    assert!(writer.sweep_expired(1_000, 10).unwrap().is_empty(), "what can wait is put off");
    writer.tend().unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    std::thread::scope(|threads| {
        threads.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            other.execute_batch("ROLLBACK").unwrap();
        });
        assert!(matches!(writer.save(&[note(1, 10)], 1_000).unwrap().saved[..], [Saved::New(1)]));
    });
}

fn answer(reader: &mut dyn Reader, filter: &str, viewer: &Viewer, slice: Slice<'_>) -> (Vec<Row>, u64) {
    let everything = Query::everything(vec![Filter::parse(filter).unwrap()], 10_000);
    let mut scan = Scan::new(Query { viewer: viewer.clone(), ..everything });
    let mut rows = Vec::new();
    while reader.scan(&mut scan, slice, &mut rows).unwrap() == Step::Again {}
    (rows, scan.examined)
}

#[test]
fn kinds_that_become_private_are_filed_apart_while_answers_stay_right() {
    let folder = tempfile::tempdir().unwrap();
    let (me, other) = (key(1).to_hex(), key(2).to_hex());
    let event = |author, kind, n: u64, whom: &str| {
        let tags = vec![vec!["p".to_owned(), whom.to_owned()], vec!["d".to_owned(), n.to_string()]];
        Draft { author, kind, created_at: 100 + n, tags, content: String::new() }.sign()
    };
    let events: Vec<_> = (0..250)
        .flat_map(|n| [event(2, 1059, n, &me), event(2, 30_078, n, &me), event(1, 4, n, &other), event(2, 1, n, &me)])
        .collect();
    {
        let database = open(folder.path(), 8, &[]);
        let mut writer = database.writer().unwrap();
        writer.save(&events, 1_000).unwrap();
    }
    let private = [4, 1059, 30_078];
    let stranger = Viewer { restricted: private.into(), ..Viewer::default() };
    let party = Viewer { keys: [key(1)].into_iter().collect(), ..stranger.clone() };
    let filters = [
        "{}".to_owned(),
        format!(r##"{{"#p":["{me}"]}}"##),
        format!(r##"{{"#p":["{me}"],"kinds":[1059]}}"##),
        format!(r##"{{"#p":["{me}"],"kinds":[1,30078]}}"##),
        format!(r#"{{"authors":["{other}"]}}"#),
        format!(r#"{{"authors":["{me}","{other}"],"kinds":[4,1]}}"#),
        format!(r##"{{"authors":["{other}"],"kinds":[30078],"#d":["7","8"]}}"##),
        r#"{"kinds":[4,30078]}"#.to_owned(),
    ];
    let database = open(folder.path(), 8, &private);
    let (mut writer, mut reader) = (database.writer().unwrap(), database.reader().unwrap());
    let check = |reader: &mut dyn Reader, what: &str| {
        for filter in &filters {
            let parsed = Filter::parse(filter).unwrap();
            for viewer in [&Viewer::operator(), &stranger, &party] {
                let mut wanted: Vec<_> = events
                    .iter()
                    .filter(|event| parsed.matches(event) && viewer.may_see(event))
                    .map(|e| e.id)
                    .collect();
                wanted.sort_unstable();
                for slice in [Slice::WHOLE, Slice { rows: 100, ..Slice::WHOLE }] {
                    let mut found: Vec<_> = answer(reader, filter, viewer, slice).0.iter().map(|row| row.id).collect();
                    found.sort_unstable();
                    assert_eq!(found, wanted, "{what}: {filter} for {viewer:?}");
                }
            }
        }
    };
    check(reader.as_mut(), "before");
    let mut steps = 0;
    while writer.tend().unwrap() {
        steps += 1;
        check(reader.as_mut(), "while it is done");
    }
    assert!(steps > 6, "{steps} steps for 750 events");
    check(reader.as_mut(), "after");
    for n in [3, 5] {
        let request = Draft {
            author: if n == 3 { 1 } else { 2 },
            kind: 5,
            created_at: 900,
            tags: vec![vec!["e".to_owned(), events[n * 4 + if n == 3 { 2 } else { 1 }].id.to_hex()]],
            content: String::new(),
        };
        assert_eq!(writer.save(&[request.sign()], 1_000).unwrap().removed.len(), 1);
    }
    let db = Connection::open(folder.path().join(FILE)).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM event_author"), 252, "notes and requests are filed by author alone");
    assert_eq!(count("SELECT count(*) FROM event_tag WHERE pos NOT IN (SELECT pos FROM event)"), 0);
    // Nobody walks past them any more.
    let (rows, examined) = answer(reader.as_mut(), &filters[1], &stranger, Slice::WHOLE);
    assert!(rows.len() == 250 && examined < 400, "{} rows, {examined} entries", rows.len());
}

#[test]
fn a_scan_goes_on_where_it_was() {
    // More walks than one slice may begin: each slice must know what the last one found out.
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path(), 8, &[]);
    let (mut writer, mut reader) = (database.writer().unwrap(), database.reader().unwrap());
    let tagged = |n: u64| {
        let tags = vec![vec!["t".to_owned(), (n % 400).to_string()]];
        Draft { author: 1, kind: 1, created_at: n, tags, content: String::new() }.sign()
    };
    writer.save(&(0..1_000).map(tagged).collect::<Vec<_>>(), 10_000).unwrap();
    let values: Vec<String> = (0..400).map(|n| format!("\"{n}\"")).collect();
    let filter = format!(r##"{{"#t":[{}]}}"##, values.join(","));
    let (rows, whole) = answer(reader.as_mut(), &filter, &Viewer::operator(), Slice::WHOLE);
    assert_eq!(rows.len(), 1_000);
    let (rows, sliced) = answer(reader.as_mut(), &filter, &Viewer::operator(), Slice { examined: 50, ..Slice::WHOLE });
    assert_eq!(rows.len(), 1_000);
    assert!(sliced < whole * 4, "{sliced} entries in slices, {whole} in one");
    // No slice does more than it may.
    let mut scan = Scan::new(Query::everything(vec![Filter::parse(&filter).unwrap()], 10_000));
    let mut before = 0;
    while reader.scan(&mut scan, Slice { examined: 50, ..Slice::WHOLE }, &mut Vec::new()).unwrap() == Step::Again {
        assert!(scan.examined - before <= 120, "{} entries in a slice of 50", scan.examined - before);
        before = scan.examined;
    }
}

#[test]
fn what_was_removed_between_slices_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path(), 8, &[]);
    let (mut writer, mut reader) = (database.writer().unwrap(), database.reader().unwrap());
    let notes: Vec<_> = (0..50).map(|n| note(n, 10)).collect();
    writer.save(&notes, 1_000).unwrap();
    let ids: Vec<String> = notes.iter().map(|note| format!("\"{}\"", note.id)).collect();
    let filter = Filter::parse(&format!(r#"{{"ids":[{}]}}"#, ids.join(","))).unwrap();
    let mut scan = Scan::new(Query::everything(vec![filter], 1_000));
    let (mut rows, slice) = (Vec::new(), Slice { rows: 10, ..Slice::WHOLE });
    assert_eq!(reader.scan(&mut scan, slice, &mut rows).unwrap(), Step::Again);
    let tags = vec![vec!["e".to_owned(), notes[20].id.to_hex()], vec!["e".to_owned(), notes[45].id.to_hex()]];
    let request = Draft { author: 1, kind: 5, created_at: 500, tags, content: String::new() }.sign();
    assert_eq!(writer.save(&[request], 1_000).unwrap().removed.len(), 2);
    while reader.scan(&mut scan, slice, &mut rows).unwrap() == Step::Again {}
    assert_eq!(rows.len(), 49, "one was given before it was removed, the other was not");
}

#[test]
fn a_damaged_database_and_a_folder_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(FILE),
        "no database at all, and longer than a header of one hundred bytes ".repeat(9),
    )
    .unwrap();
    let error = Sqlite::open(folder.path(), Options::default()).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&folder.path().join(FILE).display().to_string()) && text.contains("picorelay export"),
        "{text}"
    );
    assert!(matches!(Sqlite::open_beside(folder.path(), Options::default()), Err(StoreError::Corrupt { .. })));

    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    let error = Sqlite::open(&below, Options::default()).err().unwrap();
    assert!(error.to_string().contains(&below.display().to_string()), "{error}");
}

#[test]
fn pages_of_garbage_are_told_by_who_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    {
        let database = open(folder.path(), 8, &[]);
        let mut writer = database.writer().unwrap();
        writer.save(&(0..300).map(|n| note(n, 2_000)).collect::<Vec<_>>(), 1_000).unwrap();
        while writer.tend().unwrap() {}
    }
    let file = folder.path().join(FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    let page = usize::try_from(super::PAGE_BYTES).unwrap();
    // The first page says where tables begin; what follows is garbage.
    bytes.iter_mut().skip(page).for_each(|byte| *byte = 0x5a);
    std::fs::write(&file, bytes).unwrap();
    let error = match Sqlite::open(folder.path(), Options::default()) {
        Err(error) => error,
        Ok(database) => {
            let mut scan = Scan::new(Query::everything(vec![Filter::default()], 1_000));
            database.reader().unwrap().scan(&mut scan, Slice::WHOLE, &mut Vec::new()).err().unwrap()
        }
    };
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
}
