//! Asking the slices about one block, and gathering what it changes.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;
use picofeed::{Id, Key as Author};

use super::layers::{Key, LATCHES_MAX, Sight};
use super::{Engine, EngineError, Mode, Rejection};
use crate::slice::{
    Context, Effects, Expires, Fault, FaultKind, LATCH_DEPTH_MAX, Millis, Put, Removal, Sees, Signal, Slice, Verdict,
    View,
};
use crate::store::state::{Edit, Mark, Stored};

/// Times that a call is made because it asks for more expiries, each after it learned of others.
const LATCH_CALLS_MAX: usize = 16;

/// Bytes of the id of an object, or of a key of the index.
const KEY_BYTES_MAX: usize = 1024;

/// What the slices say of a block.
pub(super) enum Ruling {
    /// It changes this.
    Accept(Vec<Edit>),
    Reject(Rejection),
    /// To be asked about again after so many milliseconds, so many times.
    Postpone(Millis, u32, Rejection),
}

/// What a call is about.
#[derive(Clone, Copy)]
pub(super) struct About {
    pub(super) block: Id,
    pub(super) chain: Id,
    pub(super) owner: Author,
}

/// When effects come about; not all of them count always.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Block,
    Trap,
    Sweep,
}

/// What a block changes, beside the objects in its layer.
#[derive(Default)]
pub(super) struct Draft {
    ask: Vec<(usize, Key)>,
    refer: Vec<Key>,
    hold: bool,
    edits: Vec<Edit>,
    signals: VecDeque<Signal>,
    pub(super) drops: Vec<Removal>,
    effects: usize,
    marked_bytes: usize,
    timer: Option<(Key, Millis)>,
}

/// One call of a slice.
type Call<'a, T> = dyn FnMut(&mut dyn Slice, &mut dyn View) -> Result<T, Fault> + 'a;

/// When an object expires, or why its slice does not say.
type Expiry = Result<Option<Millis>, Fault>;

/// A slice's failure and its name, or whatever it did.
type Tried<T> = Result<Result<T, Rejection>, EngineError>;

impl Engine {
    /// Asks about a block. If it is accepted, its layer holds the objects it changes.
    pub(super) fn ask(&mut self, block: &Context<'_>, mode: Mode) -> Result<Ruling, EngineError> {
        self.layers.drop_block();
        let (mut accepted, mut watching) = (Vec::new(), Vec::new());
        let (mut objection, mut postponed) = (None, None);
        let mut asked = false;
        for at in 0..self.slices.len() {
            if !self.sees(at, block) {
                continue;
            }
            asked = true;
            let verdict = match self.try_slice(at, |slice, view| slice.decide(block, view))? {
                Ok(verdict) => verdict,
                Err(failed) => {
                    objection.get_or_insert(failed);
                    continue;
                }
            };
            match verdict {
                Verdict::Accept(effects) => accepted.push((at, effects)),
                Verdict::Pass => {}
                Verdict::Watch(effects) => watching.push((at, effects)),
                Verdict::Reject(reason) => drop(objection.get_or_insert(self.rejection(at, reason))),
                Verdict::Veto(reason) => return Ok(Ruling::Reject(self.rejection(at, reason))),
                Verdict::Postpone { after, reason, retries } => {
                    postponed.get_or_insert((after, retries, self.rejection(at, reason)));
                }
            }
            if mode == Mode::Loud && objection.is_some() {
                break;
            }
        }
        if let Some(objection) = objection
            && (mode == Mode::Loud || accepted.is_empty() && postponed.is_none())
        {
            return Ok(Ruling::Reject(objection));
        }
        if accepted.is_empty() {
            return Ok(match postponed {
                Some((after, retries, why)) => Ruling::Postpone(after, retries, why),
                None => Ruling::Reject(nobody(block, asked)),
            });
        }
        match self.gather(block, accepted, watching)? {
            Ok(edits) => Ok(Ruling::Accept(edits)),
            Err(failed) => {
                self.layers.drop_block();
                Ok(Ruling::Reject(failed))
            }
        }
    }

