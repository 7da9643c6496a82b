//! One connection to another relay, as a state machine without IO. Text and time go in; what to send and what was heard
//! come out.
//!
//! The other relay is not trusted. Everything it may make us keep has a bound, everything asked of it has a time by which
//! it must be answered, and what it says without being asked, or that is not what was asked for, is counted: past
//! `sync.faults_max` in an hour the connection ends. `auth-required:` is answered with AUTH (NIP-42), `rate-limited:` with a
//! pause, after which events go out one by one at first and more at a time as they are taken. What was refused that way is
//! said again, and the caller does not notice.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::fault::Fault;
use super::known::Known;
use crate::clock::Timestamp;
use crate::config;
use crate::dial::Backoff;
use crate::event::{Event, Id};
use crate::filter::Filter;
use crate::message::reply;
use crate::message::upstream::{self as say, RelayMessage};

/// Signs the AUTH event for a challenge: its id and its JSON.
pub type Signer = Box<dyn Fn(&str) -> Option<(Id, String)> + Send>;

/// Names a REQ.
pub type Name = String;

/// What was heard.
#[derive(Debug)]
pub enum Heard {
    /// An event that was asked for: it matches, and came for the first time. Its id and signature may be wrong.
    Event(Box<Event>),
    /// All that is stored for a REQ has come, or as much as was asked for.
    End(Name, Page),
    /// A REQ was refused or ended, with the reason.
    Closed(Name, String),
    /// What became of an event we sent: taken (or known already), or refused with a reason.
    Sent(Id, Result<(), String>),
    /// The answer to our last negentropy message.
    Neg(Vec<u8>),
    /// The negentropy session has ended, with the reason. `unsupported:` where there is none at all.
    NegErr(String),
    /// Something for people.
    Notice(String),
    /// It said `rate-limited:`, so nothing is asked or sent for so long.
    Paused(Duration),
    /// The pause is over: events may be sent again.
    Resumed,
}

/// What came for a REQ.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Page {
    /// Time and id of each event, in the order they came.
    pub events: Vec<(Timestamp, Id)>,
    /// The relay says that nothing else matches (NIP-67).
    pub finish: bool,
}

/// The longest challenge.
const CHALLENGE_BYTES_MAX: usize = 1024;

/// Attempts to authenticate on one connection: relays may send a new challenge.
const AUTH_TRIES_MAX: u32 = 3;

/// Ids remembered of a live subscription.
const LIVE_IDS: usize = 1_000;

/// The longest pause after `rate-limited:`.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Faults are forgotten after this time: a connection may last for months.
const FAULTS_WINDOW: Duration = Duration::from_secs(3600);

/// Some relays say in a NOTICE that they do not know NEG-OPEN, and nothing else: they are given this much longer.
const NOTICE_PATIENCE: Duration = Duration::from_secs(2);

/// What is kept of a reason.
const REASON_CHARS_MAX: usize = 200;

/// The name of every negentropy session: there is one at a time. A counter follows.
const NEG: &str = "n";

/// The names of REQs; a counter follows.
const REQUEST: &str = "r";

/// Where a request is.
#[derive(Clone, Copy, Debug)]
enum Wait {
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
    fn asked(now: Duration) -> Self {
        Self::Answer { asked: now, last: now }
    }

    /// True when no sign of an answer came.
    fn is_untouched(self) -> bool {
        matches!(self, Self::Answer { asked, last } if asked == last)
    }
}

struct Request {
    /// What an event must match.
    filter: Filter,
    /// As it was sent.
    text: String,
    /// The most events. `None`: it stays open.
    limit: Option<usize>,
    ids: HashSet<Id>,
    page: Page,
    live: Known,
    wait: Wait,
}

struct Sent {
    json: String,
    wait: Wait,
}

struct Session {
    name: String,
    /// NEG-OPEN, until it is answered.
    opening: Option<String>,
    /// A notice came meanwhile, which may be the answer.
    noticed: Option<(Duration, String)>,
    wait: Wait,
}

