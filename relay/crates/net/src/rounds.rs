//! Turns of connections on the threads that read and write: the more of them have much to do, the less each does before the
//! next has its turn. So a small message never waits long behind others, however many they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many connections had more to do when their last turn was over.
#[derive(Default, Debug)]
pub struct Rounds(AtomicUsize);

/// One connection's part in them.
#[derive(Debug)]
pub struct Part {
    rounds: Arc<Rounds>,
    is_busy: bool,
}

impl Part {
    /// Of a connection that has nothing to do.
    pub fn new(rounds: &Arc<Rounds>) -> Self {
        Self { rounds: Arc::clone(rounds), is_busy: false }
    }

    /// The turn is over. Whether there is more to do at once.
    #[inline]
    pub fn ends(&mut self, is_busy: bool) {
        match (std::mem::replace(&mut self.is_busy, is_busy), is_busy) {
            (false, true) => {
                self.rounds.0.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                self.rounds.0.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// What may be done in this turn if all busy connections may do `all` together in a round: between `least` and `most`.
    #[inline]
    pub fn share(&self, all: usize, least: usize, most: usize) -> usize {
        (all / self.rounds.0.load(Ordering::Relaxed).max(1)).clamp(least, most)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.ends(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_are_busy_the_less_each_does() {
        let rounds = Arc::<Rounds>::default();
        let mut parts: Vec<_> = (0..40).map(|_| Part::new(&rounds)).collect();
        assert_eq!(parts[0].share(128, 1, 16), 16);
        parts.iter_mut().for_each(|part| part.ends(true));
        parts[7].ends(true);
        assert_eq!(parts[0].share(128, 1, 16), 3);
        parts[7].ends(false);
        parts.truncate(8);
        assert_eq!(parts[0].share(128, 1, 16), 16);
        assert_eq!(rounds.0.load(Ordering::Relaxed), 7);
        drop(parts);
        assert_eq!(rounds.0.load(Ordering::Relaxed), 0);
    }
}
