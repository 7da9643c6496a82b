//! Those who read the database, or an export of it, and do not come to an end.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::time::sleep;

use crate::crew::Crew;
use crate::harness::binary;

/// A read transaction of somebody else that stays open, as of a backup or a `sqlite3` session.
pub(crate) async fn open_transaction(crew: Arc<Crew>) {
    let path = crew.data.join("picorelay.db");
    crew.go().await;
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database.execute_batch("BEGIN").unwrap();
    let tables: i64 = database.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).unwrap();
    assert!(tables > 0);
    std::future::pending::<()>().await;
}

/// Ends the command with the play.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `picorelay export` whose output is read a few bytes at a time.
pub(crate) async fn slow_export(crew: Arc<Crew>) {
    // Finding the program may build it.
    let program = binary();
    crew.go().await;
    let mut command = Command::new(program);
    // Its options can be set by the environment, and the one that tests name the program by is none of them.
    command.env_clear().args(["export", "--data"]).arg(&crew.data).current_dir(crew.data.parent().unwrap());
    let export = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut export = Killed(export.unwrap());
    let mut stdout = export.0.stdout.take().unwrap();
    let mut some = [0; 1_000];
    while let Ok(1..) = stdout.read(&mut some) {
        sleep(Duration::from_millis(100)).await;
    }
    // What it wrote has all been read: nothing is slow any more.
    panic!("the export has ended");
}
