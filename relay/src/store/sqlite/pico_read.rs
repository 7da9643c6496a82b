//! Reading pico rooms.

use picofeed::{Feed, Format, Id, Key};

use super::read::SqliteReader;
use crate::store::StoreError;
use crate::store::repo::{Chain, Part, RepoReader, RoomName, Run, Usage};

impl RepoReader for SqliteReader {
    fn rooms(&mut self) -> Result<Vec<(RoomName, Usage)>, StoreError> {
        Ok(Vec::new())
    }

    fn usage(&mut self, _room: &RoomName) -> Result<Usage, StoreError> {
        Ok(Usage::default())
    }

    fn chains(
        &mut self,
        _room: &RoomName,
        _format: Format,
        _after: Option<&Key>,
        _max: usize,
    ) -> Result<Vec<Chain>, StoreError> {
        Ok(Vec::new())
    }

    fn find(&mut self, _room: &RoomName, _block: &Id) -> Result<Option<(Chain, u64)>, StoreError> {
        Ok(None)
    }

    fn load(&mut self, _room: &RoomName, _run: Run, _part: Part) -> Result<Option<Feed>, StoreError> {
        Ok(None)
    }

    fn pick(&mut self, _room: &RoomName, _bytes_max: u64) -> Result<Vec<(Format, Key)>, StoreError> {
        Ok(Vec::new())
    }
}
