//! How far the answer to the filters with `search` is, for backends that cannot give it at once.

use std::cmp::Reverse;

use super::{End, Scan, Seq};
use crate::clock::Timestamp;
use crate::event::Id;
use crate::search::Score;

/// Filters with `search` are answered one after the other, before all others.
#[derive(Default, Debug)]
pub struct Searching {
    /// Number of the filter.
    pub(crate) number: usize,
    pub(crate) stage: Stage,
    pub(crate) matches: Vec<Match>,
}

/// What is done for a filter.
#[derive(Default, Debug)]
pub(crate) enum Stage {
    #[default]
    Begin,
    /// Looking through events that the index may not have: those saved later than `after`, up to `last`.
    Unindexed { after: Seq, last: Seq },
    /// Looking for the newest matches, by a scan of its own.
    Indexed(Box<Scan>),
    /// Giving the best matches, which wait in the order in which they are taken from the end.
    Give(End),
}

/// An event that matches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match {
    pub(crate) score: Score,
    pub(crate) created_at: Timestamp,
    pub(crate) id: Id,
}

impl Searching {
    /// Of the newest `candidates` matches leaves the best `limit`, the worst first, and says whether there were more.
    pub(crate) fn rank(&mut self, candidates: usize, limit: usize) -> bool {
        let newest_first = |found: &Match| (Reverse(found.created_at), found.id);
        self.matches.sort_unstable_by_key(newest_first);
        let more = self.matches.len() > limit;
        self.matches.truncate(candidates);
        self.matches.sort_by_key(|found| Reverse(found.score));
        self.matches.truncate(limit);
        self.matches.reverse();
        more
    }
}
