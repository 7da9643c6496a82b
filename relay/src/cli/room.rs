//! The pico half of `picorelay import` and `picorelay export`: rooms as files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use indicatif::ProgressBar;
use picofeed::{Block, Feed, Format, InvalidFeed, Limits};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{Outcome, progress, say};
use crate::app::{Core, relay_urls};
use crate::clock;
use crate::config::{Bridge, Config};
use crate::engine::Decision;
use crate::pico::carry::Modes;
use crate::pico::chain;
use crate::pico::file::{FEED_BYTES_MAX, Feeds, MAGIC, write_feed};
use crate::pico::repo::{Bounds, Merged, Part, RoomName, Run};
use crate::pico::rooms;
use crate::store::carry::Origin;
use crate::store::sqlite::{FILE, Options, Sqlite};
use crate::store::{Backend, Reader};

/// Feeds verified, and blocks merged, at a time.
const BATCH: usize = 1_000;

/// Bytes of them, or one that is longer.
const BATCH_BYTES: usize = 8 << 20;

/// Chains looked up at a time.
const CHAINS: usize = 256;

/// Bytes of blocks in one record.
const RECORD_BYTES: u64 = 1 << 20;

/// What feeds are counted as that are none.
const INVALID: &str = "in feeds refused as invalid";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Whether a file is a room and not a list of events.
pub(super) fn is_room(file: &Path, room: Option<&RoomName>) -> bool {
    room.is_some() || file.extension().is_some_and(|extension| extension == "pico")
}

/// Takes files into a room.
pub(super) async fn import(files: Vec<PathBuf>, room: RoomName, config: Config) -> Outcome {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let core = Core::start(&config, relay_urls(&config, config.server.listen))?;
        let mut import = Import::new(&core, &config, room, runtime);
        let read = files.iter().try_for_each(|file| import.file(file));
        // What was read before something was wrong is kept.
        let stored = import.finish();
        let tally = import.tally;
        core.finish();
        let total: u64 = tally.values().sum();
        say(format!("{total} blocks"))?;
        for (outcome, count) in &tally {
            say(format!("{count:>9} {outcome}"))?;
        }
        read.and(stored)?;
        if total > 0 && tally.keys().all(|outcome| outcome == INVALID) {
            return Err("nothing in it is a feed".into());
        }
        Ok(())
    })
    .await?
}

struct Import<'a> {
    core: &'a Core,
    /// Where the blocks come from, if the room is bridged.
    origin: Option<Origin>,
    room: RoomName,
    bounds: Bounds,
    limits: Limits,
    runtime: Handle,
    /// Feeds that nobody has looked at, and their bytes.
    unread: Vec<Bytes>,
    unread_bytes: usize,
    /// Blocks that are being stored while others are verified.
    storing: Option<JoinHandle<Result<Vec<Decision>, Failure>>>,
    tally: BTreeMap<String, u64>,
    progress: ProgressBar,
}

impl<'a> Import<'a> {
    fn new(core: &'a Core, config: &Config, room: RoomName, runtime: Handle) -> Self {
        let limits = Limits {
            feed_bytes_max: FEED_BYTES_MAX,
            body_bytes_max: config.pico.body_bytes_max,
            blocks_max: usize::MAX,
            ..Limits::default()
        };
        let is_carried = Modes::new(config).of(room.as_str()) != Bridge::Off;
        Self {
            core,
            origin: is_carried.then_some(Origin::Peer),
            room,
            bounds: rooms::bounds(&config.pico).of_declared(),
            limits,
            runtime,
            unread: Vec::new(),
            unread_bytes: 0,
            storing: None,
            tally: BTreeMap::new(),
            progress: progress(),
        }
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.display().to_string();
        if name == "-" {
            self.progress.unset_length();
            return self.feeds("stdin", io::stdin().lock());
        }
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        self.progress.set_length(file.metadata()?.len());
        self.progress.set_position(0);
        self.feeds(&name, BufReader::with_capacity(1 << 20, file))
    }

