//! The state of slices as plain lists.

use std::collections::{BTreeMap, BTreeSet};

use picofeed::Id;

use super::pico::Rooms;
use crate::repo::{Bounds, Chain, Full, Merged, RoomName};
use crate::state::{Dispatch, Dispatched, DueItem, Edit, Mark, Millis, Postponed, Scope, Stamp, Standing, Stored};

/// All states, and when blocks were taken.
#[derive(Default, Debug)]
pub(super) struct States {
    scopes: BTreeMap<Scope, State>,
    stamps: BTreeMap<(RoomName, Id), (u64, Millis)>,
}

#[derive(Default, Debug)]
struct State {
    version: u64,
    step: u64,
    objects: BTreeMap<(String, String), Stored>,
    /// Chains by the object that keeps them; none: kept by more than objects.
    references: BTreeSet<(Option<(String, String)>, Id)>,
    index: BTreeMap<(String, Vec<u8>), Id>,
    marks: BTreeMap<u64, Mark>,
    postponed: BTreeMap<Id, Postponed>,
    /// The oldest first.
    remembered: Vec<Id>,
}

impl Rooms {
    pub(super) fn dispatch(&mut self, dispatch: &Dispatch) -> Dispatched {
        let Dispatch { scope, bounds, now, steps, evicted_max } = dispatch;
        let bounds = Bounds { full: Full::Refuse, ..*bounds };
        self.1.scopes.entry(scope.clone()).or_default();
        let mut dispatched = Dispatched { done: steps.len(), ..Dispatched::default() };
        for (at, block) in steps.iter().enumerate().filter_map(|(at, step)| Some((at, step.block.as_ref()?))) {
            if scope.shadow {
                break;
            }
            let merged = self.merge(&scope.room, &bounds, std::slice::from_ref(block)).merged.pop();
            if merged != Some(Merged::New) {
                dispatched.done = at;
                dispatched.refused = merged;
                break;
            }
            let state = self.1.scopes.entry(scope.clone()).or_default();
            state.step += 1;
            self.1.stamps.insert((scope.room.clone(), block.id()), (state.step, *now));
        }
        for edit in steps.iter().take(dispatched.done).flat_map(|step| &step.edits) {
            self.edit(scope, edit, *evicted_max, &mut dispatched);
        }
        dispatched.standing = self.standing(scope).unwrap_or_default();
        dispatched
    }

    fn edit(&mut self, scope: &Scope, edit: &Edit, evicted_max: usize, done: &mut Dispatched) {
        let has_chain = |chain: &Id| self.has_chain(&scope.room, chain);
        let chain_known = match edit {
            Edit::Refer { chain, .. } | Edit::Hold { chain } | Edit::Evict { chain, .. } => has_chain(chain),
            Edit::Index { block, .. } => self.find(&scope.room, block).is_some(),
            _ => true,
        };
        let Some(state) = self.1.scopes.get_mut(scope) else { return };
        let key = |slice: &str, id: &str| (slice.to_owned(), id.to_owned());
        match edit {
            Edit::Put { slice, id, stored } => {
                state.version = state.version.max(stored.version);
                state.objects.insert(key(slice, id), stored.clone());
            }
            Edit::Remove { slice, id } => drop(state.remove(&key(slice, id))),
            Edit::Sweep { slice, id } => {
                for chain in state.remove(&key(slice, id)) {
                    let state = self.1.scopes.entry(scope.clone()).or_default();
                    if state.references.iter().any(|(_, of)| *of == chain) {
                        continue;
                    }
                    if scope.shadow {
                        done.evicted.extend(self.find(&scope.room, &chain).map(|(chain, _)| chain));
                    } else {
                        self.evict(scope, &chain, Some(evicted_max), done);
                    }
                }
            }
            Edit::Reschedule { slice, id, expires, version } => {
                if let Some(stored) = state.objects.get_mut(&key(slice, id)) {
                    (stored.expires, stored.version) = (*expires, *version);
                }
                state.version = state.version.max(*version);
            }
            Edit::Refer { slice, id, chain } => {
                if chain_known && state.objects.contains_key(&key(slice, id)) {
                    state.references.insert((Some(key(slice, id)), *chain));
                }
            }
            Edit::Hold { chain } => {
                if chain_known {
                    state.references.insert((None, *chain));
                }
            }
            Edit::Index { slice, key, block } => {
                if chain_known {
                    state.index.insert((slice.clone(), key.to_vec()), *block);
                }
            }
            Edit::Mark(mark) => {
                let number = state.marks.keys().next_back().map_or(1, |last| last + 1);
                state.marks.insert(number, mark.clone());
            }
            Edit::Unmark(mark) => drop(state.marks.remove(mark)),
            Edit::Postpone(postponed) => drop(state.postponed.insert(postponed.block.id(), postponed.clone())),
            Edit::Settle(id) => drop(state.postponed.remove(id)),
            Edit::Evict { chain, remember } => {
                if chain_known {
                    self.evict(scope, chain, remember.then_some(evicted_max), done);
                }
            }
            Edit::Truncate { chain, stop_at } => {
                if !scope.shadow
                    && let Some(room) = self.room_mut(&scope.room)
                {
                    room.rollback(chain, Some(stop_at));
                    self.forget_lost_state(&scope.room);
                }
            }
        }
    }

