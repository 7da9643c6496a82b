//! Pico nodes of both generations in rooms: bootstrap, gossip, reconnect, restart.

use std::collections::BTreeMap;
use std::time::Duration;

use picofeed::{Feed, Format, Secret};

use crate::harness::Relay;
use crate::harness::pico::{Node, live};

const SHORT: Duration = Duration::from_millis(300);

fn room(relay: &Relay, name: &str) -> String {
    format!("{}/pico/{name}", relay.url)
}

#[tokio::test]
async fn a_fresh_node_gets_what_the_others_gave() {
    let relay = Relay::start();
    for format in [Format::V8, Format::V3] {
        let url = room(&relay, format.name());
        let mut writers = Vec::new();
        for seed in 1..=5 {
            let mut node = Node::silent(&url, format, [seed; 32]).await;
            for n in 0..seed {
                node.append(&format!("block {n} of {seed}"));
            }
            node.introduce([seed; 8]).await;
            node.until("synced", |node| node.is_synced && node.is_read).await;
            writers.push(node);
        }
        // The first one hears of all others, live.
        writers[0].until("five feeds", |node| node.ids().len() == 15).await;
        let fresh = Node::connect(&url, format, 9).await;
        assert_eq!(fresh.heights().iter().sum::<usize>(), 15);
        assert_eq!(fresh.bytes(), writers[0].bytes(), "byte for byte");
        assert_eq!(fresh.answers, 5, "one feed a message");
        assert_eq!(fresh.relay_id, writers[0].relay_id, "one node id for a room");
        assert_eq!(fresh.live, [], "nothing twice");
    }
    assert_eq!(relay.metric("picorelay_pico_blocks_total", "outcome=\"new\""), 30.0);
}

#[tokio::test]
async fn new_blocks_reach_everybody_once_and_never_come_back() {
    let relay = Relay::start();
    let url = room(&relay, "gossip");
    let mut nodes = Vec::new();
    for seed in 1..=4 {
        nodes.push(Node::connect(&url, Format::V8, seed).await);
    }
    let mut blocks = Vec::new();
    for n in 0..10 {
        let writer = n % nodes.len();
        blocks.push(nodes[writer].write(&format!("{n}")).await);
    }
    for node in &mut nodes {
        for block in &blocks {
            node.until_has(block).await;
        }
        node.listen(SHORT).await;
        let own = node.secret.key();
        let theirs = blocks.iter().filter(|block| block.author() != own).count();
        assert_eq!(node.live.len(), theirs, "each once, own ones never");
    }
    let first = nodes[0].bytes();
    assert!(nodes.iter().all(|node| node.bytes() == first));
    // JavaScript nodes send everything back, twice.
    for block in &blocks {
        let echo = live(&Feed::from_blocks([block.clone()]).unwrap().encode());
        nodes[1].send(echo.clone()).await;
        nodes[1].send(echo).await;
    }
    for node in &mut nodes {
        let before = node.live.len();
        node.listen(SHORT).await;
        assert_eq!(node.live.len(), before);
    }
}

#[tokio::test]
async fn blocks_may_come_in_any_order() {
    let relay = Relay::start();
    let url = room(&relay, "order");
    let mut reader = Node::connect(&url, Format::V8, 1).await;
    let mut writer = Node::connect(&url, Format::V8, 2).await;
    let blocks: Vec<_> = (0..20).map(|n| writer.append(&format!("{n}"))).collect();
    let mut order: Vec<usize> = (0..20).collect();
    order.reverse();
    order.swap(3, 11);
    for at in order {
        let feed = Feed::from_blocks([blocks[at].clone()]).unwrap();
        writer.send(live(&feed.encode())).await;
    }
    reader.until_has(&blocks[19]).await;
    reader.listen(SHORT).await;
    assert_eq!(reader.live.len(), 20);
    assert_eq!(Node::connect(&url, Format::V8, 3).await.bytes(), writer.bytes());
}

#[tokio::test]
async fn both_generations_live_in_one_room() {
    let relay = Relay::start();
    let url = room(&relay, "both");
    let mut new = Node::connect(&url, Format::V8, 1).await;
    let mut old = Node::connect(&url, Format::V3, 2).await;
    let mut quiet = Node::silent(&url, Format::V8, [3; 32]).await;
    let a = new.write("of generation 2").await;
    let b = old.write("of generation 1").await;
    let (mut new2, mut old2) = (Node::connect(&url, Format::V8, 4).await, Node::connect(&url, Format::V3, 5).await);
    new2.until_has(&a).await;
    old2.until_has(&b).await;
    for node in [&mut new, &mut old, &mut new2, &mut old2] {
        node.listen(SHORT).await;
        assert_eq!(node.ids().len(), 1, "feeds of the other generation would hurt it");
    }
    // One that has said nothing hears nothing but our NODE_ID.
    assert_eq!(quiet.next_frame().await.unwrap()[5], 3);
    quiet.listen(SHORT).await;
    assert_eq!(quiet.live, []);
}

