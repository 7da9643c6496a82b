//! Which events about rooms are let in: those that say nothing false.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use pico_bridge::{Frame, Head, TagInvalid, UnwrapError, kind, unwrap};
use picofeed::{Id, Limits};

use super::parts;
use crate::address::limit_key;
use crate::clock::Timestamp;
use crate::config::{Bridge, Config};
use crate::outcome::{Prefix, Refusal};
use crate::pico::carry::Modes;
use crate::pico::repo::RoomName;
use crate::pico::rooms;
use crate::pico::strangers::NewRooms;
use crate::policy::{Policy, Verdict};
use crate::rarely::rarely;
use crate::source::Source;
use crate::store::Readers;
use crate::verify::Verified;

/// Who refuses.
const NAME: &str = "bridge";

/// Looks into events of kinds 7420, 37420 and 27420. The last of the policies: it costs a signature and a look into the
/// store.
pub struct Gate {
    modes: Modes,
    limits: Limits,
    frame_bytes_max: usize,
    readers: Readers,
    /// How many new rooms each address has begun, by events or as a peer.
    new_rooms: Arc<NewRooms>,
    /// Rooms of the configuration, which nobody begins.
    declared: HashSet<String>,
}

impl Gate {
    /// On a running store. None if there are no rooms: then such events are like any other.
    pub fn new(config: &Config, readers: Readers, new_rooms: Arc<NewRooms>) -> Option<Self> {
        let declared = config.pico.room.iter().map(|room| room.name.clone());
        config.pico.enabled.then(|| Self {
            new_rooms,
            declared: declared.chain([RoomName::main().to_string()]).collect(),
            modes: Modes::new(&config.pico, config.bridge.undeclared),
            limits: rooms::limits(&config.pico),
            frame_bytes_max: config.bridge.frame_bytes_max,
            readers,
        })
    }

    fn block(&self, event: &Verified, source: &Source) -> Verdict {
        let content = event.content();
        let unwrapped = match unwrap(&parts(event, &content), &self.limits) {
            Ok(unwrapped) => unwrapped,
            Err(error) => return refusal(error),
        };
        let room = match self.room(unwrapped.room.as_str()) {
            Ok(room) => room,
            Err(refused) => return refused,
        };
        let Some(parent) = unwrapped.block.parent() else { return self.begins(room, source) };
        match self.chain_of(room, parent) {
            Ok(Some(chain)) if chain != unwrapped.chain => refusal(TagInvalid::Contradicts("chain").into()),
            Ok(_) => Verdict::Accept,
            Err(why) => Verdict::Reject(why),
        }
    }

    /// Whether whoever sends a first block of a chain may: the room holds some already, or their address has not begun too many.
    fn begins(&self, room: RoomName, source: &Source) -> Verdict {
        let Source::Client(client) = source else { return Verdict::Accept };
        if self.declared.contains(room.as_str()) {
            return Verdict::Accept;
        }
        let usage = self.readers.run_blocking(move |reader| reader.usage(&room));
        let holds_blocks = matches!(usage, Ok(Ok(usage)) if usage.blocks > 0);
        if holds_blocks || self.new_rooms.begin(limit_key(client.address), Instant::now()) {
            return Verdict::Accept;
        }
        Verdict::reject(Prefix::RateLimited, NAME, "too many new rooms from your address, try again later")
    }

    /// Genesis of the chain that holds a block.
    fn chain_of(&self, room: RoomName, block: Id) -> Result<Option<Id>, Refusal> {
        match self.readers.run_blocking(move |reader| reader.find(&room, &block)) {
            Ok(Ok(found)) => Ok(found.map(|(chain, _)| chain.genesis)),
            Ok(Err(error)) => {
                rarely!(error, %error, "a block could not be looked up");
                Err(Refusal::new(Prefix::Error, NAME, "could not look up the block"))
            }
            Err(_) => Err(Refusal::shutting_down(NAME)),
        }
    }

    /// The room, if nostr has anything to do with it.
    fn room(&self, name: &str) -> Result<RoomName, Verdict> {
        let room = name.parse().map_err(|_| Verdict::reject(Prefix::Blocked, NAME, "the room `nostr` is reserved"))?;
        match self.modes.of(name) {
            Bridge::Off => Err(Verdict::reject(Prefix::Blocked, NAME, "this relay does not bridge the room")),
            Bridge::Wrap | Bridge::Copies => Ok(room),
        }
    }

    fn of_room(&self, room: Result<pico_bridge::Room, UnwrapError>) -> Verdict {
        match room.map(|room| self.room(room.as_str())) {
            Ok(Ok(_)) => Verdict::Accept,
            Ok(Err(refused)) => refused,
            Err(error) => refusal(error),
        }
    }
}

impl Policy for Gate {
    fn event(&self, event: &Verified, source: &Source, _: Timestamp) -> Verdict {
        if matches!(source, Source::Bridge) || source.is_trusted_import() {
            return Verdict::Accept;
        }
        match event.kind {
            kind::BLOCK => self.block(event, source),
            kind::HEAD => self.of_room(Head::parse(&parts(event, "")).map(|head| head.room)),
            kind::FRAME => {
                let content = event.content();
                self.of_room(Frame::parse(&parts(event, &content), self.frame_bytes_max).map(|frame| frame.room))
            }
            _ => Verdict::Accept,
        }
    }
}

fn refusal(error: UnwrapError) -> Verdict {
    if let UnwrapError::Block(_) = error {
        return Verdict::Reject(Refusal::false_content(error.to_string()));
    }
    let prefix = if error == UnwrapError::ContentTooLong { Prefix::Blocked } else { Prefix::Invalid };
    Verdict::reject(prefix, NAME, error.to_string())
}
