//! `picorelay pico`: what has to do with the slices of a room.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use picofeed::{Block, Feed, Limits};
use tokio::sync::broadcast;

use super::{Outcome, ReloadArgs, TestArgs, database, say};
use crate::app::{loader, rules};
use crate::clock;
use crate::config::{Config, Durability, Storage};
use crate::engine::offline::Offline;
use crate::engine::replay::Replayed;
use crate::engine::slice::Show;
use crate::engine::{Decision, Engine, Mode, Rejection, Store};
use crate::pico::file::{FEED_BYTES_MAX, Feeds};
use crate::pico::repo::Merged;
use crate::pico::rooms;
use crate::pulse::{Lookout, Pulse};
use crate::store::Backend;
use crate::store::repo::Bounds;
use crate::store::sqlite::{Options, Sqlite};

/// `picorelay pico reload`.
pub(super) async fn reload(args: ReloadArgs, config: Config) -> Outcome {
    tokio::task::spawn_blocking(move || {
        let rules = rules(&config).into_iter().find(|(room, _)| *room == args.room);
        let Some((room, rules)) = rules else {
            return Err(format!("the room {} has no slices", args.room).into());
        };
        let slices = rules.load(config.engine.pace(), &*loader(&config), &Arc::default(), &mut Vec::new())?;
        let backend = database::open(&config)?;
        let store = Store::own(backend.reader()?, backend.writer()?);
        let (updates, _) = broadcast::channel(1);
        let bounds = rooms::bounds(&config.pico).of_declared();
        let engine = Engine::new(room.clone().into(), slices, store, bounds, config.engine.limits(), updates)?;
        let replayed = engine.replay(clock::now_ms(), args.drop)?;
        let Replayed { blocks, objects, changed, rejected, why, adopted } = replayed;
        say(format!("{blocks:>9} blocks"))?;
        say(format!("{objects:>9} objects"))?;
        say(format!("{changed:>9} objects changed"))?;
        say(format!("{rejected:>9} blocks rejected"))?;
        let why = why.map(|why| format!("{}: {}", why.slice, why.reason)).unwrap_or_default();
        if !adopted {
            let hint = "nothing was changed; with --drop they are removed, and what follows them";
            return Err(format!("the slices do not accept all that is stored ({why}): {hint}").into());
        }
        Ok(())
    })
    .await?
}

/// `picorelay pico test`.
pub(super) fn test(args: &TestArgs, config: &Config) -> Outcome {
    let pulse = Arc::<Pulse>::default();
    let (lookout, _thread) = Lookout::start(Duration::from_millis(config.script.stuck_ms_max))?;
    // It is in the middle of something that cannot be stopped.
    let end = |_: &Lookout| {
        eprintln!("error: a slice does not come to an end (script.stuck_ms_max)");
        std::process::exit(1);
    };
    lookout.watch(&pulse, Some(Box::new(end)));
    let slices = loader(config).load("", &args.files, &pulse, &mut Vec::new())?;
    let shown: Vec<(String, Show, Option<Bytes>)> =
        slices.iter().map(|slice| (slice.name().to_owned(), slice.show(), slice.initial())).collect();
    // A room of thousands of chains is tried as fast as it is served: in a database, which goes with the folder.
    let folder = tempfile::Builder::new().prefix("picorelay-test-").tempdir()?;
    let storage = Storage { durability: Durability::Normal, ..config.storage.clone() };
    let backend = Sqlite::open(folder.path(), Options { storage, ..Options::default() })?;
    let mut room = Offline::on(&backend, slices, Bounds::NONE, config.engine.limits())?;
    let now = args.now.unwrap_or_else(clock::now_ms);
    let mut number = 0;
    for file in &args.blocks {
        let name = file.display();
        let told = |error: io::Error| format!("{name}: {error}");
        let mut feeds = Feeds::new(open(file).map_err(told)?).map_err(told)?;
        while let Some(bytes) = feeds.next_feed().map_err(told)? {
            let limits = Limits { feed_bytes_max: FEED_BYTES_MAX, blocks_max: usize::MAX, ..Limits::default() };
            let feed = Feed::decode_any(bytes, &limits).and_then(|feed| feed.verify(&limits));
            let feed = feed.map_err(|invalid| format!("{name}: {invalid}"))?;
            let done = room.dispatch(&feed, now, Mode::Quiet)?;
            for (block, decision) in feed.iter().zip(&done.decisions) {
                number += 1;
                say(format!("{number:>4}  {}  {}", short(block), verdict(decision)))?;
            }
        }
    }
    if let Some(until) = args.until {
        for block in room.tick(until)? {
            say(format!("      {}  accepted later", short(&block)))?;
        }
        for chain in room.gc(until)? {
            say(format!("      chain {:.8} expired", chain.genesis.to_string()))?;
        }
    }
    for (name, show, initial) in shown {
        let objects = room.objects(&name)?;
        if let (true, Some(initial)) = (objects.is_empty(), initial) {
            say(format!("{name} = {}", show(&initial)))?;
        }
        for (id, stored) in objects {
            let dot = if id.is_empty() { "" } else { "/" };
            say(format!("{name}{dot}{id} = {}", show(&stored.value)))?;
        }
    }
    Ok(())
}

fn open(file: &Path) -> io::Result<Box<dyn Read>> {
    if file == Path::new("-") { Ok(Box::new(io::stdin())) } else { Ok(Box::new(BufReader::new(File::open(file)?))) }
}

/// The beginnings of its id and of its author's key.
fn short(block: &Block) -> String {
    format!("{:.8} by {:.8}", block.id().to_string(), block.author().to_string())
}

fn verdict(decision: &Decision) -> String {
    match decision {
        Decision::Merged(Merged::New) => "accepted".to_owned(),
        Decision::Merged(Merged::Known) => "known".to_owned(),
        Decision::Merged(Merged::Orphan) => "waits: the block before it is missing".to_owned(),
        Decision::Merged(Merged::Fork) => "refused: another block is in its place".to_owned(),
        Decision::Merged(Merged::SecondGenesis) => "refused: its author has a chain already".to_owned(),
        Decision::Merged(Merged::OverQuota(_)) => "refused: the room is full".to_owned(),
        Decision::Rejected(Rejection { slice, reason, fault: None }) if slice.is_empty() => {
            format!("rejected: {reason}")
        }
        Decision::Rejected(Rejection { slice, reason, fault: None }) => format!("rejected by {slice}: {reason}"),
        Decision::Rejected(Rejection { slice, reason, fault: Some(fault) }) => {
            format!("rejected, as {slice} {fault}: {reason}")
        }
        Decision::Postponed(at) => format!("postponed until {at}"),
        Decision::Evicted => "refused: its chain has expired".to_owned(),
        Decision::NotLoaded => "refused: the slices are not loaded".to_owned(),
    }
}
