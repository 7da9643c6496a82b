//! Bridged relays in a ring, with a relay between them that knows nothing of pico: everything arrives, and nothing goes
//! round. Here the test carries the events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use picofeed::Format;
use serde_json::json;

use crate::bridge::{named, room};
use crate::harness::pico::Node;
use crate::harness::{Event, PATIENCE, Relay};

/// Carries everything about rooms that one relay has and the other has not, and says how much was new there.
async fn carry(from: &Relay, to: &Relay) -> usize {
    let filter = json!({"kinds": [7420, 37420], "limit": 5000});
    let (mut from, mut to) = (from.client().await, to.client().await);
    let known: BTreeSet<String> = to.ids(filter.clone()).await.into_iter().collect();
    let mut new = 0;
    for event in from.query(filter).await {
        if !known.contains(event.id()) {
            let (accepted, text) = to.offer(&event).await;
            // A head that is older than the one there is no news.
            assert!(accepted || text.starts_with("duplicate:"), "{text}");
            new += usize::from(text.is_empty());
        }
    }
    new
}

/// Carries both ways between the plain relay and the others until there is nothing new for a while.
async fn settle(plain: &Relay, relays: &[Relay]) {
    let began = Instant::now();
    let mut quiet = 0;
    while quiet < 3 {
        let mut new = 0;
        for relay in relays {
            new += carry(relay, plain).await + carry(plain, relay).await;
        }
        quiet = if new == 0 { quiet + 1 } else { 0 };
        assert!(began.elapsed() < PATIENCE, "it never ends");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

async fn blocks_in(relay: &Relay) -> Vec<Event> {
    relay.client().await.query(json!({"kinds": [7420], "limit": 5000})).await
}

fn limits() -> &'static str {
    "[limits]\nmessages_per_minute = 0\nqueries_per_minute = 0"
}

#[tokio::test]
async fn three_relays_and_a_plain_one_between_them() {
    let plain = Relay::with(&format!("[pico]\nenabled = false\n{}", limits()));
    let relays = [limits(); 3].map(Relay::with);
    let mut nodes = Vec::new();
    for (seed, relay) in (1..).zip(&relays) {
        for (offset, format) in [(0, Format::V8), (10, Format::V3)] {
            nodes.push(Node::connect(&room(relay, "ring"), format, seed + offset).await);
        }
    }
    for round in 0..4 {
        for node in &mut nodes {
            node.write(&format!("round {round}")).await;
        }
    }
    for relay in &relays {
        relay.until_blocks(8).await;
    }
    settle(&plain, &relays).await;
    for node in &mut nodes {
        node.until("everything", |node| node.ids().len() == 12).await;
    }
    for relay in &relays {
        let events = blocks_in(relay).await;
        assert_eq!(events.len(), 24, "each block is in one event, that of the relay it was written at");
        for (offset, format) in [(0, Format::V8), (1, Format::V3)] {
            let fresh = Node::connect(&room(relay, "ring"), format, 77).await;
            assert_eq!(fresh.bytes(), nodes[offset].bytes());
        }
    }
}

/// The same relays follow each other's room, too, so that each block comes on two ways.
#[tokio::test]
async fn nostr_and_pico_between_the_same_relays() {
    let plain = Relay::with(&format!("[pico]\nenabled = false\n{}", limits()));
    let peer = |port: u16| {
        format!(
            "[[pico.room]]\nname = 'ring'\nbridge = 'copies'\npeer = [{{ url = 'ws://127.0.0.1:{port}/pico/ring' }}]\n{}",
            limits()
        )
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = Relay::with(&peer(port));
    let second = Relay::with(&peer(first.port));
    let third = Relay::with_port(&peer(second.port), port);
    let relays = [first, second, third];
    let mut nodes = Vec::new();
    for (seed, relay) in (1..).zip(&relays) {
        nodes.push(Node::connect(&room(relay, "ring"), Format::V8, seed).await);
    }
    for round in 0..4 {
        for node in &mut nodes {
            node.write(&format!("round {round}")).await;
        }
        // Some come by nostr before they come from the peer, some after.
        carry(&relays[0], &plain).await;
        carry(&plain, &relays[1]).await;
    }
    for node in &mut nodes {
        node.until("everything", |node| node.ids().len() == 12).await;
    }
    settle(&plain, &relays).await;
    let all = blocks_in(&plain).await;
    let mut by_block: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in &all {
        let signer = event["pubkey"].as_str().unwrap().to_owned();
        assert!(by_block.entry(named(event, "block").unwrap()).or_default().insert(signer), "twice by one relay");
    }
    assert_eq!(by_block.len(), 12);
    assert!(all.len() <= 36, "each relay publishes a block once at most: {}", all.len());
    for relay in &relays {
        // Each relay has its own copies, one for each block, however the block came.
        let copies = relay.client().await.query(json!({"kinds": [1]})).await;
        let copied: BTreeSet<String> = copies.iter().map(|copy| named(copy, "block").unwrap()).collect();
        assert_eq!((copies.len(), copied.len()), (12, 12));
        assert_eq!(blocks_in(relay).await.len(), all.len());
    }
    // And then there is silence.
    let seen = |relays: &[Relay]| -> f64 {
        relays
            .iter()
            .map(|relay| relay.metric("picorelay_events_total", "") + relay.metric("picorelay_bridge_events_total", ""))
            .sum()
    };
    let before = seen(&relays);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(seen(&relays), before);
}
