//! Turns between some children, by what each has used: the one that has used least is next.

use std::collections::BTreeSet;

use hashbrown::HashMap;

/// Children that are kept in any case before those that may be forgotten are looked for.
const SWEEP_MIN: usize = 64;

/// Children that take turns. Time here is cost: each child stands where its last turn ended, and the clock is where the
/// child stands that had its turn last. A child that wakes stands at the clock at the earliest, so nobody saves up turns
/// while they have nothing to do; one that is ahead of the clock waits until the others have caught up.
#[derive(Debug)]
pub(super) struct Level<C> {
    clock: u64,
    children: HashMap<u64, Child<C>>,
    /// Those that have something to do, by where they stand.
    ready: BTreeSet<(u64, u64)>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Child<C> {
    at: u64,
    is_ready: bool,
    node: C,
}

/// What a child is, seen from above.
pub(super) trait Node: Default {
    /// Nothing of it must be kept.
    fn is_idle(&self) -> bool;
}

impl<C> Default for Level<C> {
    fn default() -> Self {
        Self { clock: 0, children: HashMap::new(), ready: BTreeSet::new(), sweep_at: SWEEP_MIN }
    }
}

impl<C: Node> Node for Level<C> {
    fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }
}

impl<C: Node> Level<C> {
    /// The child of that name, made if there is none.
    pub(super) fn child(&mut self, name: u64) -> &mut C {
        if self.children.len() >= self.sweep_at && !self.children.contains_key(&name) {
            let clock = self.clock;
            self.children.retain(|_, child| child.is_ready || child.at > clock || !child.node.is_idle());
            self.sweep_at = (self.children.len() * 2).max(SWEEP_MIN);
        }
        let clock = self.clock;
        &mut self.children.entry(name).or_insert_with(|| Child { at: clock, is_ready: false, node: C::default() }).node
    }

    /// The child of that name, if there is one.
    pub(super) fn find(&mut self, name: u64) -> Option<&mut C> {
        self.children.get_mut(&name).map(|child| &mut child.node)
    }

    /// Whether any child is ready.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a child other than the one whose turn is next is ready.
    pub(super) fn has_others(&self) -> bool {
        self.ready.len() > 1
    }

    /// Whose turn it is.
    pub(super) fn next(&self) -> Option<u64> {
        self.ready.first().map(|(_, name)| *name)
    }

    /// The child has something to do, or has not.
    pub(super) fn set_ready(&mut self, name: u64, is_ready: bool) {
        let Some(child) = self.children.get_mut(&name) else { return };
        if child.is_ready == is_ready {
            return;
        }
        child.is_ready = is_ready;
        if is_ready {
            child.at = child.at.max(self.clock);
            self.ready.insert((child.at, name));
        } else {
            self.ready.remove(&(child.at, name));
            // Nobody waits: what one used while nobody wanted it is not held against them.
            if self.ready.is_empty() {
                self.clock = self.clock.max(child.at);
            }
            if child.at <= self.clock && child.node.is_idle() {
                self.children.remove(&name);
            }
        }
    }

    /// The child has its turn, which costs so much.
    pub(super) fn turn(&mut self, name: u64, cost: u64) {
        if let Some(child) = self.children.get(&name) {
            self.clock = self.clock.max(child.at);
        }
        self.charge(name, cost);
    }

    /// The child has used so much.
    pub(super) fn charge(&mut self, name: u64, cost: u64) {
        let Some(child) = self.children.get_mut(&name) else { return };
        if child.is_ready {
            self.ready.remove(&(child.at, name));
        }
        child.at = child.at.saturating_add(cost);
        if child.is_ready {
            self.ready.insert((child.at, name));
        }
    }

    /// How many children are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.children.len()
    }
}
