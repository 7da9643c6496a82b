//! Ids that were met lately, in bounded memory.

use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::event::Id;

/// Remembers between `max / 2` and `max` ids. Forgetting one costs a message that would not have been needed.
#[derive(Debug)]
pub struct Known {
    max: usize,
    /// The newer and the older half.
    halves: Mutex<(HashSet<Id>, HashSet<Id>)>,
}

impl Known {
    /// Empty.
    pub fn new(max: usize) -> Self {
        Self { max, halves: Mutex::default() }
    }

    /// Remembers an id. False when it was known already.
    pub fn insert(&self, id: Id) -> bool {
        let mut halves = self.halves.lock();
        if halves.0.contains(&id) || halves.1.contains(&id) {
            return false;
        }
        if halves.0.len() >= (self.max / 2).max(1) {
            let full = std::mem::take(&mut halves.0);
            halves.1 = full;
        }
        halves.0.insert(id)
    }

    /// True when it is remembered.
    pub fn contains(&self, id: &Id) -> bool {
        let halves = self.halves.lock();
        halves.0.contains(id) || halves.1.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest() {
        let known = Known::new(10);
        let id = |n: u8| Id([n; 32]);
        for n in 0..100 {
            assert!(known.insert(id(n)));
            assert!(!known.insert(id(n)));
        }
        let count = (0..100).filter(|n| known.contains(&id(*n))).count();
        assert!((5..=10).contains(&count), "{count}");
        assert!((95..100).all(|n| known.contains(&id(n))));
    }
}
