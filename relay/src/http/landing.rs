//! The page for people: what this relay is and how to connect. Plain HTML that works without its script.

use std::net::SocketAddr;
use std::sync::LazyLock;

use data_encoding::BASE64;
use maud::{Markup, html};
use nostr::key::PublicKey;
use nostr::nips::nip19::ToBech32;
use nostr::types::url::Url;
use sha2::{Digest, Sha256};

use super::nip11::{SOFTWARE, VERSION};
use super::page::{self, STYLE};
use super::prefix;
use crate::config::{Config, Server};
use crate::{nips, vanish};

const SCRIPT: &str = include_str!("landing.js");

/// `Content-Security-Policy` of the page: its own style and script by hash, the relay's icon, nothing else.
pub fn content_security_policy(config: &Config) -> String {
    static HASHES: LazyLock<[String; 2]> =
        LazyLock::new(|| [STYLE, SCRIPT].map(|text| BASE64.encode(&Sha256::digest(text))));
    let [style, script] = &*HASHES;
    let images = match Url::parse(&config.info.icon) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url.origin().ascii_serialization(),
        _ => "'none'".to_owned(),
    };
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src {images}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The address to show. If several are configured, it is the one by which the reader reached the page, else the first. If
/// none is configured, it is the name by which the reader reached the page, which is a better guess than the address it
/// listens on.
pub fn url(server: &Server, listening: SocketAddr, host: Option<&str>) -> String {
    let is_plain = |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    let Some(host) = host.filter(is_plain).filter(|host| !host.is_empty()) else { return server.url(listening) };
    if server.public_url.is_empty() {
        return format!("ws://{host}");
    }
    let is_at_host = |url: &&str| {
        let (scheme, _) = url.split_once("://").unwrap_or_default();
        vanish::is_same(url, &format!("{scheme}://{host}{}", prefix::path(url)))
    };
    server.public_url.iter().find(is_at_host).map_or_else(|| server.url(listening), str::to_owned)
}

/// The page. `url`: where clients connect, `ws://` or `wss://`. `is_known`: the relay knows that this is its name.
/// `relay_key`: the relay's own public key, hex.
pub fn page(config: &Config, url: &str, is_known: bool, relay_key: Option<&str>) -> String {
    let info = &config.info;
    let main = html! {
        header {
            @if !info.icon.is_empty() { img src=(info.icon) alt="" width="64" height="64"; }
            h1 { (info.name) }
            p { (info.description) }
        }
        (connect(url, is_known))
        @if config.pico.enabled { (rooms(config, url)) }
        (conditions(config))
        (people(config, relay_key))
        (abilities(config))
    };
    let foot = html! { a href=(SOFTWARE) rel="noreferrer" { "picorelay" } " " (VERSION) };
    page::page(&info.name, Some(&info.description), Some(SCRIPT), &main, &foot).into_string()
}

fn connect(url: &str, is_known: bool) -> Markup {
    html! {
        section {
            h2 { "Connect" }
            p { "This is a nostr relay. Add its address to the relays of your nostr app:" }
            p .address {
                code #url { (url) }
                button #copy type="button" hidden { "Copy" }
            }
            @if !is_known {
                p .quiet {
                    "Signing in (AUTH) does not work under this name, as the relay does not know that it is its own: its \
                     operator can set " code { "server.public_url" } "."
                }
            }
            p .quiet {
                "From a terminal, the newest notes: " code { "nak req -k 1 -l 10 " (url) }
            }
        }
    }
}

fn rooms(config: &Config, url: &str) -> Markup {
    let pico = &config.pico;
    html! {
        section {
            h2 { "Pico nodes" }
            @if pico.open_rooms {
                p { "Nodes of a pico app meet in the room of that app:" }
                p .address { code { (url.trim_end_matches('/')) "/pico/" i { "room" } } }
            } @else {
                p { "Nodes of pico apps meet in rooms here." }
            }
            @if !pico.room.is_empty() {
                ul { @for room in &pico.room { li { a href=(format!("{}/pico/{}", prefix::path(url), room.name)) { (room.name) } } } }
            }
        }
    }
}

fn conditions(config: &Config) -> Markup {
    let limits = &config.limits;
    html! {
        section {
            h2 { "What it asks of you" }
            ul {
                @if config.auth.required { li { "Sign in first: your app proves your key (AUTH) before it can read or write." } }
                @if limits.pow_min > 0 {
                    li { "Events need proof of work: " (limits.pow_min) " leading zero bits." }
                }
                li { "Messages are at most " (bytes(limits.message_bytes_max)) ", notes at most "
                    (grouped(limits.content_chars_max)) " characters." }
                li { "A query gets " (grouped(limits.limit_default)) " events if it does not say how many, at most "
                    (grouped(limits.limit_max)) "." }
                li { "One connection has at most " (grouped(limits.subscriptions_max)) " subscriptions at a time." }
                @if limits.created_at_past_seconds_max > 0 {
                    li { "Events are at most " (duration(limits.created_at_past_seconds_max)) " old." }
                }
                li { "Private messages go only to the people they name, who must prove who they are." }
                @if is_web(&config.info.terms_of_service) {
                    li { a href=(config.info.terms_of_service) rel="noreferrer" { "Terms of service" } }
                }
            }
        }
    }
}

