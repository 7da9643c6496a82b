//! Computing the state of a room anew, from its stored blocks.
//!
//! It is computed beside the old one, in a shadow, and takes its place in one transaction, so whatever happens there is
//! always a whole state. Each block is decided at the time at which it was taken, in the order in which all were taken.
//! The result is the state that there was, as long as the slices are the same and every chain that objects were made of is
//! still stored.

use hashbrown::{HashMap, HashSet};
use picofeed::{Block, Id};
use tokio::sync::broadcast;

use super::ask::Ruling;
use super::dispatch::is_due;
use super::{Engine, EngineError, Mode, Rejection, body};
use crate::slice::{Context, Millis};
use crate::store::repo::{Chain, Change, Changed, Part, Run};
use crate::store::state::{Edit, Scope, Stamp, Step};

/// Objects that are compared at a time.
const COMPARED: usize = 256;

/// First block of a chain, and the one that becomes its head; none if it goes.
type ChainEnd = (Id, Option<Id>);

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Blocks that were decided on.
    pub blocks: u64,
    /// Objects that there are now.
    pub objects: u64,
    /// Objects that differ from what they were, are new or gone.
    pub changed: u64,
    /// Blocks that the slices do not accept now, those after them in their chains included.
    pub rejected: u64,
    /// Why the first of them is not.
    pub why: Option<Rejection>,
    /// Whether the new state has taken the place of the old one.
    pub adopted: bool,
}

impl Engine {
    /// Computes the state anew as of `now`. Blocks that are not accepted now are removed if `drop_rejected`; otherwise
    /// they keep everything as it was.
    ///
    /// # Errors
    ///
    /// The store fails. The old state is still there.
    pub fn replay(mut self, now: Millis, drop_rejected: bool) -> Result<Replayed, EngineError> {
        let live = self.scope.clone();
        self.gc(now)?;
        self.shadow(false)?;
        let (updates, _) = broadcast::channel(1);
        let Self { slices, store, bounds, limits, .. } = self;
        let scope = Scope { shadow: true, ..live.clone() };
        let mut anew = Self::new(scope, slices, store, bounds, limits, updates)?;
        // Makes the scope, so that a room without blocks has a state, too.
        anew.commit(Vec::new(), now)?;
        let (mut replayed, ends) = anew.decide_all(now)?;
        anew.gc(now)?;
        (replayed.objects, replayed.changed) = anew.compare(&live)?;
        if replayed.rejected > 0 && !drop_rejected {
            anew.shadow(false)?;
            return Ok(replayed);
        }
        anew.shadow(true)?;
        replayed.adopted = true;
        let Self { slices, store, bounds, limits, updates, .. } = anew;
        let mut engine = Self::new(live, slices, store, bounds, limits, updates)?;
        let edits = engine.unreferenced(ends)?;
        if !edits.is_empty() {
            engine.commit(vec![Step { edits, ..Step::default() }], now)?;
        }
        Ok(replayed)
    }

    /// Puts the shadow in the place of the state, or removes it.
    fn shadow(&mut self, adopt: bool) -> Result<(), EngineError> {
        let room = self.scope.room.clone();
        match self.store.change(Change::Shadow { room, adopt })? {
            Changed::Shadow => Ok(()),
            _ => Err(EngineError::MixedUp),
        }
    }

