//! What slices see: changes that are not committed yet, over a bounded cache, over what is stored.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use picofeed::Id;

use crate::slice::{Millis, Object, Unavailable, View};
use crate::store::state::{Scope, Stored};
use crate::store::{Reader, StoreError};

/// Expiries of other objects that one call may ask for.
pub(super) const LATCHES_MAX: usize = 256;

/// Slice and id of an object.
pub(super) type Key = (String, String);

/// Changes of one block, or of several.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// None: removed.
    pub(super) objects: BTreeMap<Key, Option<Stored>>,
    pub(super) index: BTreeMap<(String, Vec<u8>), Id>,
}

impl Layer {
    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.index.is_empty()
    }
}

/// The layers of a room.
#[derive(Debug)]
pub(super) struct Layers {
    scope: Scope,
    /// Committed objects, and ids of which there are none. When the younger half is full, the older one is forgotten.
    young: HashMap<Key, Option<Stored>>,
    old: HashMap<Key, Option<Stored>>,
    young_bytes: usize,
    cache_bytes_max: usize,
    /// Blocks that were accepted and wait for the commit.
    batch: Layer,
    /// The block at hand.
    pub(super) block: Layer,
}

/// About what an entry costs beside its value.
const ENTRY_BYTES: usize = 128;

impl Layers {
    pub(super) fn new(scope: Scope, cache_bytes_max: usize) -> Self {
        Self {
            scope,
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            cache_bytes_max,
            batch: Layer::default(),
            block: Layer::default(),
        }
    }

    pub(super) fn get(&mut self, reader: &mut dyn Reader, slice: &str, id: &str) -> Result<Option<Stored>, StoreError> {
        let key = (slice.to_owned(), id.to_owned());
        for layer in [&self.block, &self.batch] {
            if let Some(found) = layer.objects.get(&key) {
                return Ok(found.clone());
            }
        }
        if let Some(found) = self.young.get(&key) {
            return Ok(found.clone());
        }
        let found = match self.old.remove(&key) {
            Some(found) => found,
            None => reader.object(&self.scope, slice, id)?,
        };
        self.cache(key, found.clone());
        Ok(found)
    }

    /// What an object was before the block at hand.
    pub(super) fn before(&mut self, reader: &mut dyn Reader, key: &Key) -> Result<Option<Stored>, StoreError> {
        let now = self.block.objects.remove(key);
        let before = self.get(reader, &key.0, &key.1);
        if let Some(now) = now {
            self.block.objects.insert(key.clone(), now);
        }
        before
    }

    fn lookup(&self, reader: &mut dyn Reader, slice: &str, key: &[u8]) -> Result<Option<Id>, StoreError> {
        let entry = (slice.to_owned(), key.to_vec());
        for layer in [&self.block, &self.batch] {
            if let Some(found) = layer.index.get(&entry) {
                return Ok(Some(*found));
            }
        }
        reader.lookup(&self.scope, slice, key)
    }

    fn ids(
        &self,
        reader: &mut dyn Reader,
        slice: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut changed: BTreeMap<&str, bool> = BTreeMap::new();
        for layer in [&self.batch, &self.block] {
            let from = (slice.to_owned(), after.unwrap_or_default().to_owned());
            let of_slice = layer.objects.range(from..).take_while(|((of, _), _)| of == slice);
            changed.extend(of_slice.map(|((_, id), object)| (id.as_str(), object.is_some())));
        }
        changed.retain(|id, _| after.is_none_or(|after| *id > after));
        // Removed ones may be among those that are stored.
        let stored = reader.object_ids(&self.scope, slice, after, max.saturating_add(changed.len()))?;
        let mut ids: Vec<String> = stored.into_iter().filter(|id| !changed.contains_key(id.as_str())).collect();
        ids.extend(changed.iter().filter(|(_, there)| **there).map(|(id, _)| (*id).to_owned()));
        ids.sort_unstable();
        ids.truncate(max);
        Ok(ids)
    }

    fn cache(&mut self, key: Key, found: Option<Stored>) {
        let bytes = key.0.len() + key.1.len() + found.as_ref().map_or(0, |found| found.value.len()) + ENTRY_BYTES;
        if self.young_bytes + bytes > self.cache_bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if bytes <= self.cache_bytes_max / 2 {
            self.young_bytes += bytes;
            self.young.insert(key, found);
        }
    }

    /// The block at hand is accepted.
    pub(super) fn keep_block(&mut self) {
        let Layer { objects, index } = std::mem::take(&mut self.block);
        self.batch.objects.extend(objects);
        self.batch.index.extend(index);
    }

    /// The block at hand is not.
    pub(super) fn drop_block(&mut self) {
        if !self.block.is_empty() {
            self.block = Layer::default();
        }
    }

    /// Everything is committed.
    pub(super) fn committed(&mut self) {
        for (key, found) in std::mem::take(&mut self.batch).objects {
            self.old.remove(&key);
            self.young.remove(&key);
            self.cache(key, found);
        }
    }

    /// Only some of it is, or something else has changed the state.
    pub(super) fn forget(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
        self.batch = Layer::default();
        self.block = Layer::default();
    }
}

/// The view of one call of a slice.
pub(super) struct Sight<'a> {
    pub(super) layers: &'a mut Layers,
    pub(super) reader: &'a mut dyn Reader,
    /// Expiries that were found out for this call.
    pub(super) known: &'a HashMap<Key, Option<Millis>>,
    /// The expiries that are missing. If there are any, what the call says counts for nothing: it is made again.
    pub(super) wanted: BTreeSet<Key>,
    /// Why the store could not answer.
    pub(super) failed: Option<StoreError>,
}

impl Sight<'_> {
    fn or_fail<T>(&mut self, result: Result<T, StoreError>) -> Result<T, Unavailable> {
        result.map_err(|error| {
            self.failed = Some(error);
            Unavailable
        })
    }
}

impl View for Sight<'_> {
    fn object(&mut self, slice: &str, id: &str) -> Result<Option<Object>, Unavailable> {
        let found = self.layers.get(self.reader, slice, id);
        let found = self.or_fail(found)?;
        Ok(found.map(|Stored { value, version, .. }| Object { value, version }))
    }

    fn expiry(&mut self, slice: &str, id: &str) -> Result<Option<Millis>, Unavailable> {
        let key = (slice.to_owned(), id.to_owned());
        match self.known.get(&key) {
            Some(expiry) => Ok(*expiry),
            // It goes on with a value for the time being, so that all that it asks for is known after one call.
            None if self.wanted.len() <= LATCHES_MAX => {
                self.wanted.insert(key);
                Ok(None)
            }
            None => Err(Unavailable),
        }
    }

    fn lookup(&mut self, slice: &str, key: &[u8]) -> Result<Option<Id>, Unavailable> {
        let found = self.layers.lookup(self.reader, slice, key);
        self.or_fail(found)
    }

    fn ids(&mut self, slice: &str, after: Option<&str>, max: usize) -> Result<Vec<String>, Unavailable> {
        let found = self.layers.ids(self.reader, slice, after, max);
        self.or_fail(found)
    }
}
