//! What one stranger may take of the rooms that belong to nobody: others find a place all the same.

use std::time::Duration;

use picofeed::{Feed, Format, Secret};

use crate::harness::Relay;
use crate::harness::pico::{Node, live};

const SQUATTER: [u8; 4] = [127, 0, 0, 2];

fn url(relay: &Relay, room: &str) -> String {
    format!("{}/pico/{room}", relay.url)
}

async fn from(relay: &Relay, address: [u8; 4], room: &str, seed: u8) -> Node {
    let mut node = Node::try_from(&url(relay, room), address, Format::V8, [seed; 32]).await.unwrap();
    node.introduce([seed; 8]).await;
    node.until("both sides know", |node| node.is_synced && node.is_read).await;
    node
}

/// The answer to a block that asks for a reply: its type and the rest as text.
async fn answer_to_block(node: &mut Node, body: &str) -> (u8, String) {
    let feed = Feed::from_blocks([node.append(body)]).unwrap();
    let mut message = live(&feed.encode());
    message[2..5].copy_from_slice(&[0x77, 0x77, 1]);
    node.send(message).await;
    loop {
        let frame = node.next_frame().await.expect("the relay closed");
        if frame[..2] == [0x77, 0x77] {
            return (frame[5], String::from_utf8(frame[6..].to_vec()).unwrap());
        }
    }
}

async fn is_kept(relay: &Relay, room: &str, blocks: usize) -> bool {
    let fresh = from(relay, [127, 0, 0, 9], room, 99).await;
    fresh.ids().len() == blocks
}

#[tokio::test]
async fn one_address_begins_only_so_many_rooms() {
    let relay = Relay::with("[pico]\naddress_new_rooms_per_hour = 3");
    for n in 0..3 {
        let mut node = from(&relay, SQUATTER, &format!("squat{n}"), n).await;
        assert_eq!(answer_to_block(&mut node, "mine").await, (0, String::new()));
    }
    let mut node = from(&relay, SQUATTER, "squat3", 3).await;
    let (kind, why) = answer_to_block(&mut node, "mine").await;
    assert_eq!((kind, why.starts_with("rate-limited: too many new rooms")), (255, true), "{why}");
    assert!(is_kept(&relay, "squat3", 0).await);
    // What exists, or is declared, is not begun.
    for room in ["squat0", "main"] {
        let mut node = from(&relay, SQUATTER, room, 4).await;
        assert_eq!(answer_to_block(&mut node, "more").await, (0, String::new()), "{room}");
    }
    let mut other = from(&relay, [127, 0, 0, 3], "other", 5).await;
    assert_eq!(answer_to_block(&mut other, "new").await, (0, String::new()));
    // It joins in when another has begun the room.
    let mut node = from(&relay, SQUATTER, "other", 6).await;
    assert_eq!(answer_to_block(&mut node, "me too").await, (0, String::new()));
    assert!(is_kept(&relay, "other", 2).await);
}

/// A thousand tiny rooms do not close the relay to new apps; those that somebody is in, and declared ones, stay.
#[tokio::test]
async fn the_emptiest_room_gives_way() {
    let mut relay = Relay::with("[pico]\nrooms_max = 5\n[[pico.room]]\nname = 'declared'");
    let mut declared = from(&relay, SQUATTER, "declared", 1).await;
    declared.write("tiny").await;
    let mut large = from(&relay, [127, 0, 0, 3], "large", 2).await;
    large.write(&"x".repeat(10_000)).await;
    drop(large);
    let mut busy = from(&relay, [127, 0, 0, 4], "busy", 3).await;
    busy.write("tiny").await;
    for n in 0..20 {
        let mut node = from(&relay, SQUATTER, &format!("squat{n}"), 10 + n).await;
        assert_eq!(answer_to_block(&mut node, "mine").await, (0, String::new()), "squat{n}");
    }
    let mut app = from(&relay, [127, 0, 0, 5], "app", 4).await;
    assert_eq!(answer_to_block(&mut app, "new").await, (0, String::new()));
    for (room, blocks) in [("app", 1), ("declared", 1), ("large", 1), ("busy", 1), ("squat0", 0), ("squat18", 0)] {
        assert!(is_kept(&relay, room, blocks).await, "{room}");
    }
    assert!(relay.log().contains("gave way"));
    relay.restart();
    let mut late = from(&relay, [127, 0, 0, 6], "late", 5).await;
    assert_eq!(answer_to_block(&mut late, "new").await, (0, String::new()), "after a restart, too");
}

