//! Whose turn it is: a queue in which the party that has used least lately is next, and within a party its members take
//! turns.
//!
//! A party that asks for little therefore never waits for others that ask for much, however many they are: only for what is
//! being done at the moment. Nobody waits for ever, since what was used counts less and less.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;

/// Things that wait, by party and member.
pub(super) struct Turns<T> {
    parties: HashMap<u64, Waiting<T>>,
    /// Parties that have something in the queue, the next one first.
    order: BTreeSet<Rank>,
    pushed: u64,
}

/// Where a party stands: what it has used, and who came first where that is the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    used: i64,
    came: u64,
    party: u64,
}

/// What a party has in the queue, by member, the next one first.
struct Waiting<T> {
    rank: Rank,
    members: VecDeque<(u64, VecDeque<T>)>,
}

/// What belongs to a party.
pub(super) trait Owned {
    /// Which.
    fn party(&self) -> u64;
    /// What the party has used lately, on a scale on which all that is forgotten with time moves alike.
    fn used(&self) -> i64;
    /// Whether anybody still wants it.
    fn is_wanted(&self) -> bool;
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { parties: HashMap::new(), order: BTreeSet::new(), pushed: 0 }
    }
}

impl<T: Owned> Turns<T> {
    /// Puts something in, behind what the same member has there.
    pub(super) fn push(&mut self, member: u64, thing: T) {
        self.pushed += 1;
        let (party, came) = (thing.party(), self.pushed);
        let order = &mut self.order;
        let waiting = self.parties.entry(party).or_insert_with(|| {
            let rank = Rank { used: thing.used(), came, party };
            order.insert(rank);
            Waiting { rank, members: VecDeque::new() }
        });
        match waiting.members.iter_mut().find(|(other, _)| *other == member) {
            Some((_, things)) => things.push_back(thing),
            None => waiting.members.push_back((member, VecDeque::from([thing]))),
        }
    }

    /// Takes out the first thing that is still wanted of the party that has used least, and tells `taken` of it before the
    /// party is ranked anew. What is not wanted any more goes to `unwanted`.
    pub(super) fn pop(&mut self, taken: impl Fn(&T), unwanted: &mut Vec<T>) -> Option<T> {
        while let Some(rank) = self.order.pop_first() {
            let Some(waiting) = self.parties.get_mut(&rank.party) else { continue };
            let found = waiting.pop(unwanted);
            found.iter().for_each(&taken);
            match waiting.first() {
                None => drop(self.parties.remove(&rank.party)),
                Some(first) => {
                    self.pushed += 1;
                    waiting.rank = Rank { used: first.used(), came: self.pushed, party: rank.party };
                    self.order.insert(waiting.rank);
                }
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl<T: Owned> Waiting<T> {
    fn first(&self) -> Option<&T> {
        self.members.front().and_then(|(_, things)| things.front())
    }

    fn pop(&mut self, unwanted: &mut Vec<T>) -> Option<T> {
        while let Some((member, mut things)) = self.members.pop_front() {
            while let Some(thing) = things.pop_front() {
                if !thing.is_wanted() {
                    unwanted.push(thing);
                    continue;
                }
                if !things.is_empty() {
                    self.members.push_back((member, things));
                }
                return Some(thing);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// A party, what it has used, and a name that begins with `-` if nobody wants it.
    struct Thing(u64, Rc<Cell<i64>>, &'static str);

    impl Owned for Thing {
        fn party(&self) -> u64 {
            self.0
        }
        fn used(&self) -> i64 {
            self.1.get()
        }
        fn is_wanted(&self) -> bool {
            !self.2.starts_with('-')
        }
    }

    /// Puts in things of party and member, and takes them out, each of which costs its party so much.
    fn order(used: [i64; 3], things: &[(u64, u64, &'static str)], cost: i64) -> Vec<&'static str> {
        let used = used.map(|used| Rc::new(Cell::new(used)));
        let mut turns = Turns::default();
        for (party, member, name) in things {
            turns.push(*member, Thing(*party, Rc::clone(&used[usize::try_from(*party).unwrap()]), name));
        }
        let taken = |thing: &Thing| thing.1.set(thing.1.get() + cost);
        let order = std::iter::from_fn(|| turns.pop(taken, &mut Vec::new()).map(|thing| thing.2)).collect();
        assert!(turns.parties.is_empty() && turns.order.is_empty());
        order
    }

    #[test]
    fn parties_that_used_the_same_take_turns_and_members_within_them() {
        let things = [(1, 1, "a1"), (1, 1, "a2"), (1, 1, "a3"), (1, 2, "b1"), (1, 3, "c1"), (2, 1, "x1"), (2, 1, "x2")];
        assert_eq!(order([0, 0, 0], &things, 10), ["a1", "x1", "b1", "x2", "c1", "a2", "a3"]);
    }

    #[test]
    fn who_has_used_least_is_next() {
        let things = [(0, 1, "a1"), (1, 1, "b1"), (0, 1, "a2"), (2, 1, "c1"), (2, 1, "c2"), (2, 2, "c3"), (1, 1, "b2")];
        assert_eq!(order([100, 50, 0], &things, 20), ["c1", "c3", "c2", "b1", "b2", "a1", "a2"]);
    }

    #[test]
    fn what_is_not_wanted_costs_nothing() {
        let things = [(1, 1, "-a"), (1, 1, "-b"), (1, 2, "c"), (2, 1, "x"), (1, 2, "d"), (0, 1, "-z")];
        assert_eq!(order([0, 0, 0], &things, 10), ["c", "x", "d"]);
    }
}
