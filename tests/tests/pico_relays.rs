//! Relays that follow each other's rooms.

use std::time::Duration;

use picofeed::Format;

use crate::harness::Relay;
use crate::harness::pico::Node;

fn following(ports: &[u16]) -> String {
    let peers: String =
        ports.iter().map(|port| format!("[[pico.room.peer]]\nurl = 'ws://127.0.0.1:{port}/pico/ring'\n")).collect();
    format!("[[pico.room]]\nname = 'ring'\n{peers}")
}

/// A port that is free now; the relay that gets it starts later.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn three_relays_in_a_ring_converge_and_do_not_loop() {
    let last = free_port();
    let first = Relay::with(&following(&[last]));
    let second = Relay::with(&following(&[first.port]));
    let third = Relay::with_port(&following(&[second.port]), last);
    let relays = [&first, &second, &third];
    let mut nodes = Vec::new();
    for (seed, relay) in (1..).zip(relays) {
        for (offset, format) in [(0, Format::V8), (10, Format::V3)] {
            let url = format!("{}/pico/ring", relay.url);
            nodes.push(Node::connect(&url, format, seed + offset).await);
        }
    }
    for round in 0..5 {
        for node in &mut nodes {
            node.write(&format!("round {round}")).await;
        }
    }
    for node in &mut nodes {
        node.until("all blocks of its generation", |node| node.ids().len() == 15).await;
    }
    for format in [Format::V8, Format::V3] {
        let mut same = nodes.iter().filter(|node| node.format == format).map(Node::bytes);
        let one = same.next().unwrap();
        assert!(same.all(|other| other == one));
    }
    for node in &mut nodes {
        node.listen(Duration::from_millis(300)).await;
        assert!(node.live.len() <= 10, "each block of the others at most once: {}", node.live.len());
    }
    // Thirty blocks, each new once at each relay, and then no more traffic.
    let sum = |name: &str, label: &str| relays.iter().map(|relay| relay.metric(name, label)).sum::<f64>();
    assert_eq!(sum("picorelay_pico_blocks_total", "outcome=\"new\""), 90.0);
    let frames = sum("picorelay_pico_frames_total", "outcome=\"read\"");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(sum("picorelay_pico_frames_total", "outcome=\"read\""), frames);
}

/// Both follow each other: two connections, one flow. And what was there before flows, too.
#[tokio::test]
async fn two_relays_that_follow_each_other() {
    let port = free_port();
    let one = Relay::with(&following(&[port]));
    let mut writer = Node::connect(&format!("{}/pico/ring", one.url), Format::V8, 1).await;
    let mut old = Node::connect(&format!("{}/pico/ring", one.url), Format::V3, 2).await;
    let before = [writer.write("before").await, old.write("before, in the old way").await];
    let two = Relay::with_port(&following(&[one.port]), port);
    let url = format!("{}/pico/ring", two.url);
    let mut reader = Node::connect(&url, Format::V8, 3).await;
    let mut old_reader = Node::connect(&url, Format::V3, 4).await;
    reader.until_has(&before[0]).await;
    old_reader.until_has(&before[1]).await;
    let after = reader.write("after").await;
    writer.until_has(&after).await;
    reader.listen(Duration::from_millis(300)).await;
    assert!(reader.live.len() <= 1);
    assert_eq!(writer.bytes(), reader.bytes());
}
