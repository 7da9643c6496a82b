//! Through time, newest first: what either side lacks, a range at a time.

use std::sync::Arc;

use hashbrown::HashSet;

use super::client::Page;
use super::compare::{Compared, compare};
use super::crowd::{self, Read};
use super::done::Range;
use super::fault::Fault;
use super::local::Window;
use super::session::Session;
use crate::clock::Timestamp;
use crate::event::Id;
use crate::filter::Filter;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which events.
    pub filter: Filter,
    /// Fetch what we lack.
    pub down: bool,
    /// Send what they lack.
    pub up: bool,
}

/// Told of each range when all of it is done: saved here, and answered there.
pub type Steps<'s> = dyn FnMut(Range) -> Result<(), Fault> + Send + 's;

/// Does the job in these ranges, the last one first.
pub async fn walk(
    session: &mut Session<'_>,
    job: &Job,
    mut ranges: Vec<Range>,
    steps: &mut Steps<'_>,
) -> Result<(), Fault> {
    session.takes = job.down;
    while let Some(range) = ranges.pop() {
        let local = session.local;
        let window = local.window(&job.filter, range, session.config.range_events_max);
        let window = session.link.stall(window).await??;
        if window.range.since > range.since {
            ranges.push(Range { until: window.range.since - 1, ..range });
        }
        let window = Arc::new(window);
        session.compare_in(Some(Arc::clone(&window)));
        let halves = exchange(session, job, &window, steps).await?;
        session.compare_in(None);
        ranges.extend(halves.into_iter().flat_map(|(older, newer)| [older, newer]));
    }
    session.takes = true;
    Ok(())
}

/// Does the job in one window, or says into which halves it must be split.
async fn exchange(
    session: &mut Session<'_>,
    job: &Job,
    window: &Arc<Window>,
    steps: &mut Steps<'_>,
) -> Result<Option<(Range, Range)>, Fault> {
    if session.may_compare() {
        match compare(session, &job.filter, window).await? {
            Compared::Difference { ours, theirs } => {
                let fetched = if job.down { theirs.len() } else { 0 };
                session.memory.plan(fetched + if job.up { ours.len() } else { 0 });
                if job.down {
                    session.fetch(&job.filter, theirs).await?;
                }
                if job.up {
                    session.offer_all(&ours).await?;
                }
                session.settle().await?;
                steps(window.range)?;
                return Ok(None);
            }
            Compared::TooBig => {
                if let Some(halves) = halve(window, session.config.page_events_max) {
                    return Ok(Some(halves));
                }
            }
            Compared::TooMany | Compared::Impossible => {}
        }
    }
    page_through(session, job, window, steps).await?;
    Ok(None)
}

/// Halves with as many events of ours in each. `None` when we have so few that paging costs less.
fn halve(window: &Window, page_events: usize) -> Option<(Range, Range)> {
    if window.items.len() <= page_events {
        return None;
    }
    let (middle, _) = window.items.get(window.items.len() / 2)?;
    window.range.split(*middle)
}

/// Asks for all they have in the window, page by page. What of ours did not come, they lack.
async fn page_through(
    session: &mut Session<'_>,
    job: &Job,
    window: &Window,
    steps: &mut Steps<'_>,
) -> Result<(), Fault> {
    let mut theirs: HashSet<Id> = HashSet::new();
    let mut rest = Some(window.range);
    while let Some(range) = rest {
        let filter = range.of(&job.filter);
        let came = session.came;
        let mut page = session.page(&filter).await?;
        if is_cut_off(session, range, &page) {
            page = session.large_page(&filter).await?.unwrap_or(page);
        }
        theirs.extend(page.events.iter().filter(|(at, id)| window.contains(*at, id)).map(|(_, id)| *id));
        if is_cut_off(session, range, &page) {
            let Read { events, is_more } = crowd::read(session, &job.filter, range.until).await?;
            theirs.extend(events.into_iter().filter(|id| window.contains(range.until, id)));
            if is_more || page.is_full || !session.gives_more_than(page.events.len()).await? {
                session.memory.tally.lock().crowded += 1;
                // What did not come may be there all the same; what was there once is not given back on such grounds.
                let was_there = |(at, id): &&(Timestamp, Id)| *at == range.until && session.memory.there.contains(id);
                theirs.extend(window.items.iter().filter(was_there).map(|(_, id)| *id));
            }
        }
        session.memory.plan(session.came - came);
        let oldest = page.events.iter().map(|(at, _)| *at).min();
        let (done, next) = turn_page(range, oldest.filter(|_| !page.finish));
        if job.up {
            let in_page = window.items.iter().filter(|(at, _)| (done.since..=done.until).contains(at));
            let lacking: Vec<Id> = in_page.map(|(_, id)| *id).filter(|id| !theirs.contains(id)).collect();
            session.memory.plan(lacking.len());
            session.offer_all(&lacking).await?;
        }
        session.settle().await?;
        steps(done)?;
        rest = next;
    }
    Ok(())
}

