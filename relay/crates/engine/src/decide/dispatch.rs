//! Blocks come in: where each joins, what the slices say, and one transaction for those that are accepted.

use hashbrown::{HashMap, HashSet};
use picofeed::{Block, Format, Id, Key};

use super::ask::Ruling;
use super::body;
use super::{Decision, Engine, EngineError, Mode, Outcome, Rejection};
use crate::slice::{Context, Millis};
use crate::store::carry::Origin;
use crate::store::repo::{Merged, Part, Run};
use crate::store::state::{Edit, Postponed, Step};

/// Postponed blocks that are asked about in one go.
const RETRIES_BATCH: usize = 64;

/// A place where a block may be appended.
#[derive(Clone)]
struct Place {
    chain: Id,
    owner: Key,
    height: u64,
    parent: Option<Block>,
}

/// Blocks that are accepted and not committed yet, and what became of the others of the same dispatch.
#[derive(Default)]
struct Batch {
    /// By the id of the last block.
    tips: HashMap<Id, Place>,
    accepted: HashSet<Id>,
    /// Stored heads that are none any more.
    extended: HashSet<Id>,
    owners: HashSet<(Format, Key)>,
    fates: HashMap<Id, Decision>,
    postponed: usize,
}

/// A block, and how often it was postponed before, if it was.
struct Candidate<'a> {
    block: &'a Block,
    tries: Option<u32>,
    /// Where it came from, if it is to be carried to nostr.
    origin: Option<Origin>,
}

impl Engine {
    /// Takes blocks of any chains, in order. What is due is swept first.
    ///
    /// # Errors
    ///
    /// The store fails. Blocks of which it was not said may have been stored.
    pub fn dispatch(&mut self, blocks: &[Block], now: Millis, mode: Mode) -> Result<Outcome, EngineError> {
        self.dispatch_carried(blocks, &[], now, mode)
    }

