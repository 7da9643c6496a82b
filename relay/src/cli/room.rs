//! The pico half of `picorelay import` and `picorelay export`: rooms as files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use picofeed::{Block, Feed, Format, Limits};

use super::{Outcome, say};
use crate::app::{Core, relay_urls};
use crate::config::{Bridge, Config};
use crate::pico::carry::Modes;
use crate::pico::chain;
use crate::pico::file::{FEED_BYTES_MAX, Feeds, MAGIC, write_feed};
use crate::pico::repo::{Merged, Part, RepoError, RoomName, Run};
use crate::pico::rooms;
use crate::store::carry::Origin;
use crate::store::sqlite::{FILE, Options, Sqlite};
use crate::store::{Backend, Reader};

/// Blocks merged at a time.
const BATCH: usize = 1_000;

/// Chains looked up at a time.
const CHAINS: usize = 256;

/// Bytes of blocks in one record.
const RECORD_BYTES: u64 = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Whether a file is a room and not a list of events.
pub(super) fn is_room(file: &Path, room: Option<&RoomName>) -> bool {
    room.is_some() || file.extension().is_some_and(|extension| extension == "pico")
}

/// Takes files into a room.
pub(super) async fn import(files: Vec<PathBuf>, room: RoomName, config: Config) -> Outcome {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let core = Core::start(&config, relay_urls(&config, config.server.listen))?;
        let modes = Modes::new(&config);
        let mut import =
            Import { core: &core, config: &config, modes, room, runtime, tally: BTreeMap::new(), waiting: Vec::new() };
        let read = files.iter().try_for_each(|file| import.file(file)).and_then(|()| import.merge());
        let tally = import.tally;
        core.finish();
        let total: u64 = tally.values().sum();
        say(format!("{total} blocks"))?;
        for (outcome, count) in &tally {
            say(format!("{count:>9} {outcome}"))?;
        }
        read
    })
    .await?
}

struct Import<'a> {
    core: &'a Core,
    config: &'a Config,
    modes: Modes,
    room: RoomName,
    runtime: tokio::runtime::Handle,
    waiting: Vec<Block>,
    tally: BTreeMap<String, u64>,
}

