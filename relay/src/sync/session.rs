//! A connection at work: what comes goes in through `ingest`, what goes out waits for its turn, and the rest is told to
//! the caller.

mod ask;
mod kept;

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use hashbrown::HashSet;
use tokio::time::Instant;

use super::client::Heard;
use super::crowd::Crowd;
use super::fault::Fault;
use super::known::Known;
use super::link::Link;
use super::local::{Intake, Local, Memory, Window};
use super::pace::Pace;
use super::tally::Tally;
use crate::clock::{self, Timestamp};
use crate::config;
use crate::event::{Class, Event, Id};
use crate::outbox::Outbox;
use crate::policy::is_protected;
use crate::store::Body;

/// Events handed to `ingest` at a time.
const BATCH: usize = 128;

/// Bytes of such a batch.
const BATCH_BYTES: usize = 1 << 20;

/// Ids looked up at a time to be sent.
const LOOK_UP: usize = 200;

/// What is counted for an event beside its text.
const EVENT_BYTES: usize = 100;

/// For so long after an event was made its author may be about to replace it.
const REPLACED_SECONDS: Timestamp = 60;

/// What happened.
pub enum Turn {
    /// The other relay said something that the caller must handle.
    Heard(Heard),
    /// Something that was handled here.
    Handled,
    /// An event of ours came.
    Ours(Id, Body),
    /// So much time has passed.
    Tick,
    /// Our events come faster than they can be sent: some were lost on the way.
    Overrun,
}

/// What live events of ours come through, and when the caller wants to look around.
pub struct Feed {
    /// Their queue.
    pub outbox: Arc<Outbox>,
    /// When.
    pub look: Instant,
}

/// Which events may be sent at all.
pub type May = dyn Fn(&Event) -> bool + Send + Sync;

/// One connection at work.
pub struct Session<'a> {
    /// The connection.
    pub link: Link,
    /// Our side.
    pub local: &'a Local,
    /// What is remembered of the other.
    pub memory: Arc<Memory>,
    /// The options.
    pub config: config::Sync,
    /// False: what comes is looked at and not taken.
    pub takes: bool,
    /// What may be sent.
    pub may: Option<Arc<May>>,
    /// The crowded second that is just read.
    pub crowd: Option<Crowd>,
    /// What is looked for again, as far as it came and is true.
    kept: Option<HashSet<Id>>,
    /// How fast it is read, if not as fast as it comes.
    pub pace: Option<Pace>,
    /// Events that came and were handed on.
    pub came: usize,
    /// Their ids: pages overlap.
    taken: Known,
    intake: Arc<Intake>,
    pending: Vec<Event>,
    pending_bytes: usize,
    outgoing: VecDeque<(Id, Body)>,
    outgoing_bytes: usize,
    /// What we have where we are just comparing: that need not be taken in again.
    here: Option<Arc<Window>>,
    /// Heard while something else was awaited.
    backlog: VecDeque<Heard>,
    /// What of what the client says was false or not asked for is counted.
    unasked: u64,
    /// What the other had to answer for when the connection began.
    before: (u64, u64),
}

impl<'a> Session<'a> {
    /// On a new connection.
    pub fn new(link: Link, local: &'a Local, memory: Arc<Memory>, config: &config::Sync) -> Self {
        let intake = Intake::new(Arc::clone(&memory), config.intake_events_max, config.intake_bytes_max);
        let before = faults(&memory.tally.lock());
        Self {
            link,
            local,
            memory,
            config: config.clone(),
            takes: true,
            may: None,
            crowd: None,
            kept: None,
            pace: None,
            came: 0,
            taken: Known::new(config.known_ids_max),
            intake,
            pending: Vec::new(),
            pending_bytes: 0,
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            here: None,
            backlog: VecDeque::new(),
            unasked: 0,
            before,
        }
    }

    /// Says where we are comparing.
    pub fn compare_in(&mut self, window: Option<Arc<Window>>) {
        self.here = window;
    }

    /// The next thing that the caller must handle.
    pub async fn heard(&mut self) -> Result<Heard, Fault> {
        if let Some(heard) = self.backlog.pop_front() {
            return Ok(heard);
        }
        self.hear().await
    }

    async fn hear(&mut self) -> Result<Heard, Fault> {
        loop {
            if let Turn::Heard(heard) = self.turn(None).await? {
                return Ok(heard);
            }
        }
    }

