//! Some of many, each with the same chance.

use crate::event::Id;

/// At most so many ids of all that were noted.
#[derive(Debug)]
pub struct Sample {
    ids: Vec<Id>,
    ids_max: usize,
    noted: u64,
}

impl Sample {
    /// Empty.
    pub fn new(ids_max: usize) -> Self {
        Self { ids: Vec::new(), ids_max, noted: 0 }
    }

    /// One more. `random` is any number.
    pub fn note(&mut self, id: Id, random: u64) {
        self.noted += 1;
        if self.ids.len() < self.ids_max {
            self.ids.push(id);
        } else if let Ok(at) = usize::try_from(random % self.noted)
            && let Some(place) = self.ids.get_mut(at)
        {
            *place = id;
        }
    }

    /// Goes on with what an earlier run had sent.
    pub fn go_on(&mut self, ids: &[Id]) {
        ids.iter().for_each(|id| self.note(*id, u64::MAX));
    }

    /// The sample.
    pub fn ids(&self) -> &[Id] {
        &self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_same_chance() {
        let seed: u64 = rand::random();
        eprintln!("seed {seed}");
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut counts = [0u32; 100];
        for _ in 0..1_000 {
            let mut sample = Sample::new(10);
            (0..100).for_each(|n| sample.note(Id([n; 32]), random()));
            assert_eq!(sample.ids().len(), 10);
            sample.ids().iter().for_each(|id| counts[usize::from(id.0[0])] += 1);
        }
        // A hundred each, give or take ten times the deviation.
        assert!(counts.iter().all(|count| (10..=200).contains(count)), "{counts:?}");
        let mut none = Sample::new(0);
        none.note(Id([1; 32]), random());
        assert_eq!(none.ids(), []);
    }
}
