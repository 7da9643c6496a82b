//! Which ranges of time are done, so that work that was cut off goes on where it was.

use crate::clock::Timestamp;
use crate::event::CREATED_AT_MAX;
use crate::filter::Filter;

/// Seconds from `since` to `until`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The first.
    pub since: Timestamp,
    /// The last.
    pub until: Timestamp,
}

/// Ranges, newest first, that neither overlap nor touch.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Done(Vec<Range>);

/// Ranges remembered; of more, the oldest are done again.
const RANGES_MAX: usize = 32;

impl Range {
    /// All times an event can have.
    pub const ALL: Self = Self { since: 0, until: CREATED_AT_MAX };

    /// Halves that meet at `middle`, older and newer. `None` when there are no two.
    pub fn split(self, middle: Timestamp) -> Option<(Self, Self)> {
        let middle = middle.max(self.since.saturating_add(1));
        (middle <= self.until).then(|| (Self { until: middle - 1, ..self }, Self { since: middle, ..self }))
    }

    /// Events of this filter in the range. The ends of time are left out: not all relays can read them.
    pub fn of(self, filter: &Filter) -> Filter {
        let since = Some(self.since).filter(|since| *since > Self::ALL.since);
        let until = Some(self.until).filter(|until| *until < Self::ALL.until);
        Filter { since, until, ..filter.clone() }
    }

    fn touches(self, other: Self) -> bool {
        self.since <= other.until.saturating_add(1) && other.since <= self.until.saturating_add(1)
    }
}

impl Done {
    /// Adds a range.
    pub fn add(&mut self, range: Range) {
        if range.since > range.until {
            return;
        }
        let mut joined = range;
        self.0.retain(|other| {
            let apart = !joined.touches(*other);
            if !apart {
                joined = Range { since: joined.since.min(other.since), until: joined.until.max(other.until) };
            }
            apart
        });
        self.0.push(joined);
        self.0.sort_unstable_by_key(|range| std::cmp::Reverse(range.since));
        self.0.truncate(RANGES_MAX);
    }

    /// What of `range` is not done, oldest first.
    pub fn gaps(&self, range: Range) -> Vec<Range> {
        let mut gaps = Vec::new();
        let mut since = range.since;
        for done in self.0.iter().rev().filter(|done| done.until >= range.since && done.since <= range.until) {
            if done.since > since {
                gaps.push(Range { since, until: done.since - 1 });
            }
            since = since.max(done.until + 1);
        }
        if since <= range.until {
            gaps.push(Range { since, until: range.until });
        }
        gaps
    }

    /// Newest first.
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(since: u64, until: u64) -> Range {
        Range { since, until }
    }

    #[test]
    fn remembers_what_is_done() {
        let mut done = Done::default();
        assert_eq!(done.gaps(range(0, 100)), [range(0, 100)]);
        done.add(range(80, 90));
        done.add(range(70, 79));
        done.add(range(95, 94));
        assert_eq!(done.ranges(), [range(70, 90)]);
        done.add(range(20, 30));
        assert_eq!(done.gaps(range(0, 100)), [range(0, 19), range(31, 69), range(91, 100)]);
        assert_eq!(done.gaps(range(25, 75)), [range(31, 69)]);
        assert_eq!(done.gaps(range(20, 30)), []);
        assert_eq!(done.gaps(range(30, 31)), [range(31, 31)]);
        done.add(range(10, 100));
        assert_eq!(done.ranges(), [range(10, 100)]);
        let mut many = Done::default();
        (0..1000).for_each(|n| many.add(range(n * 10, n * 10 + 5)));
        assert_eq!(many.ranges().len(), RANGES_MAX);
        assert_eq!(many.ranges().first(), Some(&range(9990, 9995)));
        let mut all = Done::default();
        all.add(Range::ALL);
        assert_eq!(all.gaps(Range::ALL), []);
    }

    #[test]
    fn splits() {
        assert_eq!(range(1, 10).split(5), Some((range(1, 4), range(5, 10))));
        assert_eq!(range(1, 10).split(0), Some((range(1, 1), range(2, 10))));
        assert_eq!(range(1, 10).split(10), Some((range(1, 9), range(10, 10))));
        assert_eq!(range(1, 10).split(11), None);
        assert_eq!(range(1, 1).split(1), None);
    }
}