    /// Decides on every block of the room. Gives where chains end: before the first block that is not accepted, or
    /// nowhere if their time is over.
    fn decide_all(&mut self, now: Millis) -> Result<(Replayed, Vec<ChainEnd>), EngineError> {
        let stamps = self.store.reader.stamps(&self.scope.room)?;
        let first = stamps.iter().find(|stamp| stamp.step.is_some()).map_or(now, |stamp| stamp.at);
        let mut replayed = Replayed::default();
        let mut ends: Vec<ChainEnd> = Vec::new();
        let mut over: HashSet<Id> = HashSet::new();
        let mut heads: HashMap<Id, (Chain, Block)> = HashMap::new();
        let mut steps = Vec::new();
        let mut time = Millis::MIN;
        for stamp in stamps {
            replayed.blocks += 1;
            if over.contains(&stamp.chain) {
                replayed.rejected += 1;
                continue;
            }
            let at = time.max(if stamp.step.is_some() { stamp.at } else { first });
            let full = steps.len() >= self.limits.batch_blocks_max.max(1);
            if full || at > time || steps.last().is_some_and(|step| is_due(step, at)) {
                time = at;
                self.commit(std::mem::take(&mut steps), time)?;
                for chain in self.gc(time)? {
                    ends.push((chain.genesis, None));
                }
            }
            let Some((chain, block, parent)) = self.stamped(&stamp, heads.remove(&stamp.chain))? else { continue };
            let context = Context {
                block: &block,
                parent: parent.as_ref(),
                owner: chain.owner,
                chain: chain.genesis,
                height: stamp.height,
                body: body::split(block.body()),
                now: time,
            };
            let rejection = match self.ask(&context, Mode::Quiet)? {
                Ruling::Accept(edits) => {
                    self.layers.keep_block();
                    steps.push(Step { edits, ..Step::default() });
                    heads.insert(stamp.chain, (chain, block));
                    continue;
                }
                Ruling::Reject(why) | Ruling::Postpone(_, _, why) => why,
            };
            replayed.rejected += 1;
            replayed.why.get_or_insert(rejection);
            over.insert(stamp.chain);
            ends.push((stamp.chain, parent.map(|parent| parent.id())));
        }
        self.commit(steps, time.max(first))?;
        Ok((replayed, ends))
    }

    /// A block and what comes before it. `head` is the chain up to there, if it is at hand.
    fn stamped(
        &mut self,
        stamp: &Stamp,
        head: Option<(Chain, Block)>,
    ) -> Result<Option<(Chain, Block, Option<Block>)>, EngineError> {
        let (reader, room) = (&mut *self.store.reader, &self.scope.room);
        let (chain, parent) = match head {
            Some((chain, parent)) => (chain, Some(parent)),
            None => match reader.find(room, &stamp.chain)? {
                Some((chain, _)) => (chain, None),
                None => return Ok(None),
            },
        };
        let part = Part { skip: stamp.height, blocks_max: 1, bytes_max: 0 };
        let block = reader.load(room, Run::Around(stamp.chain), part)?.and_then(|feed| feed.into_blocks().pop());
        Ok(block.map(|block| (chain, block, parent)))
    }

    /// How many objects there are, and how many differ from those of another scope.
    fn compare(&mut self, other: &Scope) -> Result<(u64, u64), EngineError> {
        let (mut objects, mut changed) = (0, 0);
        let names: Vec<String> = self.slices.iter().map(|slice| slice.name().to_owned()).collect();
        for name in names {
            for (of, with) in [(&self.scope, other), (other, &self.scope)] {
                let mut after: Option<String> = None;
                loop {
                    let reader = &mut *self.store.reader;
                    let page = reader.objects(of, &name, after.as_deref(), COMPARED, usize::MAX)?;
                    objects += if of.shadow { page.len() as u64 } else { 0 };
                    for (id, here) in &page {
                        let there = reader.object(with, &name, id)?;
                        // What both have is compared once.
                        changed += u64::from(match there {
                            None => true,
                            Some(there) => of.shadow && there.value != here.value,
                        });
                    }
                    match page.last() {
                        Some((last, _)) => after = Some(last.clone()),
                        None => break,
                    }
                }
            }
        }
        Ok((objects, changed))
    }

    /// What is left to do in the new state: chains end where they were found to end.
    fn unreferenced(&mut self, ends: Vec<ChainEnd>) -> Result<Vec<Edit>, EngineError> {
        let mut edits = Vec::new();
        for (chain, stop_at) in ends {
            if let Some(stop_at) = stop_at {
                edits.push(Edit::Truncate { chain, stop_at });
            } else if self.store.reader.references(&self.scope, &chain)? == 0 {
                edits.push(Edit::Evict { chain, remember: false });
            }
        }
        Ok(edits)
    }
}
