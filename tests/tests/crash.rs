//! `kill -9` in the middle of writes: what got `OK true` is there afterwards.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use crate::harness::{Event, Key, Relay, now};

const WRITERS: u64 = 3;

/// Publishes without waiting until the relay dies. Gives what was acknowledged.
async fn write_until_dead(mut client: crate::harness::Client, round: u64, writer: u64) -> Vec<Event> {
    let key = Key::new();
    let at = now() - 100_000;
    let mut sent = HashMap::new();
    let mut acknowledged = Vec::new();
    let mut number = 0;
    loop {
        // A window of events on the way, and now and then one answer is read.
        while sent.len() < 200 {
            number += 1;
            let event = key.event(json!({
                "kind": 1, "created_at": at + number, "content": format!("{round} {writer} {number} {}", "x".repeat(300)),
                "tags": [["t", format!("round{round}")], ["t", number.to_string()]],
            }));
            if !client.try_send(format!(r#"["EVENT",{event}]"#)).await {
                return acknowledged;
            }
            sent.insert(event.id().to_owned(), event);
        }
        let Ok(answer) = client.recv_or_close().await else { return acknowledged };
        assert_eq!((&answer[0], &answer[2]), (&json!("OK"), &json!(true)), "{answer}");
        acknowledged.extend(sent.remove(answer[1].as_str().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_survives() {
    survive(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; run it with --ignored"]
async fn every_acknowledged_event_survives_many_times() {
    for _ in 0..20 {
        survive(10).await;
    }
}

async fn survive(rounds: u64) {
    let mut relay = Relay::with("[limits]\nmessages_per_minute = 0\nqueries_per_minute = 0");
    let mut survivors: HashSet<String> = HashSet::new();
    for round in 0..rounds {
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            writers.push(tokio::spawn(write_until_dead(relay.client().await, round, writer)));
        }
        // Each round dies a little later than the one before: while it begins, in commits, between them.
        let mut watcher = relay.client().await;
        let mut stored = 0;
        while stored < round * 150 {
            stored = watcher.count(json!({"#t": [format!("round{round}")]})).await["count"].as_u64().unwrap();
        }
        relay.kill9();
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        let fault = integrity(&relay);
        assert_eq!(fault, "ok", "after round {round}");
        relay.restart();
        let mut client = relay.client().await;
        survivors.extend(acknowledged.iter().map(|event| event.id().to_owned()));
        for events in acknowledged.chunks(200) {
            let ids: Vec<&str> = events.iter().map(Event::id).collect();
            let found = client.query(json!({"ids": ids})).await;
            assert_eq!(found.len(), events.len(), "lost in round {round}");
        }
    }
    assert!(survivors.len() > 200, "only {} events were acknowledged: the test proves little", survivors.len());
    let mut client = relay.client().await;
    for ids in survivors.iter().collect::<Vec<_>>().chunks(200) {
        assert_eq!(client.count(json!({"ids": ids})).await["count"], ids.len());
    }
    relay.stop();
    assert_eq!(integrity(&relay), "ok");
}

/// Deletions and replacements are as durable as events.
#[tokio::test]
async fn what_was_removed_does_not_come_back() {
    let mut relay = Relay::start();
    let key = Key::new();
    let at = now() - 100;
    let note = key.event(json!({"created_at": at}));
    let old = key.event(json!({"kind": 0, "created_at": at}));
    let new = key.event(json!({"kind": 0, "created_at": at + 1}));
    let mut client = relay.client().await;
    let request = key.event(json!({"kind": 5, "created_at": at + 2, "tags": [["e", note.id()]]}));
    client.publish(&[&note, &old, &new, &request]).await;
    relay.kill9();
    relay.restart();
    let mut client = relay.client().await;
    assert_eq!(client.ids(json!({"authors": [key.public()]})).await, [request.id(), new.id()]);
    client.refused(&note, "").await;
    client.refused(&old, "").await;
}

/// `PRAGMA integrity_check` and `foreign_key_check` of the database in the data folder.
fn integrity(relay: &Relay) -> String {
    let mut databases = Vec::new();
    for entry in std::fs::read_dir(relay.data()).unwrap() {
        let path = entry.unwrap().path();
        let mut head = [0; 16];
        let is_database = std::fs::File::open(&path)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head))
            .is_ok_and(|()| head.starts_with(b"SQLite format 3"));
        if is_database {
            databases.push(path);
        }
    }
    assert!(!databases.is_empty(), "no database in {:?}", relay.data());
    let mut verdict = String::new();
    for path in databases {
        // Opened for writing: what a crash left in the log is applied as the relay would.
        let database = rusqlite::Connection::open(&path).unwrap();
        verdict = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        if verdict != "ok" {
            return format!("{path:?}: {verdict}");
        }
        let orphans: i64 =
            database.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
        assert_eq!(orphans, 0, "{path:?}");
    }
    verdict
}