    fn has_chain(&self, room: &RoomName, genesis: &Id) -> bool {
        self.room(room).is_some_and(|room| room.lines.iter().any(|line| line.chain().genesis == *genesis))
    }

    fn evict(&mut self, scope: &Scope, genesis: &Id, remember: Option<usize>, done: &mut Dispatched) {
        let Some((chain, _)) = self.find(&scope.room, genesis) else { return };
        let state = self.1.scopes.entry(scope.clone()).or_default();
        let only_here: Vec<(String, String)> = state
            .references
            .iter()
            .filter(|(object, of)| of == genesis && !state.references.iter().any(|(o, c)| o == object && c != genesis))
            .filter_map(|(object, _)| object.clone())
            .collect();
        for key in only_here {
            state.objects.remove(&key);
            done.removed.push(key.clone());
            state.references.retain(|(object, _)| object.as_ref() != Some(&key));
        }
        if let Some(max) = remember {
            if !state.remembered.contains(genesis) {
                state.remembered.push(*genesis);
            }
            let surplus = state.remembered.len().saturating_sub(max);
            state.remembered.drain(..surplus);
        }
        if !scope.shadow
            && let Some(room) = self.room_mut(&scope.room)
        {
            room.rollback(genesis, None);
            self.forget_lost_state(&scope.room);
        }
        done.evicted.push(chain);
    }

    /// Forgets what was said of blocks and chains that are not stored any more.
    pub(super) fn forget_lost_state(&mut self, room: &RoomName) {
        let mut states = std::mem::take(&mut self.1);
        states.stamps.retain(|(of, id), _| of != room || self.find(room, id).is_some());
        for (_, state) in states.scopes.iter_mut().filter(|(scope, _)| scope.room == *room) {
            state.references.retain(|(_, chain)| self.has_chain(room, chain));
            state.index.retain(|_, id| self.find(room, id).is_some());
        }
        self.1 = states;
    }

    pub(super) fn end_shadow(&mut self, room: &RoomName, adopt: bool) {
        let live = Scope::from(room.clone());
        let shadow = self.1.scopes.remove(&Scope { shadow: true, ..live.clone() });
        if let Some(mut shadow) = shadow.filter(|_| adopt) {
            if let Some(old) = self.1.scopes.remove(&live) {
                (shadow.postponed, shadow.remembered, shadow.step) = (old.postponed, old.remembered, old.step);
            }
            self.1.scopes.insert(live, shadow);
        }
    }
}

impl State {
    /// Removes an object and its references, and gives the chains that had them.
    fn remove(&mut self, key: &(String, String)) -> Vec<Id> {
        if self.objects.remove(key).is_none() {
            return Vec::new();
        }
        let of_it = |(object, _): &(Option<(String, String)>, Id)| object.as_ref() == Some(key);
        let chains = self.references.iter().filter(|reference| of_it(reference)).map(|(_, chain)| *chain).collect();
        self.references.retain(|reference| !of_it(reference));
        chains
    }
}

/// What [`StateReader`](crate::state::StateReader) asks.
impl Rooms {
    fn state(&self, scope: &Scope) -> Option<&State> {
        self.1.scopes.get(scope)
    }

    pub(super) fn standing(&self, scope: &Scope) -> Option<Standing> {
        let state = self.state(scope)?;
        let objects = state.objects.iter().map(|((_, id), stored)| id.len() + stored.value.len());
        let bytes: usize = objects.chain(state.marks.values().map(|mark| mark.payload.len())).sum();
        let objects = (state.objects.len() + state.marks.len()) as u64;
        Some(Standing { version: state.version, step: state.step, objects, bytes: bytes as u64 })
    }

