//! Our side: what we have, and the way in for what comes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::done::Range;
use super::fault::Fault;
use super::known::Known;
use super::sample::Sample;
use super::stride::Stride;
use super::tally::Tally;
use crate::clock::{self, Timestamp};
use crate::config;
use crate::event::{Event, Id};
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::ingest::{Answers, Ingest};
use crate::metrics;
use crate::outcome::Outcome;
use crate::source::Source;
use crate::store::{Body, Query, Readers, Row, Scan, Seq, Step};

/// What we have, in a range of time.
#[derive(Debug)]
pub struct Window {
    /// All we have in it is in `items`.
    pub range: Range,
    /// Time and id, newest first, equal times by lowest id.
    pub items: Vec<(Timestamp, Id)>,
}

impl Window {
    /// True when we have this event.
    pub fn contains(&self, created_at: Timestamp, id: &Id) -> bool {
        let key = |at: Timestamp, id: Id| (std::cmp::Reverse(at), id);
        self.items.binary_search_by_key(&key(created_at, *id), |(at, id)| key(*at, *id)).is_ok()
    }
}

/// Our store as syncing sees it.
#[derive(Clone)]
pub struct Local {
    /// Queries.
    pub readers: Readers,
    /// Events in.
    pub ingest: Ingest,
    /// Who looks: private events are not shown to other relays unless the operator says so.
    pub viewer: Viewer,
    /// Events of one lane stay in order.
    pub lane: u64,
}

impl Local {
    /// What we have of `filter` in `range`, or in so much of its newer end as holds at most `max` events. Of a second with
    /// more events than that, `max` are in it.
    pub async fn window(&self, filter: &Filter, range: Range, max: usize) -> Result<Window, Fault> {
        let filter = range.of(filter);
        let mut items = Vec::new();
        self.scan(filter, false, |rows| {
            items.extend(rows.iter().map(|row| (row.created_at, row.id)));
            items.len() <= max
        })
        .await?;
        let Some((cut, _)) = items.get(max).copied() else { return Ok(Window { range, items }) };
        // The last second may go on beyond what was read.
        let whole = items.partition_point(|(at, _)| *at > cut);
        if whole > 0 {
            items.truncate(whole);
            return Ok(Window { range: Range { since: cut + 1, ..range }, items });
        }
        tracing::warn!(
            second = cut,
            "more than sync.range_events_max events in one second: not all of them are compared"
        );
        items.truncate(max);
        Ok(Window { range: Range { since: cut, ..range }, items })
    }

    /// The events of these ids that may be sent to others.
    pub async fn bodies(&self, ids: &[Id]) -> Result<Vec<(Id, Body)>, Fault> {
        let mut sorted: Vec<Id> = ids.to_vec();
        sorted.sort_unstable();
        let filter = Filter { ids: Some(sorted.into()), ..Filter::default() };
        let mut found = Vec::new();
        self.scan(filter, true, |rows| {
            found.extend(rows.into_iter().map(|row| (row.id, row.body)));
            true
        })
        .await?;
        Ok(found)
    }

    /// Gives rows until there are no more, or `each` has enough.
    async fn scan(&self, filter: Filter, bodies: bool, mut each: impl FnMut(Vec<Row>) -> bool) -> Result<(), Fault> {
        let mut scan = Scan::new(Query {
            filters: [filter].into(),
            viewer: self.viewer.clone(),
            now: clock::now(),
            seq_max: Seq::MAX,
            limit_default: u64::MAX,
            limit_max: u64::MAX,
            oldest_second_max: 0,
            bodies,
        });
        loop {
            let (back, rows, step) = self.readers.slice(scan).await.map_err(|_| Fault::Stopped)?;
            scan = back;
            let wants_more = each(rows);
            match step {
                Ok(Step::Again) if wants_more => {}
                Ok(_) => return Ok(()),
                Err(error) => {
                    tracing::error!(%error, "a query for syncing failed");
                    return Err(Fault::Store);
                }
            }
        }
    }
}

/// What is remembered of another relay for as long as we run, whatever becomes of the connection.
#[derive(Debug)]
pub struct Memory {
    /// Ids it has: not sent again.
    pub there: Known,
    /// Some of the ids that it took when they were sent.
    pub sample: Mutex<Sample>,
    /// Ids it refused: not offered again.
    pub refused: Known,
    /// Ids we refused: not fetched again.
    pub unwanted: Known,
    /// Since when it is known not to speak negentropy.
    plain: Mutex<Option<Instant>>,
    /// How many events are asked for at a time.
    pub stride: Mutex<Stride>,
    /// The same of one second, which cannot be divided by time.
    pub second_stride: Mutex<Stride>,
    second_page_events_max: usize,
    /// The most events it gave at a time.
    pub largest_page: std::sync::atomic::AtomicUsize,
    /// What became of events so far.
    pub tally: Mutex<Tally>,
    /// Events that are to be fetched or sent, as far as is known.
    planned: std::sync::atomic::AtomicU64,
}