#[tokio::test]
async fn a_full_house_is_told() {
    let relay = Relay::with("[pico]\nrooms_max = 2");
    let mut a = from(&relay, [127, 0, 0, 3], "a", 1).await;
    a.write("here").await;
    let mut main = from(&relay, [127, 0, 0, 3], "main", 2).await;
    main.write("here").await;
    let mut b = from(&relay, [127, 0, 0, 4], "b", 3).await;
    let (kind, why) = answer_to_block(&mut b, "no place").await;
    assert_eq!((kind, why.as_str()), (255, "blocked: the relay has no place for another room, all are in use"));
}

/// Rooms that are open count, too: whoever holds most of them makes room.
#[tokio::test]
async fn one_address_does_not_keep_all_rooms_open() {
    let relay = Relay::with("[pico]\nrooms_max = 4\naddress_rooms_max = 0");
    let mut held = Vec::new();
    for n in 0..4 {
        held.push(from(&relay, SQUATTER, &format!("held{n}"), n).await);
    }
    let mut app = from(&relay, [127, 0, 0, 3], "app", 9).await;
    app.write("new").await;
    let mut closed = 0;
    for node in &mut held {
        if let Ok(close) = tokio::time::timeout(Duration::from_millis(500), node.until_closed()).await {
            assert_eq!(close.map(|close| u16::from(close.code)), Some(1013));
            closed += 1;
        }
    }
    assert_eq!(closed, 1);
    // It has more than anybody else.
    let no_place = "the relay has no place for another room: all are in use".to_owned();
    assert_eq!(Node::turned_away(&url(&relay, "held9"), SQUATTER).await, Some((no_place, 1013)));

    let relay = Relay::with("[pico]\naddress_rooms_max = 2");
    let _two = (from(&relay, SQUATTER, "a", 1).await, from(&relay, SQUATTER, "b", 2).await);
    let too_many = "too many rooms are open from your address".to_owned();
    assert_eq!(Node::turned_away(&url(&relay, "c"), SQUATTER).await, Some((too_many, 1013)));
    from(&relay, SQUATTER, "a", 4).await;
    from(&relay, [127, 0, 0, 3], "c", 5).await;
}

#[tokio::test]
async fn who_sends_false_feeds_again_and_again_is_closed() {
    let relay = Relay::with("[pico]\nfalse_feeds_per_minute = 5\n[limits]\nfalse_events_per_minute = 0");
    let mut node = from(&relay, SQUATTER, "false", 1).await;
    let mut feed = Feed::new(Format::V8);
    feed.append(b"true", &Secret::ed25519([1; 32])).unwrap();
    let mut bytes = feed.encode();
    *bytes.last_mut().unwrap() ^= 1;
    for _ in 0..6 {
        node.send(live(&bytes)).await;
    }
    assert_eq!(node.until_closed().await.map(|close| u16::from(close.code)), Some(1008));
    // True ones that are refused for another reason are no offence.
    let mut node = from(&relay, SQUATTER, "true", 2).await;
    for n in 0..20_u8 {
        let mut other = Feed::new(Format::V8);
        other.append(&[b'x', n], &Secret::ed25519([7; 32])).unwrap();
        node.send(live(&other.encode())).await;
    }
    node.write("still here").await;
    let mut reader = from(&relay, [127, 0, 0, 3], "true", 3).await;
    reader.until("both", |node| node.ids().len() == 2).await;
}

