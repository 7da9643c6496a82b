//! Options of the meeting point of pico nodes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::repo::RoomName;
use super::topic::topic;
use crate::dial::is_websocket;
use crate::engine::rules::is_native;
use crate::engine::slice::NATIVE;
use crate::filter::Filter;

/// Options for which 0 has a meaning.
pub const MAY_BE_ZERO: &[&str] = &[
    "pico.address_rooms_max",
    "pico.address_new_rooms_per_hour",
    "pico.false_feeds_per_minute",
    "pico.frames_per_minute",
    "pico.queries_per_minute",
    "pico.verify_threads",
];

/// What is around the body of a block in a message, at most: id, parent, keys, lengths, the frame.
const AROUND_BODY_BYTES: usize = 1024;

/// Rooms of pico nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pico {
    /// Serve pico nodes on `/pico` and `/pico/<room>`.
    pub enabled: bool,
    /// Whoever connects to a room that is not declared below opens it.
    pub open_rooms: bool,
    /// Rooms that are open at a time, and rooms that hold anything. When it is reached, the room that holds least and has
    /// gone longest without a new block gives way to a new one; rooms that are declared, or that somebody is in, stay.
    pub rooms_max: usize,
    /// Undeclared rooms that peers of one address (IPv6: of one /64) may have open at a time. 0: no limit.
    pub address_rooms_max: usize,
    /// New rooms in which one address (IPv6: one /64) may store the first block in an hour, as a peer or by events. 0: no limit.
    pub address_new_rooms_per_hour: u32,
    /// Feeds of one peer in a minute that are malformed or falsely signed; one more ends its connection. 0: no limit.
    pub false_feeds_per_minute: u32,
    /// Bytes of blocks in all rooms.
    pub rooms_bytes_max: u64,
    /// Blocks in one room.
    pub room_blocks_max: u64,
    /// Bytes of blocks in one room.
    pub room_bytes_max: u64,
    /// Chains in one room.
    pub room_chains_max: u64,
    /// What a room does that is full: discard the chains that have gone longest without a new block. Otherwise it takes no
    /// more.
    pub discard: bool,
    /// Peers connected to one room.
    pub peers_max: usize,
    /// Bytes of one message of a peer. A peer that sends its feeds whole needs room for the longest of them.
    pub message_bytes_max: usize,
    /// Bytes of blocks in one message to a peer. Longer chains follow in parts.
    pub feed_bytes_max: usize,
    /// Bytes in the body of one block.
    pub body_bytes_max: usize,
    /// Bytes that wait to be sent to one peer. One who is slower than new blocks come is closed.
    pub outbox_bytes_max: usize,
    /// Feeds of one peer that are being merged before no more is read from it.
    pub peer_feeds_max: usize,
    /// Bytes of them; a single one may be longer.
    pub peer_feeds_bytes_max: usize,
    /// Blocks in one room that wait for the block before them.
    pub mempool_blocks_max: usize,
    /// Bytes of such blocks.
    pub mempool_bytes_max: usize,
    /// Such blocks of one peer.
    pub mempool_peer_blocks_max: usize,
    /// Ids of recent blocks of one room that are remembered, so that echoes cost no signature check.
    pub recent_ids_max: usize,
    /// Requests to one peer that may wait for their reply.
    pub ports_max: usize,
    /// Seconds for which a request waits for its reply.
    pub reply_seconds: u64,
    /// Messages of one peer in a minute; more are read more slowly. 0: no limit.
    pub frames_per_minute: u32,
    /// QUERY messages of one peer in a minute; more are answered with ERR. 0: no limit.
    pub queries_per_minute: u32,
    /// Feeds of all peers that are verified at a time. 0: one for each core.
    pub verify_threads: usize,
    /// Seconds without a message, in either direction, after which a peer is pinged. One that says nothing for twice that is
    /// closed.
    pub ping_seconds: u64,
    /// Address and port for the same over plain TCP, such as `127.0.0.1:7421`. Empty: none.
    pub tcp_listen: String,
    /// Meet on hyperswarm in the rooms below that have a topic. It speaks UDP, over IPv4.
    pub hyperswarm: bool,
    /// Nodes of the DHT that are asked first, such as `192.0.2.1:49737`. Empty: those of the public network.
    pub hyperswarm_bootstrap: Vec<String>,
    /// Others reach the UDP ports of this machine unasked, as there is no NAT and no firewall before it. Otherwise holes are
    /// punched, which does not always work.
    pub hyperswarm_reachable: bool,
    /// How often others are looked for. They find the relay too, but who came first looks again after ten minutes only.
    pub hyperswarm_look_seconds: u64,
    /// Connections on hyperswarm, of all rooms.
    pub hyperswarm_connections_max: usize,
    /// Bytes of one peer there that wait to be read. One who sends faster than that is closed.
    pub hyperswarm_inbox_bytes_max: usize,
    /// Rooms that always exist, beside `main`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub room: Vec<Room>,
}

