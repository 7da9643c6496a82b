//! A room: its peers, its blocks, and the one task through which every block enters.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::carry::Carry;
use super::chain::settle;
use super::gossip::{Hub, PeerNumber};
use super::mempool::{self, Mempool, Offered};
use super::repo::{Bounds, Repo, RoomName};
use super::rpc::NodeId;
use super::verify::{Checker, Recent};
use crate::http::metrics::{PICO_BLOCKS, PICO_REFUSED};

/// Offers that wait for a room's task. Each peer has at most one there.
const OFFERS_MAX: usize = 256;

/// Offers that go into one transaction.
const OFFERS_BATCH: usize = 64;

/// What all rooms have in common.
#[derive(Clone)]
pub struct Common {
    /// Blocks.
    pub repo: Repo,
    /// Worker threads.
    pub checker: Checker,
    /// How much may be stored.
    pub bounds: Bounds,
    /// How much may wait for its parent.
    pub mempool: mempool::Bounds,
    /// Bytes of blocks in one message to a peer.
    pub feed_bytes_max: usize,
    /// Peers of one room.
    pub peers_max: usize,
    /// Ids that are remembered.
    pub recent_ids_max: usize,
    /// Tells the bridge.
    pub carry: Carry,
}

/// Handle of a room; its task ends when the last one is gone.
pub struct Room {
    inner: Arc<Inner>,
    offers: mpsc::Sender<Offer>,
}

struct Inner {
    name: RoomName,
    node_id: NodeId,
    hub: Hub,
    common: Common,
    recent: Arc<Recent>,
}

/// Feeds of one peer.
struct Offer {
    blocks: Vec<Offered>,
    /// How many blocks each feed has.
    lens: Vec<usize>,
    done: oneshot::Sender<Vec<Verdict>>,
}

/// What a feed was worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It was not a feed that the room takes, wholly or from some block on.
    pub refused: bool,
    /// Blocks of it whose parents are missing.
    pub orphans: usize,
}

impl Verdict {
    fn add(&mut self, other: Self) {
        self.refused |= other.refused;
        self.orphans += other.orphans;
    }
}

impl Room {
    /// A room, and the task that must run for it.
    pub fn new(name: RoomName, node_id: NodeId, common: Common) -> (Arc<Self>, impl Future<Output = ()> + Send) {
        let (offers, queue) = mpsc::channel(OFFERS_MAX);
        let inner = Arc::new(Inner {
            name,
            node_id,
            hub: Hub::new(common.peers_max),
            recent: Arc::new(Recent::new(common.recent_ids_max)),
            common,
        });
        let task = run(Arc::clone(&inner), queue);
        (Arc::new(Self { inner, offers }), task)
    }

    /// Its name.
    pub fn name(&self) -> &RoomName {
        &self.inner.name
    }

    /// Who the relay is in this room.
    pub fn node_id(&self) -> NodeId {
        self.inner.node_id
    }

    /// Its peers.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// Its blocks.
    pub fn repo(&self) -> &Repo {
        &self.inner.common.repo
    }

    /// Bytes of blocks in one message to a peer.
    pub fn feed_bytes_max(&self) -> usize {
        self.inner.common.feed_bytes_max
    }

