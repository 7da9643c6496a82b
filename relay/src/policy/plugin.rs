//! A program that judges events: the write policy plugins of strfry (`docs/plugins.md` there).
//!
//! It reads one JSON object a line, `{"type":"new","event":{..},"receivedAt":..,"sourceType":"IP4","sourceInfo":".."}`, and
//! answers with one a line, `{"id":"..","action":"accept"|"reject"|"shadowReject","msg":".."}`, in any order. One that ends,
//! is silent for too long or writes endless lines is ended and started again, each time a little later; events that it
//! should have judged meanwhile are refused. When its file changes it is started anew.

mod process;

use std::net::IpAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use hashbrown::{HashMap, HashSet};

use self::process::{Action, END_PATIENCE, Line, Running};
use crate::clock::Timestamp;
use crate::config;
use crate::event::Id;
use crate::outcome::{Prefix, Refusal};
use crate::rarely::rarely;
use crate::source::Source;
use crate::threads::essential;
use crate::verify::Verified;

/// Batches that are given to it at a time.
const BATCHES_MAX: usize = 64;
/// A program that ran for so long is started again at once.
const STEADY: Duration = Duration::from_secs(60);

/// What it says of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Accept,
    Refuse(Refusal),
    Shadow,
}

/// Who refuses.
const NAME: &str = "plugin";

/// What is told while there is no program to ask.
const NOT_RUNNING: &str = "the policy plugin is not running";

/// Handle of the program; clones share it.
#[derive(Clone)]
pub struct Plugin(Sender<Option<Batch>>);

/// The thread that talks to it, to wait for when all handles are gone.
pub struct PluginThread(JoinHandle<()>);

struct Batch {
    events: Vec<Option<Verified>>,
    from: From,
    now: Timestamp,
    done: Sender<Vec<Answer>>,
}

/// Where events come from, in the words of the protocol.
#[derive(Clone, Copy)]
enum From {
    Address(IpAddr),
    Import,
    Elsewhere,
}

impl Plugin {
    /// Starts the thread; the program starts with the first event. None if none is configured.
    ///
    /// # Errors
    ///
    /// There is no thread.
    pub fn start(config: &config::Policy) -> std::io::Result<Option<(Self, PluginThread)>> {
        if config.plugin.is_empty() {
            return Ok(None);
        }
        let (batches, queue) = crossbeam_channel::bounded(config.plugin_queue_max.max(1));
        let keeper = Keeper::new(config.clone());
        let thread = essential("plugin", move || keeper.run(&queue))?;
        Ok(Some((Self(batches), PluginThread(thread))))
    }

    /// Ends it after what it was given, whoever still has a handle.
    pub fn stop(self) {
        let _ = self.0.send(None);
    }

    /// Waits for its answers: one for each event, accept for each gap.
    pub(super) fn judge(&self, events: Vec<Option<Verified>>, source: &Source, now: Timestamp) -> Vec<Answer> {
        let len = events.len();
        let from = match source {
            Source::Client(client) => From::Address(client.address),
            Source::Import { .. } => From::Import,
            Source::Bridge | Source::Upstream => From::Elsewhere,
        };
        let (done, answers) = crossbeam_channel::bounded(1);
        let sent = self.0.send(Some(Batch { events, from, now, done }));
        let answers = sent.ok().and_then(|()| answers.recv().ok());
        answers.unwrap_or_else(|| vec![Answer::Refuse(Refusal::shutting_down(NAME)); len])
    }
}

impl PluginThread {
    /// Waits until the program ended. All [`Plugin`] handles must be gone, or one told to [`Plugin::stop`].
    pub fn join(self) {
        let _ = self.0.join();
    }
}

struct Keeper {
    config: config::Policy,
    running: Option<Running>,
    /// Not started again before.
    not_before: Option<Instant>,
    pause: Duration,
}

impl Keeper {
    fn new(config: config::Policy) -> Self {
        Self { config, running: None, not_before: None, pause: Duration::from_secs(1) }
    }

    fn run(mut self, queue: &Receiver<Option<Batch>>) {
        while let Ok(Some(first)) = queue.recv() {
            let more: Vec<Option<Batch>> = queue.try_iter().take(BATCHES_MAX - 1).collect();
            let is_last = more.iter().any(Option::is_none);
            self.round([first].into_iter().chain(more.into_iter().flatten()).collect());
            if is_last {
                break;
            }
        }
        if let Some(running) = self.running.take() {
            running.end(END_PATIENCE);
        }
    }

