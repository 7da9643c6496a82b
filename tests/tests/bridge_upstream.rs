//! Relays that share nothing but an ordinary nostr relay, which knows nothing of pico.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use nostr_relay_builder::builder::{RateLimit, RelayBuilderNip42, RelayBuilderNip42Mode};
use nostr_relay_builder::{LocalRelay, RelayBuilder};
use pico_bridge::kind;
use picofeed::Format;
use serde_json::json;

use crate::bridge::{named, relay_key, room, run_script_of_the_specification, until_events, wrapped};
use crate::harness::pico::Node;
use crate::harness::{Event, Key, PATIENCE, Relay, Tap, now};
use crate::js;

/// A relay by other people, that takes as many events as come.
async fn plain(more: impl FnOnce(RelayBuilder) -> RelayBuilder) -> LocalRelay {
    let rate_limit = RateLimit { max_reqs: 500, notes_per_minute: 1_000_000 };
    let relay = LocalRelay::new(more(RelayBuilder::default().rate_limit(rate_limit)));
    relay.run().await.unwrap();
    relay
}

/// Options of a relay that uses this one, and comes back soon.
pub(crate) fn through(url: &str) -> String {
    upstream(url, "")
}

fn upstream(url: &str, more: &str) -> String {
    format!(
        "[[bridge.upstream]]\nurl = '{url}'\n{more}\n[sync]\npause_seconds_max = 1\n\
         [limits]\nmessages_per_minute = 0\nqueries_per_minute = 0"
    )
}

async fn blocks_in(relay: &Relay) -> Vec<Event> {
    relay.client().await.query(json!({"kinds": [kind::BLOCK], "limit": 5000})).await
}

/// Waits until a relay is connected and has compared.
async fn until_in_step(relay: &Relay) {
    relay.until_log("in step with an upstream relay").await;
}

