//! What a client has open, and the dispatch of its messages. Answers go to the outbox; see the file named after each.

mod answers;
mod auth;
mod challenge;
mod close;
mod count;
mod event;
mod limiter;
mod neg;
mod prepared;
mod relay;
mod req;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use ::metrics::counter;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use self::answers::ClientAnswers;
pub use self::challenge::Challenge;
pub use self::limiter::Limiter;
use self::prepared::{Prepared, parse_filters};
pub use self::relay::Relay;
use crate::account::{Account, AddressFlight, Budget, event_bytes};
use crate::bound::Held;
use crate::clientlog;
use crate::config;
use crate::door::Admission;
use crate::event::{Event, PublicKey};
use crate::fair::Owner;
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::ingest::Answers;
use crate::message::{ClientMessage, claimed_id, claimed_id_in, leading_id, reply};
use crate::metrics::MESSAGES;
use crate::outbox::Outbox;
use crate::source::{Client, Source};
use crate::store::Readers;
use crate::subscription::Key;

/// Work that a session has under way: scans, counts. Polled by the connection's task, dropped with it.
pub type Work = FuturesUnordered<Abortable<Pin<Box<dyn Future<Output = ()> + Send>>>>;

/// One connection's state.
pub struct Session {
    /// The relay.
    pub relay: Arc<Relay>,
    /// Tells connections apart.
    pub number: u64,
    /// Where the client is.
    pub address: IpAddr,
    /// What that address may use, and has used.
    pub account: Arc<Account>,
    /// Where to say what is refused to this client.
    pub log: clientlog::Client,
    /// Where answers go.
    pub outbox: Arc<Outbox>,
    /// The keys this client has proved to hold; live subscriptions look at them too.
    pub viewer: Arc<RwLock<Viewer>>,
    /// What an AUTH event must repeat.
    pub challenge: Arc<Challenge>,
    /// What it said when it connected.
    pub greeting: Greeting,
    /// Open subscriptions by id.
    pub subscriptions: HashMap<Arc<str>, Open>,
    /// Open negentropy sessions by id.
    pub reconciliations: HashMap<String, neg::Open>,
    /// What is under way.
    pub work: Work,
    /// Events parsed and not yet handed to ingest.
    pub pending: Vec<Event>,
    /// What was read of the message at hand beforehand.
    prepared: Mutex<Prepared>,
    answers: Arc<ClientAnswers>,
    limiter: Limiter,
    turns: Arc<Semaphore>,
}

/// What a client says when it connects.
#[derive(Clone, Default, Debug)]
pub struct Greeting {
    /// The name by which it found a relay that was given none, without a scheme. AUTH may be for that name.
    pub host: Option<String>,
    /// It reads the hints of EOSE (NIP-67).
    pub hints: bool,
}

/// A subscription of this client.
pub struct Open {
    /// In the live index.
    pub key: Key,
    /// Stops its scan.
    pub scan: AbortHandle,
    /// What is counted for its filters.
    pub held: Arc<Held>,
}

/// What a connection that is not read from waits for, beside its own answers.
pub enum Wait {
    /// Only for those.
    Answers,
    /// A time.
    Until(Instant),
    /// That less of its address, or of all, is under way.
    Flight(Arc<AddressFlight>),
}

impl Wait {
    /// Waits for it.
    pub async fn over(self) {
        match self {
            Self::Answers => std::future::pending().await,
            Self::Until(until) => tokio::time::sleep_until(until.into()).await,
            Self::Flight(flight) => flight.room().await,
        }
    }
}

const TOO_MANY_MESSAGES: &str = "rate-limited: too many messages, slow down";

/// How long a connection that was closed properly waits for what becomes of its last events.
const LINGER: Duration = Duration::from_secs(5);

impl Session {
    /// A new connection.
    pub fn new(relay: Arc<Relay>, number: u64, admission: &Admission, greeting: Greeting) -> Self {
        let account = Arc::clone(admission.account());
        let outbox = relay.outboxes.open(relay.config.limits.outbox_bytes_max);
        let viewer = Arc::new(RwLock::new(relay.stranger()));
        let challenge = Arc::new(Challenge::new(Arc::clone(&viewer)));
        if relay.config.auth.required || relay.config.auth.challenge == config::Challenge::Connect {
            outbox.text(challenge.message());
        }
        let (log, told) = (admission.log().clone(), Arc::clone(&challenge));
        let answers = ClientAnswers::new(Arc::clone(&outbox), Arc::clone(&account), log, told);
        Self {
            number,
            address: admission.client(),
            log: admission.log().clone(),
            viewer,
            challenge,
            greeting,
            subscriptions: HashMap::new(),
            reconciliations: HashMap::new(),
            work: Work::new(),
            pending: Vec::new(),
            prepared: Mutex::default(),
            answers: Arc::new(answers),
            limiter: Limiter::new(&relay.config.limits, Arc::clone(&account)),
            account,
            turns: Arc::new(Semaphore::new(relay.config.limits.queries_at_once_max)),
            outbox,
            relay,
        }
    }

