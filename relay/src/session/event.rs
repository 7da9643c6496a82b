//! EVENT (NIP-01): always answered with OK, unless it has no id to answer to.

use super::Session;
use crate::event::Event;
use crate::message::{claimed_id, reply};

pub(super) fn handle(session: &mut Session, json: &str) {
    let event = session.parse_event(json);
    // A request to vanish proves by itself who asks, and is obeyed whoever that is to this relay (NIP-62).
    let is_obeyed = |event: &Event| session.relay.urls.must_vanish(event);
    let is_refused = session.relay.config.auth.required && session.viewer.read().keys.is_empty();
    if is_refused && !event.as_ref().is_ok_and(is_obeyed) {
        return answer(session, json, "auth-required: this relay takes events from known people only");
    }
    match event {
        Ok(event) => session.pending.push(event),
        Err(why) => answer(session, json, &format!("invalid: {why}")),
    }
}

fn answer(session: &Session, json: &str, why: &str) {
    crate::metrics::event("invalid", "shape");
    session.log.refused("EVENT", why);
    let answer = match claimed_id(json) {
        Some(id) => reply::ok(&id, false, why),
        None => reply::notice(why),
    };
    session.answer_refused(why, answer);
}
