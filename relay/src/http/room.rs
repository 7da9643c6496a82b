//! The page of a pico room, for people: how nodes connect, and whom nostr clients can follow there.

use std::sync::LazyLock;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use hashbrown::HashMap;
use maud::{Markup, html};
use picofeed::Key;
use sha2::{Digest, Sha256};

use super::landing::npub;
use super::page::{self, STYLE};
use super::prefix;
use super::shared::Shared;
use crate::bridge::lookup;
use crate::clock;
use crate::config::Bridge;
use crate::event::PublicKey;
use crate::filter::Filter;
use crate::pico::repo::{RepoError, RoomName, Usage};
use crate::rarely::rarely;

/// Somebody who wrote in the room.
struct Author {
    key: Key,
    /// The nostr key that signs their copies.
    nostr: PublicKey,
    /// As in their profile.
    name: Option<String>,
}

/// What the page says.
struct Page<'a> {
    room: &'a RoomName,
    url: String,
    /// The path of the relay.
    home: String,
    peers: usize,
    usage: Usage,
    bridge: Bridge,
    authors: Vec<Author>,
    has_more: bool,
}

/// Answers with the page. A query `after=<key>` asks for the authors after that one.
pub async fn answer(shared: &Shared, room: &RoomName, query: Option<&str>, url: &str) -> Response {
    let asked = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("after=")));
    let after = asked.and_then(|key| key.parse::<Key>().ok());
    if after.is_none() && asked.is_some() {
        return (StatusCode::BAD_REQUEST, "after: must be the key of an author, 64 hex digits\n").into_response();
    }
    match page(shared, room, after, url).await {
        Ok(page) => {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::VARY, "upgrade"),
            ];
            (headers, page.markup().into_string()).into_response()
        }
        Err(error) => {
            rarely!(error, %error, %room, "a room could not be read");
            (StatusCode::INTERNAL_SERVER_ERROR, "the room could not be read\n").into_response()
        }
    }
}

/// Its own style by hash, and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = BASE64.encode(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

async fn page<'a>(shared: &Shared, room: &'a RoomName, after: Option<Key>, url: &str) -> Result<Page<'a>, RepoError> {
    let bridge = shared.pico.modes.of(room.as_str());
    let max = shared.relay.config.bridge.page_authors_max;
    let mut keys = match bridge {
        Bridge::Copies => shared.pico.repo.authors(room, after, max + 1).await?,
        Bridge::Wrap | Bridge::Off => Vec::new(),
    };
    let has_more = keys.len() > max;
    keys.truncate(max);
    let mut authors: Vec<Author> = keys
        .into_iter()
        .filter_map(|key| Some(Author { key, nostr: shared.pico.signers.author(&key)?, name: None }))
        .collect();
    let names = names(shared, &authors).await?;
    authors.iter_mut().for_each(|author| author.name = names.get(&author.nostr).cloned());
    Ok(Page {
        room,
        url: format!("{}/pico/{room}", url.trim_end_matches('/')),
        home: format!("{}/", prefix::path(url)),
        peers: shared.pico.rooms.peers(room),
        usage: shared.pico.repo.usage(room).await?,
        bridge,
        authors,
        has_more,
    })
}

/// What authors call themselves, in their profiles' copies.
async fn names(shared: &Shared, authors: &[Author]) -> Result<HashMap<PublicKey, String>, RepoError> {
    if authors.is_empty() {
        return Ok(HashMap::new());
    }
    let mut keys: Vec<PublicKey> = authors.iter().map(|author| author.nostr).collect();
    keys.sort_unstable();
    let filter = Filter { kinds: Some([0].into()), authors: Some(keys.into()), ..Filter::default() };
    let profiles = lookup::events(&shared.relay.readers, filter, authors.len() as u64, clock::now()).await??;
    let named = profiles.iter().filter_map(|event| {
        let profile: serde_json::Value = serde_json::from_str(&event.content()).ok()?;
        Some((event.pubkey, profile.get("name")?.as_str()?.to_owned()))
    });
    Ok(named.collect())
}

impl Page<'_> {
    fn markup(&self) -> Markup {
        let Usage { blocks, chains, .. } = self.usage;
        let main = html! {
            header {
                h1 { "Room " (self.room) }
                p { (self.peers) " pico nodes are here now. The room holds " (blocks) " blocks of " (chains) " chains." }
            }
            section {
                h2 { "Connect" }
                p { "Pico nodes connect by WebSocket to:" }
                p .address { code { (self.url) } }
            }
            @match self.bridge {
                Bridge::Off => {}
                Bridge::Wrap => (self.wrapped()),
                Bridge::Copies => { (self.people()) (self.wrapped()) }
            }
        };
        let foot = html! { a href=(self.home) { "The relay" } };
        page::page(&format!("Room {}", self.room), None, None, &main, &foot)
    }

    fn wrapped(&self) -> Markup {
        let filter = format!(r##"{{"kinds":[7420],"#i":["pico:room:{}"]}}"##, self.room);
        html! {
            section {
                h2 { "As nostr events" }
                p { "Every block is also an event. A nostr client finds them with this filter:" }
                p .address { code { (filter) } }
            }
        }
    }

    fn people(&self) -> Markup {
        html! {
            section {
                h2 { "Follow people" }
                @if self.authors.is_empty() {
                    p { "Nobody has written here yet." }
                } @else {
                    p { "What people write here can be read in any nostr app. Add this relay, and follow:" }
                    dl {
                        @for Author { key, nostr, name } in &self.authors {
                            dt { (name.as_deref().unwrap_or("without a name")) }
                            dd {
                                a href=(format!("nostr:{}", npub(&nostr.to_hex()))) { code { (npub(&nostr.to_hex())) } }
                                br;
                                span .quiet { "pico key " code { (key) } }
                            }
                        }
                    }
                    @if let (true, Some(last)) = (self.has_more, self.authors.last()) {
                        p { a href=(format!("?after={}", last.key)) { "More" } }
                    }
                    p .quiet {
                        "The keys are made by this relay for these people, and the relay signs. Each note names the block \
                         it was copied from, which its author signed."
                    }
                }
            }
        }
    }
}