/// One room.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Its name: 1 to 64 of a-z, 0-9, `.`, `_`, `-`, the first a letter or digit.
    pub name: String,
    /// What nostr clients see of it: `wrap` each block as an event, `copies` to read beside that, or `off`.
    #[serde(default)]
    pub bridge: Bridge,
    /// Nostr events that go into the room as blocks of the relay's own feed: filters as in REQ, such as
    /// `{ kinds = [1], "#t" = ["pico"] }`. Apps must know the collection `nostr`.
    #[serde(default)]
    pub nostr: Vec<toml::Table>,
    /// So do replies to what `copies` made.
    #[serde(default)]
    pub replies: bool,
    /// Slices, the rules of the room, in the order in which they are asked: `archive`, `owners`, `rate` or `tasks`, and files.
    /// Files in `slices/<room>` of the data folder follow. Without any the room keeps every valid chain.
    #[serde(default)]
    pub slices: Vec<PathBuf>,
    /// Topic by which the room is found on hyperswarm: a text, or 64 hex digits. Empty: not there.
    #[serde(default)]
    pub topic: String,
    /// The same room on other relays: feeds flow both ways. Each is `{ url = "ws://.." }`.
    #[serde(default)]
    pub peer: Vec<Peer>,
}

/// What nostr clients see of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bridge {
    /// Each block as an event.
    #[default]
    Wrap,
    /// That, and copies that people can read.
    Copies,
    /// Nothing.
    Off,
}

/// A room on another relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Where it is: `ws://` or `wss://`, with its path.
    pub url: String,
}

impl Default for Pico {
    fn default() -> Self {
        Self {
            enabled: true,
            open_rooms: true,
            rooms_max: 1_000,
            address_rooms_max: 200,
            address_new_rooms_per_hour: 100,
            false_feeds_per_minute: 60,
            rooms_bytes_max: 16 << 30,
            room_blocks_max: 1_000_000,
            room_bytes_max: 1 << 30,
            room_chains_max: 200_000,
            discard: true,
            peers_max: 2_000,
            message_bytes_max: 8 << 20,
            feed_bytes_max: 1 << 20,
            body_bytes_max: 4 << 20,
            outbox_bytes_max: 16 << 20,
            peer_feeds_max: 64,
            peer_feeds_bytes_max: 64 << 10,
            mempool_blocks_max: 10_000,
            mempool_bytes_max: 16 << 20,
            mempool_peer_blocks_max: 1_000,
            recent_ids_max: 10_000,
            ports_max: 16,
            reply_seconds: 30,
            frames_per_minute: 60_000,
            queries_per_minute: 30,
            verify_threads: 0,
            ping_seconds: 25,
            tcp_listen: String::new(),
            hyperswarm: false,
            hyperswarm_bootstrap: Vec::new(),
            hyperswarm_reachable: false,
            hyperswarm_look_seconds: 20,
            hyperswarm_connections_max: 256,
            hyperswarm_inbox_bytes_max: 16 << 20,
            room: Vec::new(),
        }
    }
}

