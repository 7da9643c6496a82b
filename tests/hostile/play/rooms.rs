//! Rooms of pico nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use picofeed::{Feed, Format, Secret};
use rand::random;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::crew::{Crew, Stats};
use crate::harness::pico::live;
use crate::line::{BINARY, PING, Rounds, drain, each, flood, frame, pieces, upgraded};

fn feed(seed: [u8; 32], bodies: &[&[u8]]) -> Vec<u8> {
    let mut feed = Feed::new(Format::V8);
    for body in bodies {
        feed.append(body, &Secret::ed25519(seed)).unwrap();
    }
    feed.encode()
}

fn message(feed: &[u8]) -> Vec<u8> {
    frame(BINARY, true, &live(feed))
}

/// Leaves a tiny block in one room after the other, so many connections at a time, until a thousand have one.
pub(crate) async fn squat(crew: Arc<Crew>) {
    let blocks: Arc<[Vec<u8>]> = (0..1_000_u32)
        .map(|n| {
            let mut seed = [9; 32];
            seed[..4].copy_from_slice(&n.to_be_bytes());
            message(&feed(seed, &[b"mine"]))
        })
        .collect();
    crew.go().await;
    let rooms = Arc::new(AtomicUsize::new(0));
    each(&crew, move |crew, number| {
        let (blocks, rooms) = (Arc::clone(&blocks), Arc::clone(&rooms));
        async move {
            loop {
                let room = rooms.fetch_add(1, Ordering::Relaxed);
                let Some(block) = blocks.get(room) else { return std::future::pending().await };
                let path = format!("/pico/squat{room}");
                if let Ok(mut stream) = upgraded(&crew, number, &path, None).await
                    && stream.write_all(block).await.is_ok()
                {
                    // The relay reads what came before the end of a connection; so it is not all at once.
                    sleep(Duration::from_millis(1)).await;
                }
            }
        }
    })
    .await;
}

/// Feeds of one block whose signature is false.
pub(crate) async fn small_false_feeds(crew: Arc<Crew>) {
    let frames = (0..200_u8).map(|n| {
        let mut bytes = feed([n; 32], &[b"a block"]);
        *bytes.last_mut().unwrap() ^= 1;
        message(&bytes)
    });
    flood(Arc::clone(&crew), Some("/pico/false"), pieces(frames), Rounds::Endless).await;
}

/// Feeds of 1,000 true blocks each: all of them are to be verified, few are new after a while.
pub(crate) async fn true_feeds(crew: Arc<Crew>) {
    let frames = (0..40_u8).map(|n| {
        let bodies: Vec<Vec<u8>> = (0..1_000_u32).map(|block| format!("block {block}").into_bytes()).collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        message(&feed([n; 32], &bodies))
    });
    flood(Arc::clone(&crew), Some("/pico/true"), pieces(frames), Rounds::Endless).await;
}

/// Pings, each of which is to be answered.
pub(crate) async fn pings(crew: Arc<Crew>) {
    let frames = (0..4_000).map(|n| frame(PING, true, &[b'x'; 125][..n % 126]));
    flood(Arc::clone(&crew), Some("/pico/pings"), pieces(frames), Rounds::Endless).await;
}

/// Asks for all that the room holds, again and again.
pub(crate) async fn questions(crew: Arc<Crew>) {
    let frames = (1..60_000_u16).step_by(15).map(|port| {
        let [high, low] = port.to_be_bytes();
        // A message that wants an answer at this port: QUERY with no parameters.
        frame(BINARY, true, &[0, 0, high, low, 1, 1, 0xa0])
    });
    flood(Arc::clone(&crew), Some("/pico/questions"), pieces(frames), Rounds::Endless).await;
}

/// Feeds of 7 MB whose last block is false; two of each peer.
pub(crate) async fn large_false_feeds(crew: Arc<Crew>) {
    let body = vec![b'x'; 3_500_000];
    let mut bytes = feed(random(), &[&body, &body, b"the last one"]);
    *bytes.last_mut().unwrap() ^= 1;
    let bytes: Arc<[u8]> = message(&bytes).into();
    crew.go().await;
    each(&crew, move |crew, number| {
        let bytes = Arc::clone(&bytes);
        async move {
            let Ok(stream) = upgraded(&crew, number, "/pico/false", None).await else { return };
            let (mut reader, mut writer) = stream.into_split();
            let write = async {
                for _ in 0..2 {
                    crew.send(bytes.len()).await;
                    if writer.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = write => {}
                () = drain(&mut reader) => {}
            }
            Stats::add(&crew.stats.closed, 1);
        }
    })
    .await;
}