    fn feeds(&mut self, name: &str, input: impl Read) -> Result<(), Failure> {
        let told = |error: io::Error| format!("{name}: {error}");
        let mut feeds = Feeds::new(self.progress.wrap_read(input)).map_err(told)?;
        let read = loop {
            match feeds.next_feed() {
                Ok(Some(feed)) => {
                    self.unread_bytes += feed.len();
                    self.unread.push(feed);
                    if self.unread.len() >= BATCH || self.unread_bytes >= BATCH_BYTES {
                        self.take_in(name)?;
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(told(error).into()),
            }
        };
        self.take_in(name)?;
        read
    }

    /// Verifies the feeds that were read, and hands their blocks on.
    fn take_in(&mut self, name: &str) -> Result<(), Failure> {
        self.unread_bytes = 0;
        let mut blocks: Vec<Block> = Vec::new();
        for checked in verify(&std::mem::take(&mut self.unread), &self.limits) {
            match checked {
                Ok(feed) => blocks.extend(feed.into_blocks()),
                Err(invalid) => {
                    self.progress.suspend(|| tracing::warn!("{name}: a feed is refused: {invalid}"));
                    *self.tally.entry(INVALID.into()).or_default() += 1;
                }
            }
        }
        while !blocks.is_empty() {
            let mut bytes = 0;
            let len = blocks.iter().take(BATCH).take_while(|block| {
                bytes += block.bytes().len();
                bytes <= BATCH_BYTES
            });
            let rest = blocks.split_off(len.count().max(1));
            self.merge(std::mem::replace(&mut blocks, rest))?;
        }
        Ok(())
    }

    /// Begins to store blocks, when those before them are stored. The slices of the room are asked, if it has any.
    fn merge(&mut self, blocks: Vec<Block>) -> Result<(), Failure> {
        self.stored()?;
        let (repo, room, bounds) = (self.core.repo.clone(), self.room.clone(), self.bounds);
        let engine = self.core.engines.of(&room).cloned();
        let origins = self.origin.map(|origin| vec![origin; blocks.len()]).unwrap_or_default();
        self.storing = Some(self.runtime.spawn(async move {
            match engine {
                Some(engine) => {
                    let done = engine.dispatch(blocks, origins, clock::now_ms()).await.and_then(|done| done.decisions);
                    done.ok_or_else(|| "the slices of the room could not be asked".into())
                }
                None => {
                    let merging = repo.merge_carried(&room, &bounds, blocks, origins).await?;
                    Ok(merging.merged.into_iter().map(Decision::Merged).collect())
                }
            }
        }));
        Ok(())
    }

    /// Waits for what is being stored, and counts what became of it.
    fn stored(&mut self) -> Result<(), Failure> {
        let Some(storing) = self.storing.take() else { return Ok(()) };
        for decision in self.runtime.block_on(storing)?? {
            let merged = match decision {
                Decision::Merged(merged) => merged,
                Decision::Rejected(why) if why.slice.is_empty() => {
                    *self.tally.entry("rejected: no slice of the room accepts it".into()).or_default() += 1;
                    continue;
                }
                Decision::Rejected(why) => {
                    *self.tally.entry(format!("rejected by {}", why.slice)).or_default() += 1;
                    continue;
                }
                Decision::Postponed(_) => {
                    *self.tally.entry("postponed by a slice".into()).or_default() += 1;
                    continue;
                }
                Decision::NotLoaded => {
                    return Err("the slices of the room cannot be loaded; `picorelay check` says why".into());
                }
                Decision::Evicted => {
                    *self.tally.entry("evicted: its chain has expired".into()).or_default() += 1;
                    continue;
                }
            };
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

    fn finish(&mut self) -> Result<(), Failure> {
        let stored = self.stored();
        self.progress.finish_and_clear();
        stored
    }
}

/// Decodes and verifies feeds on all cores; the answers are in their order.
fn verify(feeds: &[Bytes], limits: &Limits) -> Vec<Result<Feed, InvalidFeed>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let check = |feed: &Bytes| Feed::decode_any(feed.clone(), limits).and_then(|feed| feed.verify(limits));
    thread::scope(|scope| {
        let shares = feeds.chunks(feeds.len().div_ceil(cores).max(1));
        let threads: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(check).collect::<Vec<_>>())).collect();
        let checked = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        checked.flatten().collect()
    })
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
        if source.is_empty()? {
            return Err(format!("nothing is stored of the room {}", source.room).into());
        }
        if budget.is_some_and(|budget| budget < MAGIC.len() as u64) {
            return Err("no file is as small as that".into());
        }
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
        let (chains, left_out) = match budget {
            None => {
                let mut out = BufWriter::with_capacity(1 << 16, &mut out);
                let chains = source.all(&mut out)?;
                out.flush().map_err(named)?;
                (chains, 0)
            }
            Some(budget) => {
                let chains = source.fitting(&mut out, budget)?;
                // Some may have come or gone meanwhile.
                (chains, source.each(|_, _| Ok(()))?.saturating_sub(chains))
            }
        };
        out.sync_all().map_err(named)?;
        tracing::info!(chains, left_out, "exported");
        Ok(())
    })
    .await?
}

struct Source<'a> {
    reader: &'a mut dyn Reader,
    room: RoomName,
}

impl Source<'_> {
    fn is_empty(&mut self) -> Result<bool, Failure> {
        for format in Format::ALL {
            if !self.reader.chains(&self.room, format, None, 1)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Visits every chain, by format and owner, and says how many there are.
    fn each(&mut self, mut visit: impl FnMut(&mut Self, Run) -> Result<(), Failure>) -> Result<u64, Failure> {
        let mut count = 0;
        for format in Format::ALL {
            let mut after = None;
            loop {
                let chains = self.reader.chains(&self.room, format, after.as_ref(), CHAINS)?;
                let Some(last) = chains.last() else { break };
                after = Some(last.owner);
                for chain in &chains {
                    visit(self, Run::Owned(format, chain.owner))?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Writes every chain.
    fn all(&mut self, out: &mut dyn Write) -> Result<u64, Failure> {
        self.each(|source, run| source.chain(run, out))
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
