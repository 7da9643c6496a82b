//! `kill -9` while the bridge works: after a restart nothing is missing and nothing is doubled.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use picofeed::{Feed, Format};
use serde_json::json;

use crate::bridge::{named, relay_key, room};
use crate::harness::pico::Node;
use crate::harness::{Client, Event, Key, PATIENCE, Relay};

const WRITERS: u8 = 3;

const CONFIG: &str = r##"
[[pico.room]]
name = "r"
bridge = "copies"
nostr = [{ kinds = [1], "#t" = ["r"] }]
[bridge]
notes_per_minute = 100000
batch_max = 7
[limits]
messages_per_minute = 0
queries_per_minute = 0
limit_default = 5000
"##;

/// Writes blocks until the relay dies. Blocks that it did not take are written down, too: the next round brings them.
async fn write_until_dead(url: String, seed: u8, feeds: BTreeMap<picofeed::Key, Feed>, round: u64) -> Node {
    let mut node = Node::silent(&url, Format::V8, [seed; 32]).await;
    node.feeds = feeds;
    // All that it has, as a node does that comes back.
    for feed in node.feeds.values().map(Feed::encode).collect::<Vec<_>>() {
        node.try_send(crate::harness::pico::live(&feed)).await;
    }
    for n in 0.. {
        let block = node.append(&format!("block {round} {n} of {seed}"));
        let feed = Feed::from_blocks([block]).unwrap();
        if !node.try_send(crate::harness::pico::live(&feed.encode())).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    node
}

/// Publishes notes that go into the room, until the relay dies. Gives those that were acknowledged.
async fn publish_until_dead(mut client: Client, round: u64) -> Vec<Event> {
    let key = Key::new();
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let note = key.event(json!({"content": format!("note {round} {n}"), "tags": [["t", "r"]]}));
        if !client.try_send(format!(r#"["EVENT",{note}]"#)).await {
            break;
        }
        let Ok(answer) = client.recv_or_close().await else { break };
        assert_eq!(answer[2], true, "{answer}");
        acknowledged.push(note);
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_and_nothing_is_doubled() {
    survive(8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; run it with --ignored"]
async fn nothing_is_missing_and_nothing_is_doubled_many_times() {
    for _ in 0..10 {
        survive(20).await;
    }
}

async fn survive(rounds: u64) {
    let mut relay = Relay::with(CONFIG);
    let own = relay_key(&relay);
    let mut feeds: Vec<BTreeMap<picofeed::Key, Feed>> = vec![BTreeMap::new(); usize::from(WRITERS)];
    let mut acknowledged = Vec::new();
    let mut pending = 0;
    for round in 0..rounds {
        let url = room(&relay, "r");
        let mut writers = Vec::new();
        for (seed, feeds) in (1..=WRITERS).zip(feeds.drain(..)) {
            writers.push(tokio::spawn(write_until_dead(url.clone(), seed, feeds, round)));
        }
        let publisher = tokio::spawn(publish_until_dead(relay.client().await, round));
        // Each round dies a little later: while it begins, in the middle of a batch, between two.
        tokio::time::sleep(Duration::from_millis(60 + round * 37)).await;
        relay.kill9();
        for writer in writers {
            feeds.push(writer.await.unwrap().feeds);
        }
        acknowledged.extend(publisher.await.unwrap());
        pending += waiting(&relay);
        relay.restart();
    }
    assert!(pending > 0, "the relay never died with work to do: the test proves nothing");

    // Only when nothing waits any more is a look at the room a look at all of it: notes become blocks after the restart.
    let began = Instant::now();
    while waiting(&relay) > 0 {
        assert!(began.elapsed() < PATIENCE, "{} still wait", waiting(&relay));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut client = relay.client().await;
    let node = Node::connect(&room(&relay, "r"), Format::V8, 99).await;
    let wrapped = client.query(json!({"kinds": [7420], "authors": [own]})).await;
    assert_eq!(wrapped.len(), node.ids().len());
    let mut events: HashMap<String, usize> = HashMap::new();
    for event in &wrapped {
        *events.entry(named(event, "block").unwrap()).or_default() += 1;
    }
    let own_feed =
        node.feeds.values().find(|feed| !feeds.iter().any(|written| written.contains_key(&feed[0].author())));
    let mut texts = 0;
    for feed in node.feeds.values() {
        for block in feed.blocks() {
            assert_eq!(events.remove(&block.id().to_string()), Some(1), "each block has one event");
            texts += usize::from(block.body().starts_with(b"block "));
        }
        let heads = client.query(json!({"kinds": [37420], "#d": [feed[0].id().to_string()]})).await;
        assert_eq!(heads.len(), 1);
        let head = named(&heads[0], "block").unwrap();
        let at = feed.blocks().iter().position(|block| block.id().to_string() == head);
        assert_eq!(at, Some(feed.len() - 1), "the head is the last block: {}", heads[0]);
    }
    assert!(events.is_empty(), "events of blocks that are not there");
    assert!(texts > 100, "only {texts} blocks: the test proves little");

    let copies = client.query(json!({"kinds": [1], "#i": ["pico:room:r"]})).await;
    let mut copied: Vec<String> = copies.iter().map(|copy| named(copy, "block").unwrap()).collect();
    assert_eq!(copied.len(), texts);
    copied.sort_unstable();
    copied.dedup();
    assert_eq!(copied.len(), texts, "each block has one copy");

    let mut carried: Vec<String> = own_feed.unwrap().blocks().iter().map(crate::bridge::event_id).collect();
    let all = carried.len();
    carried.sort_unstable();
    carried.dedup();
    assert_eq!(carried.len(), all, "a note was carried twice");
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    for note in &acknowledged {
        assert!(
            carried.binary_search(&note.id().to_owned()).is_ok(),
            "{note} was acknowledged, and is not in the room"
        );
    }
    relay.stop();
}

/// What the relay still has to carry, as its database says.
fn waiting(relay: &Relay) -> i64 {
    let database = rusqlite::Connection::open(relay.data().join("picorelay.db")).unwrap();
    let sql = "SELECT (SELECT count(*) FROM bridge_out) + (SELECT count(*) FROM bridge_in)";
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}
