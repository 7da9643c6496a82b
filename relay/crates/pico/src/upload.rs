//! The answer to a QUERY: all chains of a room, a part at a time, as the peer asks for them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use picofeed::{Block, Format, Key};

use super::gossip::feed_bytes_max;
use super::repo::{Chain, Part, Repo, RepoError, Run};
use super::room::Room;

/// Chains looked up at a time.
const CHAINS: usize = 64;

/// Where an upload is. Chains come in the order of their owners' keys; one that is too long for a message comes in
/// consecutive parts.
pub struct Upload {
    repo: Repo,
    format: Format,
    after: Option<Key>,
    chains: VecDeque<Chain>,
    /// The chain at hand: owner, blocks sent, blocks it had.
    current: Option<(Key, u64, u64)>,
}

impl Upload {
    /// From the start, read from this repo.
    pub fn new(repo: Repo, format: Format) -> Self {
        Self { repo, format, after: None, chains: VecDeque::new(), current: None }
    }

    /// The next part. None at the end.
    pub async fn next(&mut self, room: &Arc<Room>) -> Result<Option<Bytes>, RepoError> {
        let bytes_max = feed_bytes_max(self.format, room.feed_bytes_max()) as u64;
        while self.has_more(room).await? {
            let Some((owner, sent, height)) = self.current else { break };
            let part = Part { skip: sent, blocks_max: BLOCKS_MAX, bytes_max };
            let Some(feed) = self.repo.load(room.name(), Run::Owned(self.format, owner), part).await? else {
                self.current = None;
                continue;
            };
            let sent = sent + feed.len() as u64;
            let is_cut = sent < height || self.has_grown(room, feed.last(), sent).await?;
            self.current = is_cut.then_some((owner, sent, height));
            return Ok(Some(feed.encode().into()));
        }
        Ok(None)
    }

    /// Whether there is a chain at hand, or another one to take up.
    async fn has_more(&mut self, room: &Arc<Room>) -> Result<bool, RepoError> {
        if self.current.is_some() {
            return Ok(true);
        }
        if self.chains.is_empty() {
            self.chains = self.repo.chains(room.name(), self.format, self.after, CHAINS).await?.into();
        }
        let next = self.chains.pop_front();
        if let Some(chain) = &next {
            self.after = Some(chain.owner);
            self.current = Some((chain.owner, 0, chain.height));
        }
        Ok(next.is_some())
    }

    /// Whether a chain that is sent in parts got blocks meanwhile that did not fit.
    async fn has_grown(&self, room: &Arc<Room>, last: Option<&Block>, sent: u64) -> Result<bool, RepoError> {
        let is_short = self.current.is_some_and(|(_, before, _)| before == 0) && sent < FEW_BLOCKS;
        match last {
            Some(block) if !is_short => {
                let found = self.repo.find(room.name(), block.id()).await?;
                Ok(found.is_some_and(|(chain, _)| chain.height > sent))
            }
            _ => Ok(false),
        }
    }
}

/// Blocks in one message.
const BLOCKS_MAX: u64 = 1 << 15;

/// Chains up to this many blocks that come in one part are not looked at again.
const FEW_BLOCKS: u64 = 16;
