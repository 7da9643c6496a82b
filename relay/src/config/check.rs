//! What the values of options must mean, beyond their types.

use nostr::key::PublicKey;
use nostr::types::url::{RelayUrl, Url};
use toml::Value;

use super::load::{leaves, table};
use super::{BridgeSection, Config, Info, Server, Sync, Upstream};
use crate::dial::is_websocket;
use crate::guard::GIFT_WRAP;
use crate::pico::repo::RoomName;

/// Direct messages (NIP-04).
const DIRECT_MESSAGE: u16 = 4;
/// The lowest priority that there is.
const NICENESS_MAX: u8 = 19;
/// The smallest frame the negentropy protocol works with.
const NEGENTROPY_FRAME_BYTES_MIN: u64 = 4096;
/// What an event of ordinary size needs, so that a typing error is not taken for a limit.
const MESSAGE_BYTES_MIN: usize = 1024;

/// Options for which 0 has a meaning, beside those that rooms declare. All other numbers must be at least 1.
const MAY_BE_ZERO: &[&str] = &[
    "server.drain_seconds",
    "server.log_summary_seconds",
    "limits.connections_per_address_max",
    "limits.created_at_future_seconds_max",
    "limits.created_at_past_seconds_max",
    "limits.pow_min",
    "limits.verify_niceness",
    "limits.verify_threads",
    "limits.messages_per_minute",
    "limits.requests_per_minute",
    "limits.queries_per_minute",
    "limits.message_bytes_per_minute",
    "limits.address_budget_factor",
    "limits.false_events_per_minute",
    "limits.false_events_delay_ms_max",
    "limits.refused_seconds_max",
    "limits.parse_threads",
    "sync.events_per_minute",
    "sync.bytes_per_second",
    "sync.sample_events_max",
];

/// Brings lists and keys into the one form the rest of the program expects: sorted, each once, keys as hex.
pub fn tidy(config: &mut Config) {
    for kinds in [&mut config.auth.restricted_kinds, &mut config.search.kinds] {
        kinds.sort_unstable();
        kinds.dedup();
    }
    let networks = &mut config.server.trusted_proxies;
    networks.iter_mut().for_each(|network| *network = network.trunc());
    networks.sort_unstable();
    networks.dedup();
    if let Some(key) = public_key(&config.info.pubkey) {
        config.info.pubkey = key.to_hex();
    }
}

fn public_key(text: &str) -> Option<PublicKey> {
    PublicKey::parse(text).ok().filter(|key| key.xonly().is_ok())
}

/// Everything that is wrong, as option and sentence.
pub fn check(config: &Config) -> Vec<(String, String)> {
    let mut problems = zeros(config);
    let mut problem = |key: &str, what: String| problems.push((key.to_owned(), what));
    server(&config.server, &mut problem);
    info(&config.info, &mut problem);
    config.storage.check(&mut problem);
    config.script.check(&mut problem);
    config.engine.check(&mut problem);
    config.pico.check(&mut problem);
    let is_taken = config.server.listen.port() != 0 && config.pico.tcp_listen == config.server.listen.to_string();
    if is_taken {
        problem("pico.tcp_listen", "is the address of server.listen".to_owned());
    }
    upstreams(&config.bridge.upstream, &mut problem);
    sync(&config.sync, &mut problem);
    bridge(&config.bridge, &mut problem);
    let limits = &config.limits;
    if limits.limit_default > limits.limit_max {
        problem("limits.limit_default", format!("is more than limits.limit_max, which is {}", limits.limit_max));
    }
    if limits.message_bytes_max < MESSAGE_BYTES_MIN {
        problem("limits.message_bytes_max", format!("must be at least {MESSAGE_BYTES_MIN}"));
    }
    if limits.outbox_bytes_max < limits.message_bytes_max {
        problem("limits.outbox_bytes_max", "must hold at least one message of limits.message_bytes_max".to_owned());
    }
    if limits.outbox_bytes_all_max < limits.outbox_bytes_max {
        problem("limits.outbox_bytes_all_max", "must hold at least limits.outbox_bytes_max".to_owned());
    }
    let bytes = limits.message_bytes_per_minute as usize;
    if bytes > 0 && bytes < limits.message_bytes_max {
        problem("limits.message_bytes_per_minute", "must hold at least limits.message_bytes_max".to_owned());
    }
    if limits.refused_seconds_max > 0 && limits.refused_seconds_max < limits.refused_seconds_min {
        problem("limits.refused_seconds_max", "is less than limits.refused_seconds_min".to_owned());
    }
    if limits.verify_niceness > NICENESS_MAX {
        problem("limits.verify_niceness", format!("must be at most {NICENESS_MAX}"));
    }
    for kind in [DIRECT_MESSAGE, GIFT_WRAP] {
        if !config.auth.restricted_kinds.contains(&kind) {
            problem("auth.restricted_kinds", format!("kind {kind} is private and cannot be left out (NIP-17)"));
        }
    }
    if config.policy.plugin.first().is_some_and(String::is_empty) {
        problem("policy.plugin", "must begin with a program".to_owned());
    }
    if config.negentropy.frame_bytes_max < NEGENTROPY_FRAME_BYTES_MIN {
        problem("negentropy.frame_bytes_max", format!("must be at least {NEGENTROPY_FRAME_BYTES_MIN}"));
    }
    problems
}

