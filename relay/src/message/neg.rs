//! NEG-OPEN, NEG-MSG, NEG-CLOSE (NIP-77): set reconciliation. The read guard applies as it does to REQ.

use std::sync::Arc;
use std::time::{Duration, Instant};

use negentropy::{Id as ItemId, Negentropy, NegentropyStorageVector};
use parking_lot::Mutex;

use super::{reply, req};
use crate::app::App;
use crate::clock::Timestamp;
use crate::connection::Session;
use crate::event::Id;
use crate::filter::Filter;
use crate::http::metrics;
use crate::store::{Query, Scan, Seq, Step};

/// One open session: the items it is about, gathered once.
pub struct Reconciliation {
    state: Mutex<State>,
    frame_bytes_max: u64,
    _slot: Slot,
}

enum State {
    /// The items are still being read.
    Gathering,
    /// Ready for a message.
    Ready(Box<NegentropyStorageVector>, Instant),
    /// It ended with NEG-ERR.
    Failed,
}

/// Counts open sessions of the whole relay.
struct Slot(Arc<App>);

impl Slot {
    fn take(app: &Arc<App>) -> Option<Self> {
        let max = app.config.negentropy.sessions_max;
        app.reconciliations
            .fetch_update(std::sync::atomic::Ordering::AcqRel, std::sync::atomic::Ordering::Acquire, |open| {
                (open < max).then_some(open + 1)
            })
            .ok()
            .map(|_| Self(Arc::clone(app)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.reconciliations.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
    }
}

pub(crate) fn open(session: &mut Session, id: &str, filter: &str, hex: &str) {
    session.reconciliations.remove(id);
    if let Err(why) = try_open(session, id, filter, hex) {
        session.outbox.text(reply::neg_err(id, &why));
    }
}

fn try_open(session: &mut Session, id: &str, filter: &str, hex: &str) -> Result<(), String> {
    let app = Arc::clone(&session.app);
    if !app.config.negentropy.enabled {
        return Err("unsupported: negentropy is switched off".into());
    }
    let message = unhex(hex)?;
    let filters = req::read_filters(session, &[filter])?;
    if filters.iter().any(|filter| filter.search.is_some()) {
        return Err("unsupported: a search cannot be reconciled".into());
    }
    if session.subscriptions.len() + session.reconciliations.len() >= app.config.limits.subscriptions_max {
        return Err("rate-limited: too many open subscriptions".into());
    }
    // A session that was left alone makes room.
    let idle = Duration::from_secs(app.config.negentropy.idle_seconds);
    session.reconciliations.retain(|_, open| !open.is_idle(idle));
    let slot = Slot::take(&app).ok_or("rate-limited: too many reconciliations, try later")?;
    let filters: Arc<[Filter]> = filters.iter().map(|filter| Filter { limit: None, ..filter.clone() }).collect();
    let mut query = req::query(&app, filters, session.viewer.read().clone(), Seq::MAX);
    query.bodies = false;
    query.limit_default = u64::MAX;
    query.limit_max = u64::MAX;
    let reconciliation = Arc::new(Reconciliation {
        state: Mutex::new(State::Gathering),
        frame_bytes_max: app.config.negentropy.frame_bytes_max,
        _slot: slot,
    });
    session.reconciliations.insert(id.to_owned(), Arc::clone(&reconciliation));
    let (outbox, id) = (Arc::clone(&session.outbox), id.to_owned());
    session.start(async move {
        let started = Instant::now();
        let answer = match gather(&app, query).await {
            Ok(items) => app
                .readers
                .run(move |_| {
                    let mut storage = NegentropyStorageVector::new();
                    for (created_at, id) in items {
                        let id = ItemId::from_byte_array(id.0);
                        storage.insert(created_at, id).map_err(|error| error.to_string())?;
                    }
                    storage.seal().map_err(|error| error.to_string())?;
                    *reconciliation.state.lock() = State::Ready(Box::new(storage), Instant::now());
                    reconciliation.reconcile(&message)
                })
                .await
                .unwrap_or_else(|stopped| Err(format!("error: {stopped}"))),
            Err(why) => {
                *reconciliation.state.lock() = State::Failed;
                Err(why)
            }
        };
        outbox.text(match answer {
            Ok(message) => reply::neg_msg(&id, &message),
            Err(why) => reply::neg_err(&id, &why),
        });
        metrics::query("NEG-OPEN", started.elapsed());
    });
    Ok(())
}

pub(crate) fn message(session: &mut Session, id: &str, hex: &str) {
    let Some(reconciliation) = session.reconciliations.get(id).map(Arc::clone) else {
        return session.outbox.text(reply::neg_err(id, "closed: there is no such reconciliation"));
    };
    let idle = Duration::from_secs(session.app.config.negentropy.idle_seconds);
    if reconciliation.is_idle(idle) {
        session.reconciliations.remove(id);
        return session.outbox.text(reply::neg_err(id, "closed: you took too long to respond!"));
    }
    let message = match unhex(hex) {
        Ok(message) => message,
        Err(why) => {
            session.reconciliations.remove(id);
            return session.outbox.text(reply::neg_err(id, &why));
        }
    };
    let (app, outbox, id) = (Arc::clone(&session.app), Arc::clone(&session.outbox), id.to_owned());
    session.start(async move {
        let answer = app.readers.run(move |_| reconciliation.reconcile(&message)).await;
        outbox.text(match answer {
            Ok(Ok(message)) => reply::neg_msg(&id, &message),
            Ok(Err(why)) => reply::neg_err(&id, &why),
            Err(stopped) => reply::neg_err(&id, &format!("error: {stopped}")),
        });
    });
}

pub(crate) fn close(session: &mut Session, id: &str) {
    session.reconciliations.remove(id);
}

/// Time and id of everything that `query` finds.
async fn gather(app: &App, query: Query) -> Result<Vec<(Timestamp, Id)>, String> {
    let max = app.config.negentropy.records_max;
    let mut scan = Scan::new(query);
    let mut items = Vec::new();
    loop {
        let (back, rows, step) = app.readers.slice(scan).await.map_err(|stopped| format!("error: {stopped}"))?;
        scan = back;
        items.extend(rows.iter().map(|row| (row.created_at, row.id)));
        if items.len() as u64 > max {
            return Err(format!("blocked: this query is too big: more than {max} events"));
        }
        match step {
            Ok(Step::Again) => {}
            Ok(Step::Done) => return Ok(items),
            Err(error) => {
                tracing::error!(%error, "gathering for a reconciliation failed");
                return Err("error: the query failed".into());
            }
        }
    }
}

impl Reconciliation {
    fn is_idle(&self, after: Duration) -> bool {
        match &*self.state.lock() {
            State::Gathering => false,
            State::Ready(_, used) => used.elapsed() > after,
            State::Failed => true,
        }
    }

    fn reconcile(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let mut state = self.state.lock();
        let storage = match &mut *state {
            State::Ready(storage, used) => {
                *used = Instant::now();
                storage
            }
            State::Gathering => return Err("error: wait for the answer to NEG-OPEN".into()),
            State::Failed => return Err("closed: this reconciliation has failed".into()),
        };
        let mut negentropy =
            Negentropy::borrowed(&**storage, self.frame_bytes_max).map_err(|error| format!("error: {error}"))?;
        match negentropy.reconcile(message) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                *state = State::Failed;
                Err(format!("invalid: {error}"))
            }
        }
    }
}

fn unhex(hex: &str) -> Result<Vec<u8>, String> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| "invalid: the message is not hex".to_owned())
}
