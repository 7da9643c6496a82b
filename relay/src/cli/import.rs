//! `picorelay import`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use indicatif::{HumanCount, ProgressBar};
use parking_lot::Mutex;

use super::{Outcome, progress, say};
use crate::app::{Core, relay_urls};
use crate::config::Config;
use crate::event::{Event, Id};
use crate::ingest::{self, Answers, Source};
use crate::store::Saved;

/// Events handed on at a time.
const BATCH: usize = 256;

/// Batches on their way at once.
const UNDER_WAY: usize = 32;

/// A line longer than this is no event.
const LINE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Refused lines that are told one by one.
const TOLD: usize = 10;

/// Takes in events from files or stdin.
pub(super) async fn run(files: Vec<PathBuf>, config: Config) -> Outcome {
    let urls = relay_urls(&config, config.server.listen);
    tokio::task::spawn_blocking(move || {
        let core = Core::start(&config, urls)?;
        let started = Instant::now();
        let mut import = Import::new(&core);
        let read = files.iter().try_for_each(|file| import.file(file));
        let tally = import.finish();
        core.finish();
        for line in tally.lines(started.elapsed()) {
            say(line)?;
        }
        read?;
        if tally.failed > 0 {
            return Err("some events could not be saved; run the import again".into());
        }
        Ok(())
    })
    .await?
}

struct Import<'a> {
    core: &'a Core,
    batch: Vec<Event>,
    batches: u64,
    shared: Arc<Shared>,
    progress: ProgressBar,
}

/// What the answering threads share with the reading one.
struct Shared {
    tally: Mutex<Tally>,
    /// Full while too much is under way.
    under_way: Sender<()>,
    landed: crossbeam_channel::Receiver<()>,
}

#[derive(Clone, Default)]
struct Tally {
    accepted: u64,
    duplicate: u64,
    superseded: u64,
    ephemeral: u64,
    refused: BTreeMap<String, u64>,
    failed: u64,
    told: usize,
}

impl<'a> Import<'a> {
    fn new(core: &'a Core) -> Self {
        let (under_way, landed) = crossbeam_channel::bounded(UNDER_WAY);
        Self {
            core,
            batch: Vec::with_capacity(BATCH),
            batches: 0,
            shared: Arc::new(Shared { tally: Mutex::default(), under_way, landed }),
            progress: progress(),
        }
    }

    fn file(&mut self, path: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let name = path.display().to_string();
        if name == "-" {
            self.progress.unset_length();
            return self.lines("stdin", io::stdin().lock());
        }
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        self.progress.set_length(file.metadata()?.len());
        self.progress.set_position(0);
        self.lines(&name, BufReader::with_capacity(1 << 20, file))
    }

    fn lines(&mut self, name: &str, mut input: impl BufRead) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut line = Vec::new();
        for number in 1u64.. {
            line.clear();
            let len = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            if len == 0 {
                break;
            }
            self.progress.inc(len as u64);
            match std::str::from_utf8(&line).map(str::trim) {
                Ok("") => {}
                Ok(text) => match Event::parse(text) {
                    Ok(event) => self.event(event),
                    Err(why) => self.refuse_line(name, number, &why),
                },
                Err(_) => self.refuse_line(name, number, "the line is not UTF-8"),
            }
        }
        self.hand_on();
        Ok(())
    }

    fn event(&mut self, event: Event) {
        self.batch.push(event);
        if self.batch.len() == BATCH {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.batch);
        self.batches += 1;
        let answers = Arc::new(BatchAnswers { left: Mutex::new(events.len()), shared: Arc::clone(&self.shared) });
        // Waits while too much is under way.
        let _ = self.shared.under_way.send(());
        self.core.ingest.submit_blocking(self.batches, events, Source::Import, answers);
        let accepted = self.shared.tally.lock().accepted;
        self.progress.set_message(format!("{} accepted", HumanCount(accepted)));
    }

    fn refuse_line(&mut self, name: &str, number: u64, why: &str) {
        let mut tally = self.shared.tally.lock();
        tally.refuse(&format!("invalid: {why}"));
        if tally.told < TOLD {
            tally.told += 1;
            self.progress.suspend(|| tracing::warn!("{name}, line {number}: {why}"));
        }
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

struct BatchAnswers {
    left: Mutex<usize>,
    shared: Arc<Shared>,
}

impl Answers for BatchAnswers {
    fn answer(&self, outcomes: Vec<(Id, ingest::Outcome)>) {
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

impl Tally {
    fn add(&mut self, id: &Id, outcome: &ingest::Outcome) {
        match outcome {
            ingest::Outcome::Saved(Saved::New(_)) => self.accepted += 1,
            ingest::Outcome::Saved(Saved::Duplicate) => self.duplicate += 1,
            ingest::Outcome::Saved(Saved::Superseded) => self.superseded += 1,
            ingest::Outcome::Saved(Saved::Deleted) => self.refuse("deleted by its author"),
            ingest::Outcome::Saved(Saved::Vanished) => self.refuse("its author asked to vanish"),
            ingest::Outcome::Saved(Saved::Expired) => self.refuse("expired"),
            ingest::Outcome::Passed | ingest::Outcome::Shadowed => self.ephemeral += 1,
            ingest::Outcome::Refused(why) if why.starts_with("error:") => self.failed += 1,
            ingest::Outcome::Refused(why) => {
                if self.told < TOLD {
                    self.told += 1;
                    tracing::warn!("{id}: {why}");
                }
                self.refuse(why);
            }
        }
    }

    fn refuse(&mut self, why: &str) {
        *self.refused.entry(why.to_owned()).or_default() += 1;
    }

    fn lines(&self, took: Duration) -> Vec<String> {
        let refused: u64 = self.refused.values().sum();
        let total = self.accepted + self.duplicate + self.superseded + self.ephemeral + refused + self.failed;
        let rate = total as f64 / took.as_secs_f64().max(0.001);
        let mut lines = vec![
            format!("{total} events in {:.1} s ({rate:.0}/s)", took.as_secs_f64()),
            format!("{:>9} accepted", self.accepted),
            format!("{:>9} duplicate: already there", self.duplicate),
            format!("{:>9} superseded: a newer version is there", self.superseded),
            format!("{:>9} ephemeral: not kept by their kind", self.ephemeral),
            format!("{refused:>9} refused"),
        ];
        lines.extend(self.refused.iter().map(|(why, count)| format!("{count:>17} {why}")));
        if self.failed > 0 {
            lines.push(format!("{:>9} NOT SAVED: the database failed", self.failed));
        }
        lines
    }
}