    pub(super) fn object(&self, scope: &Scope, slice: &str, id: &str) -> Option<Stored> {
        self.state(scope)?.objects.get(&(slice.to_owned(), id.to_owned())).cloned()
    }

    pub(super) fn objects(
        &self,
        scope: &Scope,
        slice: &str,
        after: Option<&str>,
        max: usize,
        bytes_max: usize,
    ) -> Vec<(String, Stored)> {
        let Some(state) = self.state(scope) else { return Vec::new() };
        let mut bytes = 0;
        let objects =
            state.objects.iter().filter(|((of, id), _)| of == slice && after.is_none_or(|after| **id > *after));
        objects
            .take(max)
            .take_while(|(_, stored)| {
                let room = bytes < bytes_max;
                bytes += stored.value.len();
                room
            })
            .map(|((_, id), stored)| (id.clone(), stored.clone()))
            .collect()
    }

    pub(super) fn lookup(&self, scope: &Scope, slice: &str, key: &[u8]) -> Option<Id> {
        self.state(scope)?.index.get(&(slice.to_owned(), key.to_vec())).copied()
    }

    pub(super) fn due(&self, scope: &Scope, now: Millis, max: usize) -> Vec<DueItem> {
        let Some(state) = self.state(scope) else { return Vec::new() };
        let mut objects: Vec<_> =
            state.objects.iter().filter(|(_, stored)| stored.expires.is_some_and(|at| at <= now)).collect();
        objects.sort_by_key(|(_, stored)| (stored.expires, stored.version));
        let objects = objects.into_iter().map(|((slice, id), stored)| DueItem::Object {
            slice: slice.clone(),
            id: id.clone(),
            stored: stored.clone(),
        });
        let marks = state.marks.iter().filter(|(_, mark)| mark.at <= now);
        let mut due: Vec<DueItem> =
            objects.chain(marks.map(|(number, mark)| DueItem::Mark(*number, mark.clone()))).collect();
        due.sort_by_key(DueItem::at);
        due.truncate(max);
        due
    }

    pub(super) fn next_due(&self, scope: &Scope) -> Option<Millis> {
        let state = self.state(scope)?;
        let objects = state.objects.values().filter_map(|stored| stored.expires);
        let marks = state.marks.values().map(|mark| mark.at);
        objects.chain(marks).chain(state.postponed.values().map(|postponed| postponed.due)).min()
    }

    pub(super) fn postponed_due(&self, scope: &Scope, now: Millis, max: usize) -> Vec<Postponed> {
        let Some(state) = self.state(scope) else { return Vec::new() };
        let mut due: Vec<Postponed> =
            state.postponed.values().filter(|postponed| postponed.due <= now).cloned().collect();
        due.sort_by_key(|postponed| postponed.due);
        due.truncate(max);
        due
    }

    pub(super) fn postponed(&self, scope: &Scope, block: &Id) -> Option<Postponed> {
        self.state(scope)?.postponed.get(block).cloned()
    }

    pub(super) fn is_evicted(&self, scope: &Scope, chain: &Id) -> bool {
        self.state(scope).is_some_and(|state| state.remembered.contains(chain))
    }

    pub(super) fn references(&self, scope: &Scope, chain: &Id) -> u64 {
        self.state(scope).map_or(0, |state| state.references.iter().filter(|(_, of)| of == chain).count() as u64)
    }

    pub(super) fn stamps(&self, name: &RoomName) -> Vec<Stamp> {
        let Some(room) = self.room(name) else { return Vec::new() };
        let mut stamps = Vec::new();
        for line in &room.lines {
            let chain = line.chain().genesis;
            for (height, block) in (0..).zip(&line.blocks) {
                let stamp = self.1.stamps.get(&(name.clone(), block.id()));
                let (step, at) = (stamp.map(|(step, _)| *step), stamp.map_or(0, |(_, at)| *at));
                stamps.push(Stamp { step, at, chain, height });
            }
        }
        stamps.sort_by_key(|stamp| stamp.step);
        stamps
    }

    pub(super) fn oldest_chains(&self, name: &RoomName, max: usize) -> Vec<Chain> {
        let mut chains: Vec<Chain> =
            self.room(name).into_iter().flat_map(|room| &room.lines).map(|line| line.chain()).collect();
        chains.sort_by_key(|chain| chain.changed);
        chains.truncate(max);
        chains
    }
}
