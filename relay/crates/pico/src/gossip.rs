//! Who is in a room, and who hears of new blocks.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use picofeed::{Block, Feed, Format};

pub use super::mempool::PeerNumber;
use super::mempool::{Offered, Peers};
use super::outbox::{Closing, Outbox};
use super::rpc::{self, Formats, NodeId};
use crate::metrics::{PICO_FEEDS_SENT, PICO_PEERS};

/// Longest v3 feed that is sent: picofeed 3.4 refuses to make longer ones.
const V3_FEED_BYTES_MAX: usize = 1 << 16;

/// The peers of a room.
#[derive(Debug)]
pub struct Hub {
    peers: Mutex<HashMap<PeerNumber, Listener>>,
    peers_max: usize,
}

#[derive(Debug)]
struct Listener {
    outbox: Arc<Outbox>,
    direction: Direction,
    node_id: Option<NodeId>,
    hears: Formats,
}

/// Who connected to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer to us.
    In,
    /// We to the peer.
    Out,
}

/// The room has `pico.peers_max` peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the room is full")]
pub struct RoomFull;

impl Hub {
    /// Without peers.
    pub fn new(peers_max: usize) -> Self {
        Self { peers: Mutex::default(), peers_max }
    }

    /// Lets a peer in. It hears nothing before it says what it understands.
    ///
    /// # Errors
    ///
    /// [`RoomFull`], for peers that come. Those we connect to always have a place.
    pub fn join(&self, number: PeerNumber, outbox: Arc<Outbox>, direction: Direction) -> Result<(), RoomFull> {
        let mut peers = self.peers.lock();
        if direction == Direction::In && peers.len() >= self.peers_max {
            return Err(RoomFull);
        }
        peers.insert(number, Listener { outbox, direction, node_id: None, hears: Formats::default() });
        metrics::gauge!(PICO_PEERS).increment(1.0);
        Ok(())
    }

    /// A peer is gone.
    pub fn leave(&self, number: PeerNumber) {
        if self.peers.lock().remove(&number).is_some() {
            metrics::gauge!(PICO_PEERS).decrement(1.0);
        }
    }

    /// A peer said who it is. An older connection of the same node, which is most likely dead, goes. Connections that we
    /// made are left alone: two relays may follow each other.
    pub fn introduce(&self, number: PeerNumber, node_id: NodeId) {
        let mut peers = self.peers.lock();
        let Some(direction) = peers.get_mut(&number).map(|peer| {
            peer.node_id = Some(node_id);
            peer.direction
        }) else {
            return;
        };
        if direction == Direction::In {
            let older = peers.iter().filter(|(other, peer)| {
                **other != number && peer.direction == Direction::In && peer.node_id == Some(node_id)
            });
            older.for_each(|(_, peer)| peer.outbox.close(Closing::Replaced));
        }
    }

    /// A peer understands this format.
    pub fn hears(&self, number: PeerNumber, format: Format) {
        if let Some(peer) = self.peers.lock().get_mut(&number) {
            peer.hears.insert(format);
        }
    }

    /// Asks all peers for everything they have, once more.
    pub fn ask_again(&self) {
        self.peers.lock().values().for_each(|peer| peer.outbox.ask_again());
    }

    /// Ends the connections of all peers.
    pub fn close_all(&self, why: Closing) {
        self.peers.lock().values().for_each(|peer| peer.outbox.close(why));
    }

    /// Whether there is no place for another one that comes.
    pub fn is_full(&self) -> bool {
        self.len() >= self.peers_max
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.peers.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.peers.lock().is_empty()
    }

    /// Tells all who understand it of new blocks, but not those who brought them. A feed is written once for all.
    pub fn tell(&self, news: &[Offered], feed_bytes_max: usize) {
        for run in runs(news, feed_bytes_max) {
            let Some(format) = run.feed.first().map(Block::format) else { continue };
            let peers = self.peers.lock();
            let listeners =
                peers.iter().filter(|(number, peer)| !run.brought_by.contains(number) && peer.hears.contains(format));
            let mut frame: Option<Bytes> = None;
            let mut count = 0;
            for (_, peer) in listeners {
                let frame = frame.get_or_insert_with(|| rpc::live(&run.feed.encode()));
                peer.outbox.live(frame.clone());
                count += 1;
            }
            drop(peers);
            metrics::counter!(PICO_FEEDS_SENT, "phase" => "live").increment(count);
        }
    }
}

/// Bytes of blocks that one message may carry.
pub fn feed_bytes_max(format: Format, configured: usize) -> usize {
    match format {
        Format::V3 => configured.min(V3_FEED_BYTES_MAX),
        Format::V8 | Format::Pop02 => configured,
    }
}

