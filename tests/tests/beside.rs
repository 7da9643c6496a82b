//! Other programs that use the database while the relay runs: whatever they do, it goes on.

use std::io::Read as _;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use crate::harness::{Client, Event, Key, PATIENCE, Relay, now, start_picorelay_with_output};

/// The database, as another program opens it.
fn database(relay: &Relay) -> Connection {
    Connection::open(relay.data().join("picorelay.db")).unwrap()
}

/// How long each OK takes, sorted.
async fn publish(client: &mut Client, key: &Key, count: usize, bytes: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..count {
        let event = key.event(json!({"content": format!("{n} {}", "x".repeat(bytes))}));
        let started = Instant::now();
        client.publish(&[&event]).await;
        times.push(started.elapsed());
        // The moment in which the writer has nothing to do.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    times.sort_unstable();
    times
}

/// The slowest but one, and in all: a wait for a reader is ten seconds, each time.
fn is_quick(times: &[Duration], what: &str) {
    let all: Duration = times.iter().sum();
    let p99 = times[times.len() - 2];
    assert!(p99 < Duration::from_secs(1) && all < Duration::from_secs(20), "{what}: p99 {p99:?}, in all {all:?}");
}

#[tokio::test]
async fn a_session_that_reads_and_is_left_open() {
    let relay = Relay::with("[storage]\nlog_mb_max = 1");
    let mut client = relay.client().await;
    let key = Key::new();
    publish(&mut client, &key, 5, 10).await;
    let other = database(&relay);
    other.execute_batch("BEGIN").unwrap();
    other.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap();
    is_quick(&publish(&mut client, &key, 100, 50_000).await, "beside a reader");
    let log = || std::fs::metadata(relay.data().join("picorelay.db-wal")).unwrap().len();
    assert!(log() > 4 << 20, "the log has {} bytes", log());
    relay.until_log("keeps a snapshot of the database open").await;
    assert_eq!(client.count(json!({"authors": [key.public()]})).await["count"], 105);
    other.execute_batch("COMMIT").unwrap();
    let began = Instant::now();
    while log() > 0 {
        assert!(began.elapsed() < PATIENCE, "the log still has {} bytes", log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    is_quick(&publish(&mut client, &key, 10, 10).await, "after it");
}

/// A log that is allowed little is larger for a moment under every load. That is nobody's fault.
#[tokio::test]
async fn a_small_log_under_load_blames_nobody() {
    let relay =
        Relay::with("[storage]\nlog_mb_max = 1\n[limits]\nmessages_per_minute = 0\nmessage_bytes_per_minute = 0");
    let mut client = relay.client().await;
    let key = Key::new();
    let log = || std::fs::metadata(relay.data().join("picorelay.db-wal")).unwrap().len();
    let mut largest = 0;
    for round in 0..3 {
        let event = |n: u32| key.event(json!({"content": format!("{round} {n} {}", "x".repeat(150_000))}));
        let events: Vec<Event> = (0..60).map(event).collect();
        for event in &events {
            client.send(format!(r#"["EVENT",{event}]"#)).await;
        }
        for event in &events {
            assert!(client.ok(event.id()).await.0);
        }
        largest = largest.max(log());
        let began = Instant::now();
        while log() > 0 {
            assert!(began.elapsed() < PATIENCE, "the log still has {} bytes", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(largest > 4 << 20, "the log had {largest} bytes at the most");
    assert!(!relay.log().contains("cannot be emptied"), "{}", relay.log());
}

#[tokio::test]
async fn a_session_that_writes() {
    let relay = Relay::start();
    let mut client = relay.client().await;
    let key = Key::new();
    let first = key.event(json!({"content": "first"}));
    client.publish(&[&first]).await;
    let other = database(&relay);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let second = key.event(json!({"content": "second"}));
    client.send(format!(r#"["EVENT",{second}]"#)).await;
    relay.until_log("holds the write lock of the database").await;
    // Reading goes on.
    let mut reader = relay.client().await;
    assert_eq!(reader.ids(json!({"authors": [key.public()]})).await, [first.id()]);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(client.ok(second.id()).await.0, "it waited, and was saved");
}

#[tokio::test]
async fn an_export_that_nobody_reads() {
    let relay = Relay::start();
    let mut client = relay.client().await;
    let key = Key::new();
    publish(&mut client, &key, 40, 60_000).await;
    let data = relay.data();
    let mut export = start_picorelay_with_output(&data, &["export", "--data", data.to_str().unwrap(), "-"]);
    let mut out = export.stdout.take().unwrap();
    let mut head = [0; 10];
    out.read_exact(&mut head).unwrap();
    is_quick(&publish(&mut client, &key, 60, 10).await, "beside an export");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(export.wait().unwrap().success());
    assert!(rest.lines().count() >= 40);
}

#[tokio::test]
async fn somebody_with_much_asks_to_vanish() {
    let relay = Relay::with("[limits]\nmessages_per_minute = 0");
    let mut client = relay.client().await;
    let (key, other) = (Key::new(), Key::new());
    let at = now() - 10_000;
    let notes: Vec<Event> =
        (0..2_000).map(|n| key.event(json!({"created_at": at + n, "content": n.to_string()}))).collect();
    for batch in notes.chunks(200) {
        for event in batch {
            client.send(format!(r#"["EVENT",{event}]"#)).await;
        }
        for event in batch {
            assert!(client.ok(event.id()).await.0);
        }
    }
    let request = key.event(json!({"kind": 62, "tags": [["relay", "ALL_RELAYS"]]}));
    client.publish(&[&request]).await;
    let mine = json!({"authors": [key.public()]});
    assert_eq!(client.ids(mine.clone()).await, [request.id()], "from the OK on nothing of it is seen");
    assert_eq!(client.count(mine.clone()).await["count"], 1);
    assert_eq!(crate::nip77::missing(&mut client, mine.clone(), &[]).await.unwrap(), [request.id()]);
    is_quick(&publish(&mut client, &other, 20, 10).await, "beside it");
    client.refused(&notes[0], "blocked: ").await;
    let db = database(&relay);
    let began = Instant::now();
    let left = || db.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0)).unwrap();
    while left() > 21 {
        assert!(began.elapsed() < PATIENCE, "{} events are left", left());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(client.ids(mine).await, [request.id()]);
}

#[test]
fn what_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("picorelay.db"), "no database at all ".repeat(100)).unwrap();
    let out = crate::harness::picorelay(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(out.code, Some(1), "{out:?}");
    assert!(out.stderr.contains("picorelay.db is damaged") && out.stderr.contains("picorelay export"), "{out:?}");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, "no folder").unwrap();
    let out = crate::harness::picorelay(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(out.code, Some(1), "{out:?}");
    assert!(out.stderr.contains("./data"), "{out:?}");
}
