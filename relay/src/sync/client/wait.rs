//! What must wait, and what is late: pauses after `rate-limited:`, what is said again, and answers that do not come.

use std::time::Duration;

use super::auth::{AUTH_TRIES_MAX, Auth};
use super::neg::{Session, noticed_deadline};
use super::{Client, Heard};
use crate::dial::Backoff;
use crate::event::Id;
use crate::message::upstream as say;
use crate::sync::fault::Fault;

/// The longest pause after `rate-limited:`.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Where a request is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// Asked then; the last sign of an answer came then.
    Answer { asked: Duration, last: Duration },
    /// Refused until we have authenticated.
    Auth,
    /// Refused until the pause is over.
    Pause,
    /// Nothing is expected.
    None,
}

impl Wait {
    pub(super) fn asked(now: Duration) -> Self {
        Self::Answer { asked: now, last: now }
    }

    /// True when no sign of an answer came.
    pub(super) fn is_untouched(self) -> bool {
        matches!(self, Self::Answer { asked, last } if asked == last)
    }
}

impl Client {
    /// Time has passed: says again what had to wait, and looks for what is overdue.
    pub fn tick(&mut self, now: Duration) -> Result<(), Fault> {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.say_again(now, |wait| matches!(wait, Wait::Pause));
            self.release(now);
            self.heard.push_back(Heard::Resumed);
        }
        let is_late = |wait: &Wait| self.deadline_of(wait).is_some_and(|at| at <= now);
        if self.requests.values().any(|request| is_late(&request.wait)) {
            return Err(Fault::Silent("a REQ"));
        }
        let unanswered = self.sent.iter().filter(|(_, sent)| is_late(&sent.wait));
        let unanswered: Vec<(Id, Wait)> = unanswered.map(|(id, sent)| (*id, sent.wait)).collect();
        if unanswered.iter().any(|(_, wait)| wait.is_untouched()) {
            return Err(Fault::Silent("an EVENT"));
        }
        if self.auth_deadline().is_some_and(|at| at <= now) {
            return Err(Fault::Silent("AUTH"));
        }
        let is_refused = |session: &Session| noticed_deadline(session).is_some_and(|at| at <= now);
        let late = self.session.as_ref().filter(|session| is_late(&session.wait) || is_refused(session));
        if let Some(session) = late {
            if session.opening.is_none() {
                return Err(Fault::Silent("NEG-MSG"));
            }
            let notice = session.noticed.as_ref().map_or("no answer to NEG-OPEN", |(_, text)| text);
            let why = format!("unsupported: {notice}");
            self.session = None;
            self.heard.push_back(Heard::NegErr(why));
        }
        // It answers others, and not these.
        for (id, _) in unanswered {
            if let Some(sent) = self.sent.remove(&id) {
                self.sent_bytes -= sent.json.len();
            }
            self.heard.push_back(Heard::Sent(id, Err("no answer".into())));
            self.release(now);
        }
        Ok(())
    }

    /// When [`Client::tick`] is to be called at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        let waits = self.waits().filter_map(|wait| self.deadline_of(wait));
        let noticed = self.session.iter().filter_map(noticed_deadline);
        waits.chain(noticed).chain(self.auth_deadline()).chain(self.paused_until).min()
    }

    pub(super) fn deadline_of(&self, wait: &Wait) -> Option<Duration> {
        match *wait {
            Wait::Answer { asked, last } => {
                let silent = last + Duration::from_secs(self.config.answer_seconds);
                Some(silent.min(asked + Duration::from_secs(self.config.request_seconds)))
            }
            Wait::Pause | Wait::Auth | Wait::None => None,
        }
    }

    /// Whether something that was refused for this reason may be said again, and when.
    pub(super) fn later(&mut self, why: &str, now: Duration) -> Result<Option<Wait>, Fault> {
        if why.starts_with("auth-required:") {
            let may_try = match self.auth {
                Auth::No => self.auth_tries < AUTH_TRIES_MAX,
                Auth::Wanted(_) | Auth::Asked(..) => true,
                Auth::Done => false,
            };
            return Ok(may_try.then_some(Wait::Auth));
        }
        if !why.starts_with("rate-limited:") {
            return Ok(None);
        }
        let until = match self.paused_until {
            // Said of what was sent before the pause.
            Some(until) => until,
            None => {
                self.limited += 1;
                if self.limited > self.config.retries_max {
                    return Err(Fault::RateLimited);
                }
                if self.limited == 1 {
                    self.pauses = Backoff::new(PAUSE_MAX);
                }
                let pause = self.pauses.pause(Duration::ZERO, 1.0);
                self.heard.push_back(Heard::Paused(pause));
                now + pause
            }
        };
        self.paused_until = Some(until);
        self.window = 1;
        Ok(Some(Wait::Pause))
    }

    pub(super) fn waits(&self) -> impl Iterator<Item = &Wait> {
        let requests = self.requests.values().map(|request| &request.wait);
        let sent = self.sent.values().map(|sent| &sent.wait);
        requests.chain(sent).chain(self.session.iter().map(|session| &session.wait))
    }

    pub(super) fn say_again(&mut self, now: Duration, which: impl Fn(&Wait) -> bool) {
        for request in self.requests.values_mut().filter(|request| which(&request.wait)) {
            request.wait = Wait::asked(now);
            self.out.push_back(request.text.clone());
        }
        for sent in self.sent.values_mut().filter(|sent| which(&sent.wait) && !matches!(sent.wait, Wait::Pause)) {
            sent.wait = Wait::asked(now);
            self.out.push_back(say::event(&sent.json));
        }
        if let Some(session) = self.session.as_mut().filter(|session| which(&session.wait)) {
            session.wait = Wait::asked(now);
            self.out.extend(session.opening.clone());
        }
    }

    /// Sends again what was refused as too fast, as far as the window allows.
    pub(super) fn release(&mut self, now: Duration) {
        let mut asked = self.sent.values().filter(|sent| matches!(sent.wait, Wait::Answer { .. })).count();
        while self.paused_until.is_none()
            && asked < self.window
            && let Some(id) = self.paused.pop_front()
        {
            if let Some(sent) = self.sent.get_mut(&id) {
                sent.wait = Wait::asked(now);
                self.out.push_back(say::event(&sent.json));
                asked += 1;
            }
        }
    }
}
