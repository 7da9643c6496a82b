//! AUTH (NIP-42): a client proves that it holds a key. Several keys of one connection count side by side.

use super::reply;
use crate::clock::{self, Timestamp};
use crate::connection::Session;
use crate::event::{Event, PublicKey};
use crate::verify;

/// Kind of an AUTH event.
pub const AUTH: u16 = 22242;

pub(crate) async fn handle(session: &mut Session, json: &str) {
    let event = match Event::parse(json) {
        Ok(event) => event,
        Err(why) => {
            let why = format!("invalid: {why}");
            return session.outbox.text(match super::event::claimed_id(json) {
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
    session.outbox.text(match answer {
        Ok(()) => reply::ok(&id, true, ""),
        Err(why) => reply::ok(&id, false, &why),
    });
}

async fn accept(session: &mut Session, event: Event) -> Result<PublicKey, String> {
    check(session, &event, clock::now())?;
    // One signature, awaited: what the client sends next may rely on it.
    match session.app.readers.run(move |_| verify::verify(event)).await {
        Ok(Ok(event)) => Ok(event.pubkey),
        Ok(Err(error)) => Err(format!("invalid: {error}")),
        Err(stopped) => Err(format!("error: {stopped}")),
    }
}

fn check(session: &Session, event: &Event, now: Timestamp) -> Result<(), String> {
    if event.kind != AUTH {
        return Err(format!("invalid: an AUTH event has kind {AUTH}"));
    }
    if event.created_at.abs_diff(now) > session.app.config.auth.max_age_seconds {
        return Err("invalid: created_at is too far from now".into());
    }
    if event.tags.value("challenge") != Some(session.challenge.as_str()) {
        return Err("invalid: this is not the challenge of this connection".into());
    }
    let relay = event.tags.value("relay").ok_or("invalid: the relay tag is missing")?;
    if !session.app.urls.contains(relay) {
        return Err(format!("invalid: this relay is {}", session.app.public_url));
    }
    Ok(())
}

fn add(session: &Session, key: PublicKey) -> Result<(), String> {
    let mut viewer = session.viewer.write();
    if viewer.keys.contains(&key) {
        return Ok(());
    }
    if viewer.keys.len() >= session.app.config.auth.keys_max {
        return Err("restricted: too many keys on one connection".into());
    }
    viewer.keys.push(key);
    Ok(())
}