/// What two nodes write at either relay reaches the other, what was there before included, and a relay that comes later
/// is filled. `negentropy`: whether the plain relay has it.
async fn two_sides(negentropy: bool) {
    let plain = plain(|builder| builder).await;
    let tap = Tap::before(plain.url().await.as_str(), negentropy).await;
    let config = through(&tap.url);
    let (one, two) = (Relay::with(&config), Relay::with(&config));
    for (count, format) in [(1, Format::V8), (2, Format::V3)] {
        let name = format.name();
        let mut here = Node::connect(&room(&one, name), format, 1).await;
        let first = here.write("before the other came").await;
        let mut there = Node::connect(&room(&two, name), format, 2).await;
        there.until_has(&first).await;
        for n in 0..5 {
            let block = here.write(&format!("here {n}")).await;
            there.until_has(&block).await;
            let block = there.write(&format!("there {n}")).await;
            here.until_has(&block).await;
        }
        assert_eq!(here.bytes(), there.bytes());
        let late = Relay::with(&config);
        late.until_blocks(11 * count).await;
        assert_eq!(Node::connect(&room(&late, name), format, 3).await.bytes(), here.bytes());
    }
    // Every event came from the relay at which its block was written.
    let authors: BTreeSet<String> =
        blocks_in(&one).await.iter().map(|event| event["pubkey"].as_str().unwrap().to_owned()).collect();
    assert_eq!(authors, BTreeSet::from([relay_key(&one), relay_key(&two)]));
    assert_eq!((blocks_in(&one).await.len(), blocks_in(&two).await.len()), (22, 22));
    assert!(tap.count("NEG-OPEN") >= 4);
    assert_eq!(tap.count("NEG-MSG") >= 4, negentropy, "{}", tap.count("NEG-MSG"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_relay_with_negentropy() {
    two_sides(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_relay_without_negentropy() {
    two_sides(false).await;
}

/// Three relays and a plain one between them; each follows the next one's room by pico, too. Everybody has the same in the
/// end, nothing is sent twice or back to where it came from, and then there is silence, even across new connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_around_a_plain_relay_does_not_loop() {
    let plain = plain(|builder| builder).await;
    let mut taps = Vec::new();
    for negentropy in [true, true, false] {
        taps.push(Tap::before(plain.url().await.as_str(), negentropy).await);
    }
    let config = |port: u16, at: usize| {
        let peer = format!("peer = [{{ url = 'ws://127.0.0.1:{port}/pico/ring' }}]");
        format!("[[pico.room]]\nname = 'ring'\n{peer}\n{}", through(&taps[at].url))
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = Relay::with(&config(port, 0));
    let second = Relay::with(&config(first.port, 1));
    let third = Relay::with_port(&config(second.port, 2), port);
    let relays = [first, second, third];
    let mut nodes = Vec::new();
    for (seed, relay) in (1..).zip(&relays) {
        nodes.push(Node::connect(&room(relay, "ring"), Format::V8, seed).await);
    }
    for round in 0..5 {
        for node in &mut nodes {
            node.write(&format!("round {round}")).await;
        }
        // Some come while nobody is connected.
        if round == 2 {
            taps.iter().for_each(Tap::cut);
        }
    }
    for node in &mut nodes {
        node.until("everything", |node| node.ids().len() == 15).await;
    }
    let all = settled(&relays).await;
    assert!(all.len() <= 45, "{}", all.len());
    let sent: Vec<usize> = taps.iter().map(check_no_loop).collect();
    assert!(sent.iter().sum::<usize>() >= 15, "{sent:?}");

    // Everybody connects anew, and nobody has anything to say.
    let before: Vec<f64> = relays.iter().map(|relay| relay.metric("picorelay_events_total", "")).collect();
    let connections = |relay: &Relay| relay.metric("picorelay_upstream_connections_total", "outcome=\"connected\"");
    let connected: Vec<f64> = relays.iter().map(connections).collect();
    taps.iter().for_each(Tap::cut);
    for (relay, connected) in relays.iter().zip(&connected) {
        let label = "outcome=\"connected\"";
        relay.until_metric("picorelay_upstream_connections_total", label, connected + 1.0).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let again: Vec<usize> = taps.iter().map(check_no_loop).collect();
    assert_eq!(again, sent, "sent again after it settled");
    let after: Vec<f64> =
        relays.iter().map(|relay| relay.metric("picorelay_events_total", "outcome=\"accepted\"")).collect();
    assert_eq!(settled(&relays).await, all);
    assert!(before.iter().zip(&after).all(|(before, after)| after <= before), "{before:?} {after:?}");
}

/// Nothing passed twice to the plain relay, and nothing that it had sent before. Gives how many events passed.
fn check_no_loop(tap: &Tap) -> usize {
    let (mut came, mut went) = (HashSet::new(), HashSet::new());
    for (up, message) in tap.seen() {
        if message[0] != "EVENT" {
            continue;
        }
        let id = message[if up { 1 } else { 2 }]["id"].as_str().unwrap().to_owned();
        if up {
            assert!(!came.contains(&id), "sent back to where it came from: {message}");
            assert!(went.insert(id), "sent twice: {message}");
        } else {
            came.insert(id);
        }
    }
    went.len()
}

/// Waits until all have the same events for a while, each relay at most one of each block. Gives their ids.
async fn settled(relays: &[Relay]) -> BTreeSet<String> {
    let began = Instant::now();
    let (mut before, mut quiet) = (BTreeSet::new(), 0);
    while quiet < 5 {
        let mut all = BTreeSet::new();
        let mut counts = Vec::new();
        for relay in relays {
            let events = blocks_in(relay).await;
            counts.push(events.len());
            let mut signers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for event in events {
                let signer = event["pubkey"].as_str().unwrap().to_owned();
                let block = named(&event, "block").unwrap();
                assert!(signers.entry(block).or_default().insert(signer), "twice by one relay");
                all.insert(event.id().to_owned());
            }
        }
        let is_same = counts.iter().all(|count| *count == all.len());
        quiet = if is_same && all == before { quiet + 1 } else { 0 };
        before = all;
        assert!(began.elapsed() < PATIENCE, "{counts:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    before
}

/// All events of a long feed have one second. The plain relay gives few at a time, and a relay that comes later finds all of
/// them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_feed_that_came_at_once() {
    let plain = plain(|builder| builder.max_filter_limit(60)).await;
    let url = plain.url().await.to_string();
    let one = Relay::with(&upstream(&url, "direction = 'up'"));
    let secret = picofeed::Secret::ed25519([7; 32]);
    let mut feed = picofeed::Feed::new(Format::V8);
    (0..400).for_each(|n| drop(feed.append(format!("{n}").as_bytes(), &secret).unwrap()));
    let chain = feed.blocks()[0].id();
    let (stranger, second) = (Key::new(), now());
    let mut client = one.client().await;
    for block in feed.blocks() {
        let mut draft = wrapped(&stranger, "r", block, chain).0;
        draft["created_at"] = second.into();
        client.publish(&[&stranger.event(draft)]).await;
    }
    one.until_metric("picorelay_upstream_events_total", "outcome=\"sent\"", 400.0).await;
    let tap = Tap::before(&url, false).await;
    let config = upstream(&tap.url, "rooms = ['r']").replace("[sync]", "[sync]\npage_events_max = 50");
    let two = Relay::with(&config);
    two.until_blocks(400).await;
    let got = Node::connect(&room(&two, "r"), Format::V8, 2).await;
    assert_eq!(got.bytes(), [feed.encode()]);
    two.until_log("more events than it gives at a time").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_only() {
    let plain = plain(|builder| builder).await;
    let url = plain.url().await.to_string();
    let both = Relay::with(&through(&url));
    let down = Relay::with(&upstream(&url, "direction = 'down'"));
    let up = Relay::with(&upstream(&url, "direction = 'up'"));
    let mut nodes = Vec::new();
    for (seed, relay) in (1..).zip([&both, &down, &up]) {
        let mut node = Node::connect(&room(relay, "r"), Format::V8, seed).await;
        node.write(&format!("by {seed}")).await;
        nodes.push(node);
    }
    // Each writes a chain of its own; only that of `down` stays where it is, and `up` gets nothing.
    for (relay, count) in [(&both, 2), (&down, 3), (&up, 1)] {
        relay.until_blocks(count).await;
    }
    let later = nodes[0].write("later").await;
    nodes[1].until_has(&later).await;
    for (relay, count) in [(&both, 3), (&down, 4), (&up, 1)] {
        assert_eq!(blocks_in(relay).await.len(), count);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_rooms_that_are_named_and_bridged() {
    let plain = plain(|builder| builder).await;
    let url = plain.url().await.to_string();
    let off = "[[pico.room]]\nname = 'off'\nbridge = 'wrap'\n";
    let mut one = Relay::with(&format!("{off}{}", upstream(&url, "direction = 'down'")));
    for (seed, name) in [(1, "a"), (2, "b"), (3, "off")] {
        Node::connect(&room(&one, name), Format::V8, seed).await.write(name).await;
    }
    until_events(&mut one.client().await, json!({"kinds": [kind::BLOCK]}), 3).await;
    // Events of a room that is switched off later stay here.
    one.reconfigure(&format!("{}{}", off.replace("wrap", "off"), through(&url)));
    until_in_step(&one).await;
    let two = Relay::with(&upstream(&url, "rooms = ['b']"));
    two.until_blocks(1).await;
    let three = Relay::with(&through(&url));
    three.until_blocks(2).await;
    let rooms =
        |events: Vec<Event>| -> BTreeSet<String> { events.iter().map(|event| named(event, "room").unwrap()).collect() };
    assert_eq!(rooms(blocks_in(&two).await), BTreeSet::from(["b".to_owned()]));
    assert_eq!(rooms(blocks_in(&three).await), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authenticates_when_asked() {
    let plain = plain(|builder| builder.nip42(RelayBuilderNip42 { mode: RelayBuilderNip42Mode::Both })).await;
    let tap = Tap::before(plain.url().await.as_str(), true).await;
    let config = through(&tap.url);
    let (one, two) = (Relay::with(&config), Relay::with(&config));
    let mut here = Node::connect(&room(&one, "r"), Format::V8, 1).await;
    let block = here.write("to whom it may concern").await;
    Node::connect(&room(&two, "r"), Format::V8, 2).await.until_has(&block).await;
    assert!(tap.count("AUTH") >= 2);
}

/// An event that goes at one relay is replaced there; relays that have it, or hear of the other, do nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_at_one_relay_is_replaced_once() {
    let plain = plain(|builder| builder).await;
    let config = through(plain.url().await.as_str());
    let relays = [Relay::with(&config), Relay::with(&config), Relay::with(&config)];
    let block = Node::silent(&room(&relays[0], "r"), Format::V8, [1; 32]).await.append("hello");
    let stranger = Key::new();
    let event = wrapped(&stranger, "r", &block, block.id());
    let mut client = relays[0].client().await;
    client.publish(&[&event]).await;
    for relay in &relays {
        relay.until_blocks(1).await;
    }
    assert_eq!(settled(&relays).await, BTreeSet::from([event.id().to_owned()]));
    client.publish(&[&stranger.event(json!({"kind": 5, "tags": [["e", event.id()]]}))]).await;
    let made = until_events(&mut client, json!({"kinds": [kind::BLOCK]}), 1).await.remove(0);
    assert_eq!(made["pubkey"], relay_key(&relays[0]));
    for relay in &relays[1..] {
        until_events(&mut relay.client().await, json!({"kinds": [kind::BLOCK]}), 2).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for relay in &relays {
        let signers: BTreeSet<_> =
            blocks_in(relay).await.iter().map(|event| event["pubkey"].as_str().unwrap().to_owned()).collect();
        assert!(signers.is_subset(&BTreeSet::from([stranger.public(), relay_key(&relays[0])])), "{signers:?}");
    }
}

/// The plain relay is gone for a while, and so are we.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missed_comes_later() {
    let plain = plain(|builder| builder).await;
    let tap = Tap::before(plain.url().await.as_str(), true).await;
    let (mut one, two) = (Relay::with(&through(&tap.url)), Relay::with(&through(plain.url().await.as_str())));
    let mut there = Node::connect(&room(&two, "r"), Format::V8, 2).await;
    let mut here = Node::connect(&room(&one, "r"), Format::V8, 1).await;
    let block = here.write("0").await;
    there.until_has(&block).await;
    one.kill9();
    for n in 0..5 {
        there.write(&format!("while it is gone {n}")).await;
    }
    until_events(&mut two.client().await, json!({"kinds": [kind::BLOCK]}), 6).await;
    one.restart();
    let mut here = Node::connect(&room(&one, "r"), Format::V8, 1).await;
    here.until("what was missed", |node| node.ids().len() == 6).await;
    tap.cut();
    for n in 0..5 {
        here.write(&format!("on my own {n}")).await;
        there.write(&format!("on mine {n}")).await;
    }
    here.until("all", |node| node.ids().len() == 16).await;
    there.until("all", |node| node.ids().len() == 16).await;
    assert_eq!(here.bytes(), there.bytes());
    check_no_loop(&tap);
}

/// The relay that has the blocks is gone; the script of the specification finds the feed at the plain one, which gives a
/// few events at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_is_rebuilt_from_a_plain_relay() {
    if !js::has_node() {
        return;
    }
    let plain = plain(|builder| builder.default_filter_limit(7)).await;
    let tap = Tap::before(plain.url().await.as_str(), true).await;
    let relay = Relay::with(&upstream(&tap.url, "direction = 'up'"));
    let mut author = Node::connect(&room(&relay, "r"), Format::V8, 1).await;
    for n in 0..23 {
        author.write(&format!("block {n}")).await;
    }
    relay.until_metric("picorelay_upstream_events_total", "outcome=\"sent\"", 24.0).await;
    let began = Instant::now();
    while tap.seen().iter().filter(|(up, message)| *up && message[1]["kind"] == kind::BLOCK).count() < 23 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(relay);
    let feed = &author.feeds[&author.secret.key()];
    let (url, chain) = (plain.url().await.to_string(), feed[0].id());
    let rebuilt = tokio::task::spawn_blocking(move || run_script_of_the_specification(&url, chain)).await.unwrap();
    assert_eq!(rebuilt, feed.encode());
}