    /// Hands on some batches and waits for the answers.
    fn round(&mut self, batches: Vec<Batch>) {
        let mut text = String::new();
        let mut waiting = 0;
        for batch in &batches {
            for event in batch.events.iter().flatten() {
                write_line(&mut text, event, batch.from, batch.now);
                waiting += 1;
            }
        }
        let asked: HashSet<Id> = batches.iter().flat_map(|batch| batch.events.iter().flatten()).map(|e| e.id).collect();
        let found = if waiting == 0 { Ok(HashMap::new()) } else { self.ask(text, &asked) };
        for Batch { events, done, .. } in batches {
            let answer = |event: &Option<Verified>| match (event, &found) {
                (None, _) => Answer::Accept,
                (Some(event), Ok(found)) => found.get(&event.id).cloned().unwrap_or_else(silent),
                (Some(_), Err(why)) => Answer::Refuse(Refusal::new(Prefix::Error, NAME, *why)),
            };
            let _ = done.send(events.iter().map(answer).collect());
        }
    }

    fn ask(&mut self, text: String, asked: &HashSet<Id>) -> Result<HashMap<Id, Answer>, &'static str> {
        let patience = Duration::from_millis(self.config.plugin_ms_max);
        let running = self.ready()?;
        let mut found = HashMap::new();
        let is_alive = running.lines.send_timeout(text, patience).is_ok();
        let mut until = Instant::now() + patience;
        let mut strange = 0_u32;
        // What is not about one of these, or says it again, answers nothing: an earlier round may have left it behind.
        while is_alive && found.len() < asked.len() {
            let Ok(line) = running.answers.recv_deadline(until) else { break };
            match Id::from_hex(&line.id).filter(|id| asked.contains(id) && !found.contains_key(id)) {
                Some(id) => {
                    found.insert(id, answer(line));
                    until = Instant::now() + patience;
                }
                None => strange += 1,
            }
        }
        if strange > 0 {
            rarely!(warn, lines = strange, "the policy plugin answered what was not asked");
        }
        if found.len() < asked.len() {
            self.give_up(if is_alive { "is silent or ended" } else { "does not read" });
        }
        Ok(found)
    }

    /// The program, started if need be.
    fn ready(&mut self) -> Result<&Running, &'static str> {
        let path = self.config.plugin.first().cloned().unwrap_or_default();
        let changed = std::fs::metadata(&path).and_then(|about| about.modified()).ok();
        if let Some(running) = self.running.take_if(|running| running.changed != changed) {
            tracing::info!("the policy plugin changed and is started anew");
            running.end(END_PATIENCE);
        }
        if self.running.is_none() {
            if self.not_before.is_some_and(|at| Instant::now() < at) {
                return Err(NOT_RUNNING);
            }
            match Running::start(&self.config, changed) {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    tracing::error!(%error, "the policy plugin cannot be started");
                    self.wait_before_next();
                }
            }
        }
        self.running.as_ref().ok_or(NOT_RUNNING)
    }

    fn give_up(&mut self, why: &str) {
        let Some(running) = self.running.take() else { return };
        if running.started.elapsed() >= STEADY {
            self.pause = Duration::from_secs(1);
        }
        running.end(Duration::ZERO);
        self.wait_before_next();
        tracing::error!("the policy plugin {why}; it is started again");
    }

    fn wait_before_next(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(Duration::from_secs(self.config.plugin_restart_seconds_max.max(1)));
    }
}

fn write_line(text: &mut String, event: &Verified, from: From, now: Timestamp) {
    use std::fmt::Write;
    let (kind, info) = match from {
        From::Address(address @ IpAddr::V4(_)) => ("IP4", address.to_string()),
        From::Address(address @ IpAddr::V6(_)) => ("IP6", address.to_string()),
        From::Import => ("Import", String::new()),
        From::Elsewhere => ("Stream", String::new()),
    };
    let json = event.json();
    let _ = writeln!(
        text,
        r#"{{"type":"new","event":{json},"receivedAt":{now},"sourceType":"{kind}","sourceInfo":"{info}"}}"#
    );
}

fn answer(line: Line) -> Answer {
    match line.action {
        Action::Accept => Answer::Accept,
        Action::ShadowReject => Answer::Shadow,
        Action::Reject => {
            let msg: String = line.msg.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
            Answer::Refuse(match Refusal::with_prefix(NAME, &msg) {
                Some(refusal) => refusal,
                None if msg.is_empty() => Refusal::new(Prefix::Blocked, NAME, "refused by the operator's rules"),
                // A word of the operator's own is left as it is.
                None if msg.contains(": ") => Refusal::new(Prefix::Other, NAME, msg),
                None => Refusal::new(Prefix::Blocked, NAME, msg),
            })
        }
    }
}

fn silent() -> Answer {
    Answer::Refuse(Refusal::new(Prefix::Error, NAME, "the policy plugin did not answer"))
}

#[cfg(test)]
mod tests;
