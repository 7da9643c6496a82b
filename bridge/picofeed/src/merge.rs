//! How two feeds relate, and one made of both.

use std::cmp::Ordering;

use crate::{Block, Feed};

/// How another feed relates to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diff {
    /// They end with the same block.
    Equal,
    /// The other has this many blocks more.
    Ahead(usize),
    /// The other has this many blocks fewer.
    Behind(usize),
    /// They are parts of chains that part ways, or have different genesis blocks.
    Diverged,
    /// The other does not begin inside this one, or right after it.
    Unrelated,
}

/// What came of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Merged {
    /// There was nothing to add.
    Nothing,
    /// This many blocks were added at the end.
    Appended(usize),
    /// The other begins earlier: this feed became the other, and this many of its own blocks were added after it.
    Joined(usize),
    /// The other begins earlier and has every block of this one, which did not change. The other is the better one.
    Contained,
    /// They part ways. Nothing changed.
    Diverged,
    /// They have nothing in common. Nothing changed.
    Unrelated,
}

/// What to do with a block that [`Feed::merge_with`] is about to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add it and go on.
    Take,
    /// Add it and stop.
    TakeLast,
    /// Stop before it.
    Stop,
}

impl Merged {
    /// How many blocks were added, if the feeds fit together.
    pub fn count(self) -> Option<usize> {
        match self {
            Self::Nothing | Self::Contained => Some(0),
            Self::Appended(count) | Self::Joined(count) => Some(count),
            Self::Diverged | Self::Unrelated => None,
        }
    }
}

impl Feed {
    /// Compares with another feed.
    ///
    /// The other is laid over this one where its first block has the same parent as one of ours, or has one of ours as
    /// its parent; from there on all blocks that both have must be the same. Two partial feeds can so be compared if
    /// the other begins no earlier than this one: `Unrelated` one way round can be something better the other way.
    /// Against an empty feed everything counts. Feeds of different formats are unrelated.
    pub fn diff(&self, other: &Self) -> Diff {
        if self.format != other.format {
            return Diff::Unrelated;
        }
        let at = match other.first() {
            None => 0,
            Some(_) if self.is_empty() => 0,
            Some(first) => match self.place_of(first) {
                Some(at) => at,
                None => return Diff::Unrelated,
            },
        };
        let ours = self.get(at..).unwrap_or_default();
        if ours.iter().zip(other).any(|(our, their)| our.signature() != their.signature()) {
            return Diff::Diverged;
        }
        match other.len().cmp(&ours.len()) {
            Ordering::Less => Diff::Behind(ours.len() - other.len()),
            Ordering::Equal => Diff::Equal,
            Ordering::Greater => Diff::Ahead(other.len() - ours.len()),
        }
    }

    /// Where a block belongs in this feed, whether or not it is there.
    fn place_of(&self, block: &Block) -> Option<usize> {
        let parent = block.parent_bytes();
        self.iter().enumerate().find_map(|(at, our)| match parent {
            _ if our.parent_bytes() == parent => Some(at),
            Some(parent) if our.signature() == parent => Some(at + 1),
            _ => None,
        })
    }

    /// Adds what the other has beyond this one.
    ///
    /// If the other begins earlier, and this feed continues it, the result is the other with our blocks after it. The
    /// other does not change. Nor does this one, unless blocks were added.
    pub fn merge(&mut self, other: &Self) -> Merged {
        self.merge_with(other, |_| Step::Take)
    }

    /// Like [`Feed::merge`], asking about each block before it is added.
    ///
    /// When the other begins earlier, the questions are about our own blocks that continue it. Those not taken are
    /// lost: after `Joined(0)` this feed is a copy of the other.
    pub fn merge_with(&mut self, other: &Self, decide: impl FnMut(&Block) -> Step) -> Merged {
        match self.diff(other) {
            Diff::Equal | Diff::Behind(_) => return Merged::Nothing,
            Diff::Diverged => return Merged::Diverged,
            Diff::Ahead(count) => {
                return match self.take(other.last_blocks(count), decide) {
                    0 => Merged::Nothing,
                    taken => Merged::Appended(taken),
                };
            }
            Diff::Unrelated => {}
        }
        match other.diff(self) {
            Diff::Equal | Diff::Behind(_) => Merged::Contained,
            Diff::Diverged => Merged::Diverged,
            Diff::Unrelated => Merged::Unrelated,
            Diff::Ahead(count) => {
                let mut joined = other.clone();
                let taken = joined.take(self.last_blocks(count), decide);
                *self = joined;
                Merged::Joined(taken)
            }
        }
    }

    fn take(&mut self, blocks: &[Block], mut decide: impl FnMut(&Block) -> Step) -> usize {
        for (taken, block) in blocks.iter().enumerate() {
            match decide(block) {
                Step::Take => self.blocks.push(block.clone()),
                Step::TakeLast => {
                    self.blocks.push(block.clone());
                    return taken + 1;
                }
                Step::Stop => return taken,
            }
        }
        blocks.len()
    }

    fn last_blocks(&self, count: usize) -> &[Block] {
        self.len().checked_sub(count).and_then(|at| self.get(at..)).unwrap_or_default()
    }
}