    fn sees(&self, at: usize, block: &Context<'_>) -> bool {
        self.slices.get(at).is_some_and(|slice| match slice.sees() {
            Sees::Everything => true,
            Sees::Collection => block.body.is_some_and(|body| body.collection == slice.name()),
        })
    }

    /// Makes the effects of a block visible, and what follows from them.
    fn gather(
        &mut self,
        block: &Context<'_>,
        accepted: Vec<(usize, Effects)>,
        watching: Vec<(usize, Effects)>,
    ) -> Tried<Vec<Edit>> {
        let about = About { block: block.block.id(), chain: block.chain, owner: block.owner };
        let mut draft = Draft::default();
        let mut who = Vec::with_capacity(accepted.len());
        for (at, effects) in accepted {
            who.push(at);
            draft.hold |= self.slices.get(at).is_some_and(|slice| slice.sees() == Sees::Everything);
            if let Err(failed) = self.apply(at, effects, Phase::Block, &about, &mut draft)? {
                return Ok(Err(failed));
            }
        }
        for (at, effects) in watching {
            if let Err(failed) = self.apply(at, effects, Phase::Block, &about, &mut draft)? {
                return Ok(Err(failed));
            }
        }
        for at in who {
            let effects = match self.try_slice(at, |slice, view| slice.reduce(block, view))? {
                Ok(effects) => effects,
                Err(failed) => return Ok(Err(failed)),
            };
            if let Err(failed) = self.apply(at, effects, Phase::Block, &about, &mut draft)? {
                return Ok(Err(failed));
            }
        }
        if let Err(failed) = self.ask_expiries(&mut draft)? {
            return Ok(Err(failed));
        }
        while let Some(signal) = draft.signals.pop_front() {
            for at in 0..self.slices.len() {
                let effects = match self.try_slice(at, |slice, view| slice.trap(&signal, block, view))? {
                    Ok(effects) => effects,
                    Err(failed) => return Ok(Err(failed)),
                };
                if let Err(failed) = self.apply(at, effects, Phase::Trap, &about, &mut draft)? {
                    return Ok(Err(failed));
                }
            }
        }
        self.finish(draft, &about)
    }

    pub(super) fn ask_expiries(&mut self, draft: &mut Draft) -> Tried<()> {
        for (at, key) in std::mem::take(&mut draft.ask) {
            let Some(stored) = self.layers.get(&mut *self.store.reader, &key.0, &key.1)? else { continue };
            let expires = match self.try_slice(at, |slice, view| slice.expires_at(&key.1, &stored.value, view))? {
                Ok(expires) => expires,
                Err(failed) => return Ok(Err(failed)),
            };
            if let Some(due) = expires {
                draft.timer = Some((key.clone(), due));
            }
            self.layers.block.objects.insert(key, Some(Stored { expires, ..stored }));
        }
        Ok(Ok(()))
    }

    /// Makes effects visible in the layer of the block.
    pub(super) fn apply(
        &mut self,
        at: usize,
        effects: Effects,
        phase: Phase,
        about: &About,
        draft: &mut Draft,
    ) -> Tried<()> {
        let Effects { puts, index, signals, marks, drops } = effects;
        draft.effects += puts.len() + index.len() + signals.len() + marks.len();
        if draft.effects > self.limits.effects_max {
            return Ok(Err(self.fault(at, FaultKind::Result, "changes more than a block may")));
        }
        let Some((name, sees)) = self.slices.get(at).map(|slice| (slice.name().to_owned(), slice.sees())) else {
            return Ok(Ok(()));
        };
        for put in puts {
            let key = (name.clone(), put.id.clone());
            if let Err(failed) = self.put(at, put, phase, draft)? {
                return Ok(Err(failed));
            }
            if phase == Phase::Block && sees == Sees::Collection {
                draft.refer.push(key);
            }
        }
        if phase == Phase::Block {
            for key in index {
                if key.len() > KEY_BYTES_MAX {
                    return Ok(Err(self.fault(at, FaultKind::Result, "a key of the index is too long")));
                }
                self.layers.block.index.insert((name.clone(), key.to_vec()), about.block);
                draft.edits.push(Edit::Index { slice: name.clone(), key, block: about.block });
            }
        }
        if phase == Phase::Sweep {
            draft.drops.extend(drops);
        } else {
            draft.signals.extend(signals);
        }
        if phase != Phase::Trap {
            for mark in marks {
                draft.marked_bytes += mark.payload.len();
                draft.edits.push(Edit::Mark(Mark {
                    slice: name.clone(),
                    at: mark.at,
                    payload: mark.payload,
                    block: about.block,
                    chain: about.chain,
                    owner: about.owner,
                }));
            }
        }
        Ok(Ok(()))
    }

