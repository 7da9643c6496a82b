//! What a client has open, and the dispatch of its messages. Answers go to the outbox; see `message/` for each.

use std::borrow::Cow;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::metrics::counter;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use hashbrown::HashMap;
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use super::{Budget, Limiter, Outbox};
use crate::account::Account;
use crate::app::App;
use crate::event::{Event, Id};
use crate::guard::Viewer;
use crate::http::metrics::{self, MESSAGES};
use crate::ingest::{Answers, Client, Outcome, Source};
use crate::message::neg::Reconciliation;
use crate::message::{self, ClientMessage, reply};
use crate::subscription::Key;

/// Work that a session has under way: scans, counts. Polled by the connection's task, dropped with it.
pub type Work = FuturesUnordered<Abortable<Pin<Box<dyn Future<Output = ()> + Send>>>>;

/// One connection's state.
pub struct Session {
    /// The relay.
    pub app: Arc<App>,
    /// Tells connections apart.
    pub number: u64,
    /// Where the client is.
    pub address: IpAddr,
    /// What that address may use, and has used.
    pub account: Arc<Account>,
    /// Where answers go.
    pub outbox: Arc<Outbox>,
    /// The keys this client has proved to hold; live subscriptions look at them too.
    pub viewer: Arc<RwLock<Viewer>>,
    /// What an AUTH event must repeat.
    pub challenge: String,
    /// Open subscriptions by id.
    pub subscriptions: HashMap<Arc<str>, Open>,
    /// Open negentropy sessions by id.
    pub reconciliations: HashMap<String, Arc<Reconciliation>>,
    /// What is under way.
    pub work: Work,
    /// Events parsed and not yet handed to ingest.
    pub pending: Vec<Event>,
    answers: Arc<ClientAnswers>,
    limiter: Limiter,
    turns: Arc<Semaphore>,
}

/// A subscription of this client.
pub struct Open {
    /// In the live index.
    pub key: Key,
    /// Stops its scan.
    pub scan: AbortHandle,
}

impl Session {
    /// A new connection. Greets with the challenge of NIP-42.
    pub fn new(app: Arc<App>, number: u64, (address, account): (IpAddr, Arc<Account>)) -> Self {
        let outbox = Arc::new(Outbox::new(app.config.limits.outbox_bytes_max));
        let challenge = data_encoding::HEXLOWER.encode(&rand::random::<[u8; 16]>());
        outbox.text(reply::auth(&challenge));
        Self {
            number,
            address,
            account,
            viewer: Arc::new(RwLock::new(app.stranger())),
            challenge,
            subscriptions: HashMap::new(),
            reconciliations: HashMap::new(),
            work: Work::new(),
            pending: Vec::new(),
            answers: Arc::new(ClientAnswers { outbox: Arc::clone(&outbox), in_flight: AtomicUsize::new(0) }),
            limiter: Limiter::new(&app.config.limits),
            turns: Arc::new(Semaphore::new(app.config.limits.queries_at_once_max)),
            outbox,
            app,
        }
    }

    /// True while another message may be read from the socket.
    pub fn may_read(&self) -> bool {
        self.in_flight() < self.app.config.limits.events_in_flight_max && self.outbox.has_room()
    }

    /// Events that wait for their OK.
    pub fn in_flight(&self) -> usize {
        self.answers.in_flight.load(Ordering::Acquire)
    }

