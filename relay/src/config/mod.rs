//! Every option: documented fields are the manual, `Default` is the policy.
//!
//! A file (TOML), then environment variables `PICORELAY_<SECTION>__<FIELD>`, then flags; the later wins. Limits that are
//! 0 are switched off where the field says so. How it is read: [`load`]; what a value must mean: [`check`].
//!
//! A section of one room is declared and checked there, such as `[storage]` in [`crate::store::config`]; here is what several
//! rooms have in common.

mod bridge;
pub mod check;
pub mod load;
mod log;
mod place;
mod policy;
mod public_urls;
mod sync;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use bridge::{BridgeSection, Direction, Upstream};
pub use load::{ConfigError, Problem, plugin_problem};
pub use policy::Policy;
pub use public_urls::PublicUrls;
pub use sync::Sync;

pub use crate::engine::config::Engine;
pub use crate::pico::config::{Bridge, Peer, Pico, Room};
pub use crate::script::config::Script;
pub use crate::store::config::{Compression, Durability, Search, Storage};

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where it listens and where its data is.
    pub server: Server,
    /// What it says of itself (NIP-11, landing page).
    pub info: Info,
    /// The database.
    pub storage: Storage,
    /// What one client may do, and what the whole may hold.
    pub limits: Limits,
    /// Who must prove who they are, and what is private (NIP-42, NIP-17).
    pub auth: Auth,
    /// Full-text search (NIP-50). Every word of a search must occur in an event: in its content (of a profile, in the values in
    /// it), title, summary, subject or hashtags. Case and diacritics make no difference. A word of three letters or more also finds
    /// longer words that begin with it; what is written without spaces, as in Japanese or Thai, is found anywhere. `key:value`
    /// extensions are ignored, and a search of which nothing is left, such as an emoji, finds nothing.
    pub search: Search,
    /// Set reconciliation (NIP-77).
    pub negentropy: Negentropy,
    /// Rooms of pico nodes.
    pub pico: Pico,
    /// What slices that are scripts may use.
    pub script: Script,
    /// Programs that judge events.
    pub policy: Policy,
    /// What the slices of one room may cost.
    pub engine: Engine,
    /// Between pico rooms and nostr events.
    pub bridge: BridgeSection,
    /// How this relay talks to other relays: those in `[[bridge.upstream]]`, and the one that `picorelay sync` is given.
    pub sync: Sync,
}

/// Where it listens and where its data is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port. Port 0 picks a free one and prints it.
    pub listen: SocketAddr,
    /// Folder of the database and the relay's keys. Made if missing.
    pub data: PathBuf,
    /// The URL by which clients know this relay, such as `wss://relay.example`, or a list of URLs, the usual one first: one
    /// for the LAN, one for Tor (in the environment: with commas between them). Needed behind a proxy. AUTH (NIP-42) and
    /// vanish requests (NIP-62) are compared with these URLs, and their paths are served. Empty: the address it listens on,
    /// `localhost`, and for clients on this machine or in a private network the `Host` that they connect to, if it is a
    /// private address or a name that only local networks have, such as `box.local`. A name of the internet is not
    /// believed: anybody could claim it, and pass on here what somebody signed for them.
    pub public_url: PublicUrls,
    /// Addresses or networks of reverse proxies whose `X-Forwarded-For` is believed, such as `127.0.0.1` or `10.0.0.0/8`.
    #[serde(deserialize_with = "load::networks")]
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Seconds for which a connection waits for the head of a request, or for the next one.
    pub request_seconds: u64,
    /// Seconds in which a client must take something of what waits for it, on a WebSocket, a stream or a page. One that takes
    /// nothing for so long is let go.
    pub send_seconds: u64,
    /// Bytes of messages that have come in part or are being worked on, and of the buffers that connections keep which have
    /// sent messages of more than 64 KiB, over all connections. When more is needed, idle connections that keep such a buffer
    /// are let go, the largest first; if that is not enough, so is the connection that needs it.
    pub unfinished_bytes_max: usize,
    /// Seconds that a stop takes at most. Who is still taking answers after three quarters of it is cut off.
    pub drain_seconds: u64,
    /// Answer `/metrics`.
    pub metrics: bool,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or by module, such as `info,picorelay::store=debug`. The
    /// peeroxide modules speak hyperswarm, and tell below `warn` whom they meet.
    pub log: String,
    /// Seconds between two lines about what clients did and what was refused to them, at `info`; none if nothing happened.
    /// 0: no such lines. With `picorelay::clientlog=debug` in `log` there is a line for each occasion.
    pub log_summary_seconds: u64,
    /// How the log shows addresses of clients: `short`, the network (`203.0.113.0/24`, `2001:db8:1::/48`); `full`; or `off`,
    /// not at all.
    pub log_addresses: LogAddresses,
}

