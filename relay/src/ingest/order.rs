//! The order of an import. Its batches are verified on several threads at once, and yet reach the operator's rules and the
//! writer in the order of their lines: of versions, deletions and requests to vanish, what remains depends on which came
//! first.
//!
//! No thread waits for another: a batch that comes too early is put aside, and whoever is done with the batch before it takes it
//! up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::lane::Checked;

/// The order of the batches of one import.
#[derive(Default)]
pub struct Order(Mutex<Turns<Checked>>);

/// A place in the order, which is left when it is dropped.
pub struct Place {
    order: Arc<Order>,
    number: u64,
}

/// Whose turn it is, and who came too early.
struct Turns<T> {
    turn: u64,
    early: BTreeMap<u64, VecDeque<T>>,
    /// Places that were left before their turn.
    left: BTreeSet<u64>,
}

impl Order {
    /// The place with this number. The first is 0, and each must be taken.
    pub fn place(self: &Arc<Self>, number: u64) -> Arc<Place> {
        Arc::new(Place { order: Arc::clone(self), number })
    }

    /// Comes back if it is its turn, else it is put aside.
    pub(super) fn enter(&self, number: u64, checked: Checked) -> Option<Checked> {
        self.0.lock().enter(number, checked)
    }

    /// Takes up what was put aside and whose turn has come.
    pub(super) fn next(&self) -> Option<Checked> {
        self.0.lock().next()
    }
}

impl Place {
    /// The order that it is in.
    pub(super) fn order(&self) -> &Arc<Order> {
        &self.order
    }

    /// Its number.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Gives it up, which can be done more than once.
    pub(super) fn leave(&self) {
        self.order.0.lock().leave(self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "place {}", self.number)
    }
}

impl<T> Turns<T> {
    fn enter(&mut self, number: u64, item: T) -> Option<T> {
        if number <= self.turn {
            return Some(item);
        }
        self.early.entry(number).or_default().push_back(item);
        None
    }

    fn next(&mut self) -> Option<T> {
        let waiting = self.early.get_mut(&self.turn)?;
        let item = waiting.pop_front();
        if waiting.is_empty() {
            self.early.remove(&self.turn);
        }
        item
    }

    fn leave(&mut self, number: u64) {
        if number >= self.turn {
            self.left.insert(number);
        }
        while self.left.remove(&self.turn) {
            self.turn += 1;
        }
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { turn: 0, early: BTreeMap::new(), left: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_whatever_comes_first() {
        let mut turns = Turns::default();
        let mut done = Vec::new();
        for number in [3, 1, 0, 2, 5, 4, 7, 6] {
            let mut next = turns.enter(number, number);
            while let Some(number) = next {
                done.push(number);
                turns.leave(number);
                next = turns.next();
            }
        }
        assert_eq!(done, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(turns.early.is_empty() && turns.left.is_empty());
    }

    #[test]
    fn a_place_that_is_given_up_holds_nobody_up() {
        let mut turns = Turns::default();
        turns.leave(1);
        assert_eq!(turns.enter(2, 2), None);
        assert_eq!(turns.enter(0, 0), Some(0));
        turns.leave(0);
        turns.leave(0);
        assert_eq!(turns.next(), Some(2));
        assert_eq!(turns.next(), None);
        turns.leave(2);
        assert_eq!(turns.enter(3, 3), Some(3));
    }
}
