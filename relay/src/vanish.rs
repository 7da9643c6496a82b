//! Requests to vanish (NIP-62): whether a kind 62 event speaks to this relay.

use crate::event::Event;

/// Kind of a request to vanish.
pub const VANISH: u16 = 62;

/// The URLs by which this relay is known, normalised.
#[derive(Clone, Default, Debug)]
pub struct RelayUrls(Vec<String>);

impl RelayUrls {
    /// From configured or observed URLs.
    pub fn new<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        Self(urls.into_iter().map(normalise).collect())
    }

    /// True when one of the URLs is `url` up to case of the host, default port and trailing slash.
    pub fn contains(&self, url: &str) -> bool {
        self.0.contains(&normalise(url))
    }

    /// True when `event` asks this relay, or all relays, to forget its author.
    pub fn must_vanish(&self, event: &Event) -> bool {
        event.kind == VANISH && event.tags.values("relay").any(|url| url == "ALL_RELAYS" || self.contains(url))
    }
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
}
