//! Saying who we are (NIP-42).

use std::time::Duration;

use super::wait::Wait;
use super::{Client, short};
use crate::event::Id;
use crate::message::upstream as say;
use crate::sync::fault::Fault;

/// The longest challenge.
const CHALLENGE_BYTES_MAX: usize = 1024;

/// Attempts to authenticate on one connection: relays may send a new challenge.
pub(super) const AUTH_TRIES_MAX: u32 = 3;

pub(super) enum Auth {
    No,
    /// It is needed, and the challenge has not come.
    Wanted(Duration),
    Asked(Id, Duration),
    Done,
}

impl Client {
    pub(super) fn challenge(&mut self, challenge: &str, now: Duration) -> Result<(), Fault> {
        if challenge.len() > CHALLENGE_BYTES_MAX {
            return self.fault(now);
        }
        if self.challenge.replace(challenge.to_owned()).is_some() {
            self.fault(now)?;
        }
        if matches!(self.auth, Auth::Done) {
            self.auth = Auth::No;
        }
        self.authenticate(now);
        Ok(())
    }

    /// Authenticates if something waits for it.
    pub(super) fn authenticate(&mut self, now: Duration) {
        let is_wanted =
            matches!(self.auth, Auth::No | Auth::Wanted(_)) && self.waits().any(|wait| matches!(wait, Wait::Auth));
        if !is_wanted {
            return;
        }
        let signed = self.challenge.as_ref().and_then(|challenge| (self.sign)(challenge));
        match signed {
            Some((id, json)) => {
                self.auth_tries += 1;
                self.out.push_back(say::auth(&json));
                self.auth = Auth::Asked(id, now);
            }
            None if matches!(self.auth, Auth::No) => self.auth = Auth::Wanted(now),
            None => {}
        }
    }

    pub(super) fn authenticated(&mut self, accepted: bool, why: &str, now: Duration) -> Result<(), Fault> {
        if !accepted {
            return Err(Fault::Refused(format!("AUTH: {}", short(why))));
        }
        self.auth = Auth::Done;
        self.say_again(now, |wait| matches!(wait, Wait::Auth));
        Ok(())
    }

    pub(super) fn auth_deadline(&self) -> Option<Duration> {
        match self.auth {
            Auth::Wanted(since) | Auth::Asked(_, since) => {
                Some(since + Duration::from_secs(self.config.answer_seconds))
            }
            Auth::No | Auth::Done => None,
        }
    }
}
