//! Pico rooms and nostr events: blocks as events, events as blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use pico_bridge::{Context, Frame, Mode, kind, no_copies, wrap};
use picofeed::{Block, Feed, Format, Id, Secret};
use serde_json::{Value, json};

use crate::harness::pico::Node;
use crate::harness::{Client, Event, Key, PATIENCE, Relay, Scripted, now};
use crate::js;

const SHORT: Duration = Duration::from_millis(300);

/// A room whose blocks people can read, and into which nostr notes about chess go, and replies.
const READABLE: &str = r##"
[[pico.room]]
name = "notes"
bridge = "copies"
nostr = [{ kinds = [1], "#t" = ["chess"] }]
replies = true
"##;

pub(crate) fn room(relay: &Relay, name: &str) -> String {
    format!("{}/pico/{name}", relay.url)
}

/// The relay's key, as it says itself.
pub(crate) fn relay_key(relay: &Relay) -> String {
    let document = relay.http("GET /", &[("Accept", "application/nostr+json")]).json();
    document["self"].as_str().unwrap().to_owned()
}

/// Asks until there are so many events, and gives them.
pub(crate) async fn until_events(client: &mut Client, filter: Value, count: usize) -> Vec<Event> {
    let began = Instant::now();
    loop {
        let events = client.query(filter.clone()).await;
        if events.len() >= count {
            assert_eq!(events.len(), count, "{filter}");
            return events;
        }
        assert!(began.elapsed() < PATIENCE, "{} events, not {count}, for {filter}", events.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The value of the `i` tag about something.
pub(crate) fn named(event: &Event, what: &str) -> Option<String> {
    let prefix = format!("pico:{what}:");
    let tags = event["tags"].as_array().unwrap().iter();
    tags.filter(|tag| tag[0] == "i").find_map(|tag| Some(tag[1].as_str()?.strip_prefix(&prefix)?.to_owned()))
}

/// A block as anybody's event.
pub(crate) fn wrapped(key: &Key, room: &str, block: &Block, chain: Id) -> Event {
    let room = room.parse().unwrap();
    let context =
        Context { room: &room, chain, height: 2, accepted: now(), mode: Mode::Wrap, silo: None, copy_of: &no_copies };
    let draft = &wrap(block, &context)[0];
    key.event(json!({"kind": draft.kind, "tags": draft.tags, "content": draft.content}))
}

fn blocks(node: &Node) -> Vec<Block> {
    node.feeds.values().flat_map(Feed::blocks).cloned().collect()
}

#[tokio::test]
async fn every_block_becomes_an_event_and_the_head_follows() {
    let relay = Relay::start();
    let own = relay_key(&relay);
    let mut client = relay.client().await;
    client.subscribe("live", json!({"kinds": [kind::BLOCK]})).await;
    let mut expected = BTreeMap::new();
    for (seed, format) in [(1, Format::V8), (2, Format::V3)] {
        let mut node = Node::connect(&room(&relay, "chess"), format, seed).await;
        let mut chain = None;
        for n in 0..3 {
            let block = node.write(&format!("move {n}")).await;
            let chain = *chain.get_or_insert(block.id());
            let event = client.event_of("live").await;
            assert_eq!(event["pubkey"], own);
            assert_eq!(BASE64.decode(event["content"].as_str().unwrap().as_bytes()).unwrap(), *block.bytes());
            assert_eq!(named(&event, "block"), Some(block.id().to_string()));
            assert_eq!(named(&event, "chain"), Some(chain.to_string()));
            assert_eq!(named(&event, "parent"), block.parent().map(|id| id.to_string()));
            assert_eq!(named(&event, "room").unwrap(), "chess");
            expected.insert(chain.to_string(), (block.id().to_string(), n + 1));
        }
    }
    for (chain, (block, height)) in expected {
        let began = Instant::now();
        loop {
            let heads = client.query(json!({"kinds": [kind::HEAD], "#d": [chain]})).await;
            assert!(heads.len() <= 1);
            if heads.iter().any(|head| named(head, "block").as_ref() == Some(&block)) {
                let tags = heads[0]["tags"].as_array().unwrap();
                assert!(tags.contains(&json!(["height", height.to_string()])), "{tags:?}");
                break;
            }
            assert!(began.elapsed() < PATIENCE, "the head stays behind: {heads:?}");
        }
    }
    assert_eq!(client.query(json!({"kinds": [1]})).await, [], "no copies unless they are asked for");
}

#[tokio::test]
async fn what_is_off_stays_in_its_room() {
    let relay = Relay::with("[[pico.room]]\nname = 'secret'\nbridge = 'off'\n[bridge]\nundeclared = 'off'");
    for name in ["secret", "other"] {
        let mut node = Node::connect(&room(&relay, name), Format::V8, 1).await;
        let block = node.write("hush").await;
        relay.until_metric("picorelay_pico_blocks_total", "outcome=\"new\"", 1.0).await;
        let mut client = relay.client().await;
        client.refused(&wrapped(&Key::new(), name, &block, block.id()), "blocked:").await;
        tokio::time::sleep(SHORT).await;
        assert_eq!(client.query(json!({})).await, []);
    }
}

/// The events of one relay, given to another by hand, in any order, make the same room there, and no more events.
#[tokio::test]
async fn events_fill_the_room_of_another_relay() {
    let (one, two) = (Relay::start(), Relay::start());
    let mut writers = Vec::new();
    for (seed, format) in [(1, Format::V8), (2, Format::V3)] {
        let mut node = Node::connect(&room(&one, "r"), format, seed).await;
        for n in 0..10 {
            node.write(&format!("{n}")).await;
        }
        writers.push(node);
    }
    let mut from = one.client().await;
    let events = until_events(&mut from, json!({"kinds": [kind::BLOCK]}), 20).await;

    let mut listener = Node::connect(&room(&two, "r"), Format::V8, 9).await;
    let mut to = two.client().await;
    to.publish(&events.iter().collect::<Vec<_>>()).await; // newest first: children before their parents
    listener.until("the feed", |node| node.bytes() == writers[0].bytes()).await;
    assert_eq!(listener.live.len(), 10, "gossip, each block once");
    let mut old = Node::connect(&room(&two, "r"), Format::V3, 8).await;
    old.until("the other feed", |node| node.bytes() == writers[1].bytes()).await;

    // What came in events is not put into events again, not even after a restart.
    let mut two = two;
    two.restart();
    let mut to = two.client().await;
    tokio::time::sleep(SHORT).await;
    assert_eq!(to.query(json!({"authors": [relay_key(&two)], "kinds": [kind::BLOCK]})).await, []);
    for event in &events {
        assert!(to.offer(event).await.1.starts_with("duplicate:"));
    }
    // A block that is there already, in an event of another: kept, and nobody is told.
    let again = blocks(&writers[0])[0].clone();
    to.publish(&[&wrapped(&Key::new(), "r", &again, again.id())]).await;
    let mut listener = Node::connect(&room(&two, "r"), Format::V8, 7).await;
    listener.listen(SHORT).await;
    assert_eq!(listener.live, []);
}

/// Blocks wait for their parents, across a restart too: they are found again in their events.
#[tokio::test]
async fn blocks_whose_parent_is_unknown_wait() {
    let mut relay = Relay::start();
    let mut author = Node::silent(&room(&relay, "r"), Format::V8, [1; 32]).await;
    let blocks: Vec<Block> = (0..5).map(|n| author.append(&format!("{n}"))).collect();
    let key = Key::new();
    let mut client = relay.client().await;
    for block in &blocks[1..] {
        client.publish(&[&wrapped(&key, "r", block, blocks[0].id())]).await;
    }
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"orphan\"", 4.0).await;
    relay.restart();
    let mut client = relay.client().await;
    client.publish(&[&wrapped(&key, "r", &blocks[0], blocks[0].id())]).await;
    relay.until_blocks(5).await;
    assert_eq!(Node::connect(&room(&relay, "r"), Format::V8, 2).await.bytes(), author.bytes());
}

#[tokio::test]
async fn false_events_are_refused() {
    let relay = Relay::start();
    let key = Key::new();
    let mut client = relay.client().await;
    let vectors: Value = serde_json::from_str(include_str!("../../bridge/vectors/reject.json")).unwrap();
    let mut count = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let event = &case["event"];
        if !matches!(event["kind"].as_u64(), Some(7420 | 37420 | 27420)) {
            continue;
        }
        let event = json!({"kind": event["kind"], "tags": event["tags"], "content": event["content"]});
        client.refused(&key.event(event), "invalid:").await;
        count += 1;
    }
    assert!(count > 40, "{count}");

    let mut node = Node::connect(&room(&relay, "r"), Format::V8, 1).await;
    let blocks = [node.write("0").await, node.write("1").await];
    let child = node.append("2");
    relay.until_blocks(2).await;
    let lie = wrapped(&key, "r", &child, blocks[1].id());
    assert!(client.refused(&lie, "invalid:").await.contains("chain"), "the parent is known, and in another chain");
    client.refused(&wrapped(&key, "nostr", &child, blocks[0].id()), "blocked:").await;
    let mut bad = child.bytes().to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let mut forged = wrapped(&key, "r", &child, blocks[0].id()).0;
    forged["content"] = BASE64.encode(&bad).into();
    client.refused(&key.event(forged), "invalid:").await;
    let stored = client.query(json!({"authors": [key.public()]})).await;
    assert_eq!(stored, [], "nothing false is stored");
    client.publish(&[&wrapped(&key, "r", &child, blocks[0].id())]).await;
    relay.until_blocks(3).await;
    // A fork is nobody's fault: its event is kept, its block is not.
    let fork = Block::sign(Format::V8, Some(&blocks[0].id()), b"fork", &node.secret).unwrap();
    client.publish(&[&wrapped(&key, "r", &fork, blocks[0].id())]).await;
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"fork\"", 1.0).await;
    assert_eq!(Node::connect(&room(&relay, "r"), Format::V8, 2).await.ids().len(), 3);
}

