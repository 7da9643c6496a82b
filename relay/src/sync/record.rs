//! What `picorelay sync` has done with another relay so far: a small file in the data folder, so that a run that was cut
//! off goes on where it was. When all is done the file is removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::done::{Done, Range};
use crate::clock::Timestamp;
use crate::config::Direction;
use crate::event::Id;
use crate::filter::Filter;

/// Where the files are, in the data folder.
const FOLDER: &str = "sync";

/// What was done longer ago than this is looked at again: events come late.
const OLD_SECONDS: u64 = 24 * 3600;

/// One task: this relay, this way, these events.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    /// When it began.
    began: Timestamp,
    /// What is done.
    pub done: Done,
    /// Some of what was sent, to be asked for again at the end.
    pub sample: Vec<Id>,
}

/// As it is in the file.
#[derive(Serialize, Deserialize)]
struct Written {
    url: String,
    direction: Direction,
    filter: String,
    began: Timestamp,
    done: Vec<[Timestamp; 2]>,
    #[serde(default)]
    sample: Vec<String>,
}

impl Record {
    /// Reads what there is of this task. A file that cannot be read, or is old, counts for nothing.
    pub fn open(data: &Path, url: &str, direction: Direction, filter: &Filter, now: Timestamp) -> Self {
        let task = format!("{url}\n{direction:?}\n{}", filter.json());
        let name = data_encoding::HEXLOWER.encode(Sha256::digest(task).get(..16).unwrap_or_default());
        let path = data.join(FOLDER).join(name);
        let written: Option<Written> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut record = Self { path, began: now, done: Done::default(), sample: Vec::new() };
        if let Some(written) = written.filter(|it| it.began <= now && now - it.began < OLD_SECONDS) {
            record.began = written.began;
            record.sample = written.sample.iter().filter_map(|id| Id::from_hex(id)).collect();
            written.done.iter().for_each(|[since, until]| record.done.add(Range { since: *since, until: *until }));
        }
        record
    }

    /// True when some of it was done before.
    pub fn goes_on(&self) -> bool {
        !self.done.ranges().is_empty()
    }

    /// Remembers that a range is done.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn add(&mut self, range: Range, url: &str, direction: Direction, filter: &Filter) -> io::Result<()> {
        self.done.add(range);
        let written = Written {
            url: url.to_owned(),
            direction,
            filter: filter.json(),
            began: self.began,
            done: self.done.ranges().iter().map(|range| [range.since, range.until]).collect(),
            sample: self.sample.iter().map(Id::to_hex).collect(),
        };
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Who is killed here leaves the old one or the new one.
        let draft = self.path.with_extension("new");
        fs::write(&draft, serde_json::to_vec(&written)?)?;
        fs::rename(draft, &self.path)
    }

    /// All is done: the next run begins anew.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn finish(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (url, filter) = ("ws://a", Filter { kinds: Some([1].into()), ..Filter::default() });
        let open = |now| Record::open(folder.path(), url, Direction::Both, &filter, now);
        let range = |since, until| Range { since, until };
        let mut record = open(1_000);
        assert!(!record.goes_on());
        record.sample = vec![Id([7; 32])];
        record.add(range(500, 900), url, Direction::Both, &filter).unwrap();
        record.add(range(400, 499), url, Direction::Both, &filter).unwrap();
        let again = open(2_000);
        assert!(again.goes_on() && again.sample == [Id([7; 32])]);
        assert_eq!((again.began, again.done.gaps(range(0, 1_000))), (1_000, vec![range(0, 399), range(901, 1_000)]));

        // Another task, an old one, one from the future, and a broken one.
        assert!(!Record::open(folder.path(), url, Direction::Up, &filter, 2_000).goes_on());
        assert!(!Record::open(folder.path(), url, Direction::Both, &Filter::default(), 2_000).goes_on());
        assert!(!open(1_000 + OLD_SECONDS).goes_on());
        assert!(!open(999).goes_on());
        fs::write(&again.path, "{").unwrap();
        assert!(!open(2_000).goes_on());

        again.finish().unwrap();
        open(2_000).finish().unwrap();
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 0);
    }
}
