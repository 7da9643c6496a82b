//! What went wrong in a script, and where.

use std::fmt;

use rquickjs::{Ctx, Value};

use super::fault::FaultKind;
use super::value::Unusable;

/// Longer messages of scripts are cut.
const MESSAGE_CHARS_MAX: usize = 300;

/// What is said when there is no memory left.
const NO_MEMORY: &str = "out of memory (script.memory_bytes_max)";

/// A script failed. `Display` is its place, if known, and the message: `chat.js:12: TypeError: ..`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptError {
    /// How.
    pub kind: FaultKind,
    /// The file, and the line if it is known.
    pub place: String,
    /// For people.
    pub message: String,
}

impl std::error::Error for ScriptError {}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl ScriptError {
    /// One that has no line.
    pub fn new(kind: FaultKind, file: &str, message: impl Into<String>) -> Self {
        Self { kind, place: file.to_owned(), message: short(&message.into()) }
    }

    /// From an error of the runtime; the exception, if there is one, is taken.
    pub fn of(ctx: &Ctx<'_>, file: &str, error: &rquickjs::Error) -> Self {
        match error {
            rquickjs::Error::Exception => Self::thrown(file, &ctx.catch()),
            rquickjs::Error::Allocation => Self::new(FaultKind::Memory, file, NO_MEMORY),
            rquickjs::Error::WouldBlock => Self::new(FaultKind::Result, file, "a promise is never resolved"),
            other => Self::new(FaultKind::Result, file, other.to_string()),
        }
    }

    /// From a value that a script returned.
    pub fn unusable(ctx: &Ctx<'_>, file: &str, error: &Unusable) -> Self {
        match error {
            Unusable::Script(error) => Self::of(ctx, file, error),
            other => Self::new(FaultKind::Result, file, other.to_string()),
        }
    }

    fn thrown(file: &str, value: &Value<'_>) -> Self {
        if value.is_null() {
            // What is thrown when there is no memory left for an error; hardly a script throws it.
            return Self::new(FaultKind::Memory, file, format!("{NO_MEMORY}, or it threw null"));
        }
        let Some(exception) = value.as_exception() else {
            let text = value.get::<rquickjs::Coerced<String>>().map(|text| text.0);
            return Self::new(FaultKind::Threw, file, text.unwrap_or_else(|_| "something".to_owned()));
        };
        let name = exception.as_object().get::<_, String>("name").unwrap_or_else(|_| "Error".to_owned());
        let message = exception.message().unwrap_or_default();
        let limit = match message.as_str() {
            "out of memory" => Some("script.memory_bytes_max"),
            "Maximum call stack size exceeded" | "stack overflow" => Some("script.stack_bytes_max"),
            _ => None,
        };
        let kind = if limit.is_some() { FaultKind::Memory } else { FaultKind::Threw };
        let line = exception.stack().and_then(|stack| place(&stack, file));
        Self {
            kind,
            place: line.unwrap_or_else(|| file.to_owned()),
            message: short(&match (message.as_str(), limit) {
                ("", _) => name,
                (message, None) => format!("{name}: {message}"),
                (message, Some(limit)) => format!("{name}: {message} ({limit})"),
            }),
        }
    }
}

/// `chat.js:12` from lines such as `    at filter (chat.js:12:7)`: the innermost place that is not ours.
fn place(stack: &str, file: &str) -> Option<String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    stack.lines().find_map(|line| {
        let place = line.trim().trim_start_matches("at ").trim_end_matches(')');
        let place = place.rsplit_once('(').map_or(place, |(_, place)| place);
        let (path, column) = place.rsplit_once(':')?;
        let (path, row) =
            if column.parse::<u32>().is_ok() && path.rsplit_once(':').is_some_and(|(_, row)| is_number(row)) {
                path.rsplit_once(':')?
            } else {
                (path, column)
            };
        let is_theirs = is_number(row) && path.contains(".js") || path.contains(".mjs");
        (is_theirs && !path.starts_with("host:") && path.starts_with(folder)).then(|| format!("{path}:{row}"))
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn short(message: &str) -> String {
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}..", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
