//! An engine by itself: how slices are tried, without a relay.

use picofeed::{Block, Feed};
use tokio::sync::broadcast;

use super::slice::{Millis, Slice};
use super::waiting::chain::settle;
use super::waiting::mempool::{self, Mempool, Offered};
use super::{Decision, Engine, EngineError, Limits, Mode, Outcome, Store};
use crate::store::memory::Memory;
use crate::store::repo::{Bounds, Chain, RoomName};
use crate::store::state::{Scope, Stored};
use crate::store::{Backend, StoreError};
use crate::vanish::RelayUrls;

/// A room with slices and nothing else.
pub struct Offline {
    engine: Engine,
    scope: Scope,
    mempool: Mempool,
}

/// What came of a feed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Dispatched {
    /// Blocks that were stored, in order, those that had waited for them included.
    pub merged: Vec<Block>,
    /// One for each block of the feed, in order. After a loud failure there are fewer.
    pub decisions: Vec<Decision>,
    /// Why a loud dispatch ended early.
    pub failure: Option<String>,
}

impl Offline {
    /// An empty room.
    ///
    /// # Errors
    ///
    /// None that is known of.
    pub fn new(slices: Vec<Box<dyn Slice>>, limits: Limits) -> Result<Self, EngineError> {
        Self::on(&Memory::new(RelayUrls::default()), slices, Bounds::NONE, limits)
    }

    /// A room on a backend that nobody else uses.
    ///
    /// # Errors
    ///
    /// The backend cannot be used.
    pub fn on(
        backend: &dyn Backend,
        slices: Vec<Box<dyn Slice>>,
        bounds: Bounds,
        limits: Limits,
    ) -> Result<Self, EngineError> {
        let scope = Scope::from(RoomName::main());
        let store = Store::own(backend.reader()?, backend.writer()?);
        let (updates, _) = broadcast::channel(1);
        let engine = Engine::new(scope.clone(), slices, store, bounds, limits, updates)?;
        let bounds = mempool::Bounds { blocks_max: 100_000, bytes_max: 1 << 30, peer_blocks_max: 100_000 };
        Ok(Self { engine, scope, mempool: Mempool::new(bounds) })
    }

    /// Takes a feed as a node would send it.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub fn dispatch(&mut self, feed: &Feed, now: Millis, mode: Mode) -> Result<Dispatched, EngineError> {
        let mut all = Dispatched::default();
        let mut blocks: Vec<Offered> = feed.iter().map(|block| Offered::by(block.clone(), 0)).collect();
        let mut first = true;
        while !blocks.is_empty() {
            let offered: Vec<Block> = blocks.iter().map(|offered| offered.block.clone()).collect();
            let Outcome { decisions, failure, .. } = self.engine.dispatch(&offered, now, mode)?;
            blocks.truncate(decisions.len());
            let settled = settle(&mut self.mempool, blocks, &decisions);
            all.merged.extend(settled.new.into_iter().map(|offered| offered.block));
            if std::mem::take(&mut first) {
                all.decisions = decisions;
            }
            if failure.is_some() {
                all.failure = failure;
                break;
            }
            blocks = settled.next;
        }
        Ok(all)
    }

    /// Lets time pass; gives the chains that went.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub fn gc(&mut self, now: Millis) -> Result<Vec<Chain>, EngineError> {
        self.engine.gc(now)
    }

    /// Lets time pass and asks about postponed blocks again; gives those that are stored now.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub fn tick(&mut self, now: Millis) -> Result<Vec<Block>, EngineError> {
        Ok(self.engine.tick(now)?.0)
    }

    /// The objects of a slice, by id.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub fn objects(&mut self, slice: &str) -> Result<Vec<(String, Stored)>, StoreError> {
        self.engine.reader().objects(&self.scope, slice, None, usize::MAX, usize::MAX)
    }

    /// Its engine.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Whose state it is.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}
