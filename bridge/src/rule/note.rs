//! A text: kind 1.

use super::{NOTE_BYTES_MAX, Subject};
use crate::{Body, Draft, Value, event::Tag};

pub(super) fn draft(subject: &Subject<'_>) -> Option<Draft> {
    Some(note(subject, text(subject)?, Vec::new()))
}

/// What there is to read: a body of text, a payload of text, or a field for it. Bytes are not text; they may be meant for
/// somebody.
pub(super) fn text<'a>(subject: &'a Subject<'_>) -> Option<&'a str> {
    let text = match &subject.body {
        Body::Text(text) => text,
        Body::Record(record) => match &record.payload {
            Value::Text(text) => text,
            payload => payload.any_field(FIELDS)?.as_text()?,
        },
        _ => return None,
    };
    (text.len() <= NOTE_BYTES_MAX && !text.trim().is_empty()).then_some(text)
}

pub(super) fn note(subject: &Subject<'_>, text: &str, tags: Vec<Tag>) -> Draft {
    let date = subject.record().and_then(|record| record.date);
    subject.copy(NOTE, date, tags, text.to_owned(), "Note from a pico feed")
}

pub(super) const NOTE: u16 = 1;
const FIELDS: &[&str] = &["text", "content", "message"];
