//! NEG-OPEN, NEG-MSG, NEG-CLOSE (NIP-77): set reconciliation. The read guard applies as it does to REQ.

mod items;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::AbortHandle;
use negentropy::Negentropy;
use parking_lot::Mutex;

use self::items::Items;
use super::{Session, req};
use crate::bound::{Full, Held};
use crate::message::reply;
use crate::metrics;
use crate::outbox::Outbox;
use crate::rarely::rarely;
use crate::store::{Reader, Readers, Scan, Seq, Step};

/// Events of one session above which a message takes long to answer.
const MANY: usize = 20_000;

/// To find the events of a session, so many times as many are looked at as it may have.
const LOOK_FACTOR: u64 = 4;

/// A session of a client, and the work that is under way for it. Dropping it ends both.
pub struct Open {
    reconciliation: Arc<Reconciliation>,
    /// Gathering, and then the answer to the message at hand.
    answering: AbortHandle,
    watching: AbortHandle,
}

/// The events that a session is about, gathered once.
struct Reconciliation {
    state: Mutex<State>,
    /// A message is being answered: the state is in use.
    is_busy: AtomicBool,
    frame_bytes_max: u64,
}

enum State {
    /// The items are still being read. One of the sessions that all share is taken.
    Gathering { _place: Held },
    /// Ready for a message.
    Ready { items: Items, used: Instant, _place: Held },
    /// It ended with NEG-ERR.
    Over,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.answering.abort();
        self.watching.abort();
        // What it holds is free at once, unless a reader is at work on it.
        if let Some(mut state) = self.reconciliation.state.try_lock() {
            *state = State::Over;
        }
    }
}

impl Open {
    /// True until it has ended by itself.
    pub fn is_open(&self) -> bool {
        // Somebody who works on it has the lock.
        self.reconciliation.state.try_lock().is_none_or(|state| !matches!(*state, State::Over))
    }
}

pub(super) fn open(session: &mut Session, id: &str, filter: &str, hex: &str) {
    session.reconciliations.remove(id);
    if let Err(why) = try_open(session, id, filter, hex) {
        session.log.refused("NEG-OPEN", &why);
        session.answer_refused(&why, reply::neg_err(id, &why));
    }
}

fn try_open(session: &mut Session, id: &str, filter: &str, hex: &str) -> Result<(), String> {
    let relay = Arc::clone(&session.relay);
    let config = &relay.config.negentropy;
    if !config.enabled {
        return Err("unsupported: negentropy is switched off".into());
    }
    let message = unhex(hex)?;
    let filters = req::read_filters(session, &[filter])?;
    if filters.iter().any(|filter| filter.search.is_some()) {
        return Err("unsupported: a search cannot be reconciled".into());
    }
    session.reconciliations.retain(|_, open| open.is_open());
    if session.subscriptions.len() + session.reconciliations.len() >= relay.config.limits.subscriptions_max {
        return Err("rate-limited: too many open subscriptions".into());
    }
    if session.reconciliations.len() >= config.sessions_connection_max {
        return Err("rate-limited: too many reconciliations on this connection".into());
    }
    let holdings = &session.account.holdings;
    let place = relay.bounds.reconciliations.take(&holdings.reconciliations, 1).map_err(|full| match full {
        Full::Holder => "rate-limited: too many reconciliations from your address",
        Full::All => "rate-limited: too many reconciliations, try later",
    })?;
    let bytes = relay.bounds.reconciliation_bytes.take(&holdings.reconciliation_bytes, 0).map_err(too_big)?;
    let held = req::hold(session, &filters)?;
    // The filter's own `limit` holds, as both sides take the events that a REQ would give. Without one: all there is.
    let mut query = req::query(&relay, filters, session.viewer.read().clone(), Seq::MAX);
    query.bodies = false;
    query.limit_default = u64::MAX;
    query.limit_max = u64::MAX;
    let mut scan = Scan::new(query);
    scan.held = Some(held);
    let reconciliation = Arc::new(Reconciliation {
        state: Mutex::new(State::Gathering { _place: place }),
        is_busy: AtomicBool::new(true),
        frame_bytes_max: config.frame_bytes_max,
    });
    let (readers, outbox, name) = (session.readers(), Arc::clone(&session.outbox), id.to_owned());
    let (ours, records_max) = (Arc::clone(&reconciliation), config.records_max);
    let answering = session.start(async move {
        let started = Instant::now();
        let answer = match gather(&readers, scan, records_max, Items::new(bytes)).await {
            Ok(items) => ours.begin(items, message, &readers).await,
            Err(why) => Err(why),
        };
        ours.answer(answer, &name, &outbox);
        metrics::query("NEG-OPEN", started.elapsed());
    });
    let idle = Duration::from_secs(config.idle_seconds);
    let watching = Arc::clone(&reconciliation).end_when_idle(idle, id.to_owned(), Arc::clone(&session.outbox));
    let watching = session.start_beside(watching);
    session.reconciliations.insert(id.to_owned(), Open { reconciliation, answering, watching });
    Ok(())
}

pub(super) fn message(session: &mut Session, id: &str, hex: &str) {
    if let Err(why) = try_message(session, id, hex) {
        session.log.refused("NEG-MSG", &why);
        session.outbox.text(reply::neg_err(id, &why));
    }
}

