//! Into the rooms: events that carry blocks, and events that are to become some.
//!
//! Works off what the store remembered of new events, in order, a batch at a time. A block of an event goes through its
//! room like one of a peer, and the room decides; one whose parent is missing waits in the room's mempool. If it is pushed
//! out of there, or the relay restarts, it is found again in its event when the parent comes: see `children.rs`.

use std::sync::Arc;

use hashbrown::HashMap;
use pico_bridge::{Copied, Unwrapped, kind, unwrap};
use picofeed::{Id as BlockId, Limits};
use tokio_util::sync::CancellationToken;

use super::keys::Signers;
use super::notes::Notes;
use super::{Failure, PAUSE, Parts, Wanted, lookup, parts};
use crate::clock;
use crate::event::{Event, Id};
use crate::metrics::BRIDGE_BLOCKS;
use crate::pico::carry::signer;
use crate::pico::mempool::Offered;
use crate::pico::repo::{Repo, RoomName};
use crate::pico::rooms::{self, Rooms};
use crate::rarely::rarely;
use crate::store::Readers;
use crate::verify::Verified;

/// Replies name the events that they answer; no more of them are looked at.
const ANSWERED_MAX: usize = 8;

/// The work, and what it needs.
pub struct Inbound {
    repo: Repo,
    readers: Readers,
    rooms: Arc<Rooms>,
    wanted: Option<Arc<Wanted>>,
    signers: Arc<Signers>,
    notes: Notes,
    takes_replies: Vec<RoomName>,
    batch_max: usize,
    limits: Limits,
    stop: CancellationToken,
}

impl Inbound {
    /// The work of this relay.
    pub fn new(parts: &Parts) -> Self {
        let takes_replies = parts.config.pico.room.iter().filter(|room| room.replies);
        Self {
            repo: parts.repo.clone(),
            readers: parts.readers.clone(),
            rooms: Arc::clone(&parts.rooms),
            wanted: parts.wanted.clone(),
            signers: Arc::clone(&parts.signers),
            notes: Notes::new(parts, parts.signers.feed()),
            takes_replies: takes_replies.filter_map(|room| room.name.parse().ok()).collect(),
            batch_max: parts.config.bridge.batch_max,
            limits: rooms::limits(&parts.config.pico),
            stop: parts.stop.clone(),
        }
    }

    /// Works until the relay stops.
    pub async fn run(mut self) {
        let Some(wanted) = self.wanted.clone() else { return };
        let stop = self.stop.clone();
        loop {
            let worked = tokio::select! {
                worked = Box::pin(self.work(&wanted)) => worked,
                () = stop.cancelled() => return,
            };
            let pausing = async {
                match &worked {
                    Ok(true) => {}
                    Ok(false) => wanted.arrived().await,
                    Err(error) => {
                        rarely!(error, %error, "events could not be carried into rooms; trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            tokio::select! {
                () = pausing => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One batch. False if there is none.
    async fn work(&mut self, wanted: &Wanted) -> Result<bool, Failure> {
        let batch = self.repo.incoming(self.batch_max).await?;
        let Some((last, _)) = batch.last() else { return Ok(false) };
        let last = *last;
        let (blocks, others): (Vec<Verified>, Vec<Verified>) =
            batch.into_iter().filter_map(|(_, event)| event).partition(|event| event.kind == kind::BLOCK);
        offer(&self.rooms, &self.repo, &self.limits, blocks).await?;
        for event in others {
            let mut rooms = wanted.rooms_for(&event);
            if wanted.may_be_a_reply(&event) {
                rooms.extend(self.rooms_answered(&event).await?);
            }
            rooms.sort_unstable();
            rooms.dedup();
            for room in rooms {
                self.notes.append(&self.rooms, &room, &event).await?;
            }
        }
        self.repo.carried_in(last).await?;
        Ok(true)
    }

    /// The rooms of whose blocks this event answers a copy.
    async fn rooms_answered(&self, event: &Event) -> Result<Vec<RoomName>, Failure> {
        // Who is only mentioned is not answered (NIP-10).
        let answered = event.tags.iter().filter(|tag| tag.name() == "e" && tag.get(3) != Some("mention"));
        let ids = answered.filter_map(|tag| Id::from_hex(tag.value()?)).take(ANSWERED_MAX).collect();
        let found = lookup::events(&self.readers, lookup::by_ids(ids), ANSWERED_MAX as u64, clock::now()).await??;
        let rooms = found.iter().filter_map(|event| {
            let Copied { author, room, .. } = Copied::parse(&parts(event, ""))?;
            let is_ours = self.signers.author(&author) == Some(event.pubkey);
            room.as_str().parse().ok().filter(|room| is_ours && self.takes_replies.contains(room))
        });
        Ok(rooms.collect())
    }
}

/// Offers the blocks in events to their rooms.
pub(super) async fn offer(
    rooms: &Arc<Rooms>,
    repo: &Repo,
    limits: &Limits,
    events: Vec<Verified>,
) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let limits = limits.clone();
    let unwrapping = tokio::task::spawn_blocking(move || {
        let unwrapped = events.into_iter().map(|event| {
            let content = event.content();
            (signer(&event.pubkey), unwrap(&parts(&event, &content), &limits))
        });
        unwrapped.collect::<Vec<_>>()
    });
    // Chains of blocks seen in this batch, so that a child of one of them need not be looked up.
    let mut chains: HashMap<BlockId, BlockId> = HashMap::new();
    let mut offers: Vec<(RoomName, Vec<Offered>)> = Vec::new();
    for (from, unwrapped) in unwrapping.await.map_err(|error| Failure::Store(error.to_string()))? {
        let Ok(Unwrapped { block, chain, room }) = unwrapped else {
            // Only what was imported was not looked at before.
            count("invalid");
            continue;
        };
        let Ok(room) = rooms.name(room.as_str()) else {
            count("no_room");
            continue;
        };
        if let Some(parent) = block.parent() {
            let known = match chains.get(&parent) {
                Some(chain) => Some(*chain),
                None => repo.find(&room, parent).await?.map(|(chain, _)| chain.genesis),
            };
            if known.is_some_and(|known| known != chain) {
                count("false_chain");
                continue;
            }
        }
        chains.insert(block.id(), chain);
        count("offered");
        let offered = Offered::by(block, from);
        match offers.last_mut() {
            Some((same, blocks)) if *same == room => blocks.push(offered),
            _ => offers.push((room, vec![offered])),
        }
    }
    for (name, blocks) in offers {
        let Ok(room) = rooms.open(&name) else {
            count("no_room");
            continue;
        };
        room.offer_blocks(blocks).await;
        rooms.close_if_empty(&room);
    }
    Ok(())
}

pub(super) fn count(outcome: &'static str) {
    metrics::counter!(BRIDGE_BLOCKS, "outcome" => outcome).increment(1);
}
