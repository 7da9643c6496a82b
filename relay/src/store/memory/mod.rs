//! The plain backend: everything in one sorted list, every rule written the obvious way.
//!
//! It is what tests compare the real backend with, and a store for tests that need one. Nothing is indexed and nothing
//! is written to disk. The relevance of a search result is its age.

mod rules;
mod scan;
mod search;

use std::sync::Arc;

use parking_lot::RwLock;

use self::rules::State;
use super::{Backend, Batch, Reader, Row, Scan, Seq, Slice, Step, StoreError, Writer};
use crate::clock::Timestamp;
use crate::event::Id;
use crate::vanish::RelayUrls;
use crate::verify::Verified;

/// A backend that lives as long as its handles; clones share the events.
#[derive(Clone, Debug)]
pub struct Memory(Arc<RwLock<State>>);

impl Memory {
    /// An empty store of the relay with these URLs, which searches the kinds that are searched by default.
    pub fn new(urls: RelayUrls) -> Self {
        Self::with_search(urls, crate::config::Search::default().kinds)
    }

    /// An empty store that searches these kinds (NIP-50).
    pub fn with_search(urls: RelayUrls, kinds: Vec<u16>) -> Self {
        Self(Arc::new(RwLock::new(State::new(urls, kinds))))
    }
}

impl Backend for Memory {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer for Memory {
    fn save(&mut self, batch: &[Verified], now: Timestamp) -> Result<Batch, StoreError> {
        let mut state = self.0.write();
        let mut removed = Vec::new();
        let saved = batch.iter().map(|event| state.save(event, now, &mut removed)).collect();
        Ok(Batch { saved, removed })
    }

    fn sweep_expired(&mut self, now: Timestamp, max: usize) -> Result<Vec<Id>, StoreError> {
        Ok(self.0.write().sweep_expired(now, max))
    }

    fn tend(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn tend_under_load(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn last_seq(&self) -> Seq {
        self.0.read().last_seq
    }
}

impl Reader for Memory {
    fn scan(&mut self, scan: &mut Scan, slice: Slice, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        Ok(scan::scan(&self.0.read(), scan, slice, rows))
    }

    fn contains(&mut self, id: &Id) -> Result<bool, StoreError> {
        Ok(self.0.read().contains(id))
    }

    fn len_estimate(&mut self) -> Result<u64, StoreError> {
        Ok(self.0.read().events.len() as u64)
    }
}
