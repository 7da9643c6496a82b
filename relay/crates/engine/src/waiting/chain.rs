//! Where blocks join: what follows from what the repo says of them.

use hashbrown::HashMap;
use picofeed::Id;

use super::mempool::{Mempool, Offered, Peers};
use crate::Decision;
use crate::store::repo::{Merged, Quota};

/// What became of some blocks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Stored now. The others of the room may hear of them.
    pub new: Vec<Offered>,
    /// Blocks that waited for those, to be merged next.
    pub next: Vec<Offered>,
    /// Blocks whose parent is missing: they wait.
    pub orphans: usize,
    /// How many had each outcome.
    pub counts: HashMap<&'static str, u64>,
}

/// Draws the conclusions from a merge. `decisions` has one for each block, in order.
pub fn settle(mempool: &mut Mempool, blocks: Vec<Offered>, decisions: &[Decision]) -> Settled {
    let mut settled = Settled::default();
    // Several may send the same block before it is stored: together, or while it waits for its parent. Looked up before
    // anything is taken out of the mempool.
    let mut again: HashMap<Id, Peers> = HashMap::new();
    for (offered, outcome) in blocks.iter().zip(decisions) {
        let Decision::Merged(outcome) = outcome else { continue };
        match outcome {
            Merged::Known | Merged::Orphan => {
                again.entry(offered.block.id()).or_default().extend_from_slice(&offered.brought_by)
            }
            Merged::New => {
                let waited = mempool.brought_by(&offered.block);
                if !waited.is_empty() {
                    again.entry(offered.block.id()).or_default().extend_from_slice(waited);
                }
            }
            _ => {}
        }
    }
    for (mut offered, outcome) in blocks.into_iter().zip(decisions) {
        *settled.counts.entry(decided(outcome)).or_default() += 1;
        let Decision::Merged(outcome) = outcome else { continue };
        match outcome {
            Merged::New => {
                let id = offered.block.id();
                offered.brought_by.extend(again.remove(&id).unwrap_or_default());
                settled.next.extend(mempool.take_after(&offered.block));
                settled.new.push(offered);
            }
            Merged::Orphan => {
                settled.orphans += 1;
                let gone = mempool.park(&offered);
                if gone > 0 {
                    *settled.counts.entry("dropped").or_default() += gone as u64;
                }
            }
            Merged::Known | Merged::Fork | Merged::SecondGenesis | Merged::OverQuota(_) => {}
        }
    }
    settled
}

/// The name of a decision, for metrics.
pub fn decided(decision: &Decision) -> &'static str {
    match decision {
        Decision::Merged(merged) => name(*merged),
        Decision::Rejected(_) => "rejected",
        Decision::Postponed(_) => "postponed",
        Decision::Evicted => "evicted",
        Decision::NotLoaded => "not_loaded",
    }
}

/// The name of an outcome, for metrics.
pub fn name(outcome: Merged) -> &'static str {
    match outcome {
        Merged::New => "new",
        Merged::Known => "known",
        Merged::Orphan => "orphan",
        Merged::Fork => "fork",
        Merged::SecondGenesis => "second_genesis",
        Merged::OverQuota(Quota::Rooms) => "over_rooms",
        Merged::OverQuota(Quota::TotalBytes) => "over_total_bytes",
        Merged::OverQuota(Quota::Chains) => "over_chains",
        Merged::OverQuota(Quota::Blocks) => "over_blocks",
        Merged::OverQuota(Quota::Bytes) => "over_bytes",
    }
}