/// A false chain cannot be seen while the parent is unknown. When it comes, the block gets an event that says the truth.
#[tokio::test]
async fn a_false_chain_is_put_right() {
    let mut relay = Relay::start();
    let own = relay_key(&relay);
    let mut author = Node::silent(&room(&relay, "r"), Format::V8, [1; 32]).await;
    let blocks: Vec<Block> = (0..3).map(|n| author.append(&format!("{n}"))).collect();
    let elsewhere = Node::silent(&room(&relay, "r"), Format::V8, [2; 32]).await.append("elsewhere").id();
    let liar = Key::new();
    let mut client = relay.client().await;
    // One waits in memory, and one is found again in its event.
    client.publish(&[&wrapped(&liar, "r", &blocks[1], elsewhere)]).await;
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"orphan\"", 1.0).await;
    let genesis = BTreeMap::from([(author.secret.key(), Feed::from_blocks(blocks[..1].to_vec()).unwrap())]);
    Node::with_feeds(&room(&relay, "r"), Format::V8, 3, genesis).await;
    relay.until_blocks(2).await;
    let told = until_events(&mut client, json!({"kinds": [kind::BLOCK], "authors": [own]}), 2).await;
    let chains: BTreeSet<_> = told.iter().map(|event| named(event, "chain").unwrap()).collect();
    assert_eq!(chains, BTreeSet::from([blocks[0].id().to_string()]));
    client.refused(&wrapped(&liar, "r", &blocks[2], elsewhere), "invalid:").await;
    relay.restart();
    tokio::time::sleep(SHORT).await;
    until_events(&mut relay.client().await, json!({"kinds": [kind::BLOCK], "authors": [own]}), 2).await;
}

