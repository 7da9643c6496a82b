//! Many peers in one room, a block a second each. Two hundred for a minute with PICORELAY_TEST_LONG.

use std::time::Duration;

use picofeed::Format;

use crate::harness::pico::Node;
use crate::harness::{Relay, is_long};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_converge_and_memory_stays_bounded() {
    let (peers, rounds) = if is_long() { (200_u8, 60) } else { (30, 5) };
    let relay = Relay::start();
    let url = format!("{}/pico/swarm", relay.url);
    let mut nodes = Vec::new();
    for seed in 0..peers {
        nodes.push(Node::connect(&url, Format::V8, seed).await);
    }
    let before = relay.memory_bytes();
    let total = usize::from(peers) * rounds;
    let tasks: Vec<_> = nodes
        .into_iter()
        .map(|mut node| {
            tokio::spawn(async move {
                for round in 0..rounds {
                    node.write(&format!("round {round}")).await;
                    node.listen(Duration::from_secs(1)).await;
                }
                node.until("everything", |node| node.known.len() == total).await;
                assert_eq!(node.live.len(), total - rounds, "each block of the others once");
                node.bytes()
            })
        })
        .collect();
    let mut first = None;
    for task in tasks {
        let bytes = task.await.unwrap();
        assert_eq!(*first.get_or_insert_with(|| bytes.clone()), bytes);
    }
    let more = relay.memory_bytes().saturating_sub(before);
    eprintln!("{total} blocks to {peers} peers; the relay took {} KiB more memory", more >> 10);
    assert!(more < 128 << 20, "{more} bytes of memory");
}
