//! Heads of chains that grew by events. Who wrapped the blocks publishes the head, too; where nobody does, we do.
//!
//! A chain that got a block in an event is looked at after a while, and all chains at the start and now and then: what
//! waits is forgotten by a crash, heads can be deleted, and others may have lied. A head by anybody is enough if it names the
//! last block that we have, and is to stay.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use pico_bridge::{Head, kind};
use picofeed::{Format, Id as BlockId, Key};
use tokio::time::Instant;

use super::outbound::Outbound;
use super::publish::publish;
use super::published::Published;
use super::{Failure, lookup, parts};
use crate::clock;
use crate::config::{self, Bridge};
use crate::pico::repo::{Chain, Part, RoomName, Run};
use crate::store::carry::{Located, Origin, Outgoing};
use crate::verify::Verified;

/// Chains looked at together.
const STEP: usize = 100;

/// The chains that are still to be looked at.
pub(super) struct Heads {
    grace: Duration,
    every: Duration,
    chains_max: usize,
    waiting: HashMap<(RoomName, BlockId), Instant>,
    /// What is left of the look at all chains, and where it is.
    rest: VecDeque<(RoomName, Format)>,
    after: Option<Key>,
    next: Instant,
}

impl Heads {
    /// All chains are due.
    pub(super) fn new(options: &config::BridgeSection) -> Self {
        Self {
            grace: Duration::from_secs(options.head_seconds),
            every: Duration::from_secs(options.heads_seconds),
            chains_max: options.head_chains_max,
            waiting: HashMap::new(),
            rest: VecDeque::new(),
            after: None,
            next: Instant::now(),
        }
    }

    /// A chain got a block in an event. `random` is from 0 to 1: of several relays, one is to be first.
    pub(super) fn note(&mut self, room: &RoomName, chain: BlockId, now: Instant, random: f64) {
        if self.waiting.len() < self.chains_max {
            let pause = self.grace.mul_f64(1.0 + random.clamp(0.0, 1.0));
            self.waiting.entry((room.clone(), chain)).or_insert(now + pause);
        }
    }

    /// When there is something to look at.
    pub(super) fn due(&self) -> Instant {
        if !self.rest.is_empty() {
            return Instant::now();
        }
        self.waiting.values().copied().chain([self.next]).min().unwrap_or(self.next)
    }

    fn take_due(&mut self, now: Instant) -> Vec<(RoomName, BlockId)> {
        let due: Vec<_> =
            self.waiting.iter().filter(|(_, at)| **at <= now).map(|(chain, _)| chain.clone()).take(STEP).collect();
        for chain in &due {
            self.waiting.remove(chain);
        }
        due
    }
}

impl Outbound {
    /// Looks at some chains that are due.
    pub(super) async fn look_at_heads(&self, heads: &mut Heads) -> Result<(), Failure> {
        let now = Instant::now();
        let mut rooms: HashMap<RoomName, Vec<Chain>> = HashMap::new();
        for (room, genesis) in heads.take_due(now) {
            if let Some((chain, _)) = self.repo.find(&room, genesis).await? {
                rooms.entry(room).or_default().push(chain);
            }
        }
        if heads.rest.is_empty() && heads.next <= now {
            heads.next = now + heads.every;
            for (room, _) in self.repo.rooms().await? {
                if self.carry.modes.of(room.as_str()) != Bridge::Off {
                    heads.rest.extend(Format::ALL.map(|format| (room.clone(), format)));
                }
            }
        }
        if let Some((room, format)) = heads.rest.front().cloned() {
            let chains = self.repo.chains(&room, format, heads.after, STEP).await?;
            heads.after = chains.last().map(|chain| chain.owner);
            if heads.after.is_none() {
                heads.rest.pop_front();
            }
            rooms.entry(room).or_default().extend(chains);
        }
        for (room, chains) in rooms {
            self.publish_heads(&room, chains).await?;
        }
        Ok(())
    }

    async fn publish_heads(&self, room: &RoomName, chains: Vec<Chain>) -> Result<(), Failure> {
        let names = chains.iter().map(|chain| chain.genesis.to_string()).collect();
        let stored = self.ask(lookup::tagged(&[kind::HEAD], None, b'd', names)).await?;
        let mut events = Vec::new();
        for chain in chains {
            if stored.iter().any(|event| names_head(event, room, &chain))
                || self.is_ahead_elsewhere(&stored, room, &chain).await?
            {
                continue;
            }
            let part = Part { blocks_max: 1, ..Part::ALL };
            let last = self.repo.load(room, Run::UpTo(chain.head, 1), part).await?;
            let Some(block) = last.and_then(|feed| feed.into_blocks().pop()) else { continue };
            let one = Outgoing {
                number: 0,
                room: room.clone(),
                id: chain.head,
                accepted: clock::now(),
                origin: Origin::Event,
                found: None,
            };
            let standing = Located { block, before: chain.height - 1, chain };
            let mut published = Published::default();
            let (drafts, _) = self.wrap(&one, &standing, &published);
            let Some(draft) = drafts.into_iter().find(|draft| draft.kind == kind::HEAD) else { continue };
            if let Some(draft) = self.renewed(&one, &standing, draft, &mut published).await? {
                events.extend(self.signers.sign(&draft));
            }
        }
        publish(&self.ingest, self.wanted.as_deref(), events).await
    }

    /// Whether our head of a chain is that of another room, which has as much of it: there is one for all rooms.
    async fn is_ahead_elsewhere(&self, stored: &[Verified], room: &RoomName, chain: &Chain) -> Result<bool, Failure> {
        let own = stored.iter().filter(|event| event.pubkey == self.signers.relay());
        let heads = own.filter_map(|event| Head::parse(&parts(event, "")).ok());
        let elsewhere = heads.filter(|head| head.chain == chain.genesis && head.height >= chain.height);
        for head in elsewhere {
            let Ok(other) = head.room.as_str().parse::<RoomName>() else { continue };
            let found = self.repo.find(&other, head.block).await?;
            if other != *room && found.is_some_and(|(there, _)| there.head == head.block) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether an event names the last block of a chain, and is to stay.
fn names_head(event: &Verified, room: &RoomName, chain: &Chain) -> bool {
    event.expires_at().is_none()
        && Head::parse(&parts(event, "")).is_ok_and(|head| {
            head.room.as_str() == room.as_str()
                && (head.chain, head.block, head.height) == (chain.genesis, chain.head, chain.height)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_others_and_remembers_so_many() {
        let options = config::BridgeSection { head_seconds: 10, head_chains_max: 2, ..Default::default() };
        let mut heads = Heads::new(&options);
        heads.next = Instant::now() + Duration::from_secs(100);
        let chain = |n: u8| BlockId::from([n; 64]);
        let began = Instant::now();
        heads.note(&RoomName::main(), chain(1), began, 0.0);
        heads.note(&RoomName::main(), chain(1), began + Duration::from_secs(5), 0.0);
        heads.note(&RoomName::main(), chain(2), began, 1.0);
        heads.note(&RoomName::main(), chain(3), began, 0.0);
        assert_eq!(heads.waiting.len(), 2, "the third is found when all are looked at");
        assert_eq!(heads.due(), began + Duration::from_secs(10));
        assert_eq!(heads.take_due(began + Duration::from_secs(9)), []);
        assert_eq!(heads.take_due(began + Duration::from_secs(10)), [(RoomName::main(), chain(1))]);
        assert_eq!(heads.due(), began + Duration::from_secs(20));
        assert_eq!(heads.take_due(began + Duration::from_secs(20)).len(), 1);
        assert_eq!(heads.due(), heads.next);
    }
}