enum Auth {
    No,
    /// It is needed, and the challenge has not come.
    Wanted(Duration),
    Asked(Id, Duration),
    Done,
}

/// One connection.
pub struct Client {
    config: config::Sync,
    sign: Signer,
    requests: HashMap<Name, Request>,
    sent: HashMap<Id, Sent>,
    sent_bytes: usize,
    session: Option<Session>,
    auth: Auth,
    challenge: Option<String>,
    auth_tries: u32,
    out: VecDeque<String>,
    heard: VecDeque<Heard>,
    names: u64,
    faults: u32,
    /// What was false or not asked for, since the beginning.
    unasked: u64,
    faults_since: Duration,
    /// Events that came for requests that had ended, since the last answer.
    stragglers: u32,
    pauses: Backoff,
    paused_until: Option<Duration>,
    /// Events that were refused as too fast, in order.
    paused: VecDeque<Id>,
    /// Events that may wait for their OK: one after a pause, and one more for each that is taken.
    window: usize,
    limited: u32,
}

impl Client {
    /// A new connection.
    pub fn new(config: config::Sync, sign: Signer) -> Self {
        let window = config.events_in_flight_max;
        Self {
            config,
            sign,
            requests: HashMap::new(),
            sent: HashMap::new(),
            sent_bytes: 0,
            session: None,
            auth: Auth::No,
            challenge: None,
            auth_tries: 0,
            out: VecDeque::new(),
            heard: VecDeque::new(),
            names: 0,
            faults: 0,
            unasked: 0,
            faults_since: Duration::ZERO,
            stragglers: 0,
            pauses: Backoff::new(PAUSE_MAX),
            paused_until: None,
            paused: VecDeque::new(),
            window,
            limited: 0,
        }
    }

    /// Asks for stored events, at most `limit`. What comes must match `filter`; `json` is what is sent, and may ask for
    /// more than that.
    pub fn page(&mut self, filter: Filter, json: &str, limit: usize, now: Duration) -> Name {
        self.request(filter, json, Some(limit), now)
    }

    /// Asks for events as they come, and a few that are stored.
    pub fn live(&mut self, filter: Filter, json: &str, now: Duration) -> Name {
        self.request(filter, json, None, now)
    }

    fn request(&mut self, filter: Filter, json: &str, limit: Option<usize>, now: Duration) -> Name {
        let name = self.name(REQUEST);
        let text = say::req(&name, json);
        self.out.push_back(text.clone());
        let request = Request {
            filter,
            text,
            limit,
            ids: HashSet::new(),
            page: Page::default(),
            live: Known::new(LIVE_IDS),
            wait: Wait::asked(now),
        };
        self.requests.insert(name.clone(), request);
        name
    }

    /// True while another event may be sent.
    pub fn may_send(&self) -> bool {
        self.sent.len() < self.window.min(self.config.events_in_flight_max)
            && self.sent_bytes < self.config.outbox_bytes_max
            && self.paused_until.is_none()
            && self.paused.is_empty()
    }

    /// Sends an event. [`Heard::Sent`] will say what became of it. One that is on its way already is not sent again.
    pub fn send(&mut self, id: Id, json: String, now: Duration) {
        if self.sent.contains_key(&id) {
            return;
        }
        self.sent_bytes += json.len();
        self.out.push_back(say::event(&json));
        self.sent.insert(id, Sent { json, wait: Wait::asked(now) });
    }

    /// Events that wait for their OK.
    pub fn in_flight(&self) -> usize {
        self.sent.len()
    }

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

    /// The next text to send.
    pub fn take(&mut self) -> Option<String> {
        self.out.pop_front()
    }

