//! The relays of `[[bridge.upstream]]`: blocks and heads of bridged rooms flow to them and from them.
//!
//! One task for each. It connects, subscribes to what is new there, listens to what is new here, and only then compares
//! what either side has, so that nothing falls in between. From then on it follows, and now and then compares again. An
//! id that came from there, or that they took, is not sent there.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::Heard;
use super::done::Range;
use super::fault::Fault;
use super::link::Link;
use super::local::{Local, Memory};
use super::pace::Pace;
use super::session::{Feed, May, Session, Turn};
use super::shared::{filter, is_shared};
use super::tally::Tally;
use super::walk::{Job, walk};
use crate::bridge::keys::Signers;
use crate::clock::{self, Timestamp};
use crate::config::{self, Config, Direction};
use crate::dial::Backoff;
use crate::event::{CREATED_AT_MAX, Event};
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::ingest::Ingest;
use crate::message::reply::EventHead;
use crate::metrics::{UPSTREAM_CONNECTED, UPSTREAM_CONNECTIONS, UPSTREAM_EVENTS};
use crate::outbox::Outbox;
use crate::pico::carry::Modes;
use crate::store::Readers;
use crate::subscription::{Key, Subscriptions};

/// How often the numbers are brought up to date.
const LOOK: Duration = Duration::from_secs(1);

/// Events may come late: a relay that has none of the newest may still lack older ones.
const LATE_SECONDS: u64 = 3600;

/// Events of one upstream stay in order, in a lane of their own. Those of connections count up from 0.
const FIRST_LANE: u64 = 1 << 62;

/// What the work with upstream relays needs.
pub struct Parts {
    /// The running configuration.
    pub config: Arc<Config>,
    /// Queries.
    pub readers: Readers,
    /// Events in.
    pub ingest: Ingest,
    /// Events out, live.
    pub subscriptions: Subscriptions,
    /// Sign for the relay.
    pub signers: Arc<Signers>,
    /// How rooms are bridged.
    pub modes: Arc<Modes>,
    /// What an upstream relay may see.
    pub viewer: Viewer,
    /// Told to stop.
    pub stop: CancellationToken,
}

/// The work with each of them, which ends when the relay stops.
pub fn tasks(parts: &Parts) -> Vec<impl Future<Output = ()> + Send + use<>> {
    let upstreams = parts.config.bridge.upstream.iter().filter(|_| parts.config.pico.enabled);
    (FIRST_LANE..).zip(upstreams).map(|(lane, declared)| Upstream::new(parts, declared, lane).run()).collect()
}

/// One of them.
struct Upstream {
    url: String,
    /// Its host and port, for logs and metrics: what else is in a URL may be secret.
    name: String,
    direction: Direction,
    filter: Filter,
    may: Arc<May>,
    config: config::Sync,
    future_max: u64,
    local: Local,
    subscriptions: Subscriptions,
    signers: Arc<Signers>,
    stop: CancellationToken,
    memory: Arc<Memory>,
    /// When both sides had the same for the last time.
    in_step: Option<Timestamp>,
    /// When everything was compared for the last time.
    compared: Option<Instant>,
    /// What the counters show.
    shown: Tally,
}

impl Upstream {
    fn new(parts: &Parts, declared: &config::Upstream, lane: u64) -> Self {
        let config = parts.config.sync.clone();
        let (modes, rooms) = (Arc::clone(&parts.modes), declared.rooms.clone());
        let local =
            Local { readers: parts.readers.clone(), ingest: parts.ingest.clone(), viewer: parts.viewer.clone(), lane };
        Self {
            name: host_of(&declared.url),
            url: declared.url.clone(),
            direction: declared.direction,
            filter: filter(&parts.config, &declared.rooms),
            may: Arc::new(move |event: &Event| is_shared(&modes, &rooms, event)),
            future_max: parts.config.limits.created_at_future_seconds_max,
            local,
            subscriptions: parts.subscriptions.clone(),
            signers: Arc::clone(&parts.signers),
            stop: parts.stop.clone(),
            memory: Arc::new(Memory::new(&config)),
            config,
            in_step: None,
            compared: None,
            shown: Tally::default(),
        }
    }