    /// Takes in feeds as a peer sent them, in order: decodes, verifies, merges, and tells the others of what is new. Gives
    /// a verdict for each.
    pub async fn offer(&self, from: PeerNumber, feeds: Vec<Bytes>) -> Vec<Verdict> {
        let checked = self.inner.common.checker.check(feeds, &self.inner.recent).await;
        let mut verdicts: Vec<Verdict> =
            checked.iter().map(|one| Verdict { refused: one.refused.is_some(), orphans: 0 }).collect();
        for reason in checked.iter().filter_map(|one| one.refused) {
            metrics::counter!(PICO_REFUSED, "reason" => reason).increment(1);
        }
        let lens = checked.iter().map(|one| one.blocks.len()).collect();
        let blocks: Vec<Offered> =
            checked.into_iter().flat_map(|one| one.blocks).map(|block| Offered::by(block, from)).collect();
        if blocks.is_empty() {
            return verdicts;
        }
        let (done, merged) = oneshot::channel();
        let merged = match self.offers.send(Offer { blocks, lens, done }).await {
            Ok(()) => merged.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        // Nothing is heard of a room that has ended.
        let merged = merged.into_iter().chain(std::iter::repeat(Verdict { refused: true, orphans: 0 }));
        for (verdict, merged) in verdicts.iter_mut().zip(merged) {
            verdict.add(merged);
        }
        verdicts
    }

    /// The same for blocks that are verified: those in events, and the relay's own.
    pub async fn offer_blocks(&self, blocks: Vec<Offered>) -> Verdict {
        let (done, merged) = oneshot::channel();
        let merged = match self.offers.send(Offer { lens: vec![blocks.len()], blocks, done }).await {
            Ok(()) => merged.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        merged.first().copied().unwrap_or(Verdict { refused: true, orphans: 0 })
    }
}

/// Merges what is offered, in order, as much in one transaction as waits. The order in which blocks are told is the
/// order in which they were stored.
async fn run(inner: Arc<Inner>, mut queue: mpsc::Receiver<Offer>) {
    let mut mempool = Mempool::new(inner.common.mempool);
    let mut offers = Vec::new();
    while queue.recv_many(&mut offers, OFFERS_BATCH).await > 0 {
        let mut blocks = Vec::new();
        let mut waiting = Vec::new();
        for offer in offers.drain(..) {
            waiting.push((offer.done, offer.lens));
            blocks.extend(offer.blocks);
        }
        let mut outcomes = inner.merge(&mut mempool, blocks).await.into_iter();
        for (done, lens) in waiting {
            let verdicts = lens.into_iter().map(|len| {
                let mut verdict = Verdict::default();
                outcomes.by_ref().take(len).for_each(|outcome| verdict.add(outcome));
                verdict
            });
            let _ = done.send(verdicts.collect());
        }
    }
}

impl Inner {
    /// Stores blocks, then those that waited for them, and so on; gives what became of each of the first.
    async fn merge(&self, mempool: &mut Mempool, mut blocks: Vec<Offered>) -> Vec<Verdict> {
        let mut first = None;
        while !blocks.is_empty() {
            let to_store = blocks.iter().map(|offered| offered.block.clone()).collect();
            let origins = self.common.carry.modes.origins(&self.name, &blocks);
            let (bounds, is_carried) = (&self.common.bounds, !origins.is_empty());
            let merging = match self.common.repo.merge_carried(&self.name, bounds, to_store, origins).await {
                Ok(merging) => merging,
                Err(error) => {
                    tracing::error!(%error, room = %self.name, "blocks could not be stored");
                    metrics::counter!(PICO_BLOCKS, "outcome" => "failed").increment(blocks.len() as u64);
                    return first.unwrap_or_else(|| vec![Verdict { refused: true, orphans: 0 }; blocks.len()]);
                }
            };
            first.get_or_insert_with(|| merging.merged.iter().map(|merged| verdict(*merged)).collect());
            if !merging.discarded.is_empty() {
                tracing::debug!(room = %self.name, chains = merging.discarded.len(), "discarded to make room");
                self.recent.clear();
            }
            let stored = blocks.iter().zip(&merging.merged).filter(|(_, merged)| is_stored(**merged));
            self.recent.add(stored.map(|(offered, _)| offered.block.id()));
            let settled = settle(mempool, blocks, &merging.merged);
            for (outcome, count) in settled.counts {
                metrics::counter!(PICO_BLOCKS, "outcome" => outcome).increment(count);
            }
            self.hub.tell(&settled.new, self.common.feed_bytes_max);
            if is_carried && !settled.new.is_empty() {
                self.common.carry.stored.notify_one();
            }
            blocks = settled.next;
        }
        first.unwrap_or_default()
    }
}

fn is_stored(merged: super::repo::Merged) -> bool {
    matches!(merged, super::repo::Merged::New | super::repo::Merged::Known)
}

fn verdict(merged: super::repo::Merged) -> Verdict {
    use super::repo::Merged;
    match merged {
        Merged::New | Merged::Known => Verdict::default(),
        Merged::Orphan => Verdict { refused: false, orphans: 1 },
        Merged::Fork | Merged::SecondGenesis | Merged::OverQuota(_) => Verdict { refused: true, orphans: 0 },
    }
}
