//! Nostr events that are chosen for a room: blocks of the relay's own feed there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use pico_bridge::{Body, FROM_NOSTR, NostrEvent, Value};
use picofeed::{Block, Feed, Format, Id as BlockId, Secret};

use super::{Failure, Parts};
use crate::clock;
use crate::event::Event;
use crate::metrics::BRIDGE_NOTES;
use crate::pico::carry::RELAY;
use crate::pico::mempool::Offered;
use crate::pico::repo::{Part, Repo, RoomName, Run};
use crate::pico::rooms::Rooms;

/// How often a block is written again because somebody else wrote to the relay's feed at the same time.
const TRIES: usize = 4;

/// The relay's feeds.
pub struct Notes {
    repo: Repo,
    secret: Secret,
    bytes_max: usize,
    per_minute: u32,
    /// The last blocks of a feed, which are all that a crash can have left half done.
    look_back: u64,
    rooms: HashMap<RoomName, Written>,
}

/// What is known of one feed.
struct Written {
    /// Ids of events in the last blocks, oldest first.
    events: VecDeque<String>,
    /// When a minute began, and events since.
    minute: (Instant, u32),
}

impl Notes {
    /// Those of this relay.
    pub fn new(parts: &Parts, secret: Secret) -> Self {
        let options = &parts.config.bridge;
        Self {
            repo: parts.repo.clone(),
            secret,
            bytes_max: options.note_bytes_max,
            per_minute: options.notes_per_minute,
            look_back: options.batch_max as u64 * 2,
            rooms: HashMap::new(),
        }
    }

    /// Appends an event to the feed in a room, unless it is there.
    pub(super) async fn append(&mut self, rooms: &Arc<Rooms>, name: &RoomName, event: &Event) -> Result<(), Failure> {
        let outcome = self.append_or_not(rooms, name, event).await?;
        metrics::counter!(BRIDGE_NOTES, "outcome" => outcome).increment(1);
        Ok(())
    }

    async fn append_or_not(
        &mut self,
        rooms: &Arc<Rooms>,
        name: &RoomName,
        event: &Event,
    ) -> Result<&'static str, Failure> {
        let id = event.id.to_hex();
        if !self.rooms.contains_key(name) {
            let events = self.last_events(name).await?;
            self.rooms.insert(name.clone(), Written { events, minute: (Instant::now(), 0) });
        }
        let Some(written) = self.rooms.get_mut(name) else { return Ok("refused") };
        if written.events.contains(&id) {
            return Ok("known");
        }
        if event.json().len() > self.bytes_max {
            return Ok("too_long");
        }
        if !written.may(self.per_minute) {
            return Ok("too_many");
        }
        let content = event.content();
        let (pubkey, sig) = (event.pubkey.to_hex(), data_encoding::HEXLOWER.encode(&event.sig));
        let body = NostrEvent {
            id: &id,
            pubkey: &pubkey,
            created_at: event.created_at,
            kind: event.kind,
            tags: event.tags.iter().map(|tag| tag.iter().collect()).collect(),
            content: &content,
            sig: &sig,
        }
        .body(clock::now() * 1_000);
        let Ok(room) = rooms.open(name) else { return Ok("no_room") };
        for _ in 0..TRIES {
            let parent = self.head(name).await?;
            let Ok(block) = Block::sign(Format::V8, parent.as_ref(), &body, &self.secret) else {
                return Ok("refused");
            };
            let stored = block.id();
            room.offer_blocks(vec![Offered::by(block, RELAY)]).await;
            if self.repo.contains(name, stored).await? {
                if let Some(written) = self.rooms.get_mut(name) {
                    written.remember(id, self.look_back);
                }
                return Ok("written");
            }
        }
        Ok("refused")
    }

    /// The last block of the feed.
    async fn head(&self, room: &RoomName) -> Result<Option<BlockId>, Failure> {
        let first = Part { blocks_max: 1, ..Part::ALL };
        let genesis = self.repo.load(room, Run::Owned(Format::V8, self.secret.key()), first).await?;
        let Some(genesis) = genesis.as_ref().and_then(|feed| feed.first()) else { return Ok(None) };
        Ok(self.repo.find(room, genesis.id()).await?.map(|(chain, _)| chain.head))
    }

    /// Ids of the events in the last blocks.
    async fn last_events(&self, room: &RoomName) -> Result<VecDeque<String>, Failure> {
        let Some(head) = self.head(room).await? else { return Ok(VecDeque::new()) };
        let feed: Option<Feed> = self.repo.load_from(room, head, self.look_back).await?;
        Ok(feed.iter().flat_map(Feed::blocks).filter_map(event_in).collect())
    }
}

impl Written {
    fn may(&mut self, per_minute: u32) -> bool {
        let (began, count) = &mut self.minute;
        if began.elapsed() >= Duration::from_secs(60) {
            (*began, *count) = (Instant::now(), 0);
        }
        if *count >= per_minute {
            return false;
        }
        *count += 1;
        true
    }

    fn remember(&mut self, id: String, max: u64) {
        if self.events.len() as u64 >= max {
            self.events.pop_front();
        }
        self.events.push_back(id);
    }
}

/// The id of the event that a block of this feed carries.
fn event_in(block: &Block) -> Option<String> {
    let Body::Record(record) = Body::of(block) else { return None };
    let id = record.payload.field("id").and_then(Value::as_text)?;
    (record.collection == FROM_NOSTR).then(|| id.to_owned())
}
