//! The blocks of all rooms: what the network side asks of the store.
//!
//! Writing goes through the relay's one writer, so an answer means on disk; reading goes to the reader threads. What the
//! words mean and what a merge does is said in [`crate::store::repo`].

use std::sync::Arc;

use picofeed::{Block, Feed, Format, Id, Key};

pub use crate::store::ChangeError;
use crate::store::carry::{Incoming, Origin, Outgoing};
pub use crate::store::repo::{
    Bounds, Chain, Full, Merged, Merging, NotARoom, Part, Quota, RolledBack, RoomName, Run, Usage,
};
use crate::store::repo::{Change, Changed};
use crate::store::{Party, Reader, Readers, Seq, Stopped, StoreError, WriterHandle};

/// Handle of the blocks of all rooms; clones share them.
///
/// Every method waits politely for its turn. Answers are consistent each by itself: between two of them, chains may
/// have grown, or have been rolled back or discarded.
#[derive(Clone)]
pub struct Repo {
    writer: WriterHandle,
    readers: Readers,
}

/// The store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The relay is shutting down.
    #[error("the store is shutting down")]
    Stopped,
    /// A change failed; the writer has logged it. Nothing of it was kept.
    #[error("{0}")]
    Write(String),
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] StoreError),
}

impl Repo {
    /// On a running store.
    pub fn new(writer: WriterHandle, readers: Readers) -> Self {
        Self { writer, readers }
    }

    /// The same blocks, read in the turns of somebody else.
    pub fn of(&self, party: &Arc<Party>) -> Self {
        Self { writer: self.writer.clone(), readers: self.readers.of(party, 0) }
    }

