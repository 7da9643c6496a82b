//! Requests to vanish (NIP-62): whether a kind 62 event speaks to this relay.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::event::Event;

/// Kind of a request to vanish.
pub const VANISH: u16 = 62;

/// The URLs by which this relay is known, normalised. Clones know the same.
#[derive(Clone, Default, Debug)]
pub struct RelayUrls {
    known: Vec<String>,
    /// By which clients in the local network came.
    learned: Arc<RwLock<Vec<String>>>,
}

/// Names that are learned: a machine has a few, and whoever makes up more is not listened to.
const LEARNED_MAX: usize = 64;

impl RelayUrls {
    /// From configured URLs, or the address the relay listens on.
    pub fn new<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        Self { known: urls.into_iter().map(normalise).collect(), learned: Arc::default() }
    }

    /// True when one of the URLs is `url` up to case of the host, default port and trailing slash.
    pub fn contains(&self, url: &str) -> bool {
        self.known.contains(&normalise(url))
    }

    /// Learns another URL, which vanish requests may name. AUTH events are not compared with what other clients said.
    pub fn learn(&self, url: &str) {
        let url = normalise(url);
        if self.known.contains(&url) || self.learned.read().contains(&url) {
            return;
        }
        let mut learned = self.learned.write();
        if learned.len() < LEARNED_MAX && !learned.contains(&url) {
            learned.push(url);
        }
    }

    /// True when `event` asks this relay, or all relays, to forget its author.
    #[inline]
    pub fn must_vanish(&self, event: &Event) -> bool {
        let is_here = |url: &str| url == "ALL_RELAYS" || self.contains(url) || self.has_learned(url);
        event.kind == VANISH && event.tags.values("relay").any(is_here)
    }

    fn has_learned(&self, url: &str) -> bool {
        let learned = self.learned.read();
        !learned.is_empty() && learned.contains(&normalise(url))
    }
}

/// True when both name the same relay.
pub fn is_same(one: &str, other: &str) -> bool {
    normalise(one) == normalise(other)
}

/// Scheme and host in lower case, without default port and trailing slashes. `http` counts as `ws`.
fn normalise(url: &str) -> String {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => "ws".to_owned(),
        "https" => "wss".to_owned(),
        other => other.to_owned(),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let host = host.to_ascii_lowercase();
    let host = match scheme.as_str() {
        "ws" => host.strip_suffix(":80").unwrap_or(&host),
        "wss" => host.strip_suffix(":443").unwrap_or(&host),
        _ => &host,
    };
    format!("{scheme}://{host}{}", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_urls() {
        let urls = RelayUrls::new(["wss://Relay.example/"]);
        for same in
            ["wss://relay.example", "WSS://relay.EXAMPLE:443/", "https://relay.example//", " wss://relay.example "]
        {
            assert!(urls.contains(same), "{same}");
        }
        for other in ["ws://relay.example", "wss://relay.example/path", "wss://relay.example:444", "relay.example", ""]
        {
            assert!(!urls.contains(other), "{other}");
        }
    }

    #[test]
    fn what_is_learned_is_for_vanish_requests() {
        let urls = RelayUrls::new(["ws://127.0.0.1:7420"]);
        let known_to_the_store = urls.clone();
        urls.learn("ws://Box.local:7420");
        assert!(known_to_the_store.has_learned("ws://box.local:7420/"));
        assert!(!urls.contains("ws://box.local:7420"));
        for n in 0..1_000 {
            urls.learn(&format!("ws://box-{n}.local"));
        }
        assert_eq!(urls.learned.read().len(), LEARNED_MAX);
    }
}
