//! What the slices of a room decide: [`Engine`].

mod ask;
mod body;
mod dispatch;
mod gc;
mod layers;
mod quota;
pub mod replay;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;

use self::layers::{Key, Layers};
use crate::pulse::Pulse;
use crate::slice::{FaultKind, Millis, Slice};
use crate::store::repo::{Bounds, Chain, Change, Changed, Merged};
use crate::store::state::{Dispatch, Dispatched, Edit, Scope, Standing, Step};
use crate::store::{ChangeError, Reader, StoreError, Writer, WriterHandle};

/// What the slices of one room may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of objects and marks of the room.
    pub state_bytes_max: u64,
    /// Bytes of one object.
    pub object_bytes_max: usize,
    /// Objects, keys, signals and marks that one block may bring about.
    pub effects_max: usize,
    /// Blocks that wait to be asked about again.
    pub postponed_blocks_max: usize,
    /// How long a block may wait for that, from one time to the next.
    pub postpone_max: Millis,
    /// How often a block is asked about again.
    pub retries_max: u32,
    /// Evicted chains that are remembered.
    pub evicted_ids_max: usize,
    /// Bytes of objects that are held in memory.
    pub cache_bytes_max: usize,
    /// Blocks in one transaction.
    pub batch_blocks_max: usize,
    /// Objects and marks that are swept in one transaction.
    pub batch_timers_max: usize,
    /// Chains that are compared when one of them has to go.
    pub lesser_chains_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            state_bytes_max: 256 << 20,
            object_bytes_max: 4 << 20,
            effects_max: 1_000,
            postponed_blocks_max: 1_000,
            postpone_max: 86_400_000,
            retries_max: 100,
            evicted_ids_max: 100_000,
            cache_bytes_max: 32 << 20,
            batch_blocks_max: 64,
            batch_timers_max: 500,
            lesser_chains_max: 64,
        }
    }
}

/// What became of a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The slices accepted it or were not asked, and the repo says this.
    Merged(Merged),
    /// The slices do not accept it.
    Rejected(Rejection),
    /// It is kept to be asked about again then. Nobody hears of it before.
    Postponed(Millis),
    /// Its chain has expired, and does not come back.
    Evicted,
    /// The slices of the room are not loaded: nobody could be asked, so it may be sent again later.
    NotLoaded,
}

/// Why a block was not accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// The slice; empty if no slice was asked.
    pub slice: String,
    /// For people.
    pub reason: String,
    /// If the slice failed.
    pub fault: Option<FaultKind>,
}

/// How a dispatch treats blocks that slices object to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// As blocks of others: what is rejected is left out.
    Quiet,
    /// As blocks of one's own: whatever any slice objects to ends the dispatch.
    Loud,
}

/// What a dispatch did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// One for each block, in order. After a loud failure there are fewer.
    pub decisions: Vec<Decision>,
    /// Why a loud dispatch ended early, in the words of picostore.
    pub failure: Option<String>,
    /// Chains that had to go, because their time had come or the room was full.
    pub evicted: Vec<Chain>,
}

/// A change of an object, for those who watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    /// Whose.
    pub slice: String,
    /// Which.
    pub id: String,
    /// Its value; none if it is gone.
    pub value: Option<Bytes>,
}

/// The changes of one transaction, in order.
pub type Updates = Arc<[Update]>;

/// The engine cannot go on now. What was not committed is forgotten.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The state cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// The writer cannot write, or the relay is shutting down.
    #[error(transparent)]
    Write(#[from] ChangeError),
    /// Cannot happen.
    #[error("the writer answered another question")]
    MixedUp,
}

/// Where an engine reads and writes.
pub struct Store {
    reader: Box<dyn Reader>,
    writer: Box<dyn FnMut(Change) -> Result<Changed, ChangeError>>,
}

impl Store {
    /// Through the writer that everybody uses. Nothing is written any more while the thread counts as stuck: what it was
    /// about has been given up.
    pub fn shared(reader: Box<dyn Reader>, writer: WriterHandle, pulse: Arc<Pulse>) -> Self {
        let write = move |change| if pulse.is_stuck() { Err(ChangeError::Stopped) } else { writer.change_now(change) };
        Self { reader, writer: Box::new(write) }
    }

    /// With a backend for itself.
    pub fn own(reader: Box<dyn Reader>, mut writer: Box<dyn Writer>) -> Self {
        let write = move |change| {
            let batch = writer.commit(&[], &[change], 0).map_err(|error| ChangeError::Failed(error.to_string()))?;
            batch.changed.into_iter().next().ok_or(ChangeError::Stopped)
        };
        Self { reader, writer: Box::new(write) }
    }

