//! A client that does not read what it asked for loses its connection; nobody else notices.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Key, PATIENCE, Relay};

#[tokio::test]
async fn one_who_never_reads_is_closed_and_told() {
    let relay = Relay::with("[limits]\nmessage_bytes_max = 150000\noutbox_bytes_max = 200000\nmessages_per_minute = 0");
    let key = Key::new();
    let (mut slow, mut other, mut publisher) = (relay.client().await, relay.client().await, relay.client().await);
    slow.subscribe("s", json!({"authors": [key.public()], "limit": 0})).await;
    other.subscribe("s", json!({"authors": [key.public()], "limit": 0})).await;
    // More than the buffers of both ends of a socket hold.
    let filler = "x".repeat(100_000);
    let before = relay.memory_bytes();
    for n in 0..200 {
        let event = key.event(json!({"kind": 20000, "content": format!("{n} {filler}")}));
        publisher.publish(&[&event]).await;
        assert_eq!(other.event_of("s").await, event, "others are served at their own speed");
    }
    let more = relay.memory_bytes().saturating_sub(before);
    assert!(more < 40 << 20, "a slow client cost {more} bytes of memory");
    // Now it reads: some events, then why it was closed.
    let (messages, close) = slow.until_closed().await;
    assert!(messages.len() < 200, "nothing was dropped");
    let notice = messages.last().filter(|last| last[0] == "NOTICE" || last[0] == "CLOSED");
    let told = close.is_some_and(|close| !close.reason.is_empty()) || notice.is_some();
    assert!(told, "closed without a reason after {} messages", messages.len());
    assert_eq!(relay.metric("picorelay_outbox_closes_total", ""), 1.0);
    other.fence().await;
    publisher.fence().await;
}

/// One who is slow with stored events is not punished: the scan waits for it.
#[tokio::test]
async fn stored_events_wait_for_a_slow_reader() {
    let relay = Relay::with("[limits]\nmessage_bytes_max = 150000\noutbox_bytes_max = 200000\nmessages_per_minute = 0");
    let key = Key::new();
    let mut publisher = relay.client().await;
    let filler = "x".repeat(100_000);
    for n in 0..150 {
        let event = key.event(json!({"content": format!("{n} {filler}")}));
        publisher.publish(&[&event]).await;
    }
    let mut slow = relay.client().await;
    slow.send(json!(["REQ", "s", {"authors": [key.public()]}])).await;
    // It sleeps while the relay could send everything: that is what is tested.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let counted = tokio::time::timeout(PATIENCE, async {
        let mut events = 0;
        loop {
            let message = slow.recv().await;
            match message[0].as_str() {
                Some("EVENT") => events += 1,
                Some("EOSE") => return events,
                _ => panic!("{message}"),
            }
        }
    });
    assert_eq!(counted.await.unwrap(), 150);
    publisher.fence().await;
}

/// A request that comes a byte at a time, one that never ends, and one that never comes.
#[tokio::test]
async fn who_does_not_say_what_they_want_is_let_go() {
    let relay = Relay::with("[server]\nrequest_seconds = 1");
    for begun in ["", "GET /pico/notes HTTP/1.1\r\nHost: a\r\n", "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut stream = TcpStream::connect(("127.0.0.1", relay.port)).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let ended = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it stays open");
        assert!(ended.is_ok(), "{ended:?}");
        assert_eq!(answer.starts_with("HTTP/1.1 200"), begun.ends_with("\r\n\r\n"), "{begun}: {answer}");
    }
    let mut stream = TcpStream::connect(("127.0.0.1", relay.port)).await.unwrap();
    let dripped = timeout(PATIENCE, async {
        for byte in "GET / HTTP/1.1\r\nX: ".bytes().chain(std::iter::repeat(b'x')) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    dripped.await.expect("it stays open");
    assert_eq!(relay.http("GET /health", &[]).status, 200);
}
