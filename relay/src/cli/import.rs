//! `picorelay import`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use indicatif::{HumanCount, ProgressBar};
use parking_lot::Mutex;
use serde_json::value::RawValue;

use self::tally::Tally;
use self::values::{Value, Values};
use super::{Outcome, input, progress, say};
use crate::app::{Core, relay_urls};
use crate::config::Config;
use crate::event::{Event, Id};
use crate::ingest::{Answers, Order};
use crate::outcome;
use crate::source::Source;

mod tally;
mod values;

/// Events handed on at a time.
const BATCH: usize = 256;

/// Bytes of them, or one that is longer.
const BATCH_BYTES: usize = 4 << 20;

/// Batches on their way at once.
const UNDER_WAY: usize = 32;

/// Where there is no bar, a line says this often how far it is.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What clients write around an event: `["EVENT",` and `]`.
const AROUND_EVENT_BYTES: usize = 10;

/// Messages of relays that hold no event, as in the record of a connection.
const OTHER_MESSAGES: [&str; 9] = ["AUTH", "CLOSED", "COUNT", "EOSE", "NEG-ERR", "NEG-MSG", "NOTICE", "OK", "CURSOR"];

/// Takes in events from files or stdin.
pub(super) async fn run(files: Vec<PathBuf>, is_trusted: bool, config: Config) -> Outcome {
    let urls = relay_urls(&config, config.server.listen);
    tokio::task::spawn_blocking(move || {
        let core = Core::start(&config, urls)?;
        let started = Instant::now();
        let mut import = Import::new(&core, is_trusted, config.limits.message_bytes_max);
        let unread: Vec<String> =
            files.iter().filter_map(|file| import.file(file).err()).map(|error| error.to_string()).collect();
        let tally = import.finish();
        core.finish();
        for line in tally.lines(started.elapsed()) {
            say(line)?;
        }
        if tally.is_empty() && unread.is_empty() {
            tracing::warn!("there is no event in what was given");
        }
        tally.outcome(&unread)
    })
    .await?
}

struct Import<'a> {
    core: &'a Core,
    is_trusted: bool,
    event_bytes_max: usize,
    batch: Vec<Event>,
    batch_bytes: usize,
    batches: u64,
    order: Arc<Order>,
    shared: Arc<Shared>,
    progress: ProgressBar,
    told: Instant,
}

/// What the answering threads share with the reading one.
struct Shared {
    tally: Mutex<Tally>,
    /// Full while too much is under way.
    under_way: Sender<()>,
    landed: crossbeam_channel::Receiver<()>,
}

impl<'a> Import<'a> {
    fn new(core: &'a Core, is_trusted: bool, message_bytes_max: usize) -> Self {
        let (under_way, landed) = crossbeam_channel::bounded(UNDER_WAY);
        Self {
            core,
            is_trusted,
            event_bytes_max: message_bytes_max.saturating_sub(AROUND_EVENT_BYTES),
            batch: Vec::with_capacity(BATCH),
            batch_bytes: 0,
            batches: 0,
            order: Arc::default(),
            shared: Arc::new(Shared { tally: Mutex::default(), under_way, landed }),
            progress: progress(),
            told: Instant::now(),
        }
    }

    fn file(&mut self, path: &Path) -> Outcome {
        let name = path.display().to_string();
        let progress = self.progress.clone();
        progress.set_position(0);
        if name == "-" {
            progress.unset_length();
            return self.events("stdin", progress.wrap_read(io::stdin().lock()));
        }
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        progress.set_length(file.metadata()?.len());
        self.events(&name, progress.wrap_read(file))
    }

    fn events(&mut self, name: &str, input: impl Read) -> Outcome {
        let read = self.read(name, input).map_err(|error| format!("{name}: {error}").into());
        // What came before something was wrong is kept.
        self.hand_on();
        read
    }

    fn read(&mut self, name: &str, input: impl Read) -> io::Result<()> {
        let mut values = Values::new(input::text(input)?);
        while let Some((line, value)) = values.next_value()? {
            let event = match value {
                Value::Object(bytes) => event(bytes).map(Some),
                Value::Message(bytes) => message(bytes),
                Value::Wrong(why) => Err(why.to_owned()),
            };
            match event {
                Ok(None) => {}
                Ok(Some(event)) if !self.is_trusted && event.json().len() > self.event_bytes_max => {
                    self.refuse("blocked: larger than limits.message_bytes_max", name, line);
                }
                Ok(Some(event)) => self.event(event),
                Err(why) => self.refuse(&format!("invalid: {why}"), name, line),
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        self.batch_bytes += event.heap_bytes();
        self.batch.push(event);
        if self.batch.len() == BATCH || self.batch_bytes > BATCH_BYTES {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let answers = Arc::new(BatchAnswers { left: Mutex::new(events.len()), shared: Arc::clone(&self.shared) });
        // Waits while too much is under way.
        let _ = self.shared.under_way.send(());
        let place = self.order.place(self.batches);
        let source = Source::Import { is_trusted: self.is_trusted };
        self.core.ingest.submit_blocking(self.batches, events, source, Some(place), answers);
        self.batches += 1;
        let accepted = self.shared.tally.lock().accepted;
        self.progress.set_message(format!("{} accepted", HumanCount(accepted)));
        if !io::stderr().is_terminal() && self.told.elapsed() > TELL_EVERY {
            self.told = Instant::now();
            tracing::info!(accepted, "importing");
        }
    }

    fn refuse(&mut self, why: &str, name: &str, line: u64) {
        let mut tally = self.shared.tally.lock();
        self.progress.suspend(|| tally.refuse(why, || format!("{name}, line {line}")));
    }

    /// Waits for everything under way.
    fn finish(self) -> Tally {
        for _ in 0..UNDER_WAY {
            let _ = self.shared.under_way.send(());
        }
        self.progress.finish_and_clear();
        self.shared.tally.lock().clone()
    }
}

fn event(bytes: &[u8]) -> Result<Event, String> {
    Event::parse(std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?)
}

/// The event of `["EVENT",<event>]` or `["EVENT",<subscription>,<event>]`. None of messages that have none.
fn message(bytes: &[u8]) -> Result<Option<Event>, String> {
    let parts: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|_| "this is no JSON array of a message")?;
    let mut parts = parts.into_iter().map(RawValue::get);
    let name: String = parts.next().and_then(|name| serde_json::from_str(name).ok()).unwrap_or_default();
    if OTHER_MESSAGES.contains(&name.as_str()) {
        return Ok(None);
    }
    match (name.as_str(), parts.next(), parts.next(), parts.next()) {
        ("EVENT", Some(json), None, None) | ("EVENT", Some(_), Some(json), None) => Event::parse(json).map(Some),
        _ => Err("an array holds events, or begins with EVENT and has one".to_owned()),
    }
}

struct BatchAnswers {
    left: Mutex<usize>,
    shared: Arc<Shared>,
}

impl Answers for BatchAnswers {
    fn answer(&self, outcomes: Vec<(Id, outcome::Outcome)>) {
        let mut tally = self.shared.tally.lock();
        for (id, outcome) in &outcomes {
            tally.add(id, outcome);
        }
        drop(tally);
        let mut left = self.left.lock();
        *left -= outcomes.len();
        if *left == 0 {
            let _ = self.shared.landed.try_recv();
        }
    }
}