    /// Connects, works, pauses, until the relay stops.
    async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_secs(self.config.pause_seconds_max));
        let mut failures = 0u32;
        self.show(false);
        loop {
            let began = Instant::now();
            let reached = self.compared;
            let fault = self.connect().await;
            self.show(false);
            self.count_end(fault.word());
            if matches!(fault, Fault::Stopped) {
                return;
            }
            let random = rand::random_range(0.0..1.0);
            let pause =
                if fault.is_hostile() { backoff.longest(random) } else { backoff.pause(began.elapsed(), random) };
            failures = if self.compared == reached { failures.saturating_add(1) } else { 1 };
            let (upstream, seconds) = (&self.name, pause.as_millis().div_ceil(1000));
            // One that stays away is told of once.
            if failures == 1 {
                tracing::warn!(%upstream, error = %fault, seconds, "the connection to an upstream relay ended; trying again");
            } else {
                tracing::debug!(%upstream, error = %fault, seconds, "an upstream relay cannot be used; trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// One connection, from handshake to end.
    async fn connect(&mut self) -> Fault {
        let signer = super::signer(&self.signers, &self.url);
        let link = match Link::connect(&self.url, &self.config, signer, self.stop.clone()).await {
            Ok(link) => link,
            Err(fault) => return fault,
        };
        self.count_end("connected");
        self.show(true);
        tracing::debug!(upstream = %self.name, "connected to an upstream relay");
        self.memory.forgive(Duration::from_secs(self.config.full_seconds));
        let local = self.local.clone();
        let mut session = Session::new(link, &local, Arc::clone(&self.memory), &self.config);
        session.may = Some(Arc::clone(&self.may));
        session.pace = Some(Pace::new(self.name.clone(), &self.config, Instant::now()));
        let fault = match Box::pin(self.work(&mut session)).await {
            Ok(()) => Fault::Gone,
            Err(fault) => fault,
        };
        session.end(&fault).await;
        fault
    }

    /// Compares, and follows until it is time to compare again.
    async fn work(&mut self, session: &mut Session<'_>) -> Result<(), Fault> {
        if self.direction.is_down() {
            // No `since`: what is new there may be dated long ago.
            let live = Filter { limit: Some(1), ..self.filter.clone() }.json();
            let now = session.link.now();
            let live = session.link.client.live(self.filter.clone(), &live, now);
            // It may begin only when we have authenticated. What comes after comparing and before that would be missed.
            loop {
                match session.heard().await? {
                    Heard::End(name, _) if name == live => break,
                    Heard::Closed(_, why) => return Err(Fault::Refused(why)),
                    _ => {}
                }
            }
        }
        let mut is_first = true;
        loop {
            let listening = Listening::begin(self);
            self.compare(session).await?;
            if std::mem::take(&mut is_first) {
                let Tally { received, sent, .. } = *self.memory.tally.lock();
                tracing::info!(upstream = %self.name, received, sent, "in step with an upstream relay");
            }
            self.follow(session, &listening).await?;
        }
    }

    /// Everything, or after a short absence what is new since.
    async fn compare(&mut self, session: &mut Session<'_>) -> Result<(), Fault> {
        let full = Duration::from_secs(self.config.full_seconds);
        let is_due = session.may_compare() || self.compared.is_none_or(|at| at.elapsed() >= full);
        let now = clock::now();
        // Nothing later than this would be taken.
        let until = if self.future_max == 0 { CREATED_AT_MAX } else { (now + self.future_max).min(CREATED_AT_MAX) };
        let since = if is_due { 0 } else { self.in_step.map_or(0, |at| at.saturating_sub(LATE_SECONDS)) };
        let job = Job { filter: self.filter.clone(), down: self.direction.is_down(), up: self.direction.is_up() };
        let crowded = self.memory.tally.lock().crowded;
        let mut show = |_| {
            self.show(true);
            Ok(())
        };
        walk(session, &job, vec![Range { since, until }], &mut show).await?;
        let crowded = self.memory.tally.lock().crowded - crowded;
        if crowded > 0 {
            let upstream = &self.name;
            tracing::warn!(%upstream, seconds = crowded, "in some seconds an upstream relay has more events than it gives at a time: chains of which none came may be missed");
        }
        self.in_step = Some(now);
        if is_due {
            self.compared = Some(Instant::now());
        }
        self.show(true);
        Ok(())
    }

    /// Until it is time to compare again.
    async fn follow(&mut self, session: &mut Session<'_>, listening: &Listening) -> Result<(), Fault> {
        session.takes = self.direction.is_down();
        let again = Instant::now() + Duration::from_secs(self.config.full_seconds);
        let mut feed = Feed { outbox: Arc::clone(&listening.outbox), look: Instant::now() + LOOK };
        loop {
            match session.turn(Some(&feed)).await? {
                Turn::Ours(id, body) => {
                    if !self.memory.there.contains(&id) {
                        session.offer(id, body).await?;
                    }
                }
                // The live subscription is the only request.
                Turn::Heard(Heard::Closed(_, why)) => return Err(Fault::Refused(why)),
                // It was refused, and began anew after a while.
                Turn::Heard(Heard::End(..)) => return Ok(()),
                Turn::Heard(_) | Turn::Handled => {}
                Turn::Overrun => {
                    tracing::info!(upstream = %self.name, "events come faster than an upstream relay takes them");
                    return Ok(());
                }
                Turn::Tick => {
                    self.in_step = Some(clock::now());
                    self.show(true);
                    if Instant::now() >= again {
                        return Ok(());
                    }
                    feed.look = Instant::now() + LOOK;
                }
            }
        }
    }

    fn count_end(&self, outcome: &'static str) {
        metrics::counter!(UPSTREAM_CONNECTIONS, "upstream" => self.name.clone(), "outcome" => outcome).increment(1);
    }

    /// Brings the numbers up to date.
    fn show(&mut self, is_connected: bool) {
        let upstream = self.name.clone();
        metrics::gauge!(UPSTREAM_CONNECTED, "upstream" => upstream.clone()).set(f64::from(u8::from(is_connected)));
        let tally = self.memory.tally.lock().clone();
        for (outcome, count) in tally.words(&self.shown) {
            let labels = [("upstream", upstream.clone()), ("outcome", outcome.to_owned())];
            metrics::counter!(UPSTREAM_EVENTS, &labels).increment(count);
        }
        self.shown = tally;
    }
}

/// Hears what is new here.
struct Listening {
    outbox: Arc<Outbox>,
    subscription: Option<(Subscriptions, Key)>,
}

impl Listening {
    fn begin(upstream: &Upstream) -> Self {
        let outbox = Arc::new(Outbox::new(upstream.config.outbox_bytes_max));
        let subscription = upstream.direction.is_up().then(|| {
            let viewer = Arc::new(RwLock::new(upstream.local.viewer.clone()));
            let filters = Arc::from([upstream.filter.clone()]);
            let (key, _) = upstream.subscriptions.open(EventHead::new(""), filters, Arc::clone(&outbox), viewer);
            upstream.subscriptions.go_live(key, String::new(), clock::now());
            (upstream.subscriptions.clone(), key)
        });
        Self { outbox, subscription }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some((subscriptions, key)) = &self.subscription {
            subscriptions.close(*key);
        }
    }
}

/// Host and port of a URL.
pub fn host_of(url: &str) -> String {
    let parsed = nostr::types::url::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| url.host_str().map(|host| (host, url.port())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_no_secrets() {
        for (url, name) in [
            ("wss://user:pass@relay.example/path?token=1", "relay.example"),
            ("ws://[::1]:7420/", "[::1]:7420"),
            ("ws://a:80", "a"),
        ] {
            assert_eq!(host_of(url), name);
        }
    }
}