/// How the log shows addresses of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogAddresses {
    /// Not at all.
    Off,
    /// The network: a /24 of IPv4, a /48 of IPv6.
    #[default]
    Short,
    /// As they are.
    Full,
}

impl Server {
    /// The filter of the log, with modules as they are named in it.
    pub fn log_targets(&self) -> String {
        log::targets(&self.log)
    }

    /// The URL by which clients know this relay: the first of the configured ones, or one made of the address it listens on.
    pub fn url(&self, listening: SocketAddr) -> String {
        self.public_url.first().map_or_else(|| format!("ws://{listening}"), str::to_owned)
    }
}

/// What it says of itself (NIP-11, landing page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Info {
    /// A short name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Public key of the operator: 64 hex digits or npub. Empty: none.
    pub pubkey: String,
    /// A URI to reach the operator, such as `mailto:me@example.com`.
    pub contact: String,
    /// URL of a small square picture.
    pub icon: String,
    /// URL of a large picture.
    pub banner: String,
    /// URL of the terms of service.
    pub terms_of_service: String,
}

/// What one client may do, and what the whole may hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections of all clients.
    pub connections_max: usize,
    /// Open connections of one address (IPv6: of one /64). 0: no limit.
    pub connections_per_address_max: usize,
    /// Connections that have not yet sent a request, of all addresses. Beyond, the one that has been silent longest of the
    /// address that has most is let go, if it had a second; four times as many are the most.
    pub connections_waiting_max: usize,
    /// Addresses whose accounts (what they have used of their budgets) are remembered after their last connection is gone.
    pub accounts_max: usize,
    /// Bytes of one WebSocket message. A larger one is refused; one of more than four times as much ends the connection.
    pub message_bytes_max: usize,
    /// Subscriptions of one connection, negentropy sessions included.
    pub subscriptions_max: usize,
    /// Filters of one REQ or COUNT.
    pub filters_max: usize,
    /// Values in all lists of one filter.
    pub filter_values_max: usize,
    /// EOSE says whether more events match than were sent (NIP-67), and an answer goes on to the end of its oldest second, so
    /// that paging by `until` loses nothing. Off, since there are client libraries that take no EOSE of three elements;
    /// `picorelay sync` asks for it where it wants it.
    pub eose_hints: bool,
    /// Events of its oldest second that an answer has beyond its limit at most, where `eose_hints` is on.
    pub oldest_second_events_max: u64,
    /// Events that a filter without `limit` gets.
    pub limit_default: u64,
    /// The most events that a filter gets.
    pub limit_max: u64,
    /// Events that a COUNT looks at before it answers with `approximate`.
    pub count_max: u64,
    /// Tags of one event.
    pub event_tags_max: usize,
    /// Unicode characters in the content of one event.
    pub content_chars_max: usize,
    /// How far in the future `created_at` may lie, in seconds. 0: no limit.
    pub created_at_future_seconds_max: u64,
    /// How far in the past `created_at` may lie, in seconds. 0: no limit. Gift wraps and replaceable kinds are exempt.
    pub created_at_past_seconds_max: u64,
    /// Leading zero bits that an event id must have (NIP-13). 0: none.
    pub pow_min: u8,
    /// Messages of one connection in a minute. 0: no limit, of bytes neither.
    pub messages_per_minute: u32,
    /// Queries (REQ, COUNT, NEG-OPEN) of one connection in a minute. 0: no limit.
    pub queries_per_minute: u32,
    /// Bytes of the messages of one connection in a minute; of peers in rooms, all those of one address. 0: no limit.
    pub message_bytes_per_minute: u32,
    /// All connections of one address together may use so many times what one connection may, and so may all connections
    /// that have authenticated the same key. It lasts beyond a connection. 0: no limit.
    pub address_budget_factor: u32,
    /// Requests by HTTP of one address in a minute, WebSockets and `/health` and `/ready` aside. More wait for their turn,
    /// and are refused with 429 when that takes long. 0: no limit.
    pub requests_per_minute: u32,
    /// Events with a wrong id or signature of one address in a minute; a malformed or falsely signed feed of a peer counts as
    /// one, and one more for each 64 KiB. From a tenth of it on, less and less is read from
    /// those who send them; at that number their connections are closed, and the address gets no new ones for a while. 0: no
    /// limit.
    pub false_events_per_minute: u32,
    /// The longest pause, in milliseconds, after an event of a connection of such an address. 0: none.
    pub false_events_delay_ms_max: u64,
    /// Seconds for which such an address gets no new connections the first time; each further time twice as many.
    pub refused_seconds_min: u64,
    /// The most of them. 0: it is never refused, as where all clients come from one address.
    pub refused_seconds_max: u64,
    /// Queries of one connection that are answered at once; the others wait in order.
    pub queries_at_once_max: usize,
    /// Queries of one address that a reader works on, or that wait for one; the others wait in order. Of these, too, its
    /// connections and keys take turns.
    pub queries_at_once_address_max: usize,
    /// COUNTs of one address that are answered at once; the others wait in order.
    pub counts_at_once_max: usize,
    /// Bytes of memory that the filters of all connections may take, of subscriptions and of queries under way.
    pub filters_bytes_max: usize,
    /// The same of one address while others hold nothing. When they do it gets the same part of what is left, so that
    /// something is always left for one more.
    pub filters_bytes_address_max: usize,
    /// Events of one connection that wait for their OK; more are not read from the socket until some are answered.
    pub events_in_flight_max: usize,
    /// Bytes of those events; they count until their OK.
    pub events_in_flight_bytes_max: usize,
    /// Events that wait for their OK of a connection of which no event was true yet, or some were false lately: they are
    /// checked before more is read.
    pub events_in_flight_unproven_max: usize,
    /// The same for all connections together; those of one address may have a quarter. Beyond, nothing more is read from
    /// those that have more than a little.
    pub in_flight_bytes_all_max: usize,
    /// Threads that check signatures. 0: one for each core.
    pub verify_threads: usize,
    /// Batches of events that may wait for the threads that check signatures; those of one address may be a quarter.
    pub verify_queue_max: usize,
    /// Keys of authors that each of these threads keeps ready for use, about 150 bytes each.
    pub author_keys_max: usize,
    /// How far these threads give way to the others when there are too few cores for all: 0, not at all, to 19. On Linux.
    pub verify_niceness: u8,
    /// Bytes above which a message is read by threads of their own, which give way as those do.
    pub large_message_bytes: usize,
    /// How many threads that are. 0: one for each two cores, at most 4.
    pub parse_threads: usize,
    /// Bytes that wait to be sent to one client. One who is slower than its live events is closed.
    pub outbox_bytes_max: usize,
    /// Bytes that wait to be sent to all clients. From half of it on, answers wait for those who read slowly; beyond, those
    /// who have most to read are closed.
    pub outbox_bytes_all_max: usize,
    /// Live events held back for one connection while its stored events are still being sent.
    pub held_events_max: usize,
    /// Batches of saved events that wait to be broadcast.
    pub broadcast_queue_max: usize,
    /// Seconds without a message, in either direction, after which a client is pinged: well before proxies close a connection
    /// that seems idle (60 s). One that says nothing for twice that is closed.
    pub ping_seconds: u64,
}