/// Blocks wait in their events for the one before. However many others follow that, and however they are dated, and whatever
/// is said of the chain of the right one: it is found.
#[tokio::test]
async fn the_authors_next_block_is_found_among_many() {
    let mut relay = Relay::with("[limits]\nmessages_per_minute = 0");
    let mut author = Node::silent(&room(&relay, "r"), Format::V8, [1; 32]).await;
    let [genesis, next] = ["genesis", "next"].map(|text| author.append(text));
    let stranger = Key::new();
    let dated = |block: &Block, chain, created_at: u64| {
        let mut draft = wrapped(&stranger, "r", block, chain).0;
        draft["created_at"] = created_at.into();
        stranger.event(draft)
    };
    let at = now() - 1_000;
    let mut events = vec![dated(&next, genesis.id(), at)];
    for n in 0..1_100u64 {
        let secret = picofeed::Secret::ed25519([2; 32]);
        let rival = Block::sign(Format::V8, Some(&genesis.id()), format!("rival {n}").as_bytes(), &secret).unwrap();
        events.push(dated(&rival, genesis.id(), if n % 50 == 0 { at - n } else { at + n }));
    }
    for n in 1..=20 {
        events.push(dated(&next, author.append(&format!("{n}")).id(), at - n));
    }
    let mut client = relay.client().await;
    for events in events.chunks(100) {
        for event in events {
            client.send(format!(r#"["EVENT",{event}]"#)).await;
        }
        for event in events {
            assert!(client.ok(event.id()).await.0);
        }
    }
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"orphan\"", 1_101.0).await;
    // Nothing waits in memory any more.
    relay.restart();
    relay.client().await.publish(&[&wrapped(&stranger, "r", &genesis, genesis.id())]).await;
    relay.until_blocks(2).await;
    let got = Node::connect(&room(&relay, "r"), Format::V8, 3).await;
    assert_eq!(got.ids(), std::collections::HashSet::from([genesis.id(), next.id()]));
}

/// The relay publishes a block itself when the event that it came in goes, or is not to stay.
#[tokio::test]
async fn events_that_go_are_replaced() {
    let mut relay = Relay::start();
    let own = json!({"kinds": [kind::BLOCK], "authors": [relay_key(&relay)]});
    let mut author = Node::silent(&room(&relay, "r"), Format::V8, [1; 32]).await;
    let blocks: Vec<Block> = (0..3).map(|n| author.append(&format!("{n}"))).collect();
    let stranger = Key::new();
    let events: Vec<Event> = blocks.iter().map(|block| wrapped(&stranger, "r", block, blocks[0].id())).collect();
    let mut client = relay.client().await;
    client.publish(&events.iter().collect::<Vec<_>>()).await;
    relay.until_blocks(3).await;
    tokio::time::sleep(SHORT).await;
    assert_eq!(client.query(own.clone()).await, [], "theirs are enough");

    client.publish(&[&stranger.event(json!({"kind": 5, "tags": [["e", events[1].id()]]}))]).await;
    let made = until_events(&mut client, own.clone(), 1).await;
    assert_eq!(named(&made[0], "block"), Some(blocks[1].id().to_string()));
    assert_eq!(named(&made[0], "chain"), Some(blocks[0].id().to_string()));
    // Another's event is enough for that one, and what is left is nobody's.
    client.publish(&[&wrapped(&Key::new(), "r", &blocks[2], blocks[0].id())]).await;
    client.publish(&[&stranger.event(json!({"kind": 62, "tags": [["relay", "ALL_RELAYS"]]}))]).await;
    let made = until_events(&mut client, own.clone(), 2).await;
    let of = |n: usize| made.iter().any(|event| named(event, "block") == Some(blocks[n].id().to_string()));
    assert!(of(0) && of(1) && !of(2));

    let brief = |block: &Block| {
        let draft = wrapped(&Key::new(), "r", block, block.id()).0;
        let mut tags = draft["tags"].clone();
        tags.as_array_mut().unwrap().push(json!(["expiration", (now() + 1_000).to_string()]));
        Key::new().event(json!({"kind": draft["kind"], "tags": tags, "content": draft["content"]}))
    };
    let other = Node::silent(&room(&relay, "r"), Format::V8, [2; 32]).await.append("brief");
    client.publish(&[&brief(&other)]).await;
    until_events(&mut client, own.clone(), 3).await;
    relay.restart();
    tokio::time::sleep(SHORT).await;
    until_events(&mut relay.client().await, own, 3).await;
}

/// A copy that was deleted stays so when the event that its block came in goes, too.
#[tokio::test]
async fn deleted_copies_stay_deleted() {
    let relay = Relay::with(READABLE);
    let mut author = Node::silent(&room(&relay, "notes"), Format::V8, [1; 32]).await;
    let note = author.append("oops");
    let deletion = author.append_bytes(&record("delete", json!({"target": note.id().to_string()})));
    let stranger = Key::new();
    let events = [&note, &deletion].map(|block| wrapped(&stranger, "notes", block, note.id()));
    let mut client = relay.client().await;
    client.publish(&[&events[0]]).await;
    until_events(&mut client, json!({"kinds": [1]}), 1).await;
    client.publish(&[&events[1]]).await;
    until_events(&mut client, json!({"kinds": [5]}), 1).await;
    client.publish(&[&stranger.event(json!({"kind": 5, "tags": [["e", events[0].id()]]}))]).await;
    until_events(&mut client, json!({"kinds": [kind::BLOCK], "authors": [relay_key(&relay)]}), 1).await;
    tokio::time::sleep(SHORT).await;
    assert_eq!(client.query(json!({"kinds": [1]})).await, []);
}

/// Chains that came in events get a head from the relay if nobody else publishes a true one.
#[tokio::test]
async fn chains_that_came_in_events_have_a_head() {
    let mut relay = Relay::with("[bridge]\nhead_seconds = 1");
    let own = relay_key(&relay);
    let mut client = relay.client().await;
    let head = |key: &Key, block: &Block, height: u64| {
        let room = "r".parse().unwrap();
        let chain = block.parent().unwrap_or(block.id());
        let (accepted, mode) = (now(), Mode::Wrap);
        let context = Context { room: &room, chain, height, accepted, mode, silo: None, copy_of: &no_copies };
        let draft = wrap(block, &context).into_iter().find(|draft| draft.kind == kind::HEAD).unwrap();
        key.event(json!({"kind": draft.kind, "tags": draft.tags, "content": ""}))
    };
    let stranger = Key::new();
    let mut chains = Vec::new();
    for seed in 1..=3 {
        let mut author = Node::silent(&room(&relay, "r"), Format::V8, [seed; 32]).await;
        let blocks = [author.append("0"), author.append("1")];
        let events = blocks.each_ref().map(|block| wrapped(&stranger, "r", block, blocks[0].id()));
        client.publish(&events.iter().collect::<Vec<_>>()).await;
        chains.push(blocks);
    }
    // Of the first there is none, of the second one that is behind, and of the third a true one.
    let heads = [head(&stranger, &chains[1][0], 1), head(&stranger, &chains[2][1], 2)];
    client.publish(&heads.iter().collect::<Vec<_>>()).await;
    let made = until_events(&mut client, json!({"kinds": [kind::HEAD], "authors": [own]}), 2).await;
    for (chain, blocks) in chains[..2].iter().enumerate() {
        let found = made.iter().find(|event| named(event, "block") == Some(blocks[1].id().to_string()));
        let tags = found.unwrap_or_else(|| panic!("{chain}: {made:?}"))["tags"].as_array().unwrap();
        assert!(tags.contains(&json!(["height", "2"])) && tags.contains(&json!(["d", blocks[0].id().to_string()])));
    }
    // One that goes is missed at the next look at all chains, which is when the relay starts.
    client.publish(&[&stranger.event(json!({"kind": 5, "tags": [["e", heads[1].id()]]}))]).await;
    relay.restart();
    let mut client = relay.client().await;
    until_events(&mut client, json!({"kinds": [kind::HEAD], "authors": [own]}), 3).await;
    // And it follows.
    let mut author = Node::silent(&room(&relay, "r"), Format::V8, [1; 32]).await;
    (0..2).for_each(|n| drop(author.append(&n.to_string())));
    let third = author.append("2");
    client.publish(&[&wrapped(&stranger, "r", &third, chains[0][0].id())]).await;
    let began = Instant::now();
    let filter = json!({"kinds": [kind::HEAD], "authors": [own], "#i": [format!("pico:block:{}", third.id())]});
    while client.query(filter.clone()).await.is_empty() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(SHORT).await;
    }
}