/// Consecutive blocks that the same peers brought.
struct Run {
    brought_by: Peers,
    feed: Feed,
    bytes: usize,
}

/// Puts blocks together that make a feed.
fn runs(news: &[Offered], bytes_max: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Offered { block, brought_by } in news {
        let len = block.bytes().len();
        if let Some(run) = runs.last_mut()
            && run.brought_by == *brought_by
            && run.bytes + len <= feed_bytes_max(block.format(), bytes_max)
            && run.feed.push(block.clone()).is_ok()
        {
            run.bytes += len;
            continue;
        }
        if let Ok(feed) = Feed::from_blocks([block.clone()]) {
            runs.push(Run { brought_by: brought_by.clone(), feed, bytes: len });
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use picofeed::{Limits, Secret};

    use super::*;

    fn feed(format: Format, seed: u8, len: usize) -> Vec<Block> {
        let mut feed = Feed::new(format);
        for n in 0..len {
            feed.append(format!("{n}").as_bytes(), &Secret::ed25519([seed; 32])).unwrap();
        }
        feed.into_blocks()
    }

    fn offered(blocks: &[Block], from: PeerNumber) -> Vec<Offered> {
        blocks.iter().map(|block| Offered::by(block.clone(), from)).collect()
    }

    fn join(hub: &Hub, number: PeerNumber, formats: &[Format]) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(1 << 20));
        hub.join(number, Arc::clone(&outbox), Direction::In).unwrap();
        formats.iter().for_each(|format| hub.hears(number, *format));
        outbox
    }

    /// The feeds that wait in an outbox, as their blocks.
    fn got(outbox: &Outbox) -> Vec<Vec<Block>> {
        let limits = Limits::default();
        std::iter::from_fn(|| outbox.take())
            .map(|frame| {
                assert_eq!(frame[..6], [0, 0, 0, 0, 0, 2]);
                let feed = Feed::decode_any(frame.slice(6..), &limits).unwrap();
                feed.verify(&limits).unwrap().into_blocks()
            })
            .collect()
    }

    #[test]
    fn who_brought_it_and_who_would_not_understand_it_hear_nothing() {
        let hub = Hub::new(10);
        let (new, old) = (feed(Format::V8, 1, 3), feed(Format::V3, 2, 2));
        let quiet = join(&hub, 1, &[]);
        let a = join(&hub, 2, &[Format::V8]);
        let b = join(&hub, 3, &[Format::V8]);
        let c = join(&hub, 4, &[Format::V3]);
        let relay = join(&hub, 5, &[Format::V8, Format::V3]);
        let mut all = offered(&new, 2);
        all.extend(offered(&old, 4));
        hub.tell(&all, 1 << 20);
        assert_eq!(got(&quiet), Vec::<Vec<Block>>::new());
        assert_eq!(got(&a), Vec::<Vec<Block>>::new());
        assert_eq!(got(&b), std::slice::from_ref(&new));
        assert_eq!(got(&c), Vec::<Vec<Block>>::new());
        assert_eq!(got(&relay), [new, old]);
    }

    #[test]
    fn long_news_come_in_parts() {
        let hub = Hub::new(10);
        let a = join(&hub, 1, &[Format::V8]);
        let blocks = feed(Format::V8, 1, 10);
        hub.tell(&offered(&blocks, 9), 3 * blocks[9].bytes().len());
        let parts = got(&a);
        assert!(parts.len() >= 3, "{}", parts.len());
        assert_eq!(parts.concat(), blocks);
    }

    #[test]
    fn the_same_node_again_is_the_one_that_stays() {
        let hub = Hub::new(10);
        let (old, new, other) = (join(&hub, 1, &[]), join(&hub, 2, &[]), join(&hub, 3, &[]));
        let out = Arc::new(Outbox::new(1 << 20));
        hub.join(4, Arc::clone(&out), Direction::Out).unwrap();
        for (number, id) in [(1, 7), (3, 8), (4, 7), (2, 7)] {
            hub.introduce(number, [id; 8]);
        }
        assert_eq!(old.closing(), Some(Closing::Replaced));
        for open in [new, other, out] {
            assert_eq!(open.closing(), None);
        }
    }

    #[test]
    fn a_room_has_so_many_places() {
        let hub = Hub::new(1);
        let outbox = join(&hub, 1, &[]);
        assert_eq!(hub.join(2, Arc::clone(&outbox), Direction::In), Err(RoomFull));
        hub.join(3, outbox, Direction::Out).unwrap();
        hub.leave(1);
        hub.leave(3);
        assert!(hub.is_empty());
    }
}