/// No relay gives fewer events than this at a time, if it has more.
const LIMIT_MIN: usize = 5;

/// Whether a page ends in the second with which it began, and that may go on: it has as many events as were asked for, or
/// as this relay gives.
fn is_cut_off(session: &Session<'_>, range: Range, page: &Page) -> bool {
    let count = page.events.len();
    !page.finish
        && (page.is_full || (count >= LIMIT_MIN && count >= session.largest_page()))
        && page.events.iter().all(|(at, _)| *at == range.until)
}

/// What of `range` is done after a page whose oldest event is of that time, and what is left. Relays may give less than is
/// asked for, so only a page with nothing new is the last. Events of the oldest second are asked for again, since it may
/// go on beyond the page; a page with that second only is all that can be had of it by time.
fn turn_page(range: Range, oldest: Option<Timestamp>) -> (Range, Option<Range>) {
    let Some(oldest) = oldest else { return (range, None) };
    if oldest < range.until {
        return (Range { since: oldest + 1, ..range }, Some(Range { until: oldest, ..range }));
    }
    let older = (range.since < range.until).then(|| Range { until: range.until - 1, ..range });
    (Range { since: range.until, ..range }, older)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(since: u64, until: u64) -> Range {
        Range { since, until }
    }

    /// Reads a relay that gives `page` events at a time, newest first. Gives what was read and the pages it took.
    fn read(events: &[u64], page: usize) -> (Vec<u64>, usize) {
        let mut found = HashSet::new();
        let (mut rest, mut pages) = (Some(range(0, 1_000)), 0);
        let mut done = super::super::done::Done::default();
        while let Some(now) = rest {
            pages += 1;
            let mut matching: Vec<(usize, u64)> =
                events.iter().copied().enumerate().filter(|(_, at)| (now.since..=now.until).contains(at)).collect();
            matching.sort_by_key(|(number, at)| (std::cmp::Reverse(*at), *number));
            matching.truncate(page);
            found.extend(matching.iter().copied());
            let (finished, next) = turn_page(now, matching.iter().map(|(_, at)| *at).min());
            done.add(finished);
            rest = next;
        }
        assert_eq!(done.gaps(range(0, 1_000)), []);
        let mut found: Vec<u64> = found.into_iter().map(|(_, at)| at).collect();
        found.sort_unstable();
        (found, pages)
    }

    #[test]
    fn pages_find_everything() {
        let spread: Vec<u64> = (0..=1_000).step_by(7).collect();
        let tied: Vec<u64> = (0..300).map(|n| n / 4).collect();
        for events in [vec![], vec![0], vec![1_000], vec![0, 0, 1_000, 1_000], spread, tied] {
            for page in [5, 10, 1_000] {
                let (found, pages) = read(&events, page);
                assert_eq!(found, events, "{page} a page");
                assert!(pages <= events.len() + 2, "{pages} pages for {} events", events.len());
            }
        }
    }

    #[test]
    fn a_crowded_second_is_no_standstill() {
        let mut events = vec![5; 100];
        events.extend([4, 6]);
        events.sort_unstable();
        let (found, pages) = read(&events, 10);
        assert_eq!((found.len(), pages), (12, 4));
        assert_eq!((found.first(), found.last()), (Some(&4), Some(&6)));
    }

    #[test]
    fn halves_hold_as_many_each() {
        let items: Vec<(u64, Id)> = (0..100u8).map(|n| (1_000 - u64::from(n), Id([n; 32]))).collect();
        let window = Window { range: range(0, 2_000), items };
        assert_eq!(halve(&window, 10), Some((range(0, 949), range(950, 2_000))));
        assert_eq!(halve(&window, 100), None);
        let crowded = Window { range: range(7, 7), items: (0..100u8).map(|n| (7, Id([n; 32]))).collect() };
        assert_eq!(halve(&crowded, 10), None);
    }
}