    /// True when there is something to send.
    pub fn has_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// The next thing that was heard.
    pub fn take_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// Takes in a text frame.
    pub fn hear(&mut self, text: &str, now: Duration) -> Result<(), Fault> {
        match RelayMessage::parse(text) {
            None | Some(RelayMessage::Other) => self.fault(now),
            Some(RelayMessage::Event(name, json)) => self.event(&name, json, now),
            Some(RelayMessage::Eose(name, finish)) => {
                self.eose(&name, finish);
                Ok(())
            }
            Some(RelayMessage::Closed(name, why)) => self.closed(&name, &why, now),
            Some(RelayMessage::Ok(id, accepted, why)) => self.ok(id, accepted, &why, now),
            Some(RelayMessage::Auth(challenge)) => self.challenge(&challenge, now),
            Some(RelayMessage::Notice(text)) => self.notice(&text, now),
            Some(RelayMessage::NegMsg(name, message)) => self.neg_message(&name, message, now),
            Some(RelayMessage::NegErr(name, why)) => self.neg_error(&name, &why, now),
        }
    }

    /// How much was false or not asked for, notices left aside.
    pub fn unasked(&self) -> u64 {
        self.unasked
    }

    /// Counts something that is false or that nobody asked for.
    pub fn fault(&mut self, now: Duration) -> Result<(), Fault> {
        self.unasked += 1;
        self.nuisance(now)
    }

    /// Counts something that nobody needs.
    fn nuisance(&mut self, now: Duration) -> Result<(), Fault> {
        if now > self.faults_since + FAULTS_WINDOW {
            self.faults_since = now;
            self.faults = 0;
        }
        self.faults += 1;
        if self.faults > self.config.faults_max { Err(Fault::Lies) } else { Ok(()) }
    }

    fn event(&mut self, name: &str, json: &str, now: Duration) -> Result<(), Fault> {
        let Some(request) = self.requests.get_mut(name) else { return self.straggler(name, now) };
        let Ok(event) = Event::parse(json) else { return self.fault(now) };
        if !request.filter.matches(&event) {
            return self.fault(now);
        }
        let (id, created_at) = (event.id, event.created_at);
        let is_new = if request.limit.is_some() { request.ids.insert(id) } else { request.live.insert(id) };
        if !is_new {
            return self.fault(now);
        }
        if let Wait::Answer { last, .. } = &mut request.wait {
            *last = now;
        }
        self.heard.push_back(Heard::Event(Box::new(event)));
        if let Some(limit) = request.limit {
            request.page.events.push((created_at, id));
            // Whatever follows was not asked for.
            if request.page.events.len() >= limit {
                self.eose(name, false);
            }
        }
        Ok(())
    }

    /// An event for a request that has ended. New events that match go on until the relay reads our CLOSE.
    fn straggler(&mut self, name: &str, now: Duration) -> Result<(), Fault> {
        let number = name.strip_prefix(REQUEST).and_then(|number| number.parse::<u64>().ok());
        let was_ours = number.is_some_and(|number| (1..=self.names).contains(&number));
        self.stragglers += 1;
        if was_ours && self.stragglers <= self.config.faults_max { Ok(()) } else { self.fault(now) }
    }

    fn eose(&mut self, name: &str, finish: bool) {
        // One that is gone had all it asked for.
        let Some(request) = self.requests.get_mut(name) else { return };
        self.limited = 0;
        self.stragglers = 0;
        let mut page = std::mem::take(&mut request.page);
        page.finish = finish;
        request.wait = Wait::None;
        if request.limit.is_some() {
            self.requests.remove(name);
            self.out.push_back(say::close(name));
        }
        self.heard.push_back(Heard::End(name.to_owned(), page));
    }

    fn closed(&mut self, name: &str, why: &str, now: Duration) -> Result<(), Fault> {
        if !self.requests.contains_key(name) {
            return Ok(());
        }
        let wait = self.later(why, now)?;
        let Some(request) = self.requests.get_mut(name) else { return Ok(()) };
        match wait {
            Some(wait) => {
                request.wait = wait;
                request.ids.clear();
                request.page = Page::default();
            }
            None => {
                self.requests.remove(name);
                self.heard.push_back(Heard::Closed(name.to_owned(), short(why)));
            }
        }
        self.authenticate(now);
        Ok(())
    }

