//! Into the relay's own path for events, and back what became of them.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Failure, Wanted};
use crate::event::{Event, Id};
use crate::http::metrics::BRIDGE_EVENTS;
use crate::ingest::{Answers, Ingest, Outcome, Source};
use crate::store::Saved;

/// Keeps the events of the bridge in order.
const LANE: u64 = 0;

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
            Outcome::Refused(why) if why.starts_with("error:") => return Err(Failure::Store(why.to_string())),
            Outcome::Shadowed => "refused",
            Outcome::Refused(why) => {
                tracing::warn!(%id, %why, "an event of the bridge is refused by the relay's own policy");
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