    fn put(&mut self, at: usize, put: Put, phase: Phase, draft: &mut Draft) -> Tried<()> {
        let Some(slice) = self.slices.get(at) else { return Ok(Ok(())) };
        let key = (slice.name().to_owned(), put.id);
        let Some(value) = put.value else {
            self.layers.block.objects.insert(key, None);
            return Ok(Ok(()));
        };
        if key.1.len() > KEY_BYTES_MAX {
            return Ok(Err(self.fault(at, FaultKind::Result, "the id of an object is too long")));
        }
        if value.len() > self.limits.object_bytes_max {
            return Ok(Err(self.fault(at, FaultKind::Memory, "an object is too large")));
        }
        let before = self.layers.get(&mut *self.store.reader, &key.0, &key.1)?;
        let kept = before.and_then(|before| before.expires);
        let expires = match (phase, put.expires) {
            (Phase::Trap, _) => kept,
            (_, Expires::Never) => None,
            (_, Expires::At(due)) => {
                draft.timer = Some((key.clone(), due));
                Some(due)
            }
            (_, Expires::Ask) => {
                draft.ask.push((at, key.clone()));
                kept
            }
        };
        self.version += 1;
        // In memory of its own: it may be a part of something large.
        let value = bytes::Bytes::copy_from_slice(&value);
        self.layers.block.objects.insert(key, Some(Stored { value, version: self.version, expires }));
        Ok(Ok(()))
    }

    /// Everything that the block at hand changes, if the room has space for it.
    pub(super) fn finish(&mut self, draft: Draft, about: &About) -> Tried<Vec<Edit>> {
        let mut edits = Vec::new();
        let weigh = |key: &Key, stored: &Option<Stored>| {
            stored.as_ref().map_or(0, |stored| (key.1.len() + stored.value.len()) as i64)
        };
        let mut growth = i64::try_from(draft.marked_bytes).unwrap_or(i64::MAX);
        let changed: Vec<(Key, Option<Stored>)> =
            self.layers.block.objects.iter().map(|(key, stored)| (key.clone(), stored.clone())).collect();
        for (key, stored) in changed {
            let before = self.layers.before(&mut *self.store.reader, &key)?;
            growth = growth.saturating_add(weigh(&key, &stored)).saturating_sub(weigh(&key, &before));
            let (slice, id) = key;
            edits.push(match stored {
                Some(stored) => Edit::Put { slice, id, stored },
                None => Edit::Remove { slice, id },
            });
        }
        let bytes = i64::try_from(self.standing.bytes).unwrap_or(i64::MAX);
        let max = i64::try_from(self.limits.state_bytes_max).unwrap_or(i64::MAX);
        if growth > 0 && bytes.saturating_add(growth) > max {
            let reason = "the state of the room has reached its limit".to_owned();
            return Ok(Err(Rejection { slice: String::new(), reason, fault: None }));
        }
        // What is committed together is counted when it is; until then this estimate stands for it.
        self.standing.bytes = u64::try_from(bytes.saturating_add(growth)).unwrap_or(0);
        let chain = about.chain;
        edits.extend(draft.refer.into_iter().map(|(slice, id)| Edit::Refer { slice, id, chain }));
        edits.extend(draft.hold.then_some(Edit::Hold { chain }));
        edits.extend(draft.edits);
        if draft.timer.is_some() {
            self.newest_timer = draft.timer;
        }
        Ok(Ok(edits))
    }

