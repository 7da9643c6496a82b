//! REQ (NIP-01): stored events, EOSE (NIP-67), then live events.

use std::sync::Arc;
use std::time::Instant;

use super::{Open, Relay, Session};
use crate::bound::{Full, Held};
use crate::clock;
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::message::reply::{self, EventHead};
use crate::metrics;
use crate::outbox::Outbox;
use crate::rarely::rarely;
use crate::search::Search;
use crate::store::{End, Query, Readers, Scan, Step};
use crate::subscription::{self, Key};

pub(super) fn handle(session: &mut Session, id: &str, filters: &[&str]) {
    // A REQ replaces the subscription of its name, whether it is then refused or not.
    session.end_subscription(id);
    let filters = match read_filters(session, filters) {
        Ok(filters) => filters,
        Err(why) => return session.refused("REQ", id, &why),
    };
    if session.subscriptions.len() + session.reconciliations.len() >= session.relay.config.limits.subscriptions_max {
        return session.refused("REQ", id, "rate-limited: too many open subscriptions");
    }
    let held = match hold(session, &filters) {
        Ok(held) => held,
        Err(why) => return session.refused("REQ", id, &why),
    };
    let id: Arc<str> = Arc::from(id);
    let (relay, outbox) = (Arc::clone(&session.relay), Arc::clone(&session.outbox));
    let (head, viewer) = (EventHead::new(&id), Arc::clone(&session.viewer));
    let (key, seq_max) = relay.subscriptions.open(head.clone(), Arc::clone(&filters), Arc::clone(&outbox), viewer);
    let mut query = query(&relay, filters, session.viewer.read().clone(), seq_max);
    let hints = relay.config.limits.eose_hints || session.greeting.hints;
    if relay.config.limits.eose_hints {
        query.oldest_second_max = relay.config.limits.oldest_second_events_max;
    }
    let mut scan = Scan::new(query);
    scan.held = Some(Arc::clone(&held));
    let (name, readers) = (Arc::clone(&id), session.readers());
    let scan = session.start(async move {
        let started = Instant::now();
        match send_stored(&relay, &readers, &outbox, &head, key, scan).await {
            Ok(end) => relay.subscriptions.go_live(key, reply::eose(&name, hints.then_some(end)), clock::now()),
            Err(why) => {
                relay.subscriptions.close(key);
                outbox.text(reply::closed(&name, &why));
            }
        }
        metrics::query("REQ", started.elapsed());
    });
    session.subscriptions.insert(id, Open { key, scan, held });
}

/// Sends what is stored, a slice at a time and no faster than the client reads. The EOSE is left to the caller.
async fn send_stored(
    relay: &Relay,
    readers: &Readers,
    outbox: &Outbox,
    head: &EventHead,
    key: Key,
    mut scan: Scan,
) -> Result<End, String> {
    loop {
        let (back, rows, step) = readers.slice(scan).await.map_err(|stopped| format!("error: {stopped}"))?;
        scan = back;
        metrics::sent("stored", rows.len());
        if rows.iter().any(|row| row.seq > scan.query.seq_max) {
            relay.subscriptions.given(key, rows.iter().map(|row| row.seq).filter(|seq| *seq > scan.query.seq_max));
        }
        outbox.events(head, rows.into_iter().map(|row| row.body), None);
        match step {
            Ok(Step::Again) => outbox.room().await,
            Ok(Step::Done) => return Ok(scan.end()),
            Err(error) => {
                rarely!(error, %error, "a query failed");
                return Err("error: the query failed".into());
            }
        }
    }
}

/// Counts what the filters of a query take. The error is the text of the CLOSED.
pub(super) fn hold(session: &Session, filters: &[Filter]) -> Result<Arc<Held>, String> {
    let (bound, holder) = (&session.relay.bounds.filters, &session.account.holdings.filters);
    match bound.take(holder, subscription::bytes_of(filters)) {
        Ok(held) => Ok(Arc::new(held)),
        Err(Full::Holder) => Err("rate-limited: the filters of your address take too much memory, close some".into()),
        Err(Full::All) => Err("rate-limited: the filters of all clients take too much memory, try later".into()),
    }
}

/// What a client may ask at most.
pub(super) fn query(relay: &Relay, filters: Arc<[Filter]>, viewer: Viewer, seq_max: u64) -> Query {
    let limits = &relay.config.limits;
    Query {
        filters,
        viewer,
        now: clock::now(),
        seq_max,
        limit_default: limits.limit_default,
        limit_max: limits.limit_max,
        oldest_second_max: 0,
        bodies: true,
    }
}

/// Reads and judges the filters of a REQ, COUNT or NEG-OPEN. The error is the text of the CLOSED.
pub(super) fn read_filters(session: &Session, filters: &[&str]) -> Result<Arc<[Filter]>, String> {
    let (config, viewer) = (&session.relay.config, session.viewer.read());
    if config.auth.required && viewer.keys.is_empty() {
        return Err("auth-required: this relay answers known people only".into());
    }
    if filters.len() > config.limits.filters_max {
        return Err(format!("invalid: more than {} filters", config.limits.filters_max));
    }
    let mut filters = session.parse_filters(filters)?;
    for filter in &filters {
        if filter.values_len() > config.limits.filter_values_max {
            return Err(format!("invalid: more than {} values in a filter", config.limits.filter_values_max));
        }
        if filter.search.is_some() && !config.search.enabled {
            return Err("unsupported: this relay has no search".into());
        }
    }
    let searches = filters.iter().filter_map(|filter| filter.search.as_ref());
    let words: usize = searches.map(Search::words_len).sum();
    if words > config.search.words_max {
        return Err(format!("invalid: more than {} words to search for", config.search.words_max));
    }
    // Who asks for private events only, and is nobody, would wait for ever: tell them (NIP-42).
    let private = |filter: &Filter| {
        filter
            .kinds
            .as_ref()
            .is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(|kind| viewer.is_restricted(*kind)))
    };
    if viewer.keys.is_empty() && filters.iter().all(private) {
        return Err("auth-required: these events are for the people they name".into());
    }
    // What the index has is all that is found, live, too.
    filters.iter_mut().for_each(|filter| filter.search_only(&config.search.kinds));
    Ok(filters.into())
}