impl Memory {
    /// Nothing yet.
    pub fn new(config: &config::Sync) -> Self {
        let ids_max = config.known_ids_max;
        Self {
            there: Known::new(ids_max),
            sample: Mutex::new(Sample::new(config.sample_events_max)),
            refused: Known::new(ids_max),
            unwanted: Known::new(ids_max),
            plain: Mutex::default(),
            stride: Mutex::new(Stride::new(config.page_events_max)),
            second_stride: Mutex::new(Stride::new(config.second_page_events_max)),
            second_page_events_max: config.second_page_events_max,
            largest_page: 0.into(),
            tally: Mutex::default(),
            planned: 0.into(),
        }
    }
}

impl Memory {
    /// It does not speak negentropy.
    pub fn set_plain(&self) {
        self.plain.lock().get_or_insert_with(Instant::now);
    }

    /// True when that is known.
    pub fn is_plain(&self) -> bool {
        self.plain.lock().is_some()
    }

    /// Forgets after so much time what it cannot do: relays are updated.
    pub fn forgive(&self, after: Duration) {
        let mut plain = self.plain.lock();
        if plain.is_some_and(|since| since.elapsed() >= after) {
            *plain = None;
            *self.second_stride.lock() = Stride::new(self.second_page_events_max);
        }
    }

    /// Events that are to be fetched or sent, as far as is known, those that were included.
    pub fn planned(&self) -> u64 {
        self.planned.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// So many more are to be fetched or sent.
    pub fn plan(&self, count: usize) {
        self.planned.fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Events on their way in, bounded.
pub struct Intake {
    memory: Arc<Memory>,
    events_max: usize,
    bytes_max: usize,
    under_way: Mutex<UnderWay>,
    landed: Notify,
}

#[derive(Clone, Copy, Default)]
struct UnderWay {
    events: usize,
    bytes: usize,
}

impl Intake {
    /// With room for so many events and bytes.
    pub fn new(memory: Arc<Memory>, events_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { memory, events_max, bytes_max, under_way: Mutex::default(), landed: Notify::new() })
    }

    /// Takes in events when there is room for them.
    pub async fn take(self: &Arc<Self>, local: &Local, events: Vec<Event>) {
        self.until(|under_way| under_way.events < self.events_max && under_way.bytes < self.bytes_max).await;
        let bytes = events.iter().map(Event::heap_bytes).sum();
        {
            let mut under_way = self.under_way.lock();
            under_way.events += events.len();
            under_way.bytes += bytes;
        }
        let batch = Batch { left: Mutex::new(events.len()), bytes, intake: Arc::clone(self) };
        local.ingest.submit(local.lane, events, Source::Upstream, Arc::new(batch)).await;
    }

    /// Waits until everything is saved or refused.
    pub async fn idle(&self) {
        self.until(|under_way| under_way.events == 0).await;
    }

    async fn until(&self, fits: impl Fn(UnderWay) -> bool) {
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            landed.as_mut().enable();
            if fits(*self.under_way.lock()) {
                return;
            }
            landed.await;
        }
    }
}

/// Some events that went in together.
struct Batch {
    left: Mutex<usize>,
    bytes: usize,
    intake: Arc<Intake>,
}

impl Answers for Batch {
    fn answer(&self, outcomes: Vec<(Id, Outcome)>) {
        let memory = &self.intake.memory;
        let mut tally = memory.tally.lock();
        for (id, outcome) in &outcomes {
            // What is refused comes again with each connection, and counts once.
            let is_new = !outcome.is_final_refusal() || memory.unwanted.insert(*id);
            if is_new {
                tally.came(outcome);
            }
            let (outcome_word, reason) = outcome.labels();
            metrics::event(outcome_word, reason);
        }
        drop(tally);
        let is_last = {
            let mut left = self.left.lock();
            *left = left.saturating_sub(outcomes.len());
            *left == 0
        };
        let mut under_way = self.intake.under_way.lock();
        under_way.events = under_way.events.saturating_sub(outcomes.len());
        if is_last {
            under_way.bytes = under_way.bytes.saturating_sub(self.bytes);
        }
        drop(under_way);
        self.intake.landed.notify_waiters();
    }
}