    /// Calls a slice.
    pub(super) fn try_slice<T>(
        &mut self,
        at: usize,
        mut ask: impl FnMut(&mut dyn Slice, &mut dyn View) -> Result<T, Fault>,
    ) -> Tried<T> {
        if let Some(why) = self.slices.get(at).and_then(|slice| slice.disabled()) {
            let why = why.to_owned();
            return Ok(Err(self.fault(at, FaultKind::Disabled, why)));
        }
        let result = self.call(at, 0, &mut HashMap::new(), &mut ask)?;
        Ok(result.map_err(|Fault { kind, message }| self.fault(at, kind, message)))
    }

    /// Calls a slice, again and again until it has all expiries that it asks for.
    fn call<T>(
        &mut self,
        at: usize,
        depth: usize,
        known: &mut HashMap<Key, Option<Millis>>,
        ask: &mut Call<'_, T>,
    ) -> Result<Result<T, Fault>, EngineError> {
        for _ in 0..=LATCH_CALLS_MAX {
            let Some(slice) = self.slices.get_mut(at) else {
                return Ok(Err(Fault { kind: FaultKind::Disabled, message: "there is no such slice".into() }));
            };
            let mut sight = Sight {
                layers: &mut self.layers,
                reader: &mut *self.store.reader,
                known,
                wanted: BTreeSet::new(),
                failed: None,
            };
            let result = ask(slice.as_mut(), &mut sight);
            let Sight { wanted, failed, .. } = sight;
            if let Some(error) = failed {
                return Err(error.into());
            }
            if wanted.is_empty() {
                return Ok(result);
            }
            if known.len() + wanted.len() > LATCHES_MAX {
                let message = format!("latches onto more than {LATCHES_MAX} objects");
                return Ok(Err(Fault { kind: FaultKind::Result, message }));
            }
            for key in wanted {
                match self.latch(&key, depth, known)? {
                    Ok(expiry) => drop(known.insert(key, expiry)),
                    Err(fault) => return Ok(Err(fault)),
                }
            }
        }
        let message = format!("latches onto objects that follow from others, more than {LATCH_CALLS_MAX} deep");
        Ok(Err(Fault { kind: FaultKind::Result, message }))
    }

    /// When an object expires that somebody has latched onto.
    fn latch(
        &mut self,
        key: &Key,
        depth: usize,
        known: &mut HashMap<Key, Option<Millis>>,
    ) -> Result<Expiry, EngineError> {
        let Some(at) = self.slices.iter().position(|slice| slice.name() == key.0) else {
            let message = format!("cannot latch: there is no slice {}", key.0);
            return Ok(Err(Fault { kind: FaultKind::Result, message }));
        };
        if depth > LATCH_DEPTH_MAX {
            return Ok(Ok(None));
        }
        let Some(stored) = self.layers.get(&mut *self.store.reader, &key.0, &key.1)? else { return Ok(Ok(Some(0))) };
        self.call(at, depth + 1, known, &mut |slice, view| slice.expires_at(&key.1, &stored.value, view))
    }

    fn rejection(&self, at: usize, reason: String) -> Rejection {
        let slice = self.slices.get(at).map(|slice| slice.name().to_owned()).unwrap_or_default();
        Rejection { slice, reason, fault: None }
    }

    fn fault(&self, at: usize, kind: FaultKind, message: impl Into<String>) -> Rejection {
        Rejection { fault: Some(kind), ..self.rejection(at, message.into()) }
    }
}

/// Why a block is rejected that no slice has an opinion of.
fn nobody(block: &Context<'_>, asked: bool) -> Rejection {
    let reason = match block.body {
        _ if asked => "no slice accepts it".to_owned(),
        Some(body) => format!("unknown collection {}", body.collection.chars().take(64).collect::<String>()),
        None => "not a block of a collection".to_owned(),
    };
    Rejection { slice: String::new(), reason, fault: None }
}
