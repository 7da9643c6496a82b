//! AUTH (NIP-42): a client proves that it holds a key. Several keys of one connection count side by side.

use std::time::Instant;

use super::Session;
use crate::clock::{self, Timestamp};
use crate::event::{Event, PublicKey};
use crate::kinds::AUTH;
use crate::message::{claimed_id, reply};
use crate::outbox::Closing;
use crate::vanish::is_same;
use crate::verify;

pub(super) async fn handle(session: &mut Session, json: &str) {
    let event = match session.parse_event(json) {
        Ok(event) => event,
        Err(why) => {
            let why = format!("invalid: {why}");
            session.log.refused("AUTH", &why);
            return session.outbox.text(match claimed_id(json) {
                Some(id) => reply::ok(&id, false, &why),
                None => reply::notice(&why),
            });
        }
    };
    let id = event.id.to_hex();
    let answer = match accept(session, event).await {
        Ok(key) => add(session, key),
        Err(why) => Err(why),
    };
    // A client that answers before it was asked has the challenge of another connection: it gets the one of this.
    if answer.as_ref().is_err_and(|why| why == OTHER_CHALLENGE) && session.viewer.read().keys.is_empty() {
        session.outbox.text(session.challenge.message());
    }
    session.outbox.text(match answer {
        Ok(()) => reply::ok(&id, true, ""),
        Err(why) => {
            session.log.refused("AUTH", &why);
            reply::ok(&id, false, &why)
        }
    });
}

/// The refusal of an event for another challenge, or for one that was never sent.
const OTHER_CHALLENGE: &str = "invalid: this is not the challenge of this connection";

async fn accept(session: &mut Session, event: Event) -> Result<PublicKey, String> {
    check(session, &event, clock::now())?;
    // One signature, awaited: what the client sends next may rely on it.
    match session.readers().run(move |_| verify::verify(event)).await {
        Ok(Ok(event)) => Ok(event.pubkey),
        Ok(Err(error)) => {
            false_signature(session);
            Err(format!("invalid: {error}"))
        }
        Err(stopped) => Err(format!("error: {stopped}")),
    }
}

/// A false signature of AUTH costs its sender what one of an event does.
fn false_signature(session: &mut Session) {
    let now = Instant::now();
    if session.account.false_events(1, now) || session.account.refused_for(now).is_some() {
        session.outbox.close(Closing::FalseEvents);
    }
    let delay = session.account.delay(now);
    session.limiter.pause(delay, now);
}

fn check(session: &Session, event: &Event, now: Timestamp) -> Result<(), String> {
    if event.kind != AUTH {
        return Err(format!("invalid: an AUTH event has kind {AUTH}"));
    }
    if event.created_at.abs_diff(now) > session.relay.config.auth.max_age_seconds {
        return Err("invalid: created_at is too far from now".into());
    }
    if event.expires_at().is_some_and(|at| at <= now) {
        return Err("invalid: the event has expired".into());
    }
    if !event.tags.value("challenge").is_some_and(|challenge| session.challenge.is(challenge)) {
        return Err(OTHER_CHALLENGE.into());
    }
    let relay = event.tags.value("relay").ok_or("invalid: the relay tag is missing")?;
    let is_host = |host: &String| ["ws", "wss"].iter().any(|scheme| is_same(relay, &format!("{scheme}://{host}")));
    if !session.relay.urls.contains(relay) && !session.greeting.host.as_ref().is_some_and(is_host) {
        return Err(other_relay(session));
    }
    Ok(())
}

fn other_relay(session: &Session) -> String {
    let urls: Vec<&str> = session.relay.config.server.public_url.iter().collect();
    match urls.as_slice() {
        [] => format!(
            "invalid: this relay is {}; for another name its operator has to set server.public_url",
            session.relay.public_url
        ),
        urls => format!("invalid: this relay is {}", urls.join(", ")),
    }
}

fn add(session: &Session, key: PublicKey) -> Result<(), String> {
    let mut viewer = session.viewer.write();
    if viewer.keys.contains(&key) {
        return Ok(());
    }
    if viewer.keys.len() >= session.relay.config.auth.keys_max {
        return Err("restricted: too many keys on one connection".into());
    }
    viewer.keys.push(key);
    Ok(())
}