/// One head for all rooms, which does not go to and fro between them.
#[tokio::test]
async fn a_chain_in_two_rooms_has_one_head() {
    let mut relay = Relay::with("[bridge]\nheads_seconds = 1");
    let filter = json!({"kinds": [kind::HEAD]});
    let mut author = Node::silent(&room(&relay, "a"), Format::V8, [1; 32]).await;
    (0..2).for_each(|n| drop(author.append(&n.to_string())));
    let mut client = relay.client().await;
    for (name, blocks) in [("a", 2), ("b", 4)] {
        Node::with_feeds(&room(&relay, name), Format::V8, 1, author.feeds.clone()).await;
        // The head is of the room in which the chain was stored last.
        until_events(&mut client, json!({"kinds": [kind::BLOCK]}), blocks).await;
    }
    let began = Instant::now();
    let mut head = Vec::new();
    while head.first().and_then(|head| named(head, "room")).as_deref() != Some("b") {
        head = client.query(filter.clone()).await;
        assert!(began.elapsed() < PATIENCE, "{head:?}");
    }
    // All chains are looked at a few times.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(client.query(filter.clone()).await, head);
    relay.restart();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(relay.client().await.query(filter).await, head);
}

/// Who floods a room with blocks whose parents never come displaces their own, and the relay stays small.
#[tokio::test]
async fn a_flood_of_orphans_is_bounded() {
    let relay =
        Relay::with("[pico]\nmempool_blocks_max = 50\nmempool_peer_blocks_max = 20\n[limits]\nmessages_per_minute = 0");
    let url = room(&relay, "r");
    let mut honest = Node::silent(&url, Format::V8, [1; 32]).await;
    let (genesis, child) = (honest.append("0"), honest.append("1"));
    let mut client = relay.client().await;
    client.publish(&[&wrapped(&Key::new(), "r", &child, genesis.id())]).await;
    let flooder = Key::new();
    let mut hostile = Node::silent(&url, Format::V8, [2; 32]).await;
    for n in 0..300 {
        let block = hostile.append(&format!("{n}"));
        if n > 1 {
            client.publish(&[&wrapped(&flooder, "r", &block, hostile.feeds[&hostile.secret.key()][0].id())]).await;
        }
    }
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"dropped\"", 278.0).await;
    client.publish(&[&wrapped(&Key::new(), "r", &genesis, genesis.id())]).await;
    relay.until_blocks(2).await;
    assert_eq!(Node::connect(&url, Format::V8, 3).await.bytes(), honest.bytes());
}

