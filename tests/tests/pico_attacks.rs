//! What strangers may do to a room: each costs little, and nothing that could hurt a JavaScript node is passed on. A
//! healthy node works beside every one of them.

use std::time::Duration;

use data_encoding::HEXLOWER;
use picofeed::{Feed, Format, Secret};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::pico::{Node, live};
use crate::harness::{Relay, is_long, picorelay};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bridge/picofeed/tests/vectors/");

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn feed(format: Format, seed: [u8; 32], len: usize) -> Feed {
    let mut feed = Feed::new(format);
    for n in 0..len {
        feed.append(format!("{n}").as_bytes(), &Secret::ed25519(seed)).unwrap();
    }
    feed
}

/// Two nodes that talk to each other while others misbehave.
struct Healthy {
    writer: Node,
    reader: Node,
    url: String,
}

impl Healthy {
    async fn new(relay: &Relay, room: &str) -> Self {
        let url = format!("{}/pico/{room}", relay.url);
        let writer = Node::connect(&url, Format::V8, 101).await;
        Self { writer, reader: Node::connect(&url, Format::V8, 102).await, url }
    }

    /// They still hear each other, and nobody else.
    async fn check(&mut self) {
        let block = self.writer.write("still here").await;
        self.reader.until_has(&block).await;
        assert_eq!(self.reader.bytes(), self.writer.bytes(), "and nothing of the attacker");
    }

    async fn attacker(&self) -> Node {
        Node::connect(&self.url, Format::V8, 66).await
    }
}

