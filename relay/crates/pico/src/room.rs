//! A room: its peers, its blocks, and the one task through which every block enters.

use std::iter::Peekable;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use picofeed::{Block, Id};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::account::Account;
use super::carry::Carry;
use super::chain::settle;
use super::gossip::{Hub, PeerNumber};
use super::mempool::{self, Mempool, Offered};
use super::repo::{Bounds, Merged, Merging, Quota, Repo, RepoError, RoomName};
use super::rpc::NodeId;
use super::strangers::{NewRooms, Places};
use super::verdict::Verdict;
use super::verify::{Checked, Checker, Recent};
use crate::clock;
use crate::clock::Millis;
use crate::engine::Decision;
use crate::engine::host::{Done, EngineHandle};
use crate::fair::Owner;
use crate::metrics::{PICO_BLOCKS, PICO_REFUSED};
use crate::rarely::rarely;
use crate::store::Party;
use crate::store::carry::Origin;

/// Offers that wait for a room's task. Each peer has at most one there.
const OFFERS_MAX: usize = 256;

/// Offers that are taken together.
const OFFERS_BATCH: usize = 64;

/// Blocks that are stored in one transaction, and their bytes. One that is longer is alone.
const CHUNK_BLOCKS: usize = 64;
const CHUNK_BYTES: usize = 1 << 20;

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
    /// Makes a place for a new room.
    pub places: Places,
    /// How many new rooms each address has begun.
    pub new_rooms: Arc<NewRooms>,
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
    /// Asks the slices of the room, if it has any.
    engine: Option<EngineHandle>,
    /// When it has something to do.
    next_due: AtomicI64,
    /// Blocks were refused only because the slices could not be asked.
    has_missed: AtomicBool,
    /// It is declared, or holds blocks: nothing that comes begins it.
    has_begun: AtomicBool,
    /// The address whose peer opened it; none if the relay did.
    opener: Option<IpAddr>,
}

/// Feeds of one peer.
struct Offer {
    blocks: Vec<Offered>,
    /// How many blocks each feed has.
    lens: Vec<usize>,
    done: oneshot::Sender<Vec<Verdict>>,
}

/// The verdict on what could not be decided.
const FAILED: &str = "error: the blocks could not be stored";

