//! A client that does not read what it asked for loses its connection; nobody else notices.

use std::time::{Duration, Instant};

use picofeed::Format;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::pico::Node;
use crate::harness::{Client, Key, PATIENCE, Raw, Relay, asks_and_reads_nothing, is_let_go};

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

/// Stores more than the buffers of a connection hold, and gives the REQ for it.
async fn large_answer(relay: &Relay) -> String {
    let key = Key::new();
    let mut publisher = relay.client().await;
    let filler = "x".repeat(100_000);
    for n in 0..50 {
        publisher.publish(&[&key.event(json!({"content": format!("{n} {filler}")}))]).await;
    }
    json!(["REQ", "s", {"authors": [key.public()]}]).to_string()
}

/// Those who do not read are let go, and their places are given back, however often they say that they live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_nothing_gives_the_place_back() {
    const PLACES: usize = 30;
    let relay = Relay::with(&format!(
        "[server]\nsend_seconds = 1\n[limits]\nconnections_max = {PLACES}\nconnections_per_address_max = 0"
    ));
    let request = large_answer(&relay).await;
    let mut silent = Vec::new();
    for _ in 0..PLACES {
        let mut client = Raw::open_narrow(relay.port, "/").await;
        client.text(&request).await;
        client.text(&request).await;
        silent.push(client);
    }
    assert!(Client::connect_with(&relay.url, &[]).await.is_err(), "every place is taken");
    let began = Instant::now();
    for client in &mut silent {
        assert!(client.is_let_go(PATIENCE).await, "one is still there after {:?}", began.elapsed());
    }
    assert_eq!(relay.metric("picorelay_stalled_closes_total", ""), PLACES as f64);
    relay.client().await.fence().await;
}

/// Slow is not silent: whoever takes a little now and then gets everything, also while it gives no sign of life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_little_stays() {
    let relay = Relay::with("[server]\nsend_seconds = 2\n[limits]\nping_seconds = 1");
    let request = large_answer(&relay).await;
    let mut client = Raw::open_narrow(relay.port, "/").await;
    client.text(&request).await;
    let began = Instant::now();
    let mut events = 0;
    loop {
        let (opcode, payload) = client.frame().await.expect("closed");
        match opcode {
            1 if payload.starts_with(b"[\"EVENT\"") => events += 1,
            1 => break assert!(payload.starts_with(b"[\"EOSE\""), "{payload:?}"),
            // It answers no ping.
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(events, 50);
    assert!(began.elapsed() > Duration::from_secs(4), "the test was too fast to show it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_take_nothing_are_let_go() {
    let relay = Relay::with("[server]\nsend_seconds = 3\n[pico]\npeers_max = 6");
    let url = format!("{}/pico/slow", relay.url);
    let mut writer = Node::connect(&url, Format::V8, 1).await;
    let body = "x".repeat(1 << 20);
    for _ in 0..5 {
        writer.write(&body).await;
    }
    relay.until_blocks(5).await;
    let mut silent = Vec::new();
    for n in 0..5 {
        let mut peer = Raw::open_narrow(relay.port, "/pico/slow").await;
        // NODE_ID, and a QUERY for all there is.
        peer.send_frame(2, &[&[0, 0, 0, 1, 1, 3][..], &[100 + n; 8]].concat()).await;
        peer.send_frame(2, &[0, 0, 0, 2, 1, 1, 0xa0]).await;
        silent.push(peer);
    }
    relay.until_metric("picorelay_pico_peers", "", 6.0).await;
    assert_eq!(Node::turned_away(&url, [127, 0, 0, 1]).await, Some(("the room is full".to_owned(), 1013)));
    for peer in &mut silent {
        assert!(peer.is_let_go(Duration::from_secs(20)).await, "a peer that takes nothing is still there");
    }
    let mut other = Node::connect(&url, Format::V8, 9).await;
    other.until("all blocks", |node| node.ids().len() == 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_wait_for_nobody() {
    let relay = Relay::with("[server]\nsend_seconds = 1");
    let mut stream = asks_and_reads_nothing(relay.port, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 2_000).await;
    assert!(is_let_go(&mut stream).await, "it may wait for ever");
    assert_eq!(relay.http("GET /health", &[]).status, 200);
}

/// A stop takes `drain_seconds` for all who do not read, not for each, and nobody can make it longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_nobody_longer_than_it_is_told() {
    let mut relay = Relay::with("[server]\nsend_seconds = 60\ndrain_seconds = 2");
    let request = large_answer(&relay).await;
    let mut silent = Vec::new();
    for _ in 0..150 {
        let mut client = Raw::open_narrow(relay.port, "/").await;
        client.text(&request).await;
        silent.push(client);
    }
    // Others of each kind: a peer, a page, one that has not said what it wants.
    let peer = Raw::open_narrow(relay.port, "/pico/slow").await;
    let page = asks_and_reads_nothing(relay.port, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 2_000).await;
    let mute = TcpStream::connect(("127.0.0.1", relay.port)).await.unwrap();
    let began = Instant::now();
    relay.stop();
    let took = began.elapsed();
    assert!((Duration::from_millis(1_400)..Duration::from_secs(4)).contains(&took), "{took:?}");
    assert!(!relay.log().contains("not finished in time"), "{}", relay.log());
    drop((silent, peer, page, mute));
}
