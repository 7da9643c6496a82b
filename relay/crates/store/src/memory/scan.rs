//! What is answered: a walk over all events, newest first.

use std::cmp::Reverse;
use std::sync::Arc;

use super::rules::{State, Stored, order};
use crate::Turn;
use crate::event::Id;
use crate::filter::Filter;
use crate::search::Text;
use crate::{After, Body, End, Query, Row, Scan, Slice, Step};

/// One slice of the answer. Filters with `search` come first; while they do, [`After::key`] counts the rows given.
pub(super) fn scan(state: &State, scan: &mut Scan, slice: Slice<'_>, rows: &mut Vec<Row>) -> Step {
    scan.search_only(&state.search.kinds);
    let mut budget = Budget(Turn::new(slice));
    let found = found(state, &scan.query);
    let is_searching = |scan: &Scan| {
        scan.query.filters.iter().zip(&scan.streams).any(|(filter, stream)| is_search(filter) && stream.end.is_none())
    };
    if is_searching(scan) && search(scan, &found, &mut budget, rows) == Step::Again {
        return Step::Again;
    }
    let step = walk(state, scan, &found, &mut budget, rows);
    scan.examined += budget.0.examined() as u64;
    step
}

/// What a filter with `search` gives.
struct Found<'s> {
    events: Vec<&'s Stored>,
    end: End,
}

/// For each filter with `search` what it gives, nothing for the others.
fn found<'s>(state: &'s State, query: &Query) -> Vec<Found<'s>> {
    let find = |filter: &Filter| {
        let Some(search) = &filter.search else { return Found { events: Vec::new(), end: End::Finish } };
        let mut events: Vec<_> = visible(state, query)
            .filter(|stored| filter.matches_all_but_search(&stored.event))
            .filter_map(|stored| Some((search.score(&Text::of_event(stored.event.json(), stored.event.kind))?, stored)))
            .collect();
        let limit = filter.limit.unwrap_or(query.limit_default).min(query.limit_max);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let end = if events.len() > limit { End::More } else { End::Finish };
        events.truncate(limit.max(state.search.candidates_max));
        events.sort_by_key(|(score, _)| Reverse(*score));
        Found { events: events.into_iter().map(|(_, stored)| stored).take(limit).collect(), end }
    };
    query.filters.iter().map(find).collect()
}

fn search(scan: &mut Scan, found: &[Found<'_>], budget: &mut Budget<'_>, rows: &mut Vec<Row>) -> Step {
    let mut given: Vec<Id> = Vec::new();
    let before = scan.after.map_or(0, |after| after.key);
    let mut key = 0;
    for stored in found.iter().flat_map(|found| &found.events) {
        if given.contains(&stored.event.id) {
            continue;
        }
        given.push(stored.event.id);
        key += 1;
        if key <= before {
            continue;
        }
        budget.look();
        budget.give(stored, &scan.query, rows);
        scan.after = Some(After { created_at: stored.event.created_at, id: stored.event.id, key });
        if budget.is_used_up() {
            return Step::Again;
        }
    }
    for ((filter, stream), found) in scan.query.filters.iter().zip(&mut scan.streams).zip(found) {
        if is_search(filter) {
            stream.left = stream.left.saturating_sub(found.events.len() as u64);
            stream.end = Some(found.end);
        }
    }
    scan.after = None;
    Step::Done
}

fn walk(state: &State, scan: &mut Scan, found: &[Found<'_>], budget: &mut Budget<'_>, rows: &mut Vec<Row>) -> Step {
    let Scan { query, streams, after, .. } = scan;
    let start = *after;
    let is_new = |stored: &Stored| {
        start.is_none_or(|a| order(stored.event.created_at, stored.event.id) > order(a.created_at, a.id))
    };
    let was_found = |id: Id| found.iter().flat_map(|found| &found.events).any(|stored| stored.event.id == id);
    for stored in state.events.iter().filter(|stored| is_new(stored)) {
        if streams.iter().all(|stream| stream.end.is_some()) {
            return Step::Done;
        }
        if budget.is_used_up() {
            return Step::Again;
        }
        budget.look();
        *after = Some(After { created_at: stored.event.created_at, id: stored.event.id, key: 0 });
        if !is_visible(stored, query) {
            continue;
        }
        let mut is_wanted = false;
        for (filter, stream) in query.filters.iter().zip(streams.iter_mut()) {
            if stream.end.is_some() || !filter.matches(&stored.event) {
                continue;
            }
            is_wanted |= stream.give(stored.event.created_at);
        }
        if is_wanted && !was_found(stored.event.id) {
            budget.give(stored, query, rows);
        }
    }
    for stream in streams {
        stream.end.get_or_insert(End::Finish);
    }
    Step::Done
}

fn is_search(filter: &Filter) -> bool {
    filter.search.is_some()
}

fn visible<'s>(state: &'s State, query: &Query) -> impl Iterator<Item = &'s Stored> {
    state.events.iter().filter(|stored| is_visible(stored, query))
}

fn is_visible(stored: &Stored, query: &Query) -> bool {
    !query.is_too_late(stored.seq, stored.event.kind)
        && !stored.event.is_expired(query.now)
        && query.viewer.may_see(&stored.event)
}

/// What a slice has done so far. The last row may go over it, so that every slice gets somewhere.
struct Budget<'s>(Turn<'s>);

impl Budget<'_> {
    fn look(&mut self) {
        self.0.examine(1);
        self.0.pass();
    }

    fn is_used_up(&self) -> bool {
        self.0.is_over()
    }

    fn give(&mut self, stored: &Stored, query: &Query, rows: &mut Vec<Row>) {
        let event = &stored.event;
        let body = if query.bodies { Body::Event(event.clone()) } else { Body::Json(Arc::from("")) };
        self.0.give(body.as_str().len());
        rows.push(Row {
            seq: stored.seq,
            id: event.id,
            pubkey: event.pubkey,
            created_at: event.created_at,
            kind: event.kind,
            body,
        });
    }
}