    /// The next thing of any kind. Not to be dropped half-way.
    pub async fn turn(&mut self, feed: Option<&Feed>) -> Result<Turn, Fault> {
        self.send();
        self.check()?;
        if let Some(feed) = feed {
            // Who pours without a pause keeps neither time nor ours waiting.
            if Instant::now() >= feed.look {
                self.flush().await?;
                return Ok(Turn::Tick);
            }
            if self.has_room()
                && let Some(ours) = next_of(&feed.outbox).now_or_never()
            {
                return Ok(ours.map_or(Turn::Overrun, |(id, body)| Turn::Ours(id, body)));
            }
        }
        // What is there already is handled before we wait: events go in together.
        let heard = match self.link.next().now_or_never() {
            Some(heard) => heard?,
            None => {
                self.flush().await?;
                let has_room = self.has_room();
                match feed {
                    None => self.link.next().await?,
                    Some(feed) => tokio::select! {
                        biased;
                        heard = self.link.next() => heard?,
                        ours = next_of(&feed.outbox), if has_room => {
                            return Ok(ours.map_or(Turn::Overrun, |(id, body)| Turn::Ours(id, body)));
                        }
                        () = tokio::time::sleep_until(feed.look) => return Ok(Turn::Tick),
                    },
                }
            }
        };
        match heard {
            Heard::Event(event) => self.take(*event).await?,
            Heard::Sent(id, answer) => self.sent(id, &answer),
            Heard::Notice(text) => tracing::debug!(text, "a notice of another relay"),
            Heard::Paused(pause) => {
                tracing::debug!(seconds = pause.as_secs(), "another relay says rate-limited: pausing");
                self.memory.tally.lock().pauses += 1;
            }
            Heard::Resumed => {}
            heard => return Ok(Turn::Heard(heard)),
        }
        Ok(Turn::Handled)
    }