/// False feeds count for their address, the large ones for more; and so do the bytes of all that its peers send.
#[tokio::test]
async fn all_peers_of_an_address_share_its_budgets() {
    let relay = Relay::with("[limits]\nrefused_seconds_min = 60");
    let mut feed = Feed::new(Format::V8);
    feed.append(&vec![1; 3 << 20], &Secret::ed25519([1; 32])).unwrap();
    let mut bytes = feed.encode();
    *bytes.last_mut().unwrap() ^= 1;
    let mut peers = [from(&relay, SQUATTER, "a", 1).await, from(&relay, SQUATTER, "b", 2).await];
    for peer in &mut peers {
        peer.send(live(&bytes)).await;
    }
    // Each of 3 MB is worth 49 false events of the 100 that an address may send in a minute; the third is too much.
    let mut third = from(&relay, SQUATTER, "a", 3).await;
    third.send(live(&bytes)).await;
    assert_eq!(third.until_closed().await.map(|close| u16::from(close.code)), Some(1008));
    let refused = Node::try_from(&url(&relay, "a"), SQUATTER, Format::V8, [4; 32]).await;
    assert!(refused.err().unwrap().to_string().contains("429"));
    from(&relay, [127, 0, 0, 3], "a", 5).await;

    let relay = Relay::with(
        "[limits]\nmessage_bytes_per_minute = 2097152\naddress_budget_factor = 1\nmessage_bytes_max = 65536",
    );
    let body = vec![1; 900_000];
    let mut node = from(&relay, SQUATTER, "a", 1).await;
    node.write_bytes(&body).await;
    node.write_bytes(&body).await;
    relay.until_blocks(2).await;
    assert_eq!(relay.metric("picorelay_pico_frames_total", r#"outcome="slowed""#), 0.0);
    // Another peer of that address, in another room.
    let mut node = from(&relay, SQUATTER, "b", 2).await;
    node.write_bytes(&body).await;
    relay.until_metric("picorelay_pico_frames_total", r#"outcome="slowed""#, 1.0).await;
    let mut other = from(&relay, [127, 0, 0, 3], "b", 3).await;
    other.write_bytes(&body).await;
    relay.until_blocks(4).await;
    assert_eq!(relay.metric("picorelay_pico_frames_total", r#"outcome="slowed""#), 1.0);
}

/// A connection that has sent a large message keeps a buffer for it. All of them together are bounded: idle ones give way.
#[tokio::test]
async fn buffers_of_large_messages_are_bounded_together() {
    const PEERS: u8 = 20;
    let relay = Relay::with("[server]\nunfinished_bytes_max = 16777216\n[limits]\nfalse_events_per_minute = 0");
    let mut feed = Feed::new(Format::V8);
    feed.append(&vec![1; 3 << 20], &Secret::ed25519([1; 32])).unwrap();
    let mut bytes = feed.encode();
    *bytes.last_mut().unwrap() ^= 1;
    let before = relay.memory_bytes();
    let mut peers = Vec::new();
    for n in 0..PEERS {
        let mut node = from(&relay, SQUATTER, "large", n).await;
        node.send(live(&bytes)).await;
        relay.until_metric("picorelay_pico_refused_total", "", f64::from(n + 1)).await;
        peers.push(node);
    }
    let mut gone = 0;
    for peer in &mut peers {
        gone += usize::from(tokio::time::timeout(Duration::from_millis(100), peer.until_closed()).await.is_ok());
    }
    assert!((15..18).contains(&gone), "{gone} of {PEERS} gave way, 4 or 5 have place");
    let more = relay.memory_bytes().saturating_sub(before);
    assert!(more < 60 << 20, "{PEERS} peers hold {more} bytes");
}