#[tokio::test]
async fn frames_pass_and_are_not_kept() {
    let relay = Relay::with("[bridge]\nframe_bytes_max = 100");
    let (one, two) = (Key::new(), Key::new());
    let mut listener = relay.client().await;
    let mut to = [0; 32];
    to.copy_from_slice(&data_encoding::HEXLOWER.decode(two.public().as_bytes()).unwrap());
    listener.subscribe("frames", json!({"kinds": [kind::FRAME], "#p": [two.public()]})).await;
    let frame = |to, bytes: Vec<u8>| {
        let draft = Frame { room: "r".parse().unwrap(), to, bytes }.draft(now()).unwrap();
        one.event(json!({"kind": draft.kind, "tags": draft.tags, "content": draft.content}))
    };
    let good = frame(Some(to), vec![0, 0, 0, 1, 1, 3, 7, 7, 7, 7, 7, 7, 7, 7]);
    let mut client = relay.client().await;
    assert_eq!(client.offer(&good).await, (true, String::new()));
    assert_eq!(listener.event_of("frames").await, good);
    client.refused(&frame(Some(to), vec![0; 101]), "blocked:").await;
    let mut nobody = good.0.clone();
    nobody["tags"].as_array_mut().unwrap().retain(|tag| tag[0] != "p");
    client.refused(&one.event(nobody), "invalid:").await;
    assert_eq!(client.query(json!({"kinds": [kind::FRAME]})).await, []);
}

/// A note of a pico author, read, answered, and the answer in the room.
#[tokio::test]
async fn people_on_both_sides_read_each_other() {
    let mut relay = Relay::with(READABLE);
    let url = room(&relay, "notes");
    let mut node = Node::connect(&url, Format::V8, 1).await;
    let mut client = relay.client().await;
    client.subscribe("notes", json!({"kinds": [1], "#i": ["pico:room:notes"]})).await;
    let block = node.write("hello nostr").await;
    let note = client.event_of("notes").await;
    assert_eq!(note["content"], "hello nostr");
    assert_eq!(named(&note, "block"), Some(block.id().to_string()));
    assert_eq!(named(&note, "author"), Some(node.secret.key().to_string()));
    let proxy = json!(["proxy", format!("pico:block:{}", block.id()), "pico"]);
    assert!(note["tags"].as_array().unwrap().contains(&proxy));
    let page = relay.http("GET /pico/notes", &[]);
    assert_eq!(page.status, 200);
    let npub = npub(&note["pubkey"]);
    assert!(page.body.contains(&npub), "{npub} is not on the page:\n{}", page.body);
    assert_ne!(note["pubkey"], relay_key(&relay));

    let person = Key::new();
    let reply = person.event(json!({
        "content": "hello pico",
        "tags": [["e", note.id(), "", "root", note["pubkey"]], ["p", note["pubkey"]]],
    }));
    client.publish(&[&reply]).await;
    node.until("the reply", |node| node.live.len() == 1).await;
    assert_eq!(records(&node), [reply.id()]);

    // By the filter, too; each event once, and nothing that came from a room or is nobody's business.
    let chess = |extra: Value| {
        let mut tags = vec![json!(["t", "chess"])];
        tags.extend(extra.as_array().unwrap().iter().cloned());
        person.event(json!({"content": "e4", "tags": tags}))
    };
    let mut copy_of_other = note["tags"].clone();
    copy_of_other.as_array_mut().unwrap().push(json!(["t", "chess"]));
    let left_out = [
        person.event(json!({"content": "about go", "tags": [["t", "go"]]})),
        person.event(json!({"content": "a copy by another relay", "tags": copy_of_other})),
        chess(json!([["expiration", (now() + 1000).to_string()]])),
        person.event(json!({"content": "x".repeat(20_000), "tags": [["t", "chess"]]})),
    ];
    client.publish(&left_out.iter().collect::<Vec<_>>()).await;
    let chosen = [chess(json!([])), chess(json!([["e", note.id()]])), chess(json!([["x", "1"]]))];
    client.publish(&chosen.iter().collect::<Vec<_>>()).await;
    node.until("the notes", |node| node.live.len() == 4).await;
    node.listen(SHORT).await;
    let expected: Vec<&str> = [&reply].into_iter().chain(&chosen).map(Event::id).collect();
    assert_eq!(records(&node), expected);

    // Blocks that hold events are not copied back; all are wrapped.
    let copies = client.query(json!({"#i": ["pico:room:notes"], "kinds": [0, 1, 5, 30023]})).await;
    assert_eq!(copies.len(), 2, "the note, and the one that somebody else published: {copies:?}");
    until_events(&mut client, json!({"kinds": [kind::BLOCK]}), 5).await;
    // The feed goes on after a restart, and nothing is written twice.
    relay.restart();
    let mut client = relay.client().await;
    let last = chess(json!([["x", "2"]]));
    client.publish(&[&last]).await;
    until_events(&mut client, json!({"kinds": [kind::BLOCK]}), 6).await;
    let node = Node::connect(&room(&relay, "notes"), Format::V8, 2).await;
    assert_eq!(records(&node), expected.into_iter().chain([last.id()]).collect::<Vec<_>>());
}