#[tokio::test]
async fn rooms_do_not_mix() {
    let relay = Relay::start();
    let mut main = Node::connect(&format!("{}/pico", relay.url), Format::V8, 1).await;
    let named = Node::connect(&room(&relay, "main"), Format::V8, 2).await;
    let mut other = Node::connect(&room(&relay, "other"), Format::V8, 3).await;
    assert_eq!(main.relay_id, named.relay_id, "/pico is /pico/main");
    assert_ne!(main.relay_id, other.relay_id);
    main.write("here").await;
    other.listen(SHORT).await;
    assert_eq!(other.live, []);
}

#[tokio::test]
async fn a_node_vanishes_and_comes_back_and_so_does_the_relay() {
    let mut relay = Relay::start();
    let url = room(&relay, "back");
    let mut stays = Node::connect(&url, Format::V8, 1).await;
    let mut goes = Node::connect(&url, Format::V8, 2).await;
    let first = goes.write("first").await;
    stays.until_has(&first).await;
    // It vanishes without a word; the same node id comes again before anybody noticed.
    let feeds = goes.feeds.clone();
    let mut dead = goes;
    let missed = stays.write("missed").await;
    let mut back = Node::with_feeds(&url, Format::V8, 2, feeds).await;
    back.until_has(&missed).await;
    assert!(dead.until_closed().await.is_some_and(|close| close.reason.contains("again")), "the old socket goes");
    let second = back.write("second").await;
    stays.until_has(&second).await;

    let before = stays.bytes();
    let (stays_feeds, mut back_feeds) = (stays.feeds.clone(), back.feeds.clone());
    relay.restart();
    let url = room(&relay, "back");
    assert_eq!(Node::connect(&url, Format::V8, 9).await.bytes(), before, "it is all still there");
    // What was written while the relay was away comes with the writer.
    let mut away = Feed::new(Format::V8);
    away.merge(&back_feeds[&back.secret.key()]).count().unwrap();
    away.append(b"while it was away", &back.secret).unwrap();
    back_feeds.insert(back.secret.key(), away);
    let mut stays = Node::with_feeds(&url, Format::V8, 1, stays_feeds).await;
    let back = Node::with_feeds(&url, Format::V8, 2, back_feeds).await;
    stays.until("all", |node| node.bytes() == back.bytes()).await;
}

/// A chain that is longer than a message comes in parts.
#[tokio::test]
async fn long_chains_come_in_parts() {
    let relay = Relay::with("[pico]\nfeed_bytes_max = 10000");
    let mut blocks = 0;
    for format in [Format::V8, Format::V3] {
        let url = room(&relay, format.name());
        let mut writer = Node::silent(&url, format, [1; 32]).await;
        for n in 0..300 {
            writer.append(&format!("{n} {}", "x".repeat(n)));
        }
        writer.introduce([1; 8]).await;
        writer.until("read", |node| node.is_synced && node.is_read).await;
        blocks += 300;
        relay.until_blocks(blocks).await;
        let mut reader = Node::connect(&url, format, 2).await;
        reader.until("all", |node| node.ids().len() == 300).await;
        assert_eq!(reader.bytes(), writer.bytes());
        assert!(reader.answers > 8, "{}", reader.answers);
    }
}

/// A room is read out as it is asked for, while others write.
#[tokio::test]
async fn nothing_falls_between_stored_and_live() {
    let relay = Relay::start();
    let url = room(&relay, "between");
    let mut feeds = BTreeMap::new();
    for seed in 0..100 {
        let secret = Secret::ed25519([seed; 32]);
        let mut feed = Feed::new(Format::V3);
        for n in 0..5 {
            feed.append(format!("{n}").as_bytes(), &secret).unwrap();
        }
        feeds.insert(secret.key(), feed);
    }
    let mut writer = Node::with_feeds(&url, Format::V3, 200, feeds).await;
    relay.until_blocks(500).await;
    let readers: Vec<_> = (201..211)
        .map(|seed| {
            let url = url.clone();
            tokio::spawn(async move {
                let mut node = Node::connect(&url, Format::V3, seed).await;
                node.until("the last block", |node| node.ids().len() == 600).await;
                node
            })
        })
        .collect();
    for n in 0..100 {
        writer.write(&format!("{n}")).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap().bytes(), writer.bytes());
    }
}