fn try_message(session: &mut Session, id: &str, hex: &str) -> Result<(), String> {
    let open = session.reconciliations.get(id).ok_or("closed: there is no such reconciliation")?;
    if !open.is_open() {
        session.reconciliations.remove(id);
        return Err("closed: this reconciliation has ended".into());
    }
    let message = unhex(hex).inspect_err(|_| drop(session.reconciliations.remove(id)))?;
    let Some(open) = session.reconciliations.get(id) else { return Ok(()) };
    let reconciliation = Arc::clone(&open.reconciliation);
    if reconciliation.is_busy.swap(true, Ordering::AcqRel) {
        return Err("error: wait for the answer to the message before".into());
    }
    let (readers, outbox, name) = (session.readers(), Arc::clone(&session.outbox), id.to_owned());
    let answering = session.start(async move {
        let answer = reconciliation.reconcile(message, &readers).await;
        reconciliation.answer(answer, &name, &outbox);
    });
    if let Some(open) = session.reconciliations.get_mut(id) {
        open.answering = answering;
    }
    Ok(())
}

pub(super) fn close(session: &mut Session, id: &str) {
    session.reconciliations.remove(id);
}

/// Time and id of everything that `scan` finds.
async fn gather(readers: &Readers, mut scan: Scan, records_max: u64, mut items: Items) -> Result<Items, String> {
    loop {
        let (back, rows, step) = readers.slice(scan).await.map_err(|stopped| format!("error: {stopped}"))?;
        scan = back;
        if items.len() as u64 + rows.len() as u64 > records_max {
            return Err(format!("blocked: this query is too big: more than {records_max} events"));
        }
        for row in rows {
            items.push(row.created_at, row.id).map_err(too_big)?;
        }
        match step {
            Ok(Step::Again) if scan.examined > records_max.saturating_mul(LOOK_FACTOR) => {
                return Err("blocked: this query is too big: too many events had to be looked at".into());
            }
            Ok(Step::Again) => {}
            Ok(Step::Done) => return Ok(items.finish()),
            Err(error) => {
                rarely!(error, %error, "gathering for a reconciliation failed");
                return Err("error: the query failed".into());
            }
        }
    }
}

fn too_big(full: Full) -> String {
    match full {
        Full::Holder => "rate-limited: the reconciliations of your address are too big together".into(),
        Full::All => "rate-limited: all reconciliations are too big together, ask for less or try later".into(),
    }
}

impl Reconciliation {
    /// The items are complete: answers the message that NEG-OPEN brought.
    async fn begin(self: &Arc<Self>, items: Items, message: Vec<u8>, readers: &Readers) -> Result<Vec<u8>, String> {
        {
            let mut state = self.state.lock();
            *state = match std::mem::replace(&mut *state, State::Over) {
                State::Gathering { _place } => State::Ready { items, used: Instant::now(), _place },
                other => other,
            };
        }
        self.reconcile(message, readers).await
    }

    /// Answers a message. Nobody else does meanwhile.
    async fn reconcile(self: &Arc<Self>, message: Vec<u8>, readers: &Readers) -> Result<Vec<u8>, String> {
        let is_large = matches!(&*self.state.lock(), State::Ready { items, .. } if items.len() > MANY);
        let ours = Arc::clone(self);
        let work = move |_: &mut dyn Reader| ours.compare(&message);
        let answer = if is_large { readers.run_long(work).await } else { readers.run(work).await };
        answer.unwrap_or_else(|stopped| Err(format!("error: {stopped}")))
    }

    fn compare(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let mut state = self.state.lock();
        let State::Ready { items, used, .. } = &mut *state else {
            return Err("closed: this reconciliation has ended".into());
        };
        let mut negentropy =
            Negentropy::borrowed(items, self.frame_bytes_max).map_err(|error| format!("error: {error}"))?;
        let answer = negentropy.reconcile(message).map_err(|error| format!("invalid: {error}"));
        *used = Instant::now();
        answer
    }

    /// Sends the answer. A session for which there is none has ended.
    fn answer(&self, answer: Result<Vec<u8>, String>, id: &str, outbox: &Outbox) {
        let text = match answer {
            Ok(message) => reply::neg_msg(id, &message),
            Err(why) => {
                *self.state.lock() = State::Over;
                reply::neg_err(id, &why)
            }
        };
        self.is_busy.store(false, Ordering::Release);
        outbox.text(text);
    }

    /// Ends the session when its client has been silent for so long.
    async fn end_when_idle(self: Arc<Self>, after: Duration, id: String, outbox: Arc<Outbox>) {
        loop {
            let Some(left) = self.idle_in(after) else { return };
            tokio::time::sleep(left).await;
            if self.idle_in(after).is_some_and(|left| left.is_zero()) {
                *self.state.lock() = State::Over;
                return outbox.text(reply::neg_err(&id, "closed: you took too long to respond!"));
            }
        }
    }

    /// When it will have been idle for so long. `None`: it has ended.
    fn idle_in(&self, after: Duration) -> Option<Duration> {
        if self.is_busy.load(Ordering::Acquire) {
            return Some(after);
        }
        // Whoever has the lock works on it.
        let Some(state) = self.state.try_lock() else { return Some(after) };
        match &*state {
            State::Gathering { .. } => Some(after),
            State::Ready { used, .. } => Some(after.saturating_sub(used.elapsed())),
            State::Over => None,
        }
    }
}

fn unhex(hex: &str) -> Result<Vec<u8>, String> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| "invalid: the message is not hex".to_owned())
}