    async fn take(&mut self, event: Event) -> Result<(), Fault> {
        if let Some(kept) = &mut self.kept {
            // Few, and none that costs more than an event that comes.
            let id = event.id;
            match crate::verify::verify(event) {
                Ok(_) => _ = kept.insert(id),
                Err(_) => self.memory.tally.lock().unasked += 1,
            }
            return Ok(());
        }
        self.memory.there.insert(event.id);
        if self.crowd.as_mut().is_some_and(|crowd| !crowd.note(&event)) {
            return Ok(());
        }
        let is_here = self.here.as_ref().is_some_and(|here| here.contains(event.created_at, &event.id));
        if is_here || !self.takes || !self.taken.insert(event.id) {
            return Ok(());
        }
        self.came += 1;
        self.pending_bytes += event.heap_bytes();
        self.pending.push(event);
        let events_max = self.pace.as_ref().map_or(BATCH, |pace| pace.events_max().min(BATCH));
        if self.pending.len() >= events_max || self.pending_bytes >= BATCH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Hands what came to `ingest`, and waits while too much of it is under way.
    async fn flush(&mut self) -> Result<(), Fault> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.pending);
        let (count, bytes) = (events.len(), std::mem::take(&mut self.pending_bytes));
        self.link.stall(self.intake.take(self.local, events)).await?;
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let pause = pace.after(count, bytes, Instant::now());
        if pause.is_zero() {
            return Ok(());
        }
        if !std::mem::replace(&mut pace.is_told, true) {
            let upstream = &pace.name;
            tracing::info!(%upstream, "an upstream relay sends more than sync.events_per_minute or sync.bytes_per_second: it is read slower");
        }
        self.link.stall(tokio::time::sleep(pause)).await
    }

    fn sent(&mut self, id: Id, answer: &Result<(), String>) {
        self.memory.tally.lock().went(answer);
        match answer {
            Ok(()) => {
                self.memory.sample.lock().note(id, rand::random());
                self.memory.there.insert(id)
            }
            // That it has trouble says nothing of the event.
            Err(why) => !why.starts_with("error:") && self.memory.refused.insert(id),
        };
    }

    /// Sends what waits, as far as it may.
    fn send(&mut self) {
        let now = self.link.now();
        while self.link.client.may_send()
            && let Some((id, body)) = self.outgoing.pop_front()
        {
            self.outgoing_bytes -= body.as_str().len() + EVENT_BYTES;
            self.link.client.send(id, body.as_str().to_owned(), now);
        }
    }

    fn check(&mut self) -> Result<(), Fault> {
        let (failed, forged) = {
            let mut tally = self.memory.tally.lock();
            let unasked = self.link.client.unasked();
            tally.unasked += unasked - std::mem::replace(&mut self.unasked, unasked);
            faults(&tally)
        };
        if failed > self.before.0 {
            return Err(Fault::Store);
        }
        if forged - self.before.1 > u64::from(self.config.faults_max) { Err(Fault::Lies) } else { Ok(()) }
    }

    fn has_room(&self) -> bool {
        self.outgoing_bytes < self.config.outbox_bytes_max && self.outgoing.len() < self.config.events_in_flight_max
    }

    /// Sends an event when there is room. One that may not be sent, or that the other has or does not want, is left out.
    pub async fn offer(&mut self, id: Id, body: Body) -> Result<(), Fault> {
        if self.memory.refused.contains(&id) || !self.may_go(&body) {
            return Ok(());
        }
        while !self.has_room() {
            self.wait().await?;
        }
        self.outgoing_bytes += body.as_str().len() + EVENT_BYTES;
        self.outgoing.push_back((id, body));
        Ok(())
    }

    /// What only its author may publish (NIP-70) is not ours to send, nor what the caller keeps back, nor what was there
    /// a moment ago and has a newer version there now, which we are still to hear of.
    fn may_go(&self, body: &Body) -> bool {
        let was_replaced = |event: &Event| {
            matches!(event.class(), Class::Replaceable | Class::Addressable)
                && self.memory.there.contains(&event.id)
                && clock::now() < event.created_at.saturating_add(REPLACED_SECONDS)
        };
        let may = |event: &Event| {
            !is_protected(event) && !was_replaced(event) && self.may.as_ref().is_none_or(|may| may(event))
        };
        match body {
            Body::Event(event) => may(event),
            Body::Json(json) => Event::parse(json).is_ok_and(|event| may(&event)),
        }
    }

    /// Sends these events.
    pub async fn offer_all(&mut self, ids: &[Id]) -> Result<(), Fault> {
        for ids in ids.chunks(LOOK_UP) {
            let local = self.local;
            for (id, body) in self.link.stall(local.bodies(ids)).await?? {
                self.offer(id, body).await?;
            }
        }
        Ok(())
    }

    /// Waits until everything that came is saved, and everything that was sent is answered.
    pub async fn settle(&mut self) -> Result<(), Fault> {
        while !self.outgoing.is_empty() || self.link.client.in_flight() > 0 {
            self.wait().await?;
        }
        self.flush().await?;
        self.link.stall(self.intake.idle()).await?;
        self.check()
    }

    /// Lets something happen; there must be something to wait for.
    async fn wait(&mut self) -> Result<(), Fault> {
        if let Turn::Heard(heard) = self.turn(None).await? {
            self.backlog.push_back(heard);
        }
        Ok(())
    }

    /// Whether negentropy is worth a try.
    pub fn may_compare(&self) -> bool {
        !self.memory.is_plain()
    }

    /// The end. What has come is still handed on; what it came to is not awaited.
    pub async fn end(mut self, fault: &Fault) {
        if matches!(fault, Fault::Gone) && self.link.client.is_opening() {
            // It closed the connection at our NEG-OPEN: the next one will do without.
            self.memory.set_plain();
        }
        self.cut(fault);
        // What came is kept, and counted, however the connection ended.
        let events = std::mem::take(&mut self.pending);
        if !events.is_empty() {
            self.intake.take(self.local, events).await;
        }
        let _ = self.check();
        self.link.close().await;
        self.intake.idle().await;
    }
}

/// The next live event of ours. `None` when some were lost.
async fn next_of(outbox: &Outbox) -> Option<(Id, Body)> {
    std::future::poll_fn(|context| {
        outbox.register(context);
        loop {
            if outbox.closing().is_some() {
                return std::task::Poll::Ready(None);
            }
            match outbox.take_event() {
                Some(Body::Event(event)) => return std::task::Poll::Ready(Some((event.id, Body::Event(event)))),
                Some(Body::Json(_)) => {}
                None => return std::task::Poll::Pending,
            }
        }
    })
    .await
}

/// What could not be saved here, and what was forged.
fn faults(tally: &Tally) -> (u64, u64) {
    (tally.failed, tally.invalid)
}