    /// To read what is stored.
    pub fn reader(&mut self) -> &mut dyn Reader {
        &mut *self.reader
    }

    fn change(&mut self, change: Change) -> Result<Changed, EngineError> {
        Ok((self.writer)(change)?)
    }
}

/// The slices of a room, and their state.
pub struct Engine {
    scope: Scope,
    slices: Vec<Box<dyn Slice>>,
    store: Store,
    layers: Layers,
    bounds: Bounds,
    limits: Limits,
    /// As of the last commit.
    standing: Standing,
    /// The last version that was given to an object, whether it was committed or not.
    version: u64,
    /// Nothing is due before. None: nothing at all.
    next_due: Option<Millis>,
    /// The object whose time was set last, and that time.
    newest_timer: Option<(Key, Millis)>,
    updates: broadcast::Sender<Updates>,
}

impl Engine {
    /// The engine of a scope. Goes on where the last one stopped.
    ///
    /// # Errors
    ///
    /// The state cannot be read.
    pub fn new(
        scope: Scope,
        slices: Vec<Box<dyn Slice>>,
        mut store: Store,
        bounds: Bounds,
        limits: Limits,
        updates: broadcast::Sender<Updates>,
    ) -> Result<Self, EngineError> {
        let standing = store.reader.standing(&scope)?.unwrap_or_default();
        let next_due = store.reader.next_due(&scope)?;
        let layers = Layers::new(scope.clone(), limits.cache_bytes_max);
        let version = standing.version;
        Ok(Self {
            scope,
            slices,
            store,
            layers,
            bounds,
            limits,
            standing,
            version,
            next_due,
            newest_timer: None,
            updates,
        })
    }

    /// Whether there is anybody to ask. Until then no block is taken, and no time passes.
    pub fn is_loaded(&self) -> bool {
        !self.slices.is_empty()
    }

    /// Takes other slices. The state stays.
    pub fn replace(&mut self, slices: Vec<Box<dyn Slice>>) {
        self.slices = slices;
    }

    /// The slices, in the order in which they are asked.
    pub fn slices(&self) -> &[Box<dyn Slice>] {
        &self.slices
    }

    /// How much state there is.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// When [`Engine::tick`] has something to do.
    pub fn next_due(&self) -> Option<Millis> {
        self.next_due.filter(|_| self.is_loaded())
    }

    /// To read what is stored.
    pub fn reader(&mut self) -> &mut dyn Reader {
        self.store.reader()
    }

    fn commit(&mut self, steps: Vec<Step>, now: Millis) -> Result<Dispatched, EngineError> {
        let watched = if self.updates.receiver_count() > 0 { steps.clone() } else { Vec::new() };
        let dispatch = Dispatch {
            scope: self.scope.clone(),
            bounds: self.bounds,
            now,
            steps,
            evicted_max: self.limits.evicted_ids_max,
        };
        let dispatched = match self.store.change(Change::Dispatch(Box::new(dispatch))) {
            Ok(Changed::Dispatched(dispatched)) => dispatched,
            Ok(_) => return Err(self.lost(EngineError::MixedUp)),
            Err(error) => return Err(self.lost(error)),
        };
        self.standing = dispatched.standing;
        self.next_due = self.store.reader.next_due(&self.scope)?;
        if dispatched.refused.is_some() || !dispatched.removed.is_empty() {
            self.layers.forget();
        } else {
            self.layers.committed();
        }
        self.tell(&watched, &dispatched);
        Ok(dispatched)
    }

    /// Forgets what is not committed.
    fn lost(&mut self, error: EngineError) -> EngineError {
        self.layers.forget();
        if let Ok(Some(standing)) = self.store.reader.standing(&self.scope) {
            self.standing = standing;
        }
        error
    }

    fn tell(&self, steps: &[Step], dispatched: &Dispatched) {
        let edits = steps.iter().take(dispatched.done).flat_map(|step| &step.edits);
        let changed = edits.filter_map(|edit| match edit {
            Edit::Put { slice, id, stored } => Some((slice, id, Some(stored.value.clone()))),
            Edit::Remove { slice, id } | Edit::Sweep { slice, id } => Some((slice, id, None)),
            _ => None,
        });
        let gone = dispatched.removed.iter().map(|(slice, id)| (slice, id, None));
        let updates: Vec<Update> = changed
            .chain(gone)
            .map(|(slice, id, value)| Update { slice: slice.clone(), id: id.clone(), value })
            .collect();
        if !updates.is_empty() {
            // Nobody may be listening.
            let _ = self.updates.send(updates.into());
        }
    }
}
