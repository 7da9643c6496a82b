//! Into the relay's own path for events, and back what became of them.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Failure, Wanted};
use crate::clock::{self, Timestamp};
use crate::event::{Event, Id};
use crate::ingest::{Answers, Ingest};
use crate::metrics::BRIDGE_EVENTS;
use crate::outcome::Outcome;
use crate::source::Source;
use crate::store::Saved;

/// Keeps the events of the bridge in order.
const LANE: u64 = 0;

/// Between two lines in the log about refused events.
const TOLD_SECONDS: Timestamp = 60;

/// Events that the relay's own policy refused. Anybody can write blocks that are too long for an event, so not each has a line.
static REFUSED: Mutex<Refused> = Mutex::new(Refused { told: None, untold: 0 });

struct Refused {
    /// When the last line was written.
    told: Option<Timestamp>,
    /// How many have come since.
    untold: u64,
}

impl Refused {
    /// Counts one, and says how many a line should tell of now, if there should be one.
    fn count(&mut self, now: Timestamp) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.saturating_sub(told) < TOLD_SECONDS) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Saves events in order, and returns when all are on disk or refused.
///
/// # Errors
///
/// One could not be saved; some may be.
pub(super) async fn publish(ingest: &Ingest, wanted: Option<&Wanted>, events: Vec<Event>) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let ids: Vec<Id> = events.iter().map(|event| event.id).collect();
    let (done, all) = oneshot::channel();
    let state = Collecting { outcomes: Vec::with_capacity(ids.len()), len: ids.len(), done: Some(done) };
    if let Some(wanted) = wanted {
        wanted.saving(&ids, true);
    }
    ingest.submit(LANE, events, Source::Bridge, Arc::new(Collector(Mutex::new(state)))).await;
    let outcomes = all.await;
    if let Some(wanted) = wanted {
        wanted.saving(&ids, false);
    }
    for (id, outcome) in outcomes.map_err(|_| Failure::Stopped)? {
        let name = match &outcome {
            Outcome::Saved(Saved::New(_)) => "saved",
            Outcome::Saved(Saved::Duplicate) => "duplicate",
            Outcome::Saved(_) | Outcome::Passed => "superseded",
            Outcome::Refused(why) if outcome.is_failure() => return Err(Failure::Store(why.to_string())),
            Outcome::Shadowed => "refused",
            Outcome::Refused(why) => {
                tracing::debug!(%id, %why, "an event of the bridge is refused by the relay's own policy");
                if let Some(events) = REFUSED.lock().count(clock::now()) {
                    tracing::warn!(events, last = %id, %why, "events of the bridge are refused by the relay's own policy");
                }
                "refused"
            }
        };
        metrics::counter!(BRIDGE_EVENTS, "outcome" => name).increment(1);
    }
    Ok(())
}

struct Collector(Mutex<Collecting>);

struct Collecting {
    outcomes: Vec<(Id, Outcome)>,
    len: usize,
    done: Option<oneshot::Sender<Vec<(Id, Outcome)>>>,
}

impl Answers for Collector {
    fn answer(&self, outcomes: Vec<(Id, Outcome)>) {
        let mut state = self.0.lock();
        state.outcomes.extend(outcomes);
        if state.outcomes.len() >= state.len
            && let Some(done) = state.done.take()
        {
            let _ = done.send(std::mem::take(&mut state.outcomes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_now_and_then_tells_of_all_that_were_refused() {
        let mut refused = Refused { told: None, untold: 0 };
        let told: Vec<_> = [1_000, 1_000, 1_001, 1_059, 1_060, 1_061, 2_000].map(|now| refused.count(now)).into();
        assert_eq!(told, [Some(1), None, None, None, Some(4), None, Some(2)]);
    }
}