impl Room {
    /// The filters of events that go into a room.
    ///
    /// # Errors
    ///
    /// Something that is no filter, in words.
    pub fn filters(&self) -> Result<Vec<Filter>, String> {
        let parse = |table: &toml::Table| {
            let json = serde_json::to_string(table).map_err(|error| error.to_string())?;
            let filter = Filter::parse(&json).map_err(|error| error.to_string())?;
            match filter.search {
                Some(_) => Err("`search` means nothing here".to_owned()),
                None => Ok(filter),
            }
        };
        self.nostr.iter().map(parse).collect()
    }
}

impl Pico {
    /// Tells what is wrong: the option, and a sentence.
    pub fn check(&self, problem: &mut dyn FnMut(&str, String)) {
        if self.feed_bytes_max > self.message_bytes_max {
            problem("pico.feed_bytes_max", "is more than pico.message_bytes_max".to_owned());
        }
        if self.body_bytes_max.saturating_add(AROUND_BODY_BYTES) > self.message_bytes_max {
            let more = format!("must be at least {AROUND_BODY_BYTES} less than pico.message_bytes_max");
            problem("pico.body_bytes_max", more);
        }
        if self.outbox_bytes_max < self.message_bytes_max {
            problem("pico.outbox_bytes_max", "must hold at least one message of pico.message_bytes_max".to_owned());
        }
        if !self.tcp_listen.is_empty() && self.tcp_listen.parse::<std::net::SocketAddr>().is_err() {
            problem("pico.tcp_listen", "must be an address and port such as 127.0.0.1:7421, or empty".to_owned());
        }
        if self.hyperswarm && !cfg!(feature = "hyperswarm") {
            problem("pico.hyperswarm", "this program was built without the feature `hyperswarm`".to_owned());
        }
        if self.hyperswarm_inbox_bytes_max < self.message_bytes_max {
            problem(
                "pico.hyperswarm_inbox_bytes_max",
                "must hold at least one message of pico.message_bytes_max".to_owned(),
            );
        }
        for node in self.hyperswarm_bootstrap.iter().filter(|node| !is_host_and_port(node)) {
            problem("pico.hyperswarm_bootstrap", format!("`{node}`: must be a host and port such as 192.0.2.1:49737"));
        }
        for (number, room) in self.room.iter().enumerate() {
            for slice in room.slices.iter().filter(|slice| !is_native(slice) && !slice.is_file()) {
                let (name, known) = (slice.display(), NATIVE.join(", "));
                problem(
                    "pico.room",
                    format!("`{}`: there is no file `{name}`, and no slice of that name ({known})", room.name),
                );
            }
            if let Err(error) = room.name.parse::<RoomName>() {
                problem("pico.room", format!("`{}` is {error}", room.name));
            }
            if self.room.iter().take(number).any(|other| other.name == room.name) {
                problem("pico.room", format!("`{}` is declared twice", room.name));
            }
            let has_same = |other: &Room| !room.topic.is_empty() && topic(&other.topic) == topic(&room.topic);
            if self.room.iter().take(number).any(has_same) {
                problem("pico.room", format!("`{}`: another room has that topic", room.name));
            }
            if let Err(error) = room.filters() {
                problem("pico.room", format!("`{}`: nostr: {error}", room.name));
            }
            if room.bridge == Bridge::Off && (room.replies || !room.nostr.is_empty()) {
                problem("pico.room", format!("`{}`: bridge is off, so nothing can go into it from nostr", room.name));
            } else if room.replies && room.bridge != Bridge::Copies {
                problem(
                    "pico.room",
                    format!("`{}`: there are replies only to what bridge = \"copies\" made", room.name),
                );
            }
            for peer in &room.peer {
                if !is_websocket(&peer.url) {
                    problem("pico.room", format!("`{}`: must be a URL that starts with ws:// or wss://", peer.url));
                }
            }
        }
    }
}

fn is_host_and_port(node: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    node.rsplit_once(':').is_some_and(|(host, digits)| !host.is_empty() && port(digits))
}