    fn ok(&mut self, id: Id, accepted: bool, why: &str, now: Duration) -> Result<(), Fault> {
        if matches!(self.auth, Auth::Asked(asked, _) if asked == id) {
            return self.authenticated(accepted, why, now);
        }
        if !self.sent.contains_key(&id) {
            return self.fault(now);
        }
        // Who answers slowly answers.
        for sent in self.sent.values_mut() {
            if let Wait::Answer { last, .. } = &mut sent.wait {
                *last = now;
            }
        }
        let wait = if accepted { None } else { self.later(why, now)? };
        if let (Some(wait), Some(sent)) = (wait, self.sent.get_mut(&id)) {
            sent.wait = wait;
            if matches!(wait, Wait::Pause) {
                self.paused.push_back(id);
            }
            self.authenticate(now);
            return Ok(());
        }
        if let Some(sent) = self.sent.remove(&id) {
            self.sent_bytes -= sent.json.len();
        }
        self.limited = 0;
        self.window = (self.window + usize::from(accepted)).min(self.config.events_in_flight_max);
        self.release(now);
        let is_there = accepted || why.starts_with("duplicate:");
        self.heard.push_back(Heard::Sent(id, if is_there { Ok(()) } else { Err(short(why)) }));
        Ok(())
    }

    fn notice(&mut self, text: &str, now: Duration) -> Result<(), Fault> {
        if let Some(session) = self.session.as_mut().filter(|session| session.opening.is_some()) {
            session.noticed.get_or_insert_with(|| (now, short(text)));
        }
        self.heard.push_back(Heard::Notice(short(text)));
        self.nuisance(now)
    }

    fn neg_message(&mut self, name: &str, message: Vec<u8>, now: Duration) -> Result<(), Fault> {
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

    fn neg_error(&mut self, name: &str, why: &str, now: Duration) -> Result<(), Fault> {
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

    /// Whether something that was refused for this reason may be said again, and when.
    fn later(&mut self, why: &str, now: Duration) -> Result<Option<Wait>, Fault> {
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

    fn challenge(&mut self, challenge: &str, now: Duration) -> Result<(), Fault> {
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
    fn authenticate(&mut self, now: Duration) {
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

    fn authenticated(&mut self, accepted: bool, why: &str, now: Duration) -> Result<(), Fault> {
        if !accepted {
            return Err(Fault::Refused(format!("AUTH: {}", short(why))));
        }
        self.auth = Auth::Done;
        self.say_again(now, |wait| matches!(wait, Wait::Auth));
        Ok(())
    }

    fn waits(&self) -> impl Iterator<Item = &Wait> {
        let requests = self.requests.values().map(|request| &request.wait);
        let sent = self.sent.values().map(|sent| &sent.wait);
        requests.chain(sent).chain(self.session.iter().map(|session| &session.wait))
    }

    fn say_again(&mut self, now: Duration, which: impl Fn(&Wait) -> bool) {
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
    fn release(&mut self, now: Duration) {
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

    fn deadline_of(&self, wait: &Wait) -> Option<Duration> {
        match *wait {
            Wait::Answer { asked, last } => {
                let silent = last + Duration::from_secs(self.config.answer_seconds);
                Some(silent.min(asked + Duration::from_secs(self.config.request_seconds)))
            }
            Wait::Pause | Wait::Auth | Wait::None => None,
        }
    }

    fn auth_deadline(&self) -> Option<Duration> {
        match self.auth {
            Auth::Wanted(since) | Auth::Asked(_, since) => {
                Some(since + Duration::from_secs(self.config.answer_seconds))
            }
            Auth::No | Auth::Done => None,
        }
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }
}

fn noticed_deadline(session: &Session) -> Option<Duration> {
    let (at, _) = session.noticed.as_ref().filter(|_| session.opening.is_some())?;
    Some(*at + NOTICE_PATIENCE)
}

/// As much of a text as is kept and shown, without line breaks and the like.
fn short(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