/// What is allowed, and yet probably not meant.
pub fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    let server = &config.server;
    let is_open = !server.listen.ip().is_loopback();
    if server.public_url.is_empty() && (is_open || !server.trusted_proxies.is_empty()) {
        notes.push(
            "server.public_url is empty: AUTH (NIP-42) and vanish requests (NIP-62) work only for clients in the local \
             network; set it to the URL, or the list of URLs, by which clients know this relay"
                .to_owned(),
        );
    }
    if server.public_url.iter().any(|url| url.starts_with("wss://")) && server.trusted_proxies.is_empty() {
        notes.push(
            "server.public_url is wss://, so there is a proxy, but server.trusted_proxies is empty: all clients seem to \
             come from its address, share its budgets, and are refused with each other's false events"
                .to_owned(),
        );
    }
    let pico = &config.pico;
    match (pico.hyperswarm, pico.room.iter().any(|room| !room.topic.is_empty())) {
        (true, false) => notes.push("pico.hyperswarm is on, but no pico.room has a topic".to_owned()),
        (false, true) => notes.push("a pico.room has a topic, but pico.hyperswarm is off".to_owned()),
        _ => {}
    }
    notes
}

fn may_be_zero() -> impl Iterator<Item = &'static str> {
    use crate::{engine, pico, script, store};
    let of_rooms = [
        store::config::MAY_BE_ZERO,
        script::config::MAY_BE_ZERO,
        engine::config::MAY_BE_ZERO,
        pico::config::MAY_BE_ZERO,
    ];
    MAY_BE_ZERO.iter().chain(of_rooms.into_iter().flatten()).copied()
}

fn zeros(config: &Config) -> Vec<(String, String)> {
    let table = table(config);
    let is_wrong =
        |(key, value): &(String, &Value)| matches!(value, Value::Integer(0)) && !may_be_zero().any(|name| name == key);
    leaves(&table).into_iter().filter(is_wrong).map(|(key, _)| (key, "must be at least 1".to_owned())).collect()
}

fn server(server: &Server, problem: &mut impl FnMut(&str, String)) {
    if server.data.as_os_str().is_empty() {
        problem("server.data", "must name a folder".to_owned());
    }
    if let Some(what) = super::log::problem(&server.log) {
        problem("server.log", what);
    }
    for text in server.public_url.iter() {
        if let Err(what) = public_url(text) {
            problem("server.public_url", format!("`{text}`: {what}"));
        }
    }
}

/// First parts of paths that the relay itself answers.
const PATHS: [&str; 4] = ["pico", "health", "ready", "metrics"];

fn public_url(text: &str) -> Result<(), &'static str> {
    let (Ok(_), Ok(url)) = (RelayUrl::parse(text), Url::parse(text)) else {
        return Err("must be a URL that starts with ws:// or wss://");
    };
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err("must not have a user, `?` or `#`");
    }
    let first = url.path_segments().and_then(|mut parts| parts.next()).unwrap_or_default();
    if PATHS.contains(&first) { Err("has a path that the relay uses for something else") } else { Ok(()) }
}