/// Replies in a room are threads of their copies; deletions delete the copy.
#[tokio::test]
async fn threads_profiles_and_deletions_are_carried() {
    let relay = Relay::with(READABLE);
    let mut alice = Node::connect(&room(&relay, "notes"), Format::V8, 1).await;
    let mut bob = Node::connect(&room(&relay, "notes"), Format::V8, 2).await;
    let mut client = relay.client().await;
    let first = alice.write_bytes(&record("notes", json!({"text": "first"}))).await;
    bob.until_has(&first).await;
    let answer = bob.write_bytes(&record("notes", json!({"text": "second", "replyTo": first.id().to_string()}))).await;
    alice.until_has(&answer).await;
    alice.write_bytes(&record("notes", json!({"text": "third", "replyTo": answer.id().to_string()}))).await;
    alice.write_bytes(&record("profiles", json!({"name": "Alice <b>"}))).await;
    let notes = until_events(&mut client, json!({"kinds": [1]}), 3).await;
    let by = |text: &str| notes.iter().find(|note| note["content"] == text).unwrap();
    let marks = |event: &Event| -> Vec<(Value, Value)> {
        let tags = event["tags"].as_array().unwrap().iter().filter(|tag| tag[0] == "e");
        tags.map(|tag| (tag[1].clone(), tag[3].clone())).collect()
    };
    let root = json!(by("first").id());
    assert_eq!(marks(by("second")), [(root.clone(), json!("root"))]);
    assert_eq!(marks(by("third")), [(root, json!("root")), (json!(by("second").id()), json!("reply"))]);
    let profile = until_events(&mut client, json!({"kinds": [0]}), 1).await.remove(0);
    assert_eq!(profile["pubkey"], by("first")["pubkey"]);
    let page = relay.http("GET /pico/notes", &[]).body;
    assert!(page.contains("Alice &lt;b&gt;") && page.contains(&npub(&by("second")["pubkey"])));

    alice.write_bytes(&record("delete", json!({"target": first.id().to_string()}))).await;
    until_events(&mut client, json!({"kinds": [5]}), 1).await;
    assert_eq!(client.ids(json!({"ids": [by("first").id()]})).await, Vec::<String>::new());
    // Only of those who wrote it.
    let own = by("second").id();
    alice.write_bytes(&record("delete", json!({"target": answer.id().to_string()}))).await;
    until_events(&mut client, json!({"kinds": [kind::BLOCK]}), 6).await;
    assert_eq!(client.ids(json!({"ids": [own]})).await, [own]);
    // A newer profile wins, whatever the author's clock says.
    alice.write_bytes(&record_at("profiles", json!({"name": "Alice again"}), 1_600_000_000_000)).await;
    let began = Instant::now();
    loop {
        let profiles = client.query(json!({"kinds": [0]})).await;
        assert_eq!(profiles.len(), 1);
        if profiles[0]["content"].as_str().unwrap().contains("again") {
            break;
        }
        assert!(began.elapsed() < PATIENCE);
    }
}

