//! One connection to another relay, as a state machine without IO. Text and time go in; what to send and what was heard
//! come out.
//!
//! The other relay is not trusted. Everything it may make us keep has a bound, everything asked of it has a time by which
//! it must be answered, and what it says without being asked, or that is not what was asked for, is counted: past
//! `sync.faults_max` in an hour the connection ends. `auth-required:` is answered with AUTH (NIP-42), `rate-limited:` with a
//! pause, after which events go out one by one at first and more at a time as they are taken. What was refused that way is
//! said again, and the caller does not notice.

mod auth;
mod neg;
mod wait;

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use self::auth::Auth;
use self::neg::Session;
use self::wait::{PAUSE_MAX, Wait};
use super::fault::Fault;
use super::known::Known;
use crate::clock::Timestamp;
use crate::config;
use crate::dial::Backoff;
use crate::event::{Event, Id};
use crate::filter::Filter;
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
    /// As many came as were asked for: there may be more.
    pub is_full: bool,
}

/// Ids remembered of a live subscription.
const LIVE_IDS: usize = 1_000;

/// Faults are forgotten after this time: a connection may last for months.
const FAULTS_WINDOW: Duration = Duration::from_secs(3600);

/// What is kept of a reason.
const REASON_CHARS_MAX: usize = 200;

/// The names of REQs; a counter follows.
const REQUEST: &str = "r";

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

impl Request {
    /// Whether an event of that time is more than was asked for. An answer may go on to the end of its oldest second
    /// (NIP-67).
    fn is_beyond(&self, created_at: Timestamp, second_events_max: usize) -> bool {
        let Some(limit) = self.limit.filter(|limit| self.page.events.len() >= *limit) else { return false };
        let is_same_second = self.page.events.last().is_some_and(|(oldest, _)| *oldest == created_at);
        !is_same_second || self.page.events.len() - limit >= second_events_max
    }
}

struct Sent {
    json: String,
    wait: Wait,
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

    /// The largest page that has not ended: how many events were asked for, and whether some came.
    pub fn open_page(&self) -> Option<(usize, bool)> {
        let open = self.requests.values().filter_map(|request| Some((request.limit?, !request.page.events.is_empty())));
        open.max()
    }

    /// Events that wait for their OK.
    pub fn in_flight(&self) -> usize {
        self.sent.len()
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
        if request.is_beyond(created_at, self.config.second_events_max) {
            // Whatever follows was not asked for.
            self.eose(name, false);
            return self.straggler(name, now);
        }
        let is_new = if request.limit.is_some() { request.ids.insert(id) } else { request.live.insert(id) };
        if !is_new {
            return self.fault(now);
        }
        if let Wait::Answer { last, .. } = &mut request.wait {
            *last = now;
        }
        self.heard.push_back(Heard::Event(Box::new(event)));
        if request.limit.is_some() {
            request.page.events.push((created_at, id));
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
        page.is_full = request.limit.is_some_and(|limit| page.events.len() >= limit);
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

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }
}

/// As much of a text as is kept and shown, without line breaks and the like.
fn short(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