fn people(config: &Config, relay_key: Option<&str>) -> Markup {
    let info = &config.info;
    let rows = [("Operator", info.pubkey.as_str()), ("Relay key", relay_key.unwrap_or(""))];
    html! {
        @if !info.contact.is_empty() || rows.iter().any(|(_, key)| !key.is_empty()) {
            section {
                h2 { "Who runs it" }
                dl {
                    @if !info.contact.is_empty() {
                        dt { "Contact" }
                        dd {
                            @if is_web(&info.contact) || info.contact.starts_with("mailto:") {
                                a href=(info.contact) rel="noreferrer" { (info.contact.trim_start_matches("mailto:")) }
                            } @else { (info.contact) }
                        }
                    }
                    @for (name, key) in rows.into_iter().filter(|(_, key)| !key.is_empty()) {
                        dt { (name) }
                        dd { code { (npub(key)) } }
                    }
                }
            }
        }
    }
}

fn abilities(config: &Config) -> Markup {
    html! {
        section {
            h2 { "What it can do" }
            ul .nips {
                @for nip in nips::active(config) {
                    li {
                        a href=(format!("https://github.com/nostr-protocol/nips/blob/master/{:02}.md", nip.number))
                            rel="noreferrer" { (format!("NIP-{:02}", nip.number)) }
                        " " (nip.title)
                    }
                }
            }
            p .quiet {
                "For programs: this page with " code { "Accept: application/nostr+json" } " is the NIP-11 document."
            }
        }
    }
}

pub(super) fn npub(hex: &str) -> String {
    PublicKey::from_hex(hex)
        .map_or_else(|_| hex.to_owned(), |key| key.to_bech32().unwrap_or_else(|never| match never {}))
}

fn is_web(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn bytes(bytes: usize) -> String {
    match bytes {
        1_048_576.. => format!("{} MiB", bytes / 1_048_576),
        1_024.. => format!("{} KiB", bytes / 1_024),
        _ => format!("{bytes} bytes"),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7_200.. => format!("{} hours", seconds / 3_600),
        120.. => format!("{} minutes", seconds / 60),
        _ => format!("{seconds} seconds"),
    }
}

/// A number with a thin space between thousands.
fn grouped(number: impl ToString) -> String {
    let digits = number.to_string();
    let starts_group = |index: usize| index > 0 && (digits.len() - index).is_multiple_of(3);
    let char_at = |(index, digit)| if starts_group(index) { format!("\u{202f}{digit}") } else { String::from(digit) };
    digits.chars().enumerate().map(char_at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_to_connect_and_escapes_everything() {
        let mut config = Config::default();
        config.info.name = "<script>alert(1)</script>".into();
        config.info.description = "\"><img src=x>".into();
        config.info.contact = "javascript:alert(1)".into();
        config.info.icon = "https://pictures.example/a.png".into();
        let page = page(&config, "wss://relay.example/\"><b>", true, Some("ab"));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("wss://relay.example/&quot;&gt;&lt;b&gt;"));
        assert!(
            !page.contains("<img src=x>") && !page.contains("<script>alert") && !page.contains("href=\"javascript")
        );
        assert!(page.contains("5\u{202f}000"));
        assert!(content_security_policy(&config).contains("img-src https://pictures.example;"));
    }

    #[test]
    fn the_address_is_the_configured_one_or_the_one_that_was_used() {
        let listening = "0.0.0.0:7420".parse().unwrap();
        let mut server = Config::default().server;
        assert_eq!(url(&server, listening, Some("box.local:7420")), "ws://box.local:7420");
        assert_eq!(url(&server, listening, Some("[::1]:7420")), "ws://[::1]:7420");
        assert_eq!(url(&server, listening, Some("a/b?c")), "ws://0.0.0.0:7420");
        assert_eq!(url(&server, listening, None), "ws://0.0.0.0:7420");
        server.public_url = "wss://relay.example".into();
        assert_eq!(url(&server, listening, Some("box.local")), "wss://relay.example");
        server.public_url = "wss://relay.example/nostr,ws://box.local:7420,ws://abcdef.onion".into();
        for (host, wanted) in [
            ("relay.example", "wss://relay.example/nostr"),
            ("Relay.Example:443", "wss://relay.example/nostr"),
            ("box.local:7420", "ws://box.local:7420"),
            ("box.local", "wss://relay.example/nostr"),
            ("abcdef.onion", "ws://abcdef.onion"),
            ("abcdef.onion:80", "ws://abcdef.onion"),
            ("other.example", "wss://relay.example/nostr"),
        ] {
            assert_eq!(url(&server, listening, Some(host)), wanted, "{host}");
        }
    }

    #[test]
    fn what_is_off_is_not_shown() {
        let mut config = Config::default();
        config.search.enabled = false;
        let here = |config: &Config| page(config, "ws://127.0.0.1:7420", true, None);
        assert!(here(&config).contains("NIP-77") && !here(&config).contains("NIP-50"));
        assert!(!here(&config).contains("Who runs it"));
        config.pico.room.push(crate::config::Room { name: "chat".into(), ..Default::default() });
        assert!(here(&config).contains("/pico/<i>room") && here(&config).contains("href=\"/pico/chat\""));
        config.pico.open_rooms = false;
        assert!(!here(&config).contains("<i>room") && here(&config).contains("href=\"/pico/chat\""));
        config.pico.enabled = false;
        assert!(!here(&config).contains("/pico/"));
        assert!(content_security_policy(&config).contains("img-src 'none'"));
    }
}