/// Copies are found among any number of events that say they are copies of the same block.
#[tokio::test]
async fn false_copies_hide_no_copy() {
    let relay = Relay::with(&format!("{READABLE}\n[limits]\nmessages_per_minute = 0"));
    let mut alice = Node::connect(&room(&relay, "notes"), Format::V8, 1).await;
    let mut client = relay.client().await;
    let first = alice.write_bytes(&record("notes", json!({"text": "first"}))).await;
    let root = until_events(&mut client, json!({"kinds": [1]}), 1).await.remove(0);
    // Newer ones are found first, and the copy must not be behind the end of what is read.
    let stranger = Key::new();
    let tag = json!(["i", format!("pico:block:{}", first.id())]);
    let created_at = now() + 60;
    let flood: Vec<Event> = (0..5_100)
        .map(|n| stranger.event(json!({"content": n.to_string(), "created_at": created_at, "tags": [tag]})))
        .collect();
    for events in flood.chunks(100) {
        for event in events {
            client.send(format!(r#"["EVENT",{event}]"#)).await;
        }
        for event in events {
            assert!(client.ok(event.id()).await.0);
        }
    }
    let answer = record("notes", json!({"text": "second", "replyTo": first.id().to_string()}));
    let answer = alice.write_bytes(&answer).await;
    let copies = json!({"kinds": [1], "#i": [format!("pico:block:{}", answer.id())]});
    let copy = until_events(&mut client, copies, 1).await.remove(0);
    let marks: Vec<&Value> = copy["tags"].as_array().unwrap().iter().filter(|tag| tag[0] == "e").collect();
    assert!(marks.len() == 1 && marks[0][1] == root["id"], "{copy}");
}

/// A page becomes an article with a link to the silo, and the next one takes its place.
#[tokio::test]
async fn pages_become_articles() {
    let relay = Relay::with(&format!("{READABLE}\n[bridge]\nsilo = \"https://silo.example\""));
    let mut author = Node::connect(&room(&relay, "notes"), Format::V8, 1).await;
    let mut client = relay.client().await;
    for (revision, title) in [(1, "First"), (2, "Second")] {
        let text = format!("html0\nDate: 1690000000000\nRevision: {revision}\n\n<title>{title}</title><p>Hi &amp; bye");
        let block = author.write_bytes(text.as_bytes()).await;
        let key = block.author().to_string();
        until_events(&mut client, json!({"kinds": [30023], "#i": [format!("pico:block:{}", block.id())]}), 1).await;
        let article = client.query(json!({"kinds": [30023], "#d": [key]})).await.remove(0);
        assert_eq!(article["content"], format!("[{title}](https://silo.example/{key})\n\nHi \\& bye"));
        assert!(article["tags"].as_array().unwrap().contains(&json!(["title", title])), "{article:?}");
    }
    assert_eq!(client.query(json!({"kinds": [30023]})).await.len(), 1);
}

#[tokio::test]
async fn a_page_lists_many_authors_in_parts() {
    let relay = Relay::with("[[pico.room]]\nname = 'notes'\nbridge = 'copies'\n[bridge]\npage_authors_max = 2");
    for seed in 1..=5 {
        Node::connect(&room(&relay, "notes"), Format::V8, seed).await.write("hi").await;
        relay.until_blocks(usize::from(seed)).await;
    }
    let mut found = BTreeSet::new();
    let mut path = "GET /pico/notes".to_owned();
    for _ in 0..3 {
        let page = relay.http(&path, &[]).body;
        found.extend(page.split("nostr:").skip(1).map(|rest| rest[..63].to_owned()));
        match page.split_once("?after=") {
            Some((_, rest)) => path = format!("GET /pico/notes?after={}", &rest[..64]),
            None => break,
        }
    }
    assert_eq!(found.len(), 5);
    assert_eq!(relay.http("GET /pico/notes?after=x", &[]).status, 400);
}

#[tokio::test]
async fn events_into_a_room_are_bounded_in_a_minute() {
    let relay = Relay::with(&format!("{READABLE}\n[bridge]\nnotes_per_minute = 3\nnote_bytes_max = 1000"));
    let key = Key::new();
    let mut client = relay.client().await;
    for n in 0..6 {
        client.publish(&[&key.event(json!({"content": n.to_string(), "tags": [["t", "chess"]]}))]).await;
    }
    relay.until_metric("picorelay_bridge_notes_total", "outcome=\"too_many\"", 3.0).await;
    assert_eq!(relay.metric("picorelay_bridge_notes_total", "outcome=\"written\""), 3.0);
    assert_eq!(Node::connect(&room(&relay, "notes"), Format::V8, 1).await.heights(), [3]);
}

/// The script in `docs/nostr-pico.md` rebuilds a feed from any relay, also one that gives a few events at a time.
#[tokio::test]
async fn the_script_of_the_specification_rebuilds_a_feed() {
    if !js::has_node() {
        return;
    }
    let relay = Relay::with("[limits]\nlimit_default = 7");
    let mut author = Node::connect(&room(&relay, "r"), Format::V8, 1).await;
    let mut other = Node::connect(&room(&relay, "r"), Format::V8, 2).await;
    for n in 0..23 {
        author.write(&format!("block {n}")).await;
    }
    other.write("not of this chain").await;
    let mut client = relay.client().await;
    until_events(&mut client, json!({"kinds": [kind::BLOCK], "limit": 100}), 24).await;
    let feed = &author.feeds[&author.secret.key()];
    assert_eq!(run_script_of_the_specification(&relay.url, feed[0].id()), feed.encode());
}

/// What the script in `docs/nostr-pico.md` writes for a chain.
pub(crate) fn run_script_of_the_specification(relay: &str, chain: Id) -> Vec<u8> {
    let output = script_of_the_specification(relay, chain);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn script_of_the_specification(relay: &str, chain: Id) -> std::process::Output {
    let spec = include_str!("../../docs/nostr-pico.md");
    let script = spec.split("```js\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(script.lines().count() <= 20);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("feed.mjs"), script).unwrap();
    let modules = folder.path().join("node_modules");
    std::fs::create_dir(&modules).unwrap();
    for (installed, name) in [("js", "nostr-tools"), ("js/pico", "picofeed")] {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(installed);
        js::install(&installed);
        std::os::unix::fs::symlink(installed.join("node_modules").join(name), modules.join(name)).unwrap();
    }
    // Node 20 has a WebSocket, too, if asked.
    Command::new("node")
        .args(["--experimental-websocket", "feed.mjs", relay, &chain.to_string(), "5"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What a relay answers to each REQ of the script: these events and an EOSE, if it is one that answers.
async fn scripted(messages: Vec<Value>, ends: bool) -> Scripted {
    Scripted::start(move |mut it| {
        let messages = messages.clone();
        async move {
            while let Some((name, _)) = it.req().await {
                for message in &messages {
                    let said = match message {
                        Value::Object(_) | Value::Null => json!(["EVENT", name, message]),
                        Value::String(why) if why.starts_with("blocked:") => json!(["CLOSED", name, why]),
                        other => json!(["NOTICE", other]),
                    };
                    let _ = it.say(said).await;
                }
                if ends {
                    let _ = it.say(json!(["EOSE", name])).await;
                }
            }
        }
    })
    .await
}

/// The script believes no relay, and says what is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_of_the_specification_is_not_deceived() {
    if !js::has_node() {
        return;
    }
    let key = Key::new();
    let feed = |seed: u8| {
        let mut feed = Feed::new(Format::V8);
        (0..5).for_each(|n| drop(feed.append(format!("{n}").as_bytes(), &Secret::ed25519([seed; 32])).unwrap()));
        feed
    };
    let (feed, other) = (feed(1), feed(2));
    let chain = feed[0].id();
    let truth: Vec<Event> = feed.iter().map(|block| wrapped(&key, "r", block, chain)).collect();
    let changed = |n: usize, change: &dyn Fn(&mut Value)| {
        let mut event = truth[n].0.clone();
        change(&mut event);
        event
    };
    let signed = |event: Value| {
        let (kind, tags, content) = (&event["kind"], &event["tags"], &event["content"]);
        key.event(json!({"kind": kind, "tags": tags, "content": content})).0
    };
    let mut forged = feed[1].bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let lies = vec![
        changed(0, &|event| event["sig"] = "ab".repeat(64).into()),
        changed(1, &|event| event["created_at"] = 1.into()),
        signed(changed(1, &|event| event["content"] = BASE64.encode(&forged).into())),
        signed(changed(0, &|event| event["content"] = BASE64.encode(other[0].bytes()).into())),
        signed(changed(1, &|event| event["content"] = BASE64.encode(other[1].bytes()).into())),
        signed(changed(1, &|event| event["content"] = "AAAA".into())),
        signed(changed(1, &|event| event["content"] = 5.to_string().into())),
        Value::Null,
        json!("a notice"),
    ];
    let mut mixed = lies.clone();
    mixed.extend(truth.iter().rev().map(|event| event.0.clone()));
    let refused = vec![json!("blocked: members only")];
    for (messages, ends, code, said) in [
        (mixed, true, 0, "left out: "),
        (lies, true, 3, "nothing true of this chain"),
        (refused, false, 2, "blocked: members only"),
        (vec![json!("a notice")], false, 1, "not done in time"),
    ] {
        let relay = scripted(messages, ends).await;
        let url = relay.url.clone();
        let output = tokio::task::spawn_blocking(move || script_of_the_specification(&url, chain)).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && errors.contains(said), "{code} {said}: {output:?}");
        assert_eq!(output.stdout, if code == 0 { feed.encode() } else { Vec::new() }, "{said}");
    }
    let nobody = tokio::task::spawn_blocking(move || script_of_the_specification("ws://127.0.0.1:1", chain));
    let nobody = nobody.await.unwrap();
    assert!(nobody.status.code() == Some(1) && String::from_utf8_lossy(&nobody.stderr).contains("no connection"));
}

/// Ids of the events in a relay's own feed, in order.
fn records(node: &Node) -> Vec<String> {
    let is_record = |block: &Block| ciborium::from_reader::<(String, Value, u64), _>(block.body()).is_ok();
    let feeds = node.feeds.values().filter(|feed| is_record(&feed[0]));
    feeds.flat_map(Feed::blocks).map(event_id).collect()
}

/// The id of the event in a block.
pub(crate) fn event_id(block: &Block) -> String {
    let (collection, event, _): (String, Value, u64) = ciborium::from_reader(block.body()).unwrap();
    assert_eq!(collection, "nostr");
    check_record(&event)
}

/// The event is whole: what is stored can be verified by anybody.
fn check_record(event: &Value) -> String {
    let hashed =
        json!([0, event["pubkey"], event["created_at"], event["kind"], event["tags"], event["content"]]).to_string();
    assert_eq!(crate::harness::sha256_hex(hashed), event["id"].as_str().unwrap());
    assert_eq!(event["sig"].as_str().unwrap().len(), 128);
    event["id"].as_str().unwrap().to_owned()
}

/// What picostore 3 writes.
fn record(collection: &str, payload: Value) -> Vec<u8> {
    record_at(collection, payload, now() * 1000)
}

fn record_at(collection: &str, payload: Value, date: u64) -> Vec<u8> {
    let mut body = Vec::new();
    ciborium::into_writer(&(collection, payload, date), &mut body).unwrap();
    body
}

fn npub(pubkey: &Value) -> String {
    use nostr_sdk::ToBech32 as _;
    nostr_sdk::PublicKey::from_hex(pubkey.as_str().unwrap()).unwrap().to_bech32().unwrap()
}