    /// True while another message may be read from the socket.
    pub fn may_read(&self) -> bool {
        let limits = &self.relay.config.limits;
        let is_proven = self.answers.sends_true_events();
        let in_flight_max = if is_proven { usize::MAX } else { limits.events_in_flight_unproven_max };
        self.in_flight() < in_flight_max.min(limits.events_in_flight_max)
            && self.answers.bytes.load(Ordering::Relaxed) < limits.events_in_flight_bytes_max
            && self.outbox.has_room()
            && self.account.flight().has_room()
            && self.limiter.paused_until().is_none()
    }

    /// What it waits for when it may not be read from.
    pub fn wait(&self) -> Wait {
        match self.limiter.paused_until() {
            Some(until) => Wait::Until(until),
            None if !self.account.flight().has_room() => Wait::Flight(Arc::clone(self.account.flight())),
            None => Wait::Answers,
        }
    }

    /// Events that wait for their OK.
    pub fn in_flight(&self) -> usize {
        self.answers.in_flight.load(Ordering::Acquire)
    }

    /// Waits, when the client has closed the connection, until its last events are saved or refused, so that they are not
    /// given up as those of a connection that broke.
    pub async fn linger(&mut self) {
        let answers = Arc::clone(&self.answers);
        let answered = std::future::poll_fn(|context| {
            answers.outbox.register(context);
            if answers.in_flight.load(Ordering::Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = tokio::time::timeout(LINGER, answered).await;
    }

    /// Whose work its events and queries are.
    pub fn owner(&self) -> Owner {
        let key = self.viewer.read().keys.first().map_or(0, key_number);
        Owner { account: self.account.number(), key, connection: self.number }
    }

    /// The readers as this client has them: its address shares them with other addresses, within it keys, and connections
    /// that have not proved any, share with each other.
    pub fn readers(&self) -> Readers {
        let Owner { key, connection, .. } = self.owner();
        let member = if key == 0 { connection } else { key };
        self.relay.readers.of(&self.account.holdings.party, member)
    }

    /// Counts a message of so many bytes that is not for us. False when the client sends too many: nothing is answered then,
    /// and soon nothing read.
    pub fn takes(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        self.limiter.take(Budget::Bytes, bytes, now) && self.limiter.take(Budget::Message, 1, now)
    }

    /// Takes in one text message.
    pub async fn text(&mut self, text: &Utf8Bytes) {
        let limits = &self.relay.config.limits;
        if text.len() > limits.message_bytes_max {
            let why = format!("invalid: message is larger than {} bytes", limits.message_bytes_max);
            return self.refuse_unread(text, &why);
        }
        let now = Instant::now();
        if !self.limiter.take(Budget::Bytes, text.len(), now) {
            return self.refuse_unread(text, "rate-limited: too many bytes, slow down");
        }
        let is_large = text.len() > limits.large_message_bytes;
        if is_large {
            if !self.limiter.take(Budget::Message, 1, now) {
                return self.refuse_unread(text, TOO_MANY_MESSAGES);
            }
            let (unread, filters_max) = (text.clone(), limits.filters_max);
            let cost = (text.len() / PARSED_PER_COST) as u64;
            match self.relay.parsers.run(self.owner(), cost, move || Prepared::of(&unread, filters_max)).await {
                Ok(Ok(prepared)) => *self.prepared.lock() = prepared,
                Ok(Err(refusal)) => {
                    counter!(MESSAGES, "type" => "other").increment(1);
                    self.log.refused("other", "invalid: no message of a client");
                    return self.outbox.text(refusal.0);
                }
                Err(stopped) => return self.refuse_unread(text, &format!("error: {stopped}")),
            }
        }
        self.parsed(text, is_large, now).await;
        if is_large {
            *self.prepared.lock() = Prepared::default();
        }
    }

    /// Takes in a message, which may be `counted` already.
    async fn parsed(&mut self, text: &str, counted: bool, now: Instant) {
        let message = match ClientMessage::parse(text) {
            Ok(message) => message,
            Err(refusal) => {
                counter!(MESSAGES, "type" => "other").increment(1);
                self.log.refused("other", "invalid: no message of a client");
                self.limiter.take(Budget::Message, 1, now);
                return self.outbox.text(refusal.0);
            }
        };
        counter!(MESSAGES, "type" => message.name()).increment(1);
        if !counted && !self.limiter.take(Budget::Message, 1, now) {
            return self.refuse(&message, TOO_MANY_MESSAGES);
        }
        let queries = matches!(message, ClientMessage::Req(..) | ClientMessage::Count(..) | ClientMessage::NegOpen(..));
        if queries {
            if !self.limiter.take(Budget::Query, 1, now) {
                return self.refuse(&message, "rate-limited: too many queries, slow down");
            }
            self.log.query();
        }
        if matches!(message, ClientMessage::Event(_)) && !self.answers.sends_true_events() {
            let delay = self.account.delay(now);
            self.limiter.pause(delay, now);
        }
        match message {
            ClientMessage::Event(json) => event::handle(self, json),
            ClientMessage::Req(id, filters) => req::handle(self, &id, &filters),
            ClientMessage::Close(id) => close::handle(self, &id),
            ClientMessage::Auth(json) => {
                auth::handle(self, json).await;
                self.limiter.set_keys(&self.relay.accounts, &self.viewer.read().keys);
            }
            ClientMessage::Count(id, filters) => count::handle(self, &id, &filters),
            ClientMessage::NegOpen(id, filter, hex) => neg::open(self, &id, filter, &hex),
            ClientMessage::NegMsg(id, hex) => neg::message(self, &id, &hex),
            ClientMessage::NegClose(id) => neg::close(self, &id),
        }
    }

    /// Hands the pending events to ingest.
    pub async fn flush_events(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.pending);
        self.answers.in_flight.fetch_add(events.len(), Ordering::AcqRel);
        let bytes = events.iter().map(event_bytes).sum();
        let held = self.account.flight().hold(bytes, &self.answers.bytes);
        let is_awaited = self.answers.sends_true_events() || !self.account.is_suspect();
        let source = Source::Client(Client { keys: self.viewer.read().keys.clone(), address: self.address });
        let answers: Arc<dyn Answers> = Arc::clone(&self.answers) as _;
        self.relay.ingest.submit_for(self.owner(), events, source, answers, held, is_awaited).await;
    }

    /// Reads the event of the message at hand.
    pub fn parse_event(&self, json: &str) -> Result<Event, String> {
        self.prepared.lock().event.take().unwrap_or_else(|| Event::parse(json))
    }

    /// Reads the filters of the message at hand.
    pub fn parse_filters(&self, filters: &[&str]) -> Result<Vec<Filter>, String> {
        self.prepared.lock().filters.take().unwrap_or_else(|| parse_filters(filters))
    }

    /// Starts work that can be stopped.
    ///
    /// Of one connection a few run at once, the others wait in order: who asks much waits behind themselves.
    pub fn start(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let turns = Arc::clone(&self.turns);
        self.start_beside(async move {
            let _turn = turns.acquire().await;
            work.await;
        })
    }

    /// Starts work that takes no turn, since it only waits.
    pub fn start_beside(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        self.work.push(Abortable::new(Box::pin(work), registration));
        handle
    }

    /// Refuses something for a reason, with the challenge before it if AUTH is what is missing.
    pub fn answer_refused(&self, why: &str, answer: String) {
        self.challenge.refuse(&self.outbox, why, answer);
    }

    /// Ends a subscription, if it is open. Nothing is sent for it any more, but for what is already in the outbox.
    pub fn end_subscription(&mut self, id: &str) {
        if let Some(open) = self.subscriptions.remove(id) {
            open.scan.abort();
            self.relay.subscriptions.close(open.key);
        }
    }

    /// Answers a query with CLOSED instead of events.
    pub fn refused(&self, what: &'static str, id: &str, why: &str) {
        self.log.refused(what, why);
        self.answer_refused(why, reply::closed(id, why));
    }

    /// Refuses a message for a reason that has nothing to do with what it says.
    fn refuse(&mut self, message: &ClientMessage<'_>, why: &str) {
        self.log.refused(message.name(), why);
        self.outbox.text(match message {
            ClientMessage::Event(json) | ClientMessage::Auth(json) => match claimed_id(json) {
                Some(id) => reply::ok(&id, false, why),
                None => reply::notice(why),
            },
            ClientMessage::Req(id, _) | ClientMessage::Count(id, _) => reply::closed(id, why),
            ClientMessage::NegOpen(id, ..) | ClientMessage::NegMsg(id, _) => reply::neg_err(id, why),
            ClientMessage::Close(_) | ClientMessage::NegClose(_) => reply::notice(why),
        });
        // Who closes something means it, whatever else they did.
        match message {
            ClientMessage::Close(id) => self.end_subscription(id),
            ClientMessage::NegClose(id) => {
                self.reconciliations.remove(id.as_ref());
            }
            _ => {}
        }
    }

    /// Refuses a message that is not parsed: its id or subscription, if near the start, is answered.
    fn refuse_unread(&mut self, text: &str, why: &str) {
        counter!(MESSAGES, "type" => "other").increment(1);
        self.log.refused("other", why);
        self.outbox.text(match claimed_id_in(text) {
            Some(id) if text.trim_start().starts_with("[\"EVENT\"") => reply::ok(&id, false, why),
            _ => match leading_id(text) {
                Some((verb, id)) if verb == "REQ" || verb == "COUNT" => reply::closed(&id, why),
                Some((verb, id)) if verb.starts_with("NEG-") => reply::neg_err(&id, why),
                _ => reply::notice(why),
            },
        });
    }
}

/// Bytes of a message that take about a microsecond to be parsed.
const PARSED_PER_COST: usize = 256;

/// The start of a key, which names it among those of an address.
fn key_number(key: &PublicKey) -> u64 {
    key.0.first_chunk().map_or(0, |start| u64::from_be_bytes(*start).max(1))
}

impl Drop for Session {
    fn drop(&mut self) {
        self.relay.ingest.forget(self.owner());
        for (_, open) in self.subscriptions.drain() {
            self.relay.subscriptions.close(open.key);
        }
    }
}