impl Import<'_> {
    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.display().to_string();
        if name == "-" {
            return self.feeds("stdin", io::stdin().lock());
        }
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        self.feeds(&name, BufReader::with_capacity(1 << 20, file))
    }

    fn feeds(&mut self, name: &str, input: impl Read) -> Result<(), Failure> {
        let limits = Limits {
            feed_bytes_max: FEED_BYTES_MAX,
            body_bytes_max: self.config.pico.body_bytes_max,
            blocks_max: usize::MAX,
            ..Limits::default()
        };
        let told = |error: io::Error| format!("{name}: {error}");
        let mut feeds = Feeds::new(input).map_err(told)?;
        while let Some(bytes) = feeds.next_feed().map_err(told)? {
            match Feed::decode_any(bytes, &limits).and_then(|feed| feed.verify(&limits)) {
                Ok(feed) => {
                    for block in feed {
                        self.waiting.push(block);
                        if self.waiting.len() >= BATCH {
                            self.merge()?;
                        }
                    }
                }
                Err(invalid) => {
                    tracing::warn!("{name}: a feed is refused: {invalid}");
                    *self.tally.entry("in feeds refused as invalid".into()).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self) -> Result<(), Failure> {
        let blocks = std::mem::take(&mut self.waiting);
        if blocks.is_empty() {
            return Ok(());
        }
        let bounds = rooms::bounds(&self.config.pico);
        let origins = match self.modes.of(self.room.as_str()) {
            Bridge::Off => Vec::new(),
            Bridge::Wrap | Bridge::Copies => vec![Origin::Peer; blocks.len()],
        };
        let merge = self.core.repo.merge_carried(&self.room, &bounds, blocks, origins);
        let merging: Result<_, RepoError> = self.runtime.block_on(merge);
        for merged in merging?.merged {
            let why = match merged {
                Merged::New => "new".to_owned(),
                Merged::Known => "known: already there".to_owned(),
                Merged::Orphan => "orphan: the block before is missing".to_owned(),
                Merged::Fork => "fork: another block is there already".to_owned(),
                Merged::SecondGenesis => "second genesis: its author has a chain already".to_owned(),
                Merged::OverQuota(_) => format!("refused: {}", chain::name(merged)),
            };
            *self.tally.entry(why).or_default() += 1;
        }
        Ok(())
    }
}

/// Writes a room out, whole or as much as fits.
pub(super) async fn export(file: PathBuf, room: RoomName, budget: Option<u64>, config: Config) -> Outcome {
    tokio::task::spawn_blocking(move || {
        let data = &config.server.data;
        if !data.join(FILE).exists() {
            return Err(format!("there is no database in {}", data.display()).into());
        }
        let urls = relay_urls(&config, config.server.listen);
        let options = Options { storage: config.storage.clone(), search: config.search.clone(), urls, interest: None };
        let mut reader = Sqlite::open_beside(data, options)?.reader()?;
        let mut source = Source { reader: reader.as_mut(), room };
        if file == Path::new("-") {
            if budget.is_some() {
                return Err("--budget needs a file, not stdout".into());
            }
            let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
            out.write_all(MAGIC)?;
            source.all(&mut out)?;
            out.flush()?;
            return Ok(());
        }
        let named = |error: io::Error| format!("{}: {error}", file.display());
        let mut out = File::create(&file).map_err(named)?;
        out.write_all(MAGIC).map_err(named)?;
        let chains = match budget {
            None => {
                let mut out = BufWriter::with_capacity(1 << 16, &mut out);
                let chains = source.all(&mut out)?;
                out.flush().map_err(named)?;
                chains
            }
            Some(budget) => source.fitting(&mut out, budget)?,
        };
        out.sync_all().map_err(named)?;
        tracing::info!(chains, "exported");
        Ok(())
    })
    .await?
}

struct Source<'a> {
    reader: &'a mut dyn Reader,
    room: RoomName,
}

impl Source<'_> {
    /// Every chain, by format and owner.
    fn all(&mut self, out: &mut dyn Write) -> Result<u64, Failure> {
        let mut count = 0;
        for format in Format::ALL {
            let mut after = None;
            loop {
                let chains = self.reader.chains(&self.room, format, after.as_ref(), CHAINS)?;
                let Some(last) = chains.last() else { break };
                after = Some(last.owner);
                for chain in &chains {
                    self.chain(Run::Owned(format, chain.owner), out)?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Whole chains, the newest and the most written on, as long as the file stays within `budget` bytes.
    fn fitting(&mut self, out: &mut File, budget: u64) -> Result<u64, Failure> {
        let mut len = MAGIC.len() as u64;
        let mut count = 0;
        for (format, owner) in self.reader.pick(&self.room, budget.saturating_sub(len))? {
            let mut buffered = BufWriter::with_capacity(1 << 16, &mut *out);
            self.chain(Run::Owned(format, owner), &mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            let end = out.stream_position()?;
            if end <= budget {
                len = end;
                count += 1;
            } else {
                // What stands around the blocks is not counted when chains are picked.
                out.set_len(len)?;
                out.seek(io::SeekFrom::Start(len))?;
            }
        }
        Ok(count)
    }

    fn chain(&mut self, run: Run, out: &mut dyn Write) -> Result<(), Failure> {
        let mut part = Part { skip: 0, bytes_max: RECORD_BYTES, ..Part::ALL };
        while let Some(feed) = self.reader.load(&self.room, run, part)? {
            part.skip += feed.len() as u64;
            write_feed(out, &feed.encode())?;
        }
        Ok(())
    }
}

/// A number of bytes: `64GB`, `1.5TB`, `700MiB`, `4096`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim().trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.trim().strip_prefix(digits).unwrap_or_default().to_ascii_lowercase();
    let factor: f64 = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{unit}` is no unit of bytes; expected kB, MB, GB, TB, KiB, MiB, GiB or TiB")),
    };
    let number: f64 = digits.trim().parse().map_err(|_| format!("`{digits}` is no number of bytes"))?;
    let whole = (number * factor).round();
    if !(0.0..9e18).contains(&whole) {
        return Err(format!("`{text}` is no number of bytes"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(whole as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("64GB", Some(64_000_000_000)),
            ("64 gb", Some(64_000_000_000)),
            ("1.5TB", Some(1_500_000_000_000)),
            ("2KiB", Some(2048)),
            ("1MiB", Some(1 << 20)),
            ("3kB", Some(3000)),
            ("", None),
            ("GB", None),
            ("-1", None),
            ("1e30", None),
            ("1 parsec", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}
