//! `picorelay sync`.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::{NotAll, Outcome, SyncArgs, say};
use crate::app::{Core, relay_urls};
use crate::bridge::keys::Signers;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::dial::Backoff;
use crate::event::CREATED_AT_MAX;
use crate::guard::Viewer;
use crate::keys;
use crate::sync::done::Range;
use crate::sync::fault::Fault;
use crate::sync::link::Link;
use crate::sync::local::{Local, Memory};
use crate::sync::record::Record;
use crate::sync::session::Session;
use crate::sync::signer;
use crate::sync::tally::Tally;
use crate::sync::walk::{Job, walk};

/// How often a bar is drawn.
const DRAW: Duration = Duration::from_millis(200);

/// How often a line is written where there is no terminal.
const TELL: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error + Send + Sync>;

/// Makes two relays have the same.
pub(super) async fn run(args: SyncArgs, config: Config) -> Outcome {
    let stop = CancellationToken::new();
    let stopping = super::serve::signals()?;
    let stopper = {
        let stop = stop.clone();
        tokio::spawn(async move {
            stopping.await;
            stop.cancel();
        })
    };
    let keys = keys::load_or_create(&config.server.data)?;
    let signers = Arc::new(Signers::new(&keys)?);
    let core = {
        let config = config.clone();
        let urls = relay_urls(&config, config.server.listen);
        tokio::task::spawn_blocking(move || Core::start(&config, urls)).await??
    };
    let local = Local {
        readers: core.readers.clone(),
        ingest: core.ingest.clone(),
        viewer: Viewer { restricted: config.auth.restricted_kinds.clone().into(), ..Viewer::default() },
        lane: 0,
    };
    let began = Instant::now();
    let memory = Arc::new(Memory::new(&config.sync));
    let shown = Shown::new(Arc::clone(&memory));
    let mut task = Task { args, config, signers, local, memory, shown, stop };
    let done = {
        let shown = task.shown.clone();
        tokio::select! {
            done = Box::pin(task.run()) => done,
            never = shown.go_on() => match never {},
        }
    };
    task.shown.bar.finish_and_clear();
    let tally = task.memory.tally.lock().clone();
    stopper.abort();
    drop(task);
    tokio::task::spawn_blocking(move || core.finish()).await?;
    for line in lines(&tally, began.elapsed()) {
        say(line)?;
    }
    done
}

struct Task {
    args: SyncArgs,
    config: Config,
    signers: Arc<Signers>,
    local: Local,
    memory: Arc<Memory>,
    shown: Shown,
    stop: CancellationToken,
}

impl Task {
    /// Tries until all is done, or nothing comes of it any more.
    async fn run(&mut self) -> Outcome {
        let SyncArgs { url, direction, filter, .. } = self.args.clone();
        let now = clock::now();
        let mut record = Record::open(&self.config.server.data, &url, direction, &filter, now);
        if self.args.fresh {
            record.done = Default::default();
        }
        self.memory.sample.lock().go_on(&record.sample);
        if record.goes_on() {
            self.shown.tell("going on where the last run ended");
        }
        let whole = self.range(now);
        let mut backoff = Backoff::new(Duration::from_secs(self.config.sync.pause_seconds_max));
        let mut attempts = 0;
        loop {
            let began = Instant::now();
            let before = self.progress(&record);
            let Err(fault) = self.attempt(&mut record, whole).await else { break };
            let is_further = self.progress(&record) != before;
            if is_further {
                (attempts, backoff) = (0, Backoff::new(Duration::from_secs(self.config.sync.pause_seconds_max)));
            }
            attempts += 1;
            let is_over = matches!(
                fault,
                Fault::Stopped
                    | Fault::Store
                    | Fault::Io(_)
                    | Fault::Lies
                    | Fault::RateLimited
                    | Fault::Refused(_)
                    | Fault::TooLong
            );
            if is_over || attempts >= self.config.sync.attempts_max {
                return Err(self.failure(&fault, &record));
            }
            let pause = backoff.pause(began.elapsed(), rand::random_range(0.0..1.0));
            self.shown.tell(&format!("{fault}; trying again in {:.0} s", pause.as_secs_f64().max(1.0)));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return Err(self.failure(&Fault::Stopped, &record)),
            }
        }
        record.finish()?;
        match self.memory.tally.lock().shortfalls().as_slice() {
            [] => Ok(()),
            shortfalls => Err(NotAll(format!("done, but not all is on both sides: {}", shortfalls.join(", "))).into()),
        }
    }

    /// One connection.
    async fn attempt(&self, record: &mut Record, whole: Range) -> Result<(), Fault> {
        let SyncArgs { url, direction, filter, .. } = &self.args;
        let config = &self.config.sync;
        let link = Link::connect(url, config, signer(&self.signers, url), self.stop.clone()).await?;
        let mut session = Session::new(link, &self.local, Arc::clone(&self.memory), config);
        let job = Job { filter: filter.clone(), down: direction.is_down(), up: direction.is_up() };
        let gaps = record.done.gaps(whole);
        let mut steps = |range: Range| {
            self.shown.reached(range.since);
            record.sample = self.memory.sample.lock().ids().to_vec();
            Ok(record.add(range, url, *direction, filter)?)
        };
        let mut walked = walk(&mut session, &job, gaps, &mut steps).await;
        if walked.is_ok() {
            walked = session.ask_back().await;
        }
        session.end(walked.as_ref().err().unwrap_or(&Fault::Stopped)).await;
        walked
    }

    /// The times in question. Nothing later would be taken here.
    fn range(&self, now: Timestamp) -> Range {
        let Self { args: SyncArgs { filter, .. }, config, .. } = self;
        let future = config.limits.created_at_future_seconds_max;
        let last = if future == 0 { CREATED_AT_MAX } else { now + future };
        Range { since: filter.since.unwrap_or(0), until: filter.until.unwrap_or(CREATED_AT_MAX).min(last) }
    }

    /// What a connection may have brought further. Pages that have become smaller are a new try.
    fn progress(&self, record: &Record) -> (u64, [usize; 2], Vec<Range>) {
        let memory = &self.memory;
        let events = [&memory.stride, &memory.second_stride].map(|stride| stride.lock().events());
        (self.memory.tally.lock().total(), events, record.done.ranges().to_vec())
    }

    fn failure(&self, fault: &Fault, record: &Record) -> Failure {
        let again = match fault {
            Fault::Lies | Fault::Refused(_) | Fault::TooLong => "",
            _ if record.goes_on() => "; run it again to go on from here",
            _ => "; run it again",
        };
        format!("not all was synced: {fault}{again}").into()
    }
}

