//! Comparing by negentropy (NIP-77): one session at a time.

use std::time::Duration;

use super::wait::Wait;
use super::{Client, Heard, short};
use crate::message::reply;
use crate::message::upstream as say;
use crate::sync::fault::Fault;

/// Some relays say in a NOTICE that they do not know NEG-OPEN, and nothing else: they are given this much longer.
const NOTICE_PATIENCE: Duration = Duration::from_secs(2);

/// The name of every negentropy session: there is one at a time. A counter follows.
const NEG: &str = "n";

pub(super) struct Session {
    pub(super) name: String,
    /// NEG-OPEN, until it is answered.
    pub(super) opening: Option<String>,
    /// A notice came meanwhile, which may be the answer.
    pub(super) noticed: Option<(Duration, String)>,
    pub(super) wait: Wait,
}

impl Client {
    /// Opens a negentropy session (NIP-77). The one before, if any, is closed.
    pub fn neg_open(&mut self, filter: &str, message: &[u8], now: Duration) {
        self.neg_close();
        let name = self.name(NEG);
        let text = say::neg_open(&name, filter, message);
        self.out.push_back(text.clone());
        self.session = Some(Session { name, opening: Some(text), noticed: None, wait: Wait::asked(now) });
    }

    /// Says the next message of the session.
    pub fn neg_say(&mut self, message: &[u8], now: Duration) {
        if let Some(session) = &mut self.session {
            self.out.push_back(reply::neg_msg(&session.name, message));
            session.wait = Wait::asked(now);
        }
    }

    /// Closes the session.
    pub fn neg_close(&mut self) {
        if let Some(session) = self.session.take() {
            self.out.push_back(say::neg_close(&session.name));
        }
    }

    /// True while NEG-OPEN is not answered.
    pub fn is_opening(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.opening.is_some())
    }

    pub(super) fn neg_message(&mut self, name: &str, message: Vec<u8>, now: Duration) -> Result<(), Fault> {
        match &mut self.session {
            Some(session) if session.name == name && matches!(session.wait, Wait::Answer { .. }) => {
                session.wait = Wait::None;
                session.opening = None;
                self.limited = 0;
                self.heard.push_back(Heard::Neg(message));
                Ok(())
            }
            _ => self.fault(now),
        }
    }

    pub(super) fn neg_error(&mut self, name: &str, why: &str, now: Duration) -> Result<(), Fault> {
        let Some(session) = self.session.as_ref().filter(|session| session.name == name) else { return Ok(()) };
        let wait = if session.opening.is_some() { self.later(why, now)? } else { None };
        match (wait, &mut self.session) {
            (Some(wait), Some(session)) => session.wait = wait,
            _ => {
                self.session = None;
                self.heard.push_back(Heard::NegErr(short(why)));
            }
        }
        self.authenticate(now);
        Ok(())
    }
}

pub(super) fn noticed_deadline(session: &Session) -> Option<Duration> {
    let (at, _) = session.noticed.as_ref().filter(|_| session.opening.is_some())?;
    Some(*at + NOTICE_PATIENCE)
}
