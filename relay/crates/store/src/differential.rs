//! Two backends are told the same random story, and must answer alike.
//!
//! Few authors, kinds, times and values, so that everything collides with everything. `PICORELAY_DIFFERENTIAL_SECONDS`
//! makes the test tell new stories for that long, `PICORELAY_DIFFERENTIAL_SEED` makes it tell one again.

mod compare;
mod room_story;
mod rooms;
mod story;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::compare::Pair;
use self::story::{Step, Story, Theme};
use super::memory::Memory;
use super::{Backend, testing};
use crate::vanish::RelayUrls;

/// Stories told in an ordinary run.
const STORIES: u64 = 40;

/// Makes an empty backend.
type Make<'m> = &'m dyn Fn(RelayUrls) -> Arc<dyn Backend>;

#[test]
fn memory_agrees_with_itself() {
    compare(&memory, &memory, Theme { searches: true, crowds: true });
}

#[test]
fn sqlite_agrees_with_memory() {
    compare(&memory, &testing::sqlite, Theme::default());
}

#[test]
fn sqlite_agrees_with_memory_in_search() {
    compare(&memory, &testing::sqlite, Theme { searches: true, ..Theme::default() });
    compare(&memory, &testing::sqlite, Theme { searches: true, crowds: true });
}

#[test]
fn sqlite_agrees_with_memory_in_crowds() {
    compare(&memory, &testing::sqlite, Theme { crowds: true, ..Theme::default() });
}

fn memory(urls: RelayUrls) -> Arc<dyn Backend> {
    Arc::new(Memory::with_search(urls, testing::search()))
}

/// Tells stories to both.
fn compare(left: Make<'_>, right: Make<'_>, theme: Theme) {
    if let Some(seed) = number("PICORELAY_DIFFERENTIAL_SEED") {
        return tell(left, right, seed, theme);
    }
    let Some(seconds) = number("PICORELAY_DIFFERENTIAL_SECONDS") else {
        return (0..STORIES).for_each(|seed| tell(left, right, seed, theme));
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut seed = crate::clock::now() << 20;
    while Instant::now() < until {
        tell(left, right, seed, theme);
        seed += 1;
    }
}

fn tell(left: Make<'_>, right: Make<'_>, seed: u64, theme: Theme) {
    let story = Story::new(seed, theme);
    let run = |steps: &[Step]| Pair::new(left, right).run(steps);
    if run(&story.steps).is_ok() {
        return;
    }
    let steps = shrink(story.steps, |steps| run(steps).is_err());
    let told: Vec<_> = steps.iter().map(Step::to_string).collect();
    let difference = run(&steps).unwrap_err();
    panic!("PICORELAY_DIFFERENTIAL_SEED={seed}, {theme:?}\n{}\n{difference}", told.join("\n"));
}

/// Leaves out what the failure does not need: spans of steps, then single events.
fn shrink(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut span = steps.len() / 2;
    while span > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + span).min(steps.len()));
            if fails(&fewer) {
                steps = fewer;
            } else {
                at += span;
            }
        }
        span /= 2;
    }
    for at in 0..steps.len() {
        let mut event = 0;
        while let Step::Save { events, .. } = &steps[at]
            && event < events.len()
        {
            let mut fewer = steps.clone();
            if let Step::Save { events, .. } = &mut fewer[at] {
                events.remove(event);
            }
            if fails(&fewer) {
                steps = fewer;
            } else {
                event += 1;
            }
        }
    }
    steps
}

#[allow(clippy::disallowed_methods, reason = "a switch of the test run, not of the program")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}