/// When a client is sent the challenge of NIP-42.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Challenge {
    /// When it needs it.
    Needed,
    /// When it connects.
    Connect,
}

/// Who must prove who they are, and what is private.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Refuse everything before AUTH.
    pub required: bool,
    /// When a client is sent the challenge to answer. `needed`: right before it is refused something for want of AUTH, since
    /// some client libraries stand still once they hold one. `connect`: also when it connects, as always where AUTH is required.
    pub challenge: Challenge,
    /// Kinds that only their author and the people in their `p` tags may read.
    pub restricted_kinds: Vec<u16>,
    /// How old or new an AUTH event may be, in seconds.
    pub max_age_seconds: u64,
    /// Keys that one connection may authenticate.
    pub keys_max: usize,
}

/// Set reconciliation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Negentropy {
    /// Answer NEG-OPEN.
    pub enabled: bool,
    /// Events that one session may cover. To find them, four times as many are looked at.
    pub records_max: u64,
    /// Sessions of all connections.
    pub sessions_max: usize,
    /// Sessions of one address while others have none. When they have it gets the same part of those that are left.
    pub sessions_address_max: usize,
    /// Sessions of one connection.
    pub sessions_connection_max: usize,
    /// Bytes that the sessions of all connections hold, 40 for each event.
    pub bytes_max: usize,
    /// The same of one address while others hold nothing. When they do it gets the same part of what is left.
    pub bytes_address_max: usize,
    /// Bytes of one message, before hex.
    pub frame_bytes_max: u64,
    /// Seconds after which a silent session is closed.
    pub idle_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            data: "./data".into(),
            public_url: PublicUrls::default(),
            trusted_proxies: Vec::new(),
            request_seconds: 20,
            send_seconds: 30,
            unfinished_bytes_max: 128 << 20,
            drain_seconds: 10,
            metrics: true,
            log: "info,peeroxide=warn,peeroxide_dht=warn".into(),
            log_summary_seconds: 60,
            log_addresses: LogAddresses::Short,
        }
    }
}

