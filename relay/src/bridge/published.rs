//! What was published before: nothing is published twice, and copies name each other.

use hashbrown::{HashMap, HashSet};
use pico_bridge::{Copied, CopyOf, Parts, copy_kinds, kind};
use picofeed::Id as BlockId;

use super::outbound::Outbound;
use super::{Failure, Place, carried_by, lookup, parts};
use crate::event::{Event, Id, PublicKey};
use crate::store::carry::Outgoing;
use crate::verify::Verified;

/// What is known to be published, of the batch at hand.
#[derive(Default)]
pub(super) struct Published {
    pub(super) wrapped: HashSet<Place>,
    /// By others: events that say nothing false, and are to stay.
    pub(super) carried: HashSet<Place>,
    pub(super) copies: HashMap<Place, CopyOf>,
    /// Times of the newest replaceable events: author, kind, `d`.
    pub(super) newest: HashMap<(PublicKey, u16, String), u64>,
}

impl Outbound {
    /// What of a batch was published before.
    pub(super) async fn published(&self, batch: &[Outgoing]) -> Result<Published, Failure> {
        let mut published = Published::default();
        let standing = || batch.iter().filter_map(|one| one.found.as_ref());
        let values = standing().map(|standing| format!("pico:block:{}", standing.block.id())).collect();
        let chains: HashMap<BlockId, BlockId> =
            standing().map(|standing| (standing.block.id(), standing.chain.genesis)).collect();
        let kinds = [copy_kinds(), vec![kind::BLOCK]].concat();
        // By tag alone: along the authors the store would walk through everything that this relay has published.
        self.each(lookup::tagged(&kinds, None, b'i', values), |event| {
            if event.kind != kind::BLOCK {
                self.note_copy(&event, &mut published);
                return;
            }
            let Some((place, chain)) = carried_by(&event) else { return };
            if event.pubkey == self.signers.relay() {
                published.wrapped.insert(place);
            } else if event.expires_at().is_none() && chains.get(&place.1) == Some(&chain) {
                published.carried.insert(place);
            }
        })
        .await?;
        Ok(published)
    }

    /// Remembers a copy, if it is one of ours.
    pub(super) fn note_copy(&self, event: &Verified, published: &mut Published) -> bool {
        let content = event.content();
        self.note_copy_of(event, &parts(event, &content), published)
    }

    pub(super) fn note_copy_of(&self, event: &Event, parts: &Parts<'_>, published: &mut Published) -> bool {
        let Some(Copied { block, author, room }) = Copied::parse(parts) else { return false };
        if self.signers.author(&author) != Some(event.pubkey) {
            return false;
        }
        let Ok(room) = room.as_str().parse() else { return false };
        let copy = CopyOf { event: event.id.0, pubkey: event.pubkey.0, author, kind: event.kind, root: root_of(parts) };
        published.copies.insert((room, block), copy);
        true
    }
}

/// The beginning of the thread that a copy belongs to, if it is not its own (NIP-10).
fn root_of(parts: &Parts<'_>) -> Option<[u8; 32]> {
    let root = parts.tags.iter().find_map(|tag| match tag.as_slice() {
        ["e", id, _, "root", ..] => Id::from_hex(id),
        _ => None,
    });
    root.map(|id| id.0)
}