/// Every edge case of the vectors, both generations: what is to be rejected is not passed on.
#[tokio::test]
async fn edge_cases_of_the_vectors() {
    let relay = Relay::start();
    let mut refused = 0;
    for (file, format) in [("feed-v8.json", Format::V8), ("feed-v3.json", Format::V3)] {
        let vectors: Value =
            serde_json::from_str(&std::fs::read_to_string(format!("{VECTORS}{file}")).unwrap()).unwrap();
        let url = format!("{}/pico/{}", relay.url, format.name());
        let mut reader = Node::connect(&url, format, 1).await;
        let mut attacker = Node::connect(&url, format, 2).await;
        for case in vectors["edge_cases"].as_array().unwrap() {
            let Some(bytes) = case["feed"].as_str() else { continue };
            attacker.send(live(&hex(bytes))).await;
            refused += usize::from(case["relay"] == "reject");
        }
        // The reader decodes and verifies strictly whatever it is sent, and panics if that fails.
        let block = attacker.write("done").await;
        reader.until_has(&block).await;
        let mut fresh = Node::silent(&url, format, [3; 32]).await;
        fresh.introduce([3; 8]).await;
        fresh.until("everything", |node| node.is_synced).await;
    }
    assert!(refused > 10);
    let counted = relay.metric("picorelay_pico_refused_total", "");
    assert!(counted >= refused as f64, "{counted} of {refused}");
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection_and_is_told() {
    let relay = Relay::start();
    let mut healthy = Healthy::new(&relay, "frames").await;
    let text = Message::text(r#"["REQ","a",{}]"#);
    let binary = |bytes: &[u8]| Message::Binary(bytes.to_vec().into());
    let fragment = |data| Message::Frame(Frame::message(vec![0xff; 4], OpCode::Data(data), false));
    for (attack, code) in [
        (text, 1003),
        (binary(b""), 1002),
        (binary(&[0; 4]), 1002),
        (binary(&[0; 5]), 1002),
        (binary(&[0, 0, 0, 0, 1, 3]), 1002),
        (binary(&vec![2; 9 << 20]), 1009),
    ] {
        let mut attacker = healthy.attacker().await;
        attacker.send_message(attack).await;
        let close = attacker.until_closed().await;
        // One who is still sending may not see why.
        let is_cut = code == 1009 && close.is_none();
        assert!(is_cut || close.map(|close| u16::from(close.code)) == Some(code), "{code}");
        healthy.check().await;
    }
    // A message that never ends.
    let mut slow = healthy.attacker().await;
    slow.send_message(fragment(Data::Binary)).await;
    healthy.check().await;
}

#[tokio::test]
async fn floods_of_small_messages() {
    // A busy machine may take long to read it all; and who is gone before that is not read to the end.
    let relay = Relay::with("[pico]\nreply_seconds = 600");
    let mut attackers = Vec::new();
    let mut healthy = Healthy::new(&relay, "floods").await;
    let before = relay.memory_bytes();
    let node_id = hex("000000010103aaaaaaaaaaaaaaaa");
    let query = hex("000000090101a0");
    let unknown = hex("000000090177");
    let stray = hex("270f00000000");
    let own_port = hex("0000000101025049433000");
    for attack in [node_id, query, unknown, stray, own_port] {
        let mut attacker = Node::silent(&healthy.url, Format::V8, [66; 32]).await;
        for _ in 0..5_000 {
            if !attacker.try_send(attack.clone()).await {
                break;
            }
        }
        healthy.check().await;
        attackers.push(attacker);
    }
    let more = relay.memory_bytes().saturating_sub(before);
    assert!(more < 30 << 20, "{more} bytes of memory");
    relay.until_metric("picorelay_pico_frames_total", "too_many_queries", 4_900.0).await;
}

/// QUERYs whose answers are never asked on, and requests for replies that are never given.
#[tokio::test]
async fn ports_that_are_never_answered() {
    let relay = Relay::with("[pico]\nreply_seconds = 1");
    let mut healthy = Healthy::new(&relay, "ports").await;
    for seed in 0..20 {
        healthy.writer.send(live(&feed(Format::V8, [seed; 32], 3).encode())).await;
    }
    let mut silent = Node::silent(&healthy.url, Format::V8, [66; 32]).await;
    let close = silent_until_closed(&mut silent).await;
    assert!(close.is_none_or(|frame| frame.is_empty()), "an unanswered NODE_ID ends it");
    let mut lazy = Node::silent(&healthy.url, Format::V8, [67; 32]).await;
    lazy.send(hex("000000010103bbbbbbbbbbbbbbbb")).await;
    lazy.send(hex("000100000000")).await;
    for port in 2..12_u16 {
        let mut query = hex("000000000101a0");
        query[2..4].copy_from_slice(&port.to_be_bytes());
        lazy.send(query).await;
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    // It still hears new blocks.
    let block = healthy.writer.write("news").await;
    let id = block.id();
    loop {
        let frame = lazy.next_frame().await.expect("it stays");
        if frame[..2] == [0, 0] && frame[5] == 2 && frame.windows(64).any(|part| part == id.as_bytes()) {
            break;
        }
    }
}

/// Reads without acting until the connection ends.
async fn silent_until_closed(node: &mut Node) -> Option<Vec<u8>> {
    while node.next_frame().await.is_some() {}
    None
}

/// A feed that is sent again and again, each time one byte longer.
#[tokio::test]
async fn a_feed_that_grows_by_a_byte() {
    let relay = Relay::start();
    let mut healthy = Healthy::new(&relay, "grows").await;
    let mut attacker = healthy.attacker().await;
    let bytes = feed(Format::V8, [66; 32], 10).encode();
    for len in 0..bytes.len() - 1 {
        attacker.send(live(&bytes[..len])).await;
    }
    attacker.listen(Duration::from_millis(100)).await;
    let block = healthy.writer.write("still here").await;
    healthy.reader.until_has(&block).await;
    let mut fresh = Node::silent(&healthy.url, Format::V8, [3; 32]).await;
    fresh.introduce([3; 8]).await;
    fresh.until("all", |node| node.is_synced).await;
    let mut growing = fresh.heights();
    growing.sort_unstable();
    assert_eq!(growing.first(), Some(&1), "{growing:?}");
    assert!(growing.iter().all(|height| *height <= 9), "only whole blocks: {growing:?}");
}

#[tokio::test]
async fn the_same_node_id_again_and_again() {
    let relay = Relay::start();
    let mut healthy = Healthy::new(&relay, "same").await;
    let mut all = Vec::new();
    for _ in 0..50 {
        all.push(healthy.attacker().await);
    }
    let mut last = all.pop().unwrap();
    for mut old in all {
        assert!(old.until_closed().await.is_some());
    }
    let block = healthy.writer.write("to the last one").await;
    last.until_has(&block).await;
    healthy.check().await;
    assert_eq!(relay.metric("picorelay_pico_peers", ""), 3.0);
}

/// Blocks whose parents nobody has, of one peer.
#[tokio::test]
async fn orphans_without_end() {
    let relay = Relay::with("[pico]\nmempool_blocks_max = 1000\nmempool_peer_blocks_max = 100");
    let mut healthy = Healthy::new(&relay, "orphans").await;
    let mut attacker = healthy.attacker().await;
    let before = relay.memory_bytes();
    for seed in 0..5_u8 {
        let feed = feed(Format::V8, [seed; 32], 500);
        for block in feed.iter().skip(1) {
            attacker.send(live(&Feed::from_blocks([block.clone()]).unwrap().encode())).await;
        }
    }
    healthy.check().await;
    relay.until_metric("picorelay_pico_blocks_total", "orphan", 5.0 * 499.0).await;
    let more = relay.memory_bytes().saturating_sub(before);
    assert!(more < 30 << 20, "{more} bytes of memory");
    assert_eq!(relay.metric("picorelay_pico_blocks_total", "dropped"), 5.0 * 499.0 - 100.0);
}

/// Many authors in one room, from a file and over the wire: a node is told them all, gives them to another room, and both
/// rooms are the same. 100,000 with PICORELAY_TEST_LONG.
#[tokio::test]
async fn a_crowd_of_authors() {
    let authors: u32 = if is_long() { 100_000 } else { 2_000 };
    // Events of blocks would fill the cache of events, which is not what is measured here.
    let mut relay = Relay::with("[bridge]\nundeclared = 'off'");
    relay.stop();
    let mut file = b"PICROOM1".to_vec();
    for n in 0..authors {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&n.to_be_bytes());
        let feed = feed(Format::V8, seed, 1).encode();
        file.extend(u32::try_from(feed.len()).unwrap().to_be_bytes());
        file.extend(feed);
    }
    let data = relay.data();
    let folder = data.parent().unwrap();
    std::fs::write(folder.join("crowd.pico"), file).unwrap();
    let run = |arguments: &[&str]| {
        let output = picorelay(folder, &[arguments, &["--data", data.to_str().unwrap()]].concat());
        assert!(output.success, "{output:?}");
        output
    };
    let said = run(&["import", "--room", "crowd", "crowd.pico"]);
    assert!(said.stdout.contains(&format!("{authors} new")), "{said:?}");
    relay.restart();

    let before = relay.memory_bytes();
    let mut node = Node::silent(&format!("{}/pico/crowd", relay.url), Format::V8, [3; 32]).await;
    node.introduce([3; 8]).await;
    node.until("all authors", |node| node.is_synced).await;
    assert_eq!(node.feeds.len(), authors as usize);
    let more = relay.memory_bytes().saturating_sub(before);
    assert!(more < 40 << 20, "{more} bytes of memory");

    let node = Node::with_feeds(&format!("{}/pico/again", relay.url), Format::V8, 4, node.feeds).await;
    relay.until_blocks(authors as usize).await;
    let more = relay.memory_bytes().saturating_sub(before);
    assert!(more < 80 << 20, "{more} bytes of memory");
    drop(node);
    let [one, two] = ["crowd", "again"].map(|room| {
        run(&["export", "--room", room, "export.pico"]);
        std::fs::read(folder.join("export.pico")).unwrap()
    });
    assert!(one == two && one.len() > 100 * authors as usize, "{} and {} bytes", one.len(), two.len());
}

/// Forks, second genesis blocks and quotas change nothing for others.
#[tokio::test]
async fn what_does_not_join_is_not_told() {
    let relay = Relay::with("[pico]\nroom_chains_max = 4\ndiscard = false");
    let mut healthy = Healthy::new(&relay, "joins").await;
    healthy.check().await;
    let mut attacker = healthy.attacker().await;
    let good = feed(Format::V8, [66; 32], 2);
    let mut fork = good.slice(0, Some(1)).unwrap();
    fork.append(b"other", &Secret::ed25519([66; 32])).unwrap();
    let mut genesis = Feed::new(Format::V8);
    genesis.append(b"another beginning", &Secret::ed25519([66; 32])).unwrap();
    for bytes in [good.encode(), fork.encode(), genesis.encode(), feed(Format::V3, [67; 32], 1).encode()] {
        attacker.send(live(&bytes)).await;
    }
    for seed in 0..5 {
        attacker.send(live(&feed(Format::V8, [seed; 32], 1).encode())).await;
    }
    relay.until_metric("picorelay_pico_blocks_total", "over_chains", 4.0).await;
    let block = healthy.writer.write("end").await;
    healthy.reader.until_has(&block).await;
    assert_eq!(healthy.reader.feeds.len(), 3, "four chains with that of generation 1");
    for (outcome, count) in [("fork", 1.0), ("second_genesis", 1.0), ("over_chains", 4.0)] {
        let counted = relay.metric("picorelay_pico_blocks_total", &format!("outcome=\"{outcome}\""));
        assert_eq!(counted, count, "{outcome}");
    }
}

/// One that reads nothing is closed; the others do not wait for it.
#[tokio::test]
async fn one_who_never_reads() {
    let relay = Relay::with(
        "[pico]\nmessage_bytes_max = 200000\nfeed_bytes_max = 200000\nbody_bytes_max = 100000\noutbox_bytes_max = 200000
        [bridge]\nundeclared = 'off' # events of blocks would fill the cache of events",
    );
    let mut healthy = Healthy::new(&relay, "slow").await;
    let slow = healthy.attacker().await;
    let before = relay.memory_bytes();
    for n in 0..150 {
        let block = healthy.writer.write(&format!("{n} {}", "x".repeat(90_000))).await;
        healthy.reader.until_has(&block).await;
    }
    let more = relay.memory_bytes().saturating_sub(before);
    assert!(more < 40 << 20, "{more} bytes of memory");
    assert_eq!(relay.metric("picorelay_pico_closes_total", "too_slow"), 1.0);
    drop(slow);
}

/// Strangers open rooms until there is no place for another; those that the operator wants have theirs.
#[tokio::test]
async fn rooms_of_strangers_do_not_take_the_place_of_declared_ones() {
    let relay = Relay::with("[pico]\nrooms_max = 2\n[[pico.room]]\nname = 'mine'");
    let url = |name: &str| format!("{}/pico/{name}", relay.url);
    for name in ["a", "b"] {
        let mut stranger = Node::connect(&url(name), Format::V8, 1).await;
        stranger.write("here").await;
    }
    relay.until_blocks(2).await;
    for name in ["main", "mine"] {
        let mut writer = Node::connect(&url(name), Format::V8, 2).await;
        let mut reader = Node::connect(&url(name), Format::V8, 3).await;
        let block = writer.write("welcome").await;
        reader.until_has(&block).await;
    }
}

#[tokio::test]
async fn rooms_have_names_and_limits() {
    let relay = Relay::with("[pico]\nrooms_max = 3\npeers_max = 2");
    for (path, status) in [
        ("/pico", 200),
        ("/pico/main", 200),
        ("/pico/notes.v2_x-y", 200),
        ("/pico/nostr", 403),
        ("/pico/Notes", 404),
        ("/pico/-notes", 404),
        ("/pico/a%20b", 404),
        ("/pico/..", 404),
        (&format!("/pico/{}", "x".repeat(65)), 404),
    ] {
        let response = relay.http(&format!("GET {path}"), &[]);
        assert_eq!(response.status, status, "{path}: {}", response.body);
        let is_short = response.body.lines().count() <= 2 && !response.body.is_empty();
        assert!(if status == 200 { response.body.contains("<h2>Connect</h2>") } else { is_short }, "{}", response.body);
    }
    let url = |name: &str| format!("{}/pico/{name}", relay.url);
    let mut nodes = Vec::new();
    for (seed, name) in (1..).zip(["a", "b", "c"]) {
        nodes.push(Node::connect(&url(name), Format::V8, seed).await);
    }
    let stranger = [127, 0, 0, 1];
    let no_place = "the relay has no place for another room: all are in use".to_owned();
    assert_eq!(Node::turned_away(&url("d"), stranger).await, Some((no_place, 1013)));
    nodes.remove(0);
    // The place of an empty room is free again as soon as the relay noticed.
    let mut again = None;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if Node::turned_away(&url("d"), stranger).await.is_none() {
            again = Some(());
            break;
        }
    }
    assert!(again.is_some());
    nodes.push(Node::connect(&url("b"), Format::V8, 9).await);
    assert_eq!(Node::turned_away(&url("b"), stranger).await, Some(("the room is full".to_owned(), 1013)));
    // Whoever says nothing is not kept, either.
    let mut silent = Node::silent(&url("b"), Format::V8, [1; 32]).await;
    assert_eq!(silent.until_closed().await.map(|close| u16::from(close.code)), Some(1013));

    let closed = Relay::with("[pico]\nopen_rooms = false\n[[pico.room]]\nname = 'mine'");
    for (name, status) in [("main", 200), ("mine", 200), ("other", 404)] {
        assert_eq!(closed.http(&format!("GET /pico/{name}"), &[]).status, status, "{name}");
    }
    Node::connect(&format!("{}/pico/mine", closed.url), Format::V8, 1).await;
    assert!(tokio_tungstenite::connect_async(format!("{}/pico/other", closed.url)).await.is_err());
}

/// Peers that each begin a long message and do not end it: all of them together may hold only so much.
#[tokio::test]
async fn unfinished_messages_are_bounded_together() {
    const PEERS: usize = 60;
    let relay = Relay::with("[server]\nunfinished_bytes_max = 8388608");
    let mut healthy = Healthy::new(&relay, "unfinished").await;
    let before = relay.memory_bytes();
    let mut begun = Vec::new();
    for _ in 0..PEERS {
        let mut peer = TcpStream::connect(("127.0.0.1", relay.port)).await.unwrap();
        let head = "GET /pico/unfinished HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        peer.write_all(head.as_bytes()).await.unwrap();
        // A binary message of 7 MiB, masked with zeros; most of it.
        let frame = [&[0x82, 0xff][..], &(7_u64 << 20).to_be_bytes(), &[0; 4 + (6 << 20)]].concat();
        let _ = peer.write_all(&frame).await;
        begun.push(peer);
    }
    // Of 360 MiB there is place for 8, and a little for each: most are let go. The others just wait.
    let mut gone = 0;
    for peer in &mut begun {
        let mut rest = Vec::new();
        gone += usize::from(timeout(Duration::from_millis(200), peer.read_to_end(&mut rest)).await.is_ok());
    }
    assert!((PEERS - 5..PEERS).contains(&gone), "{gone} of {PEERS}");
    // What the allocator keeps of those that are gone counts, too.
    let more = relay.memory_bytes().saturating_sub(before);
    assert!(more < 180 << 20, "{more} bytes of memory");
    healthy.check().await;
    drop(begun);
    // What they held is free again.
    let block = healthy.writer.write(&"x".repeat(1 << 20)).await;
    healthy.reader.until_has(&block).await;
}