/// What people see of it: a bar on a terminal, or else a line now and then.
#[derive(Clone)]
struct Shown {
    bar: ProgressBar,
    memory: Arc<Memory>,
    is_terminal: bool,
    /// The time that the walk has come to.
    reached: Arc<std::sync::atomic::AtomicU64>,
}

impl Shown {
    fn new(memory: Arc<Memory>) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let bar = if is_terminal { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_bar} {human_pos}/{human_len} events {msg}") {
            bar.set_style(style);
        }
        Self { bar, memory, is_terminal, reached: Arc::default() }
    }

    fn reached(&self, since: Timestamp) {
        self.reached.store(since, std::sync::atomic::Ordering::Relaxed);
    }

    /// Something that people should know.
    fn tell(&self, text: &str) {
        self.bar.suspend(|| tracing::info!("{text}"));
    }

    async fn go_on(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(if self.is_terminal { DRAW } else { TELL }).await;
            let tally = self.memory.tally.lock().clone();
            let text = self.text(&tally);
            if self.is_terminal {
                let total = tally.total();
                self.bar.set_length(total.max(self.memory.planned()));
                self.bar.set_position(total);
                self.bar.set_message(text);
            } else {
                tracing::info!("{text}");
            }
        }
    }

    fn text(&self, tally: &Tally) -> String {
        let mut text = format!("{} fetched, {} sent", HumanCount(tally.received), HumanCount(tally.sent));
        let reached = self.reached.load(std::sync::atomic::Ordering::Relaxed);
        if reached > 0 {
            text += &format!(", back to {}", date(reached));
        }
        if tally.pauses > 0 {
            text += &format!(", {} pauses because of rate-limited", tally.pauses);
        }
        text
    }
}

/// Year, month and day of a time, in UTC.
fn date(at: Timestamp) -> String {
    // Days since 0000-03-01, in cycles of 400 years, which have 146 097 days.
    let days = at / 86_400 + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", cycle * 400 + year + u64::from(month <= 2))
}

fn lines(tally: &Tally, took: Duration) -> Vec<String> {
    let sum = |reasons: &std::collections::BTreeMap<String, u64>| reasons.values().sum::<u64>();
    let reasons = |reasons: &std::collections::BTreeMap<String, u64>| -> Vec<String> {
        reasons.iter().map(|(why, count)| format!("{count:>17} {why}")).collect()
    };
    let mut lines = vec![
        format!("{} events in {:.1} s", tally.total(), took.as_secs_f64()),
        format!("{:>9} fetched", tally.received),
        format!("{:>9} were here already", tally.known),
        format!("{:>9} refused here", sum(&tally.refused)),
    ];
    lines.extend(reasons(&tally.refused));
    lines.push(format!("{:>9} sent", tally.sent));
    lines.push(format!("{:>9} refused there", sum(&tally.sent_refused)));
    lines.extend(reasons(&tally.sent_refused));
    if tally.asked_back > 0 {
        let (not_kept, asked) = (tally.not_kept, tally.asked_back);
        lines.push(format!("{not_kept:>9} not kept there, of {asked} that were asked for again"));
    }
    if tally.not_told > 0 {
        lines.push(format!("{:>9} it does not say of whether they are kept", tally.not_told));
    }
    if tally.missing > 0 {
        lines.push(format!("{:>9} promised and not given", tally.missing));
    }
    if tally.unasked > 0 {
        lines.push(format!("{:>9} messages that were false or not asked for", tally.unasked));
    }
    if tally.pauses > 0 {
        lines.push(format!("{:>9} pauses, as the other relay said rate-limited", tally.pauses));
    }
    if tally.crowded > 0 {
        lines.push(format!("{:>9} seconds with more events than the other relay gives at a time", tally.crowded));
    }
    if tally.failed > 0 {
        lines.push(format!("{:>9} NOT SAVED: the database failed", tally.failed));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (at, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_700_000_000, "2023-11-14"),
            (1_735_689_599, "2024-12-31"),
            (4_107_542_400, "2100-03-01"),
            (CREATED_AT_MAX, "2514-05-30"),
        ] {
            assert_eq!(date(at), text);
        }
    }
}
