//! Whether a log filter means something: a misspelt level would silence the log, since it could be the name of a module.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::load::distance;

/// The crates of this program that log.
const CRATES: [&str; 6] = [OWN, "libudx", "peeroxide", "peeroxide_dht", "tokio_tungstenite", "tungstenite"];

const OWN: &str = env!("CARGO_CRATE_NAME");

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Where our modules are declared.
const MODULES: &str = include_str!("../lib.rs");

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
    MODULES.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
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
}
