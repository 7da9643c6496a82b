//! Whether a log filter means something: a misspelt level would silence the log, since it could be the name of a module.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::load::distance;

/// The crates of this program that log.
const CRATES: [&str; 6] = [OWN, "libudx", "peeroxide", "peeroxide_dht", "tokio_tungstenite", "tungstenite"];

const OWN: &str = env!("CARGO_CRATE_NAME");

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Where the modules of this crate are declared.
const MODULES: &str = include_str!("../lib.rs");

/// Modules that are crates of their own, or in one: what a filter may call them, and what their lines are from. Of several
/// that fit, the longest counts.
const MOVED: &[(&str, &str)] = &[
    ("address", "picorelay_net::address"),
    ("bound", "picorelay_base::bound"),
    ("clock", "picorelay_base::clock"),
    ("descriptors", "picorelay_net::descriptors"),
    ("dial", "picorelay_net::dial"),
    ("engine", "picorelay_engine"),
    ("engine::gc", "picorelay_engine::decide::gc"),
    ("event", "picorelay_nostr::event"),
    ("fair", "picorelay_base::fair"),
    ("filter", "picorelay_nostr::filter"),
    ("guard", "picorelay_nostr::guard"),
    ("kinds", "picorelay_nostr::kinds"),
    ("metrics", "picorelay_base::metrics"),
    ("outcome", "picorelay_nostr::outcome"),
    ("patience", "picorelay_net::patience"),
    ("pico", "picorelay_pico"),
    ("pulse", "picorelay_base::pulse"),
    ("rarely", "picorelay_base::rarely"),
    ("rounds", "picorelay_net::rounds"),
    ("script", "picorelay_script"),
    ("search", "picorelay_nostr::search"),
    ("seldom", "picorelay_net::seldom"),
    ("source", "picorelay_nostr::source"),
    ("store", "picorelay_store"),
    ("store::pool", "picorelay_store::crew::pool"),
    ("store::writer", "picorelay_store::crew::writer"),
    ("threads", "picorelay_base::threads"),
    ("unfinished", "picorelay_net::unfinished"),
    ("vanish", "picorelay_nostr::vanish"),
    ("verify", "picorelay_nostr::verify"),
    ("websocket", "picorelay_net::websocket"),
];

/// A filter in which modules have the names by which they log: `picorelay::fair=debug` is about `picorelay_base::fair`. The
/// name of the program alone is the beginning of all of them, and stays.
pub(crate) fn targets(filter: &str) -> String {
    let directives = filter.split(',').map(|directive| {
        let directive = directive.trim();
        let end = directive.find(['=', '[']).unwrap_or(directive.len());
        let (target, rest) = directive.split_at(end);
        let moved = target.strip_prefix(OWN).and_then(|rest| rest.strip_prefix("::")).and_then(|path| {
            let within = |name: &str| path.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with("::"));
            let (within, to) =
                MOVED.iter().filter_map(|(name, to)| Some((within(name)?, to))).min_by_key(|(rest, _)| rest.len())?;
            Some(format!("{to}{within}{rest}"))
        });
        moved.unwrap_or_else(|| directive.to_owned())
    });
    directives.collect::<Vec<_>>().join(",")
}

/// What is wrong with a filter such as `info,picorelay::store=debug`.
pub(super) fn problem(filter: &str) -> Option<String> {
    if let Err(error) = filter.parse::<EnvFilter>() {
        return Some(error.to_string());
    }
    filter.split(',').map(str::trim).find_map(|directive| {
        let end = directive.find(['=', '[']).unwrap_or(directive.len());
        let (target, rest) = directive.split_at(end);
        let is_level = rest.is_empty() && target.parse::<LevelFilter>().is_ok();
        // `[span]=debug` and `` are about all targets.
        if is_level || target.is_empty() || logs(target) {
            return None;
        }
        let near = nearest(target).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        Some(format!("`{target}` is no level and nothing of this program that logs{near}"))
    })
}

/// Whether there can be lines of this target.
fn logs(target: &str) -> bool {
    let mut parts = target.split("::");
    match (parts.next(), parts.next()) {
        (Some(OWN), Some(module)) => modules().any(|known| known == module),
        (Some(name), _) => CRATES.contains(&name),
        (None, _) => false,
    }
}

fn modules() -> impl Iterator<Item = &'static str> {
    let own = MODULES.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    own.chain(MOVED.iter().map(|(name, _)| *name).filter(|name| !name.contains("::")))
}

fn nearest(target: &str) -> Option<String> {
    let own = modules().map(|module| format!("{OWN}::{module}"));
    let known = LEVELS.iter().chain(&CRATES).map(|name| (*name).to_owned()).chain(own);
    let (far, near) = known.map(|name| (distance(&name, target), name)).min()?;
    (far <= 1 + target.len() / 4).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_meant() {
        for fine in [
            "",
            "info",
            "INFO",
            "off",
            "3",
            "info,picorelay=debug",
            "picorelay",
            "picorelay::store::sqlite=trace",
            "picorelay::clientlog=debug,warn",
            "peeroxide_dht=warn",
            "info,[span]=debug",
            "picorelay[span{field=1}]=debug",
            &crate::config::Server::default().log,
        ] {
            assert_eq!(problem(fine), None, "{fine}");
        }
        for (wrong, said) in [
            ("inof", "`inof` is no level and nothing of this program that logs, did you mean `info`?"),
            ("info,picorelya=debug", "did you mean `picorelay`?"),
            ("picorelay::stroe=debug", "did you mean `picorelay::store`?"),
            ("info,hyper=debug", "`hyper` is no level"),
            ("info;debug", "`info;debug` is no level"),
            ("verbose", "`verbose` is no level"),
            ("picorelay=inof", ""),
            ("loud=very", ""),
        ] {
            let problem = problem(wrong);
            assert!(problem.as_ref().is_some_and(|problem| problem.contains(said)), "{wrong}: {problem:?}");
        }
    }

    #[test]
    fn modules_are_found_where_they_are() {
        for (filter, meant) in [
            ("info", "info"),
            ("", ""),
            ("info, picorelay=debug", "info,picorelay=debug"),
            ("picorelay::clientlog=debug,warn", "picorelay::clientlog=debug,warn"),
            ("picorelay::fair=debug", "picorelay_base::fair=debug"),
            ("warn,picorelay::fair::pool[span{field=1}]=debug", "warn,picorelay_base::fair::pool[span{field=1}]=debug"),
            ("picorelay::fairy", "picorelay::fairy"),
            ("picorelay::store=debug", "picorelay_store=debug"),
            ("picorelay::store::sqlite::log=warn", "picorelay_store::sqlite::log=warn"),
            ("picorelay::store::writer=off", "picorelay_store::crew::writer=off"),
        ] {
            assert_eq!(targets(filter), meant);
            assert!(targets(filter).parse::<EnvFilter>().is_ok(), "{filter}");
        }
        let declared: Vec<_> = MODULES.lines().filter_map(|line| line.strip_prefix("pub mod ")).collect();
        assert!(MOVED.iter().all(|(name, _)| !declared.contains(&format!("{name};").as_str())));
    }
}
