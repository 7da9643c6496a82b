//! A state of the database that stays as it is while it is read.

use std::ops::Deref;

use rusqlite::Connection;

/// A read transaction. It ends when this is dropped. Its statements are prepared once, which every query notices.
pub(super) struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    /// The state that the first read finds.
    pub(super) fn open(db: &'c Connection) -> rusqlite::Result<Self> {
        db.prepare_cached("BEGIN DEFERRED")?.execute([])?;
        Ok(Self(db))
    }
}

impl Deref for Snapshot<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // Where it fails, the next one cannot begin, and says so.
        let _ = self.0.prepare_cached("ROLLBACK").and_then(|mut rollback| rollback.execute([]));
    }
}