fn info(info: &Info, problem: &mut impl FnMut(&str, String)) {
    if !info.pubkey.is_empty() && public_key(&info.pubkey).is_none() {
        problem("info.pubkey", "must be a public key: npub1.. or 64 hex digits".to_owned());
    }
    if !info.contact.is_empty() && Url::parse(&info.contact).is_err() {
        problem("info.contact", "must be a URI such as mailto:me@example.com or https://example.com".to_owned());
    }
    let pages = [("icon", &info.icon), ("banner", &info.banner), ("terms_of_service", &info.terms_of_service)];
    for (name, text) in pages {
        let is_web = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !text.is_empty() && !is_web {
            problem(&format!("info.{name}"), "must be a URL that starts with http:// or https://".to_owned());
        }
    }
}

fn upstreams(upstreams: &[Upstream], problem: &mut impl FnMut(&str, String)) {
    for (number, upstream) in upstreams.iter().enumerate() {
        let url = &upstream.url;
        if !is_websocket(url) {
            problem("bridge.upstream", format!("`{url}`: must be a URL that starts with ws:// or wss://"));
        }
        if upstreams.iter().take(number).any(|other| other.url == *url) {
            problem("bridge.upstream", format!("`{url}` is named twice"));
        }
        for room in &upstream.rooms {
            if let Err(error) = room.parse::<RoomName>() {
                problem("bridge.upstream", format!("`{room}` is {error}"));
            }
        }
    }
}

fn sync(sync: &Sync, problem: &mut impl FnMut(&str, String)) {
    if sync.message_bytes_max < MESSAGE_BYTES_MIN {
        problem("sync.message_bytes_max", format!("must be at least {MESSAGE_BYTES_MIN}"));
    }
    if sync.frame_bytes_max < NEGENTROPY_FRAME_BYTES_MIN {
        problem("sync.frame_bytes_max", format!("must be at least {NEGENTROPY_FRAME_BYTES_MIN}"));
    }
    // A message is hex, and the other side may use larger ones than we do.
    if (sync.message_bytes_max as u64) < sync.frame_bytes_max.saturating_mul(2) + 1_000 {
        problem("sync.frame_bytes_max", "in hex it must fit into sync.message_bytes_max".to_owned());
    }
    if sync.page_events_max > sync.range_events_max {
        problem("sync.page_events_max", "is more than sync.range_events_max".to_owned());
    }
}