    /// In memory, with threads of its own, which end when the last clone is dropped. For tests.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self::on(&crate::store::memory::Memory::new(crate::vanish::RelayUrls::default()))
    }

    /// On a backend that nobody else writes to, with threads of its own. For tests.
    #[cfg(test)]
    pub(crate) fn on(backend: &dyn crate::store::Backend) -> Self {
        use crate::store::{Crew, Pace, Slice};
        let pace = Pace {
            queue_max: 100,
            batch_max: 1_000,
            wait: std::time::Duration::ZERO,
            sweep: std::time::Duration::from_secs(3600),
        };
        let (writer, _) = WriterHandle::start(backend.writer().unwrap(), Box::new(()), pace).unwrap();
        let crew = Crew {
            quick: 1,
            long: 1,
            niceness: 0,
            queue_max: 100,
            party_queue_max: 50,
            party_searches_max: 2,
            long_from: std::time::Duration::from_millis(5),
            busy_from: std::time::Duration::from_millis(100),
            slice: Slice { rows: 500, bytes: 1 << 20, examined: 5_000, ..Slice::WHOLE },
        };
        Self::new(writer, Readers::start(backend, crew).unwrap())
    }

    /// Stores blocks, in order, of any chains and formats, in one transaction; durable on return. The outcomes are one
    /// for each block, in order. Blocks must have passed all rules of the room: here only chains and bounds are looked
    /// at. Of those that are [`Merged::New`], the others of the room may hear.
    pub async fn merge(&self, room: &RoomName, bounds: &Bounds, blocks: Vec<Block>) -> Result<Merging, RepoError> {
        self.merge_carried(room, bounds, blocks, Vec::new()).await
    }

    /// The same; blocks that are new are remembered, with where they came from, until they are carried to nostr. `origins`
    /// has one for each block, or none at all.
    pub async fn merge_carried(
        &self,
        room: &RoomName,
        bounds: &Bounds,
        blocks: Vec<Block>,
        origins: Vec<Origin>,
    ) -> Result<Merging, RepoError> {
        let change = Change::Merge { room: room.clone(), bounds: *bounds, blocks, origins };
        match self.writer.change(change).await? {
            Changed::Merged(merging) => Ok(merging),
            _ => Err(RepoError::Write(MIXED_UP.into())),
        }
    }

    /// The first blocks that are to be carried to nostr: at most `max`, and no more after `bytes_max` bytes.
    pub async fn outgoing(&self, max: usize, bytes_max: usize) -> Result<Vec<Outgoing>, RepoError> {
        self.read(move |reader| reader.outgoing(max, bytes_max)).await
    }

    /// Blocks up to and with this number were carried to nostr.
    pub async fn carried_out(&self, number: u64) -> Result<(), RepoError> {
        self.writer.change(Change::CarriedOut(number)).await?;
        Ok(())
    }

    /// The first events that are to be carried into rooms: at most `max`.
    pub async fn incoming(&self, max: usize) -> Result<Vec<Incoming>, RepoError> {
        self.read(move |reader| reader.incoming(max)).await
    }

    /// Events up to and with this number were carried into rooms.
    pub async fn carried_in(&self, seq: Seq) -> Result<(), RepoError> {
        self.writer.change(Change::CarriedIn(seq)).await?;
        Ok(())
    }

    /// Removes the emptiest room that is not in `keep`, and says which ([`Change::GiveWay`]).
    pub async fn give_way(&self, keep: Arc<[RoomName]>) -> Result<Option<RoomName>, RepoError> {
        match self.writer.change(Change::GiveWay { keep }).await? {
            Changed::GaveWay(room) => Ok(room),
            _ => Err(RepoError::Write(MIXED_UP.into())),
        }
    }

    /// At most `max` authors of blocks in a room, in the order of their keys, from the first one after `after`.
    pub async fn authors(&self, room: &RoomName, after: Option<Key>, max: usize) -> Result<Vec<Key>, RepoError> {
        let room = room.clone();
        self.read(move |reader| reader.authors(&room, after.as_ref(), max)).await
    }

    /// Removes the blocks of a chain after `stop_at`, or all of them. `chain` is its genesis or any other block of it.
    pub async fn rollback(&self, room: &RoomName, chain: Id, stop_at: Option<Id>) -> Result<RolledBack, RepoError> {
        match self.writer.change(Change::Rollback { room: room.clone(), chain, stop_at }).await? {
            Changed::RolledBack(outcome) => Ok(outcome),
            _ => Err(RepoError::Write(MIXED_UP.into())),
        }
    }

    /// Chains in the order of their owners' keys, which is the order in which a node uploads them: at most `max` of
    /// them, from the first owner after `after`. An empty answer means that there are no more.
    pub async fn chains(
        &self,
        room: &RoomName,
        format: Format,
        after: Option<Key>,
        max: usize,
    ) -> Result<Vec<Chain>, RepoError> {
        let room = room.clone();
        self.read(move |reader| reader.chains(&room, format, after.as_ref(), max)).await
    }

    /// Blocks in order: the part of the run that `part` says. None if there is no such run, or nothing of it left after
    /// `part.skip`. To load a long chain piecewise, repeat with `skip` raised by the blocks that came.
    pub async fn load(&self, room: &RoomName, run: Run, part: Part) -> Result<Option<Feed>, RepoError> {
        let room = room.clone();
        self.read(move |reader| reader.load(&room, run, part)).await
    }

    /// The whole chain of this owner (loadHead of picorepo).
    pub async fn load_head(&self, room: &RoomName, format: Format, owner: Key) -> Result<Option<Feed>, RepoError> {
        self.load(room, Run::Owned(format, owner), Part::ALL).await
    }

    /// From genesis up to the last block that this author wrote anywhere (loadLatest of picorepo).
    pub async fn load_latest(&self, room: &RoomName, format: Format, author: Key) -> Result<Option<Feed>, RepoError> {
        self.load(room, Run::Latest(format, author), Part::ALL).await
    }

    /// The last `blocks` blocks up to and with this one (loadFeed of picorepo).
    pub async fn load_from(&self, room: &RoomName, block: Id, blocks: u64) -> Result<Option<Feed>, RepoError> {
        self.load(room, Run::UpTo(block, blocks), Part::ALL).await
    }

    /// The whole chain that holds this block (resolveFeed of picorepo).
    pub async fn resolve_feed(&self, room: &RoomName, block: Id) -> Result<Option<Feed>, RepoError> {
        self.load(room, Run::Around(block), Part::ALL).await
    }

    /// The chain that holds a block, and how many blocks come before it.
    pub async fn find(&self, room: &RoomName, block: Id) -> Result<Option<(Chain, u64)>, RepoError> {
        let room = room.clone();
        self.read(move |reader| reader.find(&room, &block)).await
    }

    /// Whether a block is stored.
    pub async fn contains(&self, room: &RoomName, block: Id) -> Result<bool, RepoError> {
        Ok(self.find(room, block).await?.is_some())
    }

    /// How much a room holds.
    pub async fn usage(&self, room: &RoomName) -> Result<Usage, RepoError> {
        let room = room.clone();
        self.read(move |reader| reader.usage(&room)).await
    }

    /// Rooms that hold anything, by name.
    pub async fn rooms(&self) -> Result<Vec<(RoomName, Usage)>, RepoError> {
        self.read(|reader| reader.rooms()).await
    }

    /// The chains to take along if there is space for `bytes_max` bytes of blocks, the most wanted first: whole chains, in
    /// turns the one changed last and the one most written on by others, skipping what does not fit.
    pub async fn pick(&self, room: &RoomName, bytes_max: u64) -> Result<Vec<(Format, Key)>, RepoError> {
        let room = room.clone();
        self.read(move |reader| reader.pick(&room, bytes_max)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, RepoError> {
        Ok(self.readers.run(job).await??)
    }
}

/// Cannot happen.
const MIXED_UP: &str = "the writer answered another question";

impl From<Stopped> for RepoError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<ChangeError> for RepoError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Stopped => Self::Stopped,
            ChangeError::Failed(why) => Self::Write(why),
        }
    }
}

#[cfg(test)]
mod tests;
