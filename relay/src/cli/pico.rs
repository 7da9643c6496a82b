//! `picorelay pico`: what has to do with the slices of a room.

use tokio::sync::broadcast;

use super::{Outcome, ReloadArgs, say};
use crate::app::{loader, relay_urls};
use crate::clock;
use crate::config::Config;
use crate::engine::host::Rules;
use crate::engine::replay::Replayed;
use crate::engine::{Engine, Store};
use crate::pico::rooms;
use crate::store::Backend;
use crate::store::sqlite::{Options, Sqlite};

/// `picorelay pico reload`.
pub(super) async fn reload(args: ReloadArgs, config: Config) -> Outcome {
    tokio::task::spawn_blocking(move || {
        let rules = Rules::all(&config).into_iter().find(|(room, _)| *room == args.room);
        let Some((room, rules)) = rules else {
            return Err(format!("the room {} has no slices", args.room).into());
        };
        let slices = rules.load(&room, config.engine.pace(), &*loader(&config))?;
        let urls = relay_urls(&config, config.server.listen);
        let options = Options { storage: config.storage.clone(), search: config.search.clone(), urls, interest: None };
        let backend = Sqlite::open(&config.server.data, options)?;
        let store = Store::own(backend.reader()?, backend.writer()?);
        let (updates, _) = broadcast::channel(1);
        let bounds = rooms::bounds(&config.pico);
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