impl Default for Info {
    fn default() -> Self {
        Self {
            name: "picorelay".into(),
            description: "A nostr relay.".into(),
            pubkey: String::new(),
            contact: String::new(),
            icon: String::new(),
            banner: String::new(),
            terms_of_service: String::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 0,
            connections_waiting_max: 2_000,
            accounts_max: 100_000,
            message_bytes_max: 512 * 1024,
            subscriptions_max: 100,
            filters_max: 20,
            filter_values_max: 5_000,
            eose_hints: false,
            oldest_second_events_max: 5_000,
            limit_default: 500,
            limit_max: 5_000,
            count_max: 1_000_000,
            event_tags_max: 5_000,
            content_chars_max: 200_000,
            created_at_future_seconds_max: 900,
            created_at_past_seconds_max: 0,
            pow_min: 0,
            messages_per_minute: 6_000,
            queries_per_minute: 1_200,
            message_bytes_per_minute: 64 << 20,
            address_budget_factor: 4,
            requests_per_minute: 1_200,
            false_events_per_minute: 100,
            false_events_delay_ms_max: 1_000,
            refused_seconds_min: 10,
            refused_seconds_max: 300,
            queries_at_once_max: 4,
            queries_at_once_address_max: 256,
            counts_at_once_max: 4,
            filters_bytes_max: 256 << 20,
            filters_bytes_address_max: 32 << 20,
            events_in_flight_max: 1_000,
            events_in_flight_unproven_max: 64,
            verify_threads: 0,
            events_in_flight_bytes_max: 4 << 20,
            in_flight_bytes_all_max: 256 << 20,
            verify_queue_max: 10_000,
            author_keys_max: 20_000,
            verify_niceness: 5,
            large_message_bytes: 32 << 10,
            parse_threads: 0,
            outbox_bytes_max: 8 * 1024 * 1024,
            outbox_bytes_all_max: 256 << 20,
            held_events_max: 10_000,
            broadcast_queue_max: 1_000,
            ping_seconds: 25,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            required: false,
            challenge: Challenge::Needed,
            restricted_kinds: vec![4, 1059, 21059],
            max_age_seconds: 600,
            keys_max: 32,
        }
    }
}

impl Default for Negentropy {
    fn default() -> Self {
        Self {
            enabled: true,
            records_max: 1_000_000,
            sessions_max: 1_000,
            sessions_address_max: 16,
            sessions_connection_max: 4,
            bytes_max: 256 << 20,
            bytes_address_max: 48 << 20,
            frame_bytes_max: 128 * 1024,
            idle_seconds: 120,
        }
    }
}