impl Room {
    /// A room, and the task that must run for it.
    pub fn new(
        name: RoomName,
        node_id: NodeId,
        common: Common,
        engine: Option<EngineHandle>,
        opener: Option<IpAddr>,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send) {
        let (offers, queue) = mpsc::channel(OFFERS_MAX);
        let inner = Arc::new(Inner {
            node_id,
            has_begun: AtomicBool::new(common.places.is_declared(&name)),
            opener,
            name,
            hub: Hub::new(common.peers_max),
            recent: Arc::new(Recent::new(common.recent_ids_max)),
            common,
            engine,
            next_due: AtomicI64::new(0),
            has_missed: AtomicBool::new(false),
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

    /// The address whose peer opened it; none if the relay did.
    pub fn opener(&self) -> Option<IpAddr> {
        self.inner.opener
    }

    /// All its blocks were removed: what comes next begins it anew.
    pub fn was_removed(&self) {
        self.inner.recent.clear();
        self.inner.has_begun.store(false, Ordering::Relaxed);
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
    /// a verdict for each. `account` is that of the address of a stranger.
    pub async fn offer(&self, from: PeerNumber, account: Option<&dyn Account>, feeds: Vec<Bytes>) -> Vec<Verdict> {
        let feeds_len = feeds.len() as u64;
        let owner = Owner { account: account.map_or(Party::ROOMS, Account::number), key: 0, connection: from };
        let checker = &self.inner.common.checker;
        let ends = checker.ends(owner, &feeds).await;
        let (mut unknown, mut is_known) = (Vec::new(), vec![false; feeds.len()]);
        let mut ends = ends.into_iter();
        for (feed, is_known) in feeds.into_iter().zip(&mut is_known) {
            // Whoever has a block of a chain has all before it. Nothing is stored of a feed for what its last block says.
            *is_known = match ends.next().flatten() {
                Some(end) => self.holds(account, end).await,
                None => false,
            };
            if !*is_known {
                unknown.push(feed);
            }
        }
        let mut checked = checker.check(owner, unknown, &self.inner.recent).await.into_iter();
        let checked: Vec<_> = is_known
            .iter()
            .map(|is_known| if *is_known { Checked::default() } else { checked.next().unwrap_or_default() })
            .collect();
        let mut verdicts: Vec<Verdict> =
            checked.iter().map(|one| one.refused.map(Verdict::of_defect).unwrap_or_default()).collect();
        for reason in checked.iter().filter_map(|one| one.refused) {
            metrics::counter!(PICO_REFUSED, "reason" => reason).increment(1);
        }
        let lens = checked.iter().map(|one| one.blocks.len()).collect();
        let blocks: Vec<Offered> =
            checked.into_iter().flat_map(|one| one.blocks).map(|block| Offered::by(block, from)).collect();
        if blocks.is_empty() {
            return verdicts;
        }
        if let Some(address) = account.map(Account::address)
            && !self.may_begin(address).await
        {
            metrics::counter!(PICO_REFUSED, "reason" => "new_rooms").increment(feeds_len);
            let why = Verdict::refuse("rate-limited: too many new rooms from your address, try again later");
            let why = Verdict { begins_too_many: true, ..why };
            verdicts.iter_mut().for_each(|verdict| verdict.add(why.clone()));
            return verdicts;
        }
        let (done, merged) = oneshot::channel();
        let merged = match self.offers.send(Offer { blocks, lens, done }).await {
            Ok(()) => merged.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        // Nothing is heard of a room that has ended.
        let merged = merged.into_iter().chain(std::iter::repeat(Verdict::refuse("error: the room has ended")));
        for (verdict, merged) in verdicts.iter_mut().zip(merged) {
            verdict.add(merged);
        }
        verdicts
    }

    /// Whether a block is stored, as somebody asks in their turn.
    async fn holds(&self, account: Option<&dyn Account>, block: Id) -> bool {
        let repo = self.repo();
        let in_turn = account.map(|account| repo.of(account.party()));
        in_turn.as_ref().unwrap_or(repo).contains(self.name(), block).await.unwrap_or(false)
    }

    /// The same for blocks that are verified: those in events, and the relay's own.
    pub async fn offer_blocks(&self, blocks: Vec<Offered>) -> Verdict {
        let (done, merged) = oneshot::channel();
        let merged = match self.offers.send(Offer { lens: vec![blocks.len()], blocks, done }).await {
            Ok(()) => merged.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        merged.into_iter().next().unwrap_or_else(|| Verdict::refuse("error: the room has ended"))
    }

    /// Whether a peer at this address may store blocks here: the room holds some already, or the address has not begun too
    /// many rooms lately.
    async fn may_begin(&self, address: IpAddr) -> bool {
        let Inner { has_begun, common, name, .. } = &*self.inner;
        if has_begun.load(Ordering::Relaxed) {
            return true;
        }
        let holds_blocks = common.repo.usage(name).await.is_ok_and(|usage| usage.blocks > 0);
        let may_begin = holds_blocks || common.new_rooms.begin(address, std::time::Instant::now());
        if may_begin {
            has_begun.store(true, Ordering::Relaxed);
        }
        may_begin
    }
}

/// Merges what is offered, in order, as much in one transaction as waits. The order in which blocks are told is the
/// order in which they were stored.
async fn run(inner: Arc<Inner>, mut queue: mpsc::Receiver<Offer>) {
    let mut mempool = Mempool::new(inner.common.mempool);
    let mut offers = Vec::new();
    // What was due while nobody was there is done first.
    let mut not_before = Instant::now();
    let mut loads = inner.engine.as_ref().map(EngineHandle::loads);
    loop {
        // Not counted anew with each offer, so that a busy room does not forget the time.
        let next = not_before.max(Instant::now() + inner.until_due());
        tokio::select! {
            count = queue.recv_many(&mut offers, OFFERS_BATCH) => if count == 0 { break },
            () = tokio::time::sleep_until(next), if inner.engine.is_some() => {
                let pause = if inner.tick(&mut mempool).await { TICK } else { FAILED_TICK };
                not_before = Instant::now() + pause;
            }
            () = loaded(&mut loads) => inner.loaded(),
        }
        let mut blocks = Vec::new();
        let mut waiting = Vec::new();
        for offer in offers.drain(..) {
            waiting.push((offer.done, offer.lens));
            blocks.extend(offer.blocks);
        }
        let mut outcomes = Vec::with_capacity(blocks.len());
        let mut blocks = blocks.into_iter().peekable();
        while blocks.peek().is_some() {
            outcomes.extend(inner.merge(&mut mempool, chunk(&mut blocks)).await);
        }
        let mut outcomes = outcomes.into_iter();
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

/// The next blocks that are stored together: so few that nobody waits long behind them.
fn chunk(blocks: &mut Peekable<impl Iterator<Item = Offered>>) -> Vec<Offered> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < CHUNK_BLOCKS
        && bytes < CHUNK_BYTES
        && let Some(offered) = blocks.next()
    {
        bytes += offered.block.bytes().len();
        chunk.push(offered);
    }
    chunk
}

/// Waits until the slices are loaded again.
async fn loaded(loads: &mut Option<watch::Receiver<u64>>) {
    if let Some(receiver) = loads
        && receiver.changed().await.is_ok()
    {
        return;
    }
    // Without slices, or while the relay stops.
    std::future::pending().await
}

/// Between two looks at what is due, at least.
const TICK: Duration = Duration::from_millis(20);

/// The same after the engine could not do it.
const FAILED_TICK: Duration = Duration::from_secs(5);

impl Inner {
    /// How long nothing is due.
    fn until_due(&self) -> Duration {
        let left = self.next_due.load(Ordering::Relaxed).saturating_sub(clock::now_ms());
        Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(Duration::from_secs(3600))
    }

    fn set_due(&self, next_due: Option<Millis>) {
        self.next_due.store(next_due.unwrap_or(Millis::MAX), Ordering::Relaxed);
    }

    /// The slices are loaded: time passes again, and what was refused for want of them is asked for.
    fn loaded(&self) {
        self.set_due(Some(0));
        if self.has_missed.swap(false, Ordering::Relaxed) {
            tracing::info!(room = %self.name, peers = self.hub.len(), "peers are asked for what was refused meanwhile");
            self.hub.ask_again();
        }
    }

    /// Lets the engine do what is due. False if it could not.
    async fn tick(&self, mempool: &mut Mempool) -> bool {
        let Some(engine) = &self.engine else { return false };
        let Some(done) = engine.tick(clock::now_ms()).await else { return false };
        self.set_due(done.next_due);
        if done.evicted > 0 {
            self.recent.clear();
        }
        let retried: Vec<Offered> =
            done.retried.iter().map(|block| Offered { block: block.clone(), brought_by: Default::default() }).collect();
        if !retried.is_empty() {
            self.common.carry.stored.notify_one();
            let decisions = vec![Decision::Merged(Merged::New); retried.len()];
            let next = self.settled(mempool, retried, &decisions);
            self.merge(mempool, next).await;
        }
        done.decisions.is_some()
    }

    /// Asks the slices, or only the store if there are none. None if neither could answer.
    async fn decide(&self, blocks: &[Offered]) -> Option<Vec<Decision>> {
        let to_store = blocks.iter().map(|offered| offered.block.clone()).collect();
        let origins = self.common.carry.modes.origins(&self.name, blocks);
        let is_carried = !origins.is_empty();
        let discarded;
        let decisions = match &self.engine {
            Some(engine) => {
                let Done { decisions, evicted, next_due, .. } =
                    engine.dispatch(to_store, origins, clock::now_ms()).await?;
                self.set_due(next_due);
                discarded = evicted;
                let decisions = decisions?;
                if is_carried && decisions.contains(&Decision::Merged(Merged::New)) {
                    self.common.carry.stored.notify_one();
                }
                decisions
            }
            None => match self.store(to_store, origins).await {
                Ok(merging) => {
                    if is_carried && merging.merged.contains(&Merged::New) {
                        self.common.carry.stored.notify_one();
                    }
                    discarded = merging.discarded.len();
                    merging.merged.into_iter().map(Decision::Merged).collect()
                }
                Err(error) => {
                    rarely!(error, %error, room = %self.name, "blocks could not be stored");
                    return None;
                }
            },
        };
        if discarded > 0 {
            tracing::debug!(room = %self.name, chains = discarded, "discarded to make room, or expired");
            self.recent.clear();
        }
        Some(decisions)
    }

    /// Stores blocks in a room without slices. If the room is new and there are too many, another one gives way.
    async fn store(&self, blocks: Vec<Block>, origins: Vec<Origin>) -> Result<Merging, RepoError> {
        let Common { repo, bounds, places, .. } = &self.common;
        let merging = repo.merge_carried(&self.name, bounds, blocks.clone(), origins.clone()).await?;
        let has_no_place = merging.merged.contains(&Merged::OverQuota(Quota::Rooms));
        if has_no_place && places.make(repo).await {
            return repo.merge_carried(&self.name, bounds, blocks, origins).await;
        }
        Ok(merging)
    }

    /// Stores blocks, then those that waited for them, and so on; gives what became of each of the first.
    async fn merge(&self, mempool: &mut Mempool, mut blocks: Vec<Offered>) -> Vec<Verdict> {
        let mut first = None;
        while !blocks.is_empty() {
            let Some(decisions) = self.decide(&blocks).await else {
                self.has_missed.store(true, Ordering::Relaxed);
                metrics::counter!(PICO_BLOCKS, "outcome" => "failed").increment(blocks.len() as u64);
                return first.unwrap_or_else(|| vec![Verdict::refuse(FAILED); blocks.len()]);
            };
            if decisions.contains(&Decision::NotLoaded) {
                self.has_missed.store(true, Ordering::Relaxed);
            }
            first.get_or_insert_with(|| decisions.iter().map(Verdict::of).collect());
            blocks = self.settled(mempool, blocks, &decisions);
        }
        first.unwrap_or_default()
    }

    /// Remembers what is stored, tells the others of what is new, and gives the blocks that waited for that.
    fn settled(&self, mempool: &mut Mempool, blocks: Vec<Offered>, decisions: &[Decision]) -> Vec<Offered> {
        let stored = blocks.iter().zip(decisions).filter(|(_, decision)| is_stored(decision));
        self.recent.add(stored.map(|(offered, _)| offered.block.id()));
        let settled = settle(mempool, blocks, decisions);
        for (outcome, count) in settled.counts {
            metrics::counter!(PICO_BLOCKS, "outcome" => outcome).increment(count);
        }
        self.hub.tell(&settled.new, self.common.feed_bytes_max);
        settled.next
    }
}

fn is_stored(decision: &Decision) -> bool {
    matches!(decision, Decision::Merged(Merged::New | Merged::Known))
}
