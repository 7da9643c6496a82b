//! `tasks`: a list of things to do that several people share. It is the example of pico-template, in Rust.
//!
//! Blocks are of generation 1: their body is a MessagePack map with a `type`. Two types are known:
//!
//! | type | fields | what it does |
//! |---|---|---|
//! | `task` | `title` (text), `status` (one of below), `date` (ms) | makes a task; its id is that of the block |
//! | `update` | `taskId` (64 bytes), `status`, `date` | gives a task another status; anybody may |
//!
//! A status is `todo`, `in-progress`, `to-verify`, `done` or `wontfix`.
//!
//! How to read it: [`Slice::decide`] looks at a block and at the state before it, and either has no opinion
//! ([`Verdict::Pass`]: not one of these types), or says what is wrong in a few words ([`Verdict::Reject`]), or accepts it.
//! [`Slice::reduce`] is called for accepted blocks only and says what they change. The state is one object for each task,
//! kept as JSON, so that showing it is copying it.

use bytes::Bytes;
use picofeed::Id;
use serde::{Deserialize, Serialize};

use super::{Context, Effects, Expires, Fault, FaultKind, Put, Sees, Show, Slice, Verdict, View};

/// What a task can be.
const STATUS: [&str; 5] = ["todo", "in-progress", "to-verify", "done", "wontfix"];

/// Nesting of a body: a map of plain values.
const DEPTH_MAX: usize = 8;

/// See above.
#[derive(Debug)]
pub struct Tasks;

/// What is kept of a task.
#[derive(Serialize, Deserialize)]
struct Task {
    title: String,
    status: String,
    author: String,
    created: f64,
    updated: f64,
}

/// What a block wants.
enum Wish {
    Create { title: String, status: String, date: f64 },
    Update { task: String, status: String, date: f64 },
}

impl Slice for Tasks {
    fn name(&self) -> &str {
        "tasks"
    }

    fn sees(&self) -> Sees {
        Sees::Everything
    }

    fn decide(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Verdict, Fault> {
        let reject = |reason: &str| Ok(Verdict::Reject(reason.into()));
        match wish(block.block.body()) {
            None => Ok(Verdict::Pass),
            Some(Wish::Create { title, .. }) if title.is_empty() => reject("a task must have a title"),
            Some(Wish::Create { date, .. }) if date > block.now as f64 => reject("a task from the future"),
            Some(Wish::Create { status, .. } | Wish::Update { status, .. }) if !STATUS.contains(&status.as_str()) => {
                reject("no such status")
            }
            Some(Wish::Create { .. }) => Ok(Verdict::Accept(Effects::default())),
            Some(Wish::Update { task, status, .. }) => match view.object(self.name(), &task)? {
                None => reject("no such task"),
                Some(object) if read(&object.value)?.status == status => reject("it has that status already"),
                Some(_) => Ok(Verdict::Accept(Effects::default())),
            },
        }
    }

    fn reduce(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        let (id, task) = match wish(block.block.body()) {
            Some(Wish::Create { title, status, date }) => {
                let author = block.block.author().to_string();
                (block.block.id().to_string(), Task { title, status, author, created: date, updated: date })
            }
            Some(Wish::Update { task: id, status, date }) => {
                let Some(object) = view.object(self.name(), &id)? else { return Ok(Effects::default()) };
                let task = Task { status, updated: date, ..read(&object.value)? };
                (id, task)
            }
            None => return Ok(Effects::default()),
        };
        let value = serde_json::to_vec(&task).map_err(|error| fault(error.to_string()))?;
        let put = Put { id, value: Some(Bytes::from(value)), expires: Expires::Never };
        Ok(Effects { puts: vec![put], ..Effects::default() })
    }

    fn show(&self) -> Show {
        |value| String::from_utf8_lossy(value).into_owned()
    }
}

/// What a body says, if it is one of a task.
fn wish(body: &[u8]) -> Option<Wish> {
    let rmpv::Value::Map(map) = rmpv::decode::read_value_with_max_depth(&mut &*body, DEPTH_MAX).ok()? else {
        return None;
    };
    let field = |name: &str| map.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
    let text = |name: &str| field(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let date = field("date").and_then(|date| date.as_f64()).unwrap_or_default();
    match field("type")?.as_str()? {
        "task" => Some(Wish::Create { title: text("title"), status: text("status"), date }),
        "update" => {
            let task = field("taskId").and_then(|id| <[u8; 64]>::try_from(id.as_slice()?).ok());
            let task = task.map(|id| Id::from(id).to_string()).unwrap_or_default();
            Some(Wish::Update { task, status: text("status"), date })
        }
        _ => None,
    }
}

fn read(value: &[u8]) -> Result<Task, Fault> {
    serde_json::from_slice(value).map_err(|error| fault(error.to_string()))
}

fn fault(message: String) -> Fault {
    Fault { kind: FaultKind::Result, message }
}