fn bridge(bridge: &BridgeSection, problem: &mut impl FnMut(&str, String)) {
    let is_web = Url::parse(&bridge.silo).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !bridge.silo.is_empty() && (!is_web || bridge.silo.ends_with('/')) {
        problem(
            "bridge.silo",
            "must be a URL that starts with http:// or https://, without a slash at the end".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(check(&Config::default()), []);
        let mut tidied = Config::default();
        tidy(&mut tidied);
        assert_eq!(tidied, Config::default());
    }

    #[test]
    fn every_problem_is_found() {
        let mut config = Config::default();
        config.server.public_url = "https://relay.example".into();
        config.server.log = "loud=very".into();
        config.info.pubkey = "me".into();
        config.info.contact = "me".into();
        config.info.icon = "javascript:alert(1)".into();
        config.storage.writer_batch_max = 1_000_000;
        config.limits.limit_default = 6_000;
        config.limits.filters_max = 0;
        config.limits.message_bytes_max = 10;
        config.limits.outbox_bytes_max = 9;
        config.limits.verify_niceness = 20;
        config.auth.restricted_kinds = vec![4];
        config.negentropy.frame_bytes_max = 100;
        config.script.stack_bytes_max = 2 << 20;
        config.script.value_bytes_max = 1 << 30;
        config.script.value_depth_max = 257;
        config.script.memory_bytes_max = 30_000;
        config.script.stuck_ms_max = 100;
        config.policy.plugin = vec![String::new()];
        config.pico.message_bytes_max = 1 << 30;
        config.pico.feed_bytes_max = 2 << 30;
        config.pico.body_bytes_max = 2 << 30;
        config.bridge.silo = "https://relay.example/silo/".into();
        config.pico.tcp_listen = "7421".into();
        config.pico.hyperswarm_bootstrap = vec!["10.0.0.1:49737".into(), "10.0.0.1".into(), ":1".into()];
        let room = |name: &str, url: &str| crate::config::Room {
            name: name.into(),
            bridge: crate::config::Bridge::Off,
            slices: vec!["archive".into()],
            replies: true,
            nostr: vec![toml::toml! { kinds = "one" }],
            topic: "same".into(),
            peer: vec![crate::config::Peer { url: url.into() }],
        };
        let upstream = |url: &str, room: &str| crate::config::Upstream {
            url: url.into(),
            rooms: vec![room.into()],
            direction: Default::default(),
        };
        config.bridge.upstream = vec![upstream("http://a", "a"), upstream("ws://a", "A"), upstream("ws://a", "a")];
        config.sync.message_bytes_max = 10;
        config.sync.frame_bytes_max = 100;
        config.sync.page_events_max = 1 << 30;
        config.pico.room = vec![room("nostr", "ws://a"), room("a", "http://a"), room("a", "wss://a/pico/a")];
        config.pico.room[0].slices.push("nowhere.js".into());
        config.engine.state_bytes_max = 1;
        let mut keys: Vec<String> = check(&config).into_iter().map(|(key, _)| key).collect();
        keys.sort();
        assert_eq!(
            keys,
            [
                "auth.restricted_kinds",
                "bridge.silo",
                "bridge.upstream",
                "bridge.upstream",
                "bridge.upstream",
                "engine.object_bytes_max",
                "info.contact",
                "info.icon",
                "info.pubkey",
                "limits.filters_max",
                "limits.limit_default",
                "limits.message_bytes_max",
                "limits.outbox_bytes_max",
                "limits.verify_niceness",
                "negentropy.frame_bytes_max",
                "pico.body_bytes_max",
                "pico.feed_bytes_max",
                "pico.hyperswarm_bootstrap",
                "pico.hyperswarm_bootstrap",
                "pico.hyperswarm_inbox_bytes_max",
                "pico.outbox_bytes_max",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.room",
                "pico.tcp_listen",
                "policy.plugin",
                "script.memory_bytes_max",
                "script.stack_bytes_max",
                "script.stuck_ms_max",
                "script.value_bytes_max",
                "script.value_depth_max",
                "server.log",
                "server.public_url",
                "storage.writer_batch_max",
                "sync.frame_bytes_max",
                "sync.frame_bytes_max",
                "sync.message_bytes_max",
                "sync.page_events_max",
            ]
        );
    }

    #[test]
    fn every_option_that_may_be_zero_exists() {
        let table = table(&Config::default());
        let known = leaves(&table);
        for name in may_be_zero() {
            assert!(known.iter().any(|(key, _)| key == name), "{name}");
        }
    }

    #[test]
    fn public_urls() {
        for (url, fine) in [
            ("", true),
            ("wss://relay.example", true),
            ("ws://127.0.0.1:7420/", true),
            ("ws://[::1]:7420", true),
            ("wss://relay.example/nostr", true),
            ("relay.example", false),
            ("wss://", false),
            ("wss://me@relay.example", false),
            ("wss://relay.example?a=b", false),
            ("wss://relay.example/#top", false),
            ("wss://relay.example, ws://box.local:7420,ws://abc.onion", true),
            ("wss://relay.example,relay.example", false),
            ("wss://relay.example/pico", false),
            ("wss://relay.example/health/x", false),
            ("wss://relay.example/picorelay", true),
        ] {
            let mut config = Config::default();
            config.server.public_url = url.into();
            assert_eq!(check(&config).is_empty(), fine, "{url}: {:?}", check(&config));
        }
    }

    #[test]
    fn lists_and_keys_are_brought_into_one_form() {
        let mut config = Config::default();
        config.auth.restricted_kinds = vec![1059, 4, 4];
        config.info.pubkey = "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6".into();
        config.server.trusted_proxies = vec!["10.1.2.3/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        tidy(&mut config);
        assert_eq!(config.auth.restricted_kinds, [4, 1059]);
        assert_eq!(config.info.pubkey, "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d");
        assert_eq!(config.server.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(check(&config), []);
    }
}
