//! Relay messages, written as raw JSON (NIP-01, NIP-42, NIP-45, NIP-67, NIP-77).

use std::sync::Arc;

use crate::event::Id;
use crate::store::{By, End, Saved};

/// What the messages begin with that bring the events of a subscription, written once for all of them.
#[derive(Clone, Debug)]
pub struct EventHead(Arc<str>);

impl EventHead {
    /// `["EVENT",<subscription>,`.
    pub fn new(subscription: &str) -> Self {
        let mut text = String::from("[\"EVENT\",");
        push_string(&mut text, subscription);
        text.push(',');
        Self(text.into())
    }

    /// Bytes that it adds to each message.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// `["EVENT",<subscription>,<event>]`; `event` is canonical JSON and goes in as it is.
pub fn event(head: &EventHead, event: &str) -> String {
    let mut text = String::with_capacity(event.len() + head.bytes() + 1);
    text.push_str(&head.0);
    text.push_str(event);
    text.push(']');
    text
}

/// `["OK",<id>,<accepted>,<message>]`.
pub fn ok(id: &str, accepted: bool, message: &str) -> String {
    let mut text = String::with_capacity(96 + message.len());
    text.push_str("[\"OK\",");
    push_string(&mut text, id);
    text.push_str(if accepted { ",true," } else { ",false," });
    push_string(&mut text, message);
    text.push(']');
    text
}

/// The OK for what the store did with an event.
pub fn saved(id: &Id, saved: Saved) -> String {
    let (accepted, message) = match saved {
        Saved::New(_) => (true, ""),
        Saved::Duplicate => (true, "duplicate: already have this event"),
        Saved::Superseded => (false, "duplicate: have a newer version of this event"),
        Saved::Deleted(By::Author) => (false, "blocked: this event was deleted by its author"),
        Saved::Deleted(By::Recipient) => (false, "blocked: this event was deleted by its recipient"),
        Saved::Vanished(By::Author) => (false, "blocked: the author asked this relay to forget it"),
        Saved::Vanished(By::Recipient) => (false, "blocked: the recipient asked this relay to forget it"),
        Saved::Expired => (false, "invalid: the event has expired"),
    };
    ok(&id.to_hex(), accepted, message)
}

/// `["EOSE",<subscription>]`, and how the answer ended for those who read it (NIP-67).
pub fn eose(subscription: &str, end: Option<End>) -> String {
    match end {
        Some(End::Finish) => list(&["EOSE", subscription], Some("[\"finish\"]")),
        Some(End::More) => list(&["EOSE", subscription], Some("[\"more\"]")),
        Some(End::Unknown) | None => list(&["EOSE", subscription], None),
    }
}

/// `["CLOSED",<subscription>,<message>]`.
pub fn closed(subscription: &str, message: &str) -> String {
    list(&["CLOSED", subscription, message], None)
}

/// `["NOTICE",<message>]`.
pub fn notice(message: &str) -> String {
    list(&["NOTICE", message], None)
}

/// `["AUTH",<challenge>]`.
pub fn auth(challenge: &str) -> String {
    list(&["AUTH", challenge], None)
}

/// `["COUNT",<query>,{"count":<n>}]`, with `approximate` and `hll` (256 registers) where they apply.
pub fn count(query: &str, count: u64, approximate: bool, hll: Option<&[u8; 256]>) -> String {
    let mut object = format!("{{\"count\":{count}");
    if approximate {
        object.push_str(",\"approximate\":true");
    }
    if let Some(registers) = hll {
        object.push_str(",\"hll\":\"");
        object.push_str(&data_encoding::HEXLOWER.encode(registers));
        object.push('"');
    }
    object.push('}');
    list(&["COUNT", query], Some(&object))
}

/// `["NEG-MSG",<subscription>,<hex>]`.
pub fn neg_msg(subscription: &str, message: &[u8]) -> String {
    list(&["NEG-MSG", subscription, &data_encoding::HEXLOWER.encode(message)], None)
}

/// `["NEG-ERR",<subscription>,<reason>]`.
pub fn neg_err(subscription: &str, reason: &str) -> String {
    list(&["NEG-ERR", subscription, reason], None)
}

/// A JSON array of strings, and a last element that is JSON already.
pub(super) fn list(strings: &[&str], last: Option<&str>) -> String {
    let len = strings.iter().map(|text| text.len() + 4).sum::<usize>() + last.map_or(0, str::len) + 4;
    let mut text = String::with_capacity(len);
    text.push('[');
    for (number, string) in strings.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        push_string(&mut text, string);
    }
    if let Some(last) = last {
        text.push(',');
        text.push_str(last);
    }
    text.push(']');
    text
}

fn push_string(text: &mut String, string: &str) {
    if string.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        text.push('"');
        text.push_str(string);
        text.push('"');
    } else {
        text.push_str(&serde_json::to_string(string).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_messages() {
        assert_eq!(event(&EventHead::new("a\"b"), "{}"), r#"["EVENT","a\"b",{}]"#);
        assert_eq!(eose("s", Some(End::More)), r#"["EOSE","s",["more"]]"#);
        assert_eq!(eose("s", Some(End::Unknown)), r#"["EOSE","s"]"#);
        assert_eq!(eose("s", None), r#"["EOSE","s"]"#);
        assert_eq!(count("q", 3, true, None), r#"["COUNT","q",{"count":3,"approximate":true}]"#);
        assert_eq!(neg_msg("n", &[0x61]), r#"["NEG-MSG","n","61"]"#);
        assert_eq!(notice("x\ny"), r#"["NOTICE","x\ny"]"#);
    }
}
