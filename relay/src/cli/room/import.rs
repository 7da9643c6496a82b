//! Rooms from files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use indicatif::ProgressBar;
use picofeed::{Block, Feed, InvalidFeed, Limits};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Failure;
use crate::app::{Core, relay_urls};
use crate::cli::{Outcome, progress, say, taken};
use crate::clock;
use crate::config::{Bridge, Config};
use crate::engine::Decision;
use crate::pico::carry::Modes;
use crate::pico::chain;
use crate::pico::file::{FEED_BYTES_MAX, Feeds};
use crate::pico::repo::{Bounds, Merged, RoomName};
use crate::pico::rooms;
use crate::store::carry::Origin;

/// Feeds verified, and blocks merged, at a time.
const BATCH: usize = 1_000;

/// Bytes of them, or one that is longer.
const BATCH_BYTES: usize = 8 << 20;

/// What feeds are counted as that are none.
const INVALID: &str = "in feeds refused as invalid";

/// What the outcomes begin with of blocks that are kept, or were and are no longer wanted.
const NOT_REFUSED: [&str; 4] = ["new", "known", "postponed", "evicted"];

/// Takes files into a room.
pub(in crate::cli) async fn import(files: Vec<PathBuf>, room: RoomName, config: Config) -> Outcome {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let core = Core::start(&config, relay_urls(&config, config.server.listen))?;
        let mut import = Import::new(&core, &config, room, runtime);
        let read = files.iter().try_for_each(|file| import.file(file));
        // What was read before something was wrong is kept.
        let stored = import.finish();
        let (tally, unread) = (import.tally, import.unreadable);
        core.finish();
        let total: u64 = tally.values().sum();
        say(format!("{total} blocks"))?;
        for (outcome, count) in &tally {
            say(format!("{count:>9} {outcome}"))?;
        }
        read.and(stored)?;
        if total > 0 && tally.keys().all(|outcome| outcome == INVALID) {
            return taken::outcome(total, total, &[unread, vec!["nothing in it is a feed".to_owned()]].concat());
        }
        let is_refused = |outcome: &str| !NOT_REFUSED.iter().any(|kept| outcome.starts_with(kept));
        let refused: u64 = tally.iter().filter(|(outcome, _)| is_refused(outcome)).map(|(_, count)| count).sum();
        taken::outcome(total, refused, &unread)
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
    /// What was wrong with files that could not be read to their end.
    unreadable: Vec<String>,
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
        let is_carried = Modes::new(&config.pico, config.bridge.undeclared).of(room.as_str()) != Bridge::Off;
        Self {
            core,
            origin: is_carried.then_some(Origin::Peer),
            room,
            bounds: rooms::bounds(&config.pico).of_declared(),
            limits,
            runtime,
            unreadable: Vec::new(),
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
        match File::open(path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((len, file)) => {
                self.progress.set_length(len);
                self.progress.set_position(0);
                self.feeds(&name, BufReader::with_capacity(1 << 20, file))
            }
            Err(error) => {
                self.unreadable.push(format!("{name}: {error}"));
                Ok(())
            }
        }
    }

    fn feeds(&mut self, name: &str, input: impl Read) -> Result<(), Failure> {
        let mut feeds = match Feeds::new(self.progress.wrap_read(input)) {
            Ok(feeds) => feeds,
            Err(error) => {
                self.unreadable.push(format!("{name}: {error}"));
                return Ok(());
            }
        };
        loop {
            match feeds.next_feed() {
                Ok(Some(feed)) => {
                    self.unread_bytes += feed.len();
                    self.unread.push(feed);
                    if self.unread.len() >= BATCH || self.unread_bytes >= BATCH_BYTES {
                        self.take_in(name)?;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.unreadable.push(format!("{name}: {error}"));
                    break;
                }
            }
        }
        self.take_in(name)
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