    /// Takes in one text message.
    pub async fn text(&mut self, text: &str) {
        let limits = &self.app.config.limits;
        if text.len() > limits.message_bytes_max {
            return self.oversize(text);
        }
        let message = match ClientMessage::parse(text) {
            Ok(message) => message,
            Err(refusal) => {
                counter!(MESSAGES, "type" => "other").increment(1);
                return self.outbox.text(refusal.0);
            }
        };
        counter!(MESSAGES, "type" => message.name()).increment(1);
        if !self.limiter.take(Budget::Message) {
            return self.refuse(&message, "rate-limited: too many messages, slow down");
        }
        let queries = matches!(message, ClientMessage::Req(..) | ClientMessage::Count(..) | ClientMessage::NegOpen(..));
        if queries && !self.limiter.take(Budget::Query) {
            return self.refuse(&message, "rate-limited: too many queries, slow down");
        }
        match message {
            ClientMessage::Event(json) => message::event::handle(self, json),
            ClientMessage::Req(id, filters) => message::req::handle(self, &id, &filters),
            ClientMessage::Close(id) => message::close::handle(self, &id),
            ClientMessage::Auth(json) => message::auth::handle(self, json).await,
            ClientMessage::Count(id, filters) => message::count::handle(self, &id, &filters),
            ClientMessage::NegOpen(id, filter, hex) => message::neg::open(self, &id, filter, &hex),
            ClientMessage::NegMsg(id, hex) => message::neg::message(self, &id, &hex),
            ClientMessage::NegClose(id) => message::neg::close(self, &id),
        }
    }

    /// Hands the pending events to ingest.
    pub async fn flush_events(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.pending);
        self.answers.in_flight.fetch_add(events.len(), Ordering::AcqRel);
        let source = Source::Client(Client { keys: self.viewer.read().keys.clone(), address: self.address });
        let answers: Arc<dyn Answers> = Arc::clone(&self.answers) as _;
        self.app.ingest.submit(self.number, events, source, answers).await;
    }

    /// Starts work that can be stopped.
    ///
    /// Of one connection a few run at once, the others wait in order: who asks much waits behind themselves.
    pub fn start(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        let turns = Arc::clone(&self.turns);
        let in_turn = async move {
            let _turn = turns.acquire().await;
            work.await;
        };
        self.work.push(Abortable::new(Box::pin(in_turn), registration));
        handle
    }

    /// Ends a subscription, if it is open. Nothing is sent for it any more, but for what is already in the outbox.
    pub fn end_subscription(&mut self, id: &str) {
        if let Some(open) = self.subscriptions.remove(id) {
            open.scan.abort();
            self.app.subscriptions.close(open.key);
        }
    }

    /// Refuses a message for a reason that has nothing to do with what it says.
    fn refuse(&mut self, message: &ClientMessage<'_>, why: &str) {
        self.outbox.text(match message {
            ClientMessage::Event(json) | ClientMessage::Auth(json) => match message::event::claimed_id(json) {
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

    /// A message that is too large is not parsed; its id or subscription, if near the start, is answered.
    fn oversize(&mut self, text: &str) {
        counter!(MESSAGES, "type" => "other").increment(1);
        let why = format!("invalid: message is larger than {} bytes", self.app.config.limits.message_bytes_max);
        self.outbox.text(match message::event::claimed_id_in(text) {
            Some(id) if text.trim_start().starts_with("[\"EVENT\"") => reply::ok(&id, false, &why),
            _ => match message::leading_id(text) {
                Some((verb, id)) if verb == "REQ" || verb == "COUNT" => reply::closed(&id, &why),
                Some((verb, id)) if verb.starts_with("NEG-") => reply::neg_err(&id, &why),
                _ => reply::notice(&why),
            },
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for (_, open) in self.subscriptions.drain() {
            self.app.subscriptions.close(open.key);
        }
    }
}

/// Turns outcomes into OKs.
struct ClientAnswers {
    outbox: Arc<Outbox>,
    in_flight: AtomicUsize,
}

impl Answers for ClientAnswers {
    fn answer(&self, outcomes: Vec<(Id, Outcome)>) {
        let count = outcomes.len();
        for (_, outcome) in &outcomes {
            let (outcome, reason) = outcome.labels();
            metrics::event(outcome, reason);
        }
        self.outbox.texts(outcomes.iter().map(|(id, outcome)| ok(id, outcome)));
        self.in_flight.fetch_sub(count, Ordering::AcqRel);
        self.outbox.wake();
    }
}

fn ok(id: &Id, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Saved(saved) => reply::saved(id, *saved),
        Outcome::Passed | Outcome::Shadowed => reply::ok(&id.to_hex(), true, ""),
        Outcome::Refused(why) => reply::ok(&id.to_hex(), false, Cow::as_ref(why)),
    }
}
