//! A room is full: the lesser chains go.
//!
//! Of the chains that have gone longest without a new block, so many as [`super::Limits::lesser_chains_max`], the one of
//! least weight goes; of equal ones, the one that has gone longest without a new block. Never the chain that the new block
//! belongs to. The weight is what the first slice says that has an opinion, else 0.

use picofeed::{Block, Id};

use super::{Engine, EngineError};
use crate::slice::{ChainSummary, Millis};
use crate::store::repo::{Chain, Full, Merged, Quota, Usage};
use crate::store::state::{Edit, Step};

impl Engine {
    /// Removes chains until a block fits that was refused. None goes if it cannot fit.
    pub(super) fn make_space(
        &mut self,
        block: &Block,
        refused: Merged,
        now: Millis,
    ) -> Result<Vec<Chain>, EngineError> {
        let makes_sense = matches!(refused, Merged::OverQuota(Quota::Chains | Quota::Blocks | Quota::Bytes));
        if !makes_sense || self.bounds.full == Full::Refuse {
            return Ok(Vec::new());
        }
        let own = match block.parent() {
            Some(parent) => self.store.reader.find(&self.scope.room, &parent)?.map(|(chain, _)| chain),
            None => None,
        };
        let bytes = block.bytes().len() as u64;
        let (blocks, chain_bytes) = own.as_ref().map_or((0, 0), |own| (own.height, own.bytes));
        let alone = Usage { blocks: blocks + 1, bytes: chain_bytes + bytes, chains: 1 };
        if self.bounds.exceeded(alone).is_some() {
            return Ok(Vec::new());
        }
        let mut usage = self.store.reader.usage(&self.scope.room)?;
        usage.blocks += 1;
        usage.bytes += bytes;
        usage.chains += u64::from(own.is_none());
        let own = own.map(|own| own.genesis);
        let mut victims: Vec<Chain> = Vec::new();
        let mut candidates = self.candidates(own, usage, now)?;
        while self.bounds.exceeded(usage).is_some() {
            let Some(victim) = candidates.pop() else {
                if victims.is_empty() {
                    return Ok(Vec::new());
                }
                break;
            };
            usage.blocks -= victim.height;
            usage.bytes -= victim.bytes;
            usage.chains -= 1;
            victims.push(victim);
        }
        let edits = victims.iter().map(|chain| Edit::Evict { chain: chain.genesis, remember: false }).collect();
        Ok(self.commit(vec![Step { edits, ..Step::default() }], now)?.evicted)
    }

    /// Chains that may go, the least last: as many as are looked at, and more if those would not be enough.
    fn candidates(&mut self, own: Option<Id>, usage: Usage, _now: Millis) -> Result<Vec<Chain>, EngineError> {
        let mut max = self.limits.lesser_chains_max.max(1);
        let chains = loop {
            let chains = self.store.reader.oldest_chains(&self.scope.room, max.saturating_add(1))?;
            let looked_at = chains.len();
            let chains: Vec<Chain> = chains.into_iter().filter(|chain| Some(chain.genesis) != own).collect();
            let without = Usage {
                blocks: usage.blocks.saturating_sub(chains.iter().map(|chain| chain.height).sum()),
                bytes: usage.bytes.saturating_sub(chains.iter().map(|chain| chain.bytes).sum()),
                chains: usage.chains.saturating_sub(chains.len() as u64),
            };
            if self.bounds.exceeded(without).is_none() || looked_at <= max {
                break chains;
            }
            max = max.saturating_mul(2);
        };
        let mut weighed = Vec::with_capacity(chains.len());
        for (age, chain) in chains.into_iter().enumerate() {
            weighed.push((self.weight(&chain)?, age, chain));
        }
        weighed.sort_by(|(a, old_a, _), (b, old_b, _)| b.total_cmp(a).then(old_b.cmp(old_a)));
        Ok(weighed.into_iter().map(|(_, _, chain)| chain).collect())
    }

    fn weight(&mut self, chain: &Chain) -> Result<f64, EngineError> {
        let summary = ChainSummary {
            owner: chain.owner,
            chain: chain.genesis,
            head: chain.head,
            blocks: chain.height,
            bytes: chain.bytes,
            foreign: chain.foreign,
        };
        for at in 0..self.slices.len() {
            // A slice that fails has no opinion.
            if let Ok(Some(weight)) = self.try_slice(at, |slice, view| slice.weight(&summary, view))? {
                return Ok(if weight.is_nan() { 0.0 } else { weight });
            }
        }
        Ok(0.0)
    }
}
