//! Options of the store: the database, and full-text search.

use serde::{Deserialize, Serialize};

/// Options for which 0 has a meaning.
pub const MAY_BE_ZERO: &[&str] = &["storage.readers", "storage.long_readers", "storage.long_reader_niceness"];

/// The lowest priority that there is.
const NICENESS_MAX: u8 = 19;

/// When an `OK` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After the commit is on disk (fsync). A crash or power cut loses nothing that was acknowledged.
    Full,
    /// After the commit. A power cut may lose the last moments, the database stays whole.
    Normal,
}

/// How events are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they are.
    #[default]
    Off,
    /// Compressed with zstd.
    Zstd,
}

/// The database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// When an `OK` is given. `full`: after the commit is on disk, nothing acknowledged is ever lost. `normal`: after the
    /// commit, a power cut may lose the last moments, the database stays whole.
    pub durability: Durability,
    /// `off`, or `zstd`: events take a third less space, and a little more CPU to write and to read. Can be changed at any
    /// time; holds for what is written from then on.
    pub compression: Compression,
    /// Threads that answer queries which end soon. 0: one for each core, at most 4.
    pub readers: usize,
    /// Threads that go on with queries which take longer. 0: as many as `readers`.
    pub long_readers: usize,
    /// How far these give way to all others when there are too few cores for all: 0, not at all, to 19. On Linux.
    pub long_reader_niceness: u8,
    /// Milliseconds of work after which a query goes on with those threads.
    pub long_query_ms: u64,
    /// Milliseconds of work for one address, within the last seconds, after which its queries begin with those threads:
    /// what was used a second ago counts half, and of short queries a fifth.
    pub long_queries_ms_max: u64,
    /// Slices of queries that may wait for a reader.
    pub reader_queue_max: usize,
    /// Rows after which a scan lets others go first.
    pub slice_rows_max: usize,
    /// Bytes after which a scan lets others go first.
    pub slice_bytes_max: usize,
    /// Entries looked at after which a scan lets others go first.
    pub slice_examined_max: usize,
    /// Milliseconds after which a scan lets others go first.
    pub slice_ms_max: u64,
    /// Batches that may wait for the writer.
    pub writer_queue_max: usize,
    /// Events in one transaction.
    pub writer_batch_max: usize,
    /// Milliseconds that a transaction waits at most for events whose signatures are being checked. An event that comes
    /// alone never waits.
    pub writer_wait_ms: u64,
    /// The write-ahead log is copied into the database when it is larger, in MiB. The larger, the less is written in all
    /// under a steady load. It grows to twice that before it starts afresh, and further only while another program (an sqlite3
    /// session, a backup) keeps a snapshot of the database open, which is said once a minute from four times as much on.
    pub log_mb_max: usize,
    /// Page cache of the writer, in MiB.
    pub writer_cache_mb: usize,
    /// Page cache of each reader, in MiB.
    pub reader_cache_mb: usize,
    /// Events kept in memory for readers, in MiB: those that came last and those that are asked for.
    pub row_cache_mb: usize,
    /// Newest events whose order, authors and kinds are kept in memory, 40 bytes each.
    pub newest_events_max: usize,
    /// Seconds between two looks for expired events (NIP-40).
    pub sweep_seconds: u64,
    /// Ids of recent events that are remembered, so that duplicates cost no signature check.
    pub recent_ids_max: usize,
}

/// Full-text search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// Index and answer `search`.
    pub enabled: bool,
    /// Kinds that are indexed.
    pub kinds: Vec<u16>,
    /// Words of all searches of one REQ; the same word counts once in a filter. Eight characters of a script without spaces,
    /// such as Japanese, count as a word.
    pub words_max: usize,
    /// Events that one search ranks, or `limit` if that is more: of those that match everything the newest. It gives the
    /// best of them, so a search for little with a small `limit` can skip newer ones that match less well. With 1 the newest
    /// matches are given, the best of them first, and who pages with `until` gets each once.
    pub candidates_max: usize,
    /// Searches of one address that are worked on at once; the others wait in order.
    pub at_once_max: usize,
    /// Events that are saved and not indexed yet, which each search looks through one by one, so that it finds what was
    /// saved before it. Indexing waits for quiet moments until half as many wait for it. Only while the index is built
    /// anew, after an upgrade or a change of `kinds`, more may wait; then searches do not find the oldest of those.
    pub unindexed_max: usize,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            compression: Compression::Off,
            readers: 0,
            long_readers: 0,
            long_reader_niceness: 10,
            long_query_ms: 3,
            long_queries_ms_max: 100,
            reader_queue_max: 4096,
            slice_rows_max: 500,
            slice_bytes_max: 512 * 1024,
            slice_examined_max: 5_000,
            slice_ms_max: 20,
            writer_queue_max: 20_000,
            writer_batch_max: 1_000,
            writer_wait_ms: 10,
            log_mb_max: 128,
            writer_cache_mb: 24,
            reader_cache_mb: 8,
            row_cache_mb: 32,
            newest_events_max: 200_000,
            sweep_seconds: 30,
            recent_ids_max: 100_000,
        }
    }
}

impl Default for Search {
    fn default() -> Self {
        Self {
            enabled: true,
            kinds: vec![0, 1, 1111, 30023],
            words_max: 16,
            candidates_max: 1_000,
            at_once_max: 2,
            unindexed_max: 20_000,
        }
    }
}

impl Storage {
    /// Tells what is wrong: the option, and a sentence.
    pub fn check(&self, problem: &mut dyn FnMut(&str, String)) {
        if self.writer_batch_max > self.writer_queue_max {
            problem("storage.writer_batch_max", "is more than storage.writer_queue_max".to_owned());
        }
        if self.long_reader_niceness > NICENESS_MAX {
            problem("storage.long_reader_niceness", format!("must be at most {NICENESS_MAX}"));
        }
    }
}
