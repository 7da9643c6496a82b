//! Blocks in events that came before their parents, and wait no more: found again when the parent is stored.

use std::sync::Arc;

use hashbrown::HashMap;
use pico_bridge::kind;
use picofeed::Id as BlockId;

use super::inbound::{count, offer};
use super::{Failure, lookup};
use crate::clock;
use crate::pico::repo::{Repo, RoomName};
use crate::pico::rooms::{self, Rooms};
use crate::store::Readers;
use crate::store::carry::{Located, Outgoing};
use crate::verify::Verified;

/// Different blocks that are tried after one, of its author and of others each. One finds a place; anybody can make more.
const RIVALS_MAX: usize = 8;

/// Looks for events whose blocks follow those of a batch that rooms have stored, and are not stored themselves.
///
/// # Errors
///
/// The database failed, or the relay stops.
pub(super) async fn children(
    rooms: &Arc<Rooms>,
    repo: &Repo,
    readers: &Readers,
    batch: &[Outgoing],
) -> Result<(), Failure> {
    let mut found = Found::of(batch);
    let parents = batch.iter().map(|one| format!("pico:parent:{}", one.id)).collect();
    let filter = lookup::tagged(&[kind::BLOCK], None, b'i', parents);
    // All of them: what strangers add must not hide what is looked for.
    lookup::each(readers, filter, u64::MAX, clock::now(), |event| found.note(event)).await??;
    let mut missing = Vec::new();
    for (room, block, event) in found.in_order() {
        if !repo.contains(&room, block).await? {
            missing.push(event);
        }
    }
    let limits = rooms::limits(&rooms.config);
    Box::pin(offer(rooms, repo, &limits, missing)).await
}

/// What may follow the blocks of a batch.
struct Found<'b> {
    batch: HashMap<(RoomName, BlockId), &'b Located>,
    /// By parent, and whether the author of the parent wrote them; the last are the oldest.
    rivals: HashMap<(RoomName, BlockId, bool), Vec<(BlockId, Verified)>>,
}

impl<'b> Found<'b> {
    fn of(batch: &'b [Outgoing]) -> Self {
        let located = batch.iter().filter_map(|one| Some(((one.room.clone(), one.id), one.found.as_ref()?)));
        Self { batch: located.collect(), rivals: HashMap::new() }
    }

    /// Takes note of an event. They come newest first.
    fn note(&mut self, event: Verified) {
        let named =
            |what: &str| event.tags.values("i").find_map(|value| value.strip_prefix("pico:")?.strip_prefix(what));
        let id = |what: &str| named(what).and_then(|id| id.parse::<BlockId>().ok());
        let (Some(Ok(room)), Some(block), Some(parent)) =
            (named("room:").map(str::parse::<RoomName>), id("block:"), id("parent:"))
        else {
            return;
        };
        let place = (room, block);
        if self.batch.contains_key(&place) {
            return;
        }
        let (room, block) = place;
        let place = (room, parent);
        let Some(before) = self.batch.get(&place) else { return };
        // The block itself says nothing of its chain, so anybody can give it a false one.
        if id("chain:") != Some(before.chain.genesis) {
            count("false_chain");
            return;
        }
        let is_same_author = named("author:") == Some(before.block.author().to_string().as_str());
        let rivals = self.rivals.entry((place.0, parent, is_same_author)).or_default();
        rivals.retain(|(other, _)| *other != block);
        rivals.push((block, event));
        if rivals.len() > RIVALS_MAX {
            rivals.remove(0);
        }
    }

    /// Those by the author of the block before come first: a stranger can date a block as they like, and the others would
    /// find no place in the chain any more. Among them, who was first counts.
    fn in_order(self) -> impl Iterator<Item = (RoomName, BlockId, Verified)> {
        let rivals = self.rivals.into_iter().flat_map(|((room, _, is_same_author), rivals)| {
            rivals.into_iter().map(move |(block, event)| (!is_same_author, room.clone(), block, event))
        });
        let mut all: Vec<_> = rivals.collect();
        all.sort_by_key(|(is_other, _, _, event)| (*is_other, event.created_at, event.id));
        all.into_iter().map(|(_, room, block, event)| (room, block, event))
    }
}