    /// [`Engine::dispatch`] of blocks that are to be carried to nostr: an origin for each, or none at all.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn dispatch_carried(
        &mut self,
        blocks: &[Block],
        origins: &[Origin],
        now: Millis,
        mode: Mode,
    ) -> Result<Outcome, EngineError> {
        let origins = origins.iter().copied().map(Some).chain(std::iter::repeat(None));
        let candidate = |(block, origin)| Candidate { block, tries: None, origin };
        let candidates: Vec<Candidate<'_>> = blocks.iter().zip(origins).map(candidate).collect();
        self.run(&candidates, now, mode)
    }

    /// Does what is due: sweeps, and asks about postponed blocks again. Gives the blocks that are stored now.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub fn tick(&mut self, now: Millis) -> Result<(Vec<Block>, Outcome), EngineError> {
        let mut evicted = self.gc(now)?;
        let mut all = Outcome::default();
        let mut new = Vec::new();
        // Blocks that are postponed wait for their slices.
        while self.is_loaded() && self.next_due.is_some_and(|due| due <= now) {
            let due = self.store.reader.postponed_due(&self.scope, now, RETRIES_BATCH)?;
            if due.is_empty() {
                break;
            }
            let candidates: Vec<Candidate<'_>> = due
                .iter()
                .map(|due| Candidate { block: &due.block, tries: Some(due.tries), origin: due.origin })
                .collect();
            let outcome = self.run(&candidates, now, Mode::Quiet)?;
            let stored = due.iter().zip(&outcome.decisions).filter(|(_, was)| **was == Decision::Merged(Merged::New));
            new.extend(stored.map(|(due, _)| due.block.clone()));
            all.decisions.extend(outcome.decisions);
            evicted.extend(outcome.evicted);
        }
        all.evicted = evicted;
        Ok((new, all))
    }

    fn run(&mut self, candidates: &[Candidate<'_>], now: Millis, mode: Mode) -> Result<Outcome, EngineError> {
        let mut outcome = Outcome::default();
        let mut last = None;
        while outcome.decisions.len() < candidates.len() && outcome.failure.is_none() {
            outcome.evicted.extend(self.gc(now)?);
            let mut batch = Batch::default();
            for (candidate, decision) in candidates.iter().zip(&outcome.decisions) {
                batch.note(candidate.block.id(), decision);
            }
            let mut steps = Vec::new();
            for (at, candidate) in candidates.iter().enumerate().skip(outcome.decisions.len()) {
                if steps.len() >= self.limits.batch_blocks_max.max(1) {
                    break;
                }
                let (decision, step) = self.consider(candidate, &mut batch, now, mode)?;
                if mode == Mode::Loud {
                    outcome.failure = failure(&decision);
                }
                if outcome.failure.is_some() {
                    break;
                }
                batch.note(candidate.block.id(), &decision);
                outcome.decisions.push(decision);
                steps.extend(step.map(|step| (at, step)));
                if steps.last().is_some_and(|(_, step)| is_due(step, now)) {
                    break;
                }
            }
            if steps.is_empty() {
                continue;
            }
            let (at, steps): (Vec<usize>, Vec<Step>) = steps.into_iter().unzip();
            let dispatched = self.commit(steps, now)?;
            if let Some(refused) = dispatched.refused
                && let Some(at) = at.get(dispatched.done).copied()
                && let Some(candidate) = candidates.get(at)
            {
                outcome.decisions.truncate(at);
                outcome.failure = None;
                // Once for each block: if that was not enough, it is refused.
                if last != Some(at) {
                    last = Some(at);
                    let gone = self.make_space(candidate.block, refused, now)?;
                    if !gone.is_empty() {
                        outcome.evicted.extend(gone);
                        continue;
                    }
                }
                let decision = Decision::Merged(refused);
                if candidate.tries.is_some() {
                    self.commit(vec![settle(candidate.block)], now)?;
                }
                outcome.decisions.push(decision);
            }
        }
        Ok(outcome)
    }

    /// Decides on one block, as if those in the batch were stored.
    fn consider(
        &mut self,
        candidate: &Candidate<'_>,
        batch: &mut Batch,
        now: Millis,
        mode: Mode,
    ) -> Result<(Decision, Option<Step>), EngineError> {
        let Candidate { block, tries, origin } = candidate;
        let settled = tries.is_some().then(|| settle(block));
        let place = match self.place(block, batch)? {
            Ok(place) => place,
            Err(decision) => return Ok((decision, settled)),
        };
        if tries.is_none()
            && let Some(waits) = self.waits(block)?
        {
            return Ok((Decision::Postponed(waits), None));
        }
        if !self.is_loaded() {
            return Ok((Decision::NotLoaded, None));
        }
        let context = Context {
            block,
            parent: place.parent.as_ref(),
            owner: place.owner,
            chain: place.chain,
            height: place.height,
            body: body::split(block.body()),
            now,
        };
        match self.ask(&context, mode)? {
            Ruling::Accept(mut edits) => {
                self.layers.keep_block();
                batch.take(block, &place);
                edits.extend(settled.into_iter().flat_map(|step| step.edits));
                let step = Step { block: Some((*block).clone()), origin: *origin, edits };
                Ok((Decision::Merged(Merged::New), Some(step)))
            }
            Ruling::Reject(why) => Ok((Decision::Rejected(why), settled)),
            Ruling::Postpone(after, retries, why) => {
                let tries = tries.unwrap_or(0) + 1;
                let full = settled.is_none()
                    && self.store.reader.postponed_len(&self.scope)? + batch.postponed
                        >= self.limits.postponed_blocks_max;
                if full || tries > retries.min(self.limits.retries_max) {
                    return Ok((Decision::Rejected(why), settled));
                }
                batch.postponed += 1;
                let due = now.saturating_add(after.clamp(1, self.limits.postpone_max));
                let postponed = Postponed { block: block.detached(), due, tries, origin: *origin };
                let step = Step { edits: vec![Edit::Postpone(postponed)], ..Step::default() };
                Ok((Decision::Postponed(due), Some(step)))
            }
        }
    }

    /// When a block is to be asked about that is already waiting for that.
    fn waits(&mut self, block: &Block) -> Result<Option<Millis>, EngineError> {
        Ok(self.store.reader.postponed(&self.scope, &block.id())?.map(|postponed| postponed.due))
    }

    /// Where a block joins, or what becomes of it without asking anybody.
    fn place(&mut self, block: &Block, batch: &Batch) -> Result<Result<Place, Decision>, EngineError> {
        let known = Err(Decision::Merged(Merged::Known));
        let id = block.id();
        let (reader, room) = (&mut *self.store.reader, &self.scope.room);
        if batch.accepted.contains(&id) || reader.find(room, &id)?.is_some() {
            return Ok(known);
        }
        let Some(parent) = block.parent() else {
            if reader.is_evicted(&self.scope, &id)? {
                return Ok(Err(Decision::Evicted));
            }
            let (format, owner) = (block.format(), block.author());
            let first = Part { skip: 0, blocks_max: 1, bytes_max: 0 };
            let owned = batch.owners.contains(&(format, owner))
                || reader.load(room, Run::Owned(format, owner), first)?.is_some();
            return Ok(if owned {
                Err(Decision::Merged(Merged::SecondGenesis))
            } else {
                Ok(Place { chain: id, owner, height: 0, parent: None })
            });
        };
        if let Some(tip) = batch.tips.get(&parent) {
            let same = tip.parent.as_ref().is_some_and(|parent| parent.format() == block.format());
            return Ok(if same { Ok(tip.clone()) } else { Err(Decision::Merged(Merged::Orphan)) });
        }
        if batch.accepted.contains(&parent) {
            return Ok(Err(Decision::Merged(Merged::Fork)));
        }
        let Some((chain, height)) = reader.find(room, &parent)? else {
            let fate = batch.fates.get(&parent).cloned();
            return Ok(Err(fate.unwrap_or(Decision::Merged(Merged::Orphan))));
        };
        if chain.format != block.format() {
            return Ok(Err(Decision::Merged(Merged::Orphan)));
        }
        if chain.head != parent || batch.extended.contains(&parent) {
            return Ok(Err(Decision::Merged(Merged::Fork)));
        }
        let before = reader.load(room, Run::UpTo(parent, 1), Part::ALL)?;
        let before = before.and_then(|feed| feed.into_blocks().pop());
        Ok(Ok(Place { chain: chain.genesis, owner: chain.owner, height: height + 1, parent: before }))
    }
}

impl Batch {
    fn take(&mut self, block: &Block, place: &Place) {
        self.accepted.insert(block.id());
        match block.parent() {
            Some(parent) => {
                self.tips.remove(&parent);
                self.extended.insert(parent);
            }
            None => drop(self.owners.insert((block.format(), block.author()))),
        }
        let next = Place { parent: Some(block.clone()), height: place.height + 1, ..place.clone() };
        self.tips.insert(block.id(), next);
    }

    /// Remembers what became of a block, for those that follow it.
    fn note(&mut self, id: Id, decision: &Decision) {
        match decision {
            Decision::Merged(Merged::New | Merged::Known) => drop(self.fates.remove(&id)),
            // It may be stored soon: what follows it waits where blocks without a parent wait.
            Decision::Postponed(_) | Decision::Merged(Merged::Orphan) => {}
            refused => drop(self.fates.insert(id, refused.clone())),
        }
    }
}

/// Whether a step changes what is due at `now` already, and has to be swept before the next block.
pub(super) fn is_due(step: &Step, now: Millis) -> bool {
    step.edits.iter().any(|edit| match edit {
        Edit::Put { stored, .. } => stored.expires.is_some_and(|expires| expires <= now),
        Edit::Mark(mark) => mark.at <= now,
        _ => false,
    })
}

fn settle(block: &Block) -> Step {
    Step { edits: vec![Edit::Settle(block.id())], ..Step::default() }
}

/// The error of a loud dispatch, as picostore words it.
fn failure(decision: &Decision) -> Option<String> {
    match decision {
        Decision::Rejected(Rejection { reason, fault: None, slice }) if !slice.is_empty() => {
            Some(format!("InvalidBlock: {reason}"))
        }
        Decision::Rejected(Rejection { reason, .. }) => Some(reason.clone()),
        Decision::NotLoaded => Some("the slices are not loaded".into()),
        Decision::Merged(Merged::Fork) => Some("diverged".into()),
        _ => None,
    }
}
