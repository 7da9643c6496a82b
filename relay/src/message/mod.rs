//! Client messages (NIP-01, NIP-42, NIP-45, NIP-77): read here, answered by [`crate::session`]. `upstream.rs` is the other
//! side, for when this relay is a client.

mod claim;
pub mod reply;
pub mod upstream;

use std::borrow::Cow;

use serde_json::value::RawValue;

pub(crate) use self::claim::{claimed_id, claimed_id_in};

/// The most characters of a subscription id (NIP-01).
pub const SUBSCRIPTION_ID_CHARS_MAX: usize = 64;

/// A client message, its parts still unread JSON.
#[derive(Debug)]
pub enum ClientMessage<'a> {
    /// `["EVENT",<event>]`
    Event(&'a str),
    /// `["REQ",<subscription>,<filter>..]`
    Req(Cow<'a, str>, Vec<&'a str>),
    /// `["CLOSE",<subscription>]`
    Close(Cow<'a, str>),
    /// `["AUTH",<event>]`
    Auth(&'a str),
    /// `["COUNT",<query>,<filter>..]`
    Count(Cow<'a, str>, Vec<&'a str>),
    /// `["NEG-OPEN",<subscription>,<filter>,<message>]`
    NegOpen(Cow<'a, str>, &'a str, Cow<'a, str>),
    /// `["NEG-MSG",<subscription>,<message>]`
    NegMsg(Cow<'a, str>, Cow<'a, str>),
    /// `["NEG-CLOSE",<subscription>]`
    NegClose(Cow<'a, str>),
}

/// Why a text is no client message: the answer to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl<'a> ClientMessage<'a> {
    /// Reads a text frame. The error is the whole relay message that answers it: CLOSED or NEG-ERR where there is a
    /// subscription id, else NOTICE.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        // The common one without a look at the parts: they are read when the event is.
        if let Some(event) = sole_argument(text, "EVENT") {
            return Ok(Self::Event(event));
        }
        if let Some(event) = sole_argument(text, "AUTH") {
            return Ok(Self::Auth(event));
        }
        let parts: Vec<&'a RawValue> =
            serde_json::from_str(text).map_err(|_| refuse("invalid: a message is a JSON array"))?;
        let mut parts = parts.into_iter().map(RawValue::get);
        let verb = parts.next().and_then(string).ok_or_else(|| refuse("invalid: a message begins with its type"))?;
        let mut id = || {
            let raw = parts.next().ok_or_else(|| refuse("invalid: the subscription id is missing"))?;
            let id = string(raw).ok_or_else(|| refuse("invalid: the subscription id is not a string"))?;
            let chars = id.chars().count();
            if chars == 0 || chars > SUBSCRIPTION_ID_CHARS_MAX {
                let why = "invalid: a subscription id has 1 to 64 characters";
                return Err(match (chars, verb.as_ref()) {
                    (..=1024, "REQ" | "COUNT") => Refusal(reply::closed(&id, why)),
                    (..=1024, "NEG-OPEN" | "NEG-MSG") => Refusal(reply::neg_err(&id, why)),
                    _ => refuse(why),
                });
            }
            Ok(id)
        };
        match verb.as_ref() {
            "EVENT" | "AUTH" => Err(refuse("invalid: this message has one event and nothing else")),
            "REQ" | "COUNT" => {
                let id = id()?;
                let filters: Vec<&str> = parts.collect();
                if filters.is_empty() {
                    return Err(Refusal(reply::closed(&id, "invalid: a filter is missing")));
                }
                Ok(if verb == "REQ" { Self::Req(id, filters) } else { Self::Count(id, filters) })
            }
            "CLOSE" => Ok(Self::Close(id()?)),
            "NEG-CLOSE" => Ok(Self::NegClose(id()?)),
            "NEG-OPEN" => {
                let id = id()?;
                match (parts.next(), parts.next().and_then(string), parts.next()) {
                    (Some(filter), Some(message), None) => Ok(Self::NegOpen(id, filter, message)),
                    _ => Err(Refusal(reply::neg_err(&id, "invalid: NEG-OPEN has a filter and a message"))),
                }
            }
            "NEG-MSG" => {
                let id = id()?;
                match (parts.next().and_then(string), parts.next()) {
                    (Some(message), None) => Ok(Self::NegMsg(id, message)),
                    _ => Err(Refusal(reply::neg_err(&id, "invalid: NEG-MSG has a message"))),
                }
            }
            other => {
                let shown: String = other.chars().take(32).collect();
                Err(refuse(&format!("unsupported: unknown message type {shown}")))
            }
        }
    }
}

impl ClientMessage<'_> {
    /// Its type, as on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Event(_) => "EVENT",
            Self::Req(..) => "REQ",
            Self::Close(_) => "CLOSE",
            Self::Auth(_) => "AUTH",
            Self::Count(..) => "COUNT",
            Self::NegOpen(..) => "NEG-OPEN",
            Self::NegMsg(..) => "NEG-MSG",
            Self::NegClose(_) => "NEG-CLOSE",
        }
    }
}

/// Type and subscription id of a message that is too large to be parsed.
pub(crate) fn leading_id(text: &str) -> Option<(String, String)> {
    let start: String = text.chars().take(1024).collect();
    let mut parts = start.trim_start().strip_prefix('[')?.splitn(3, ',');
    let verb = string(parts.next()?.trim())?.into_owned();
    let id = string(parts.next()?.trim())?.into_owned();
    Some((verb, id))
}

fn refuse(why: &str) -> Refusal {
    Refusal(reply::notice(why))
}

/// The text between `["<verb>",` and the closing bracket.
fn sole_argument<'a>(text: &'a str, verb: &str) -> Option<&'a str> {
    let rest = text.trim_start().strip_prefix('[')?.trim_start().strip_prefix('"')?;
    let rest = rest.strip_prefix(verb)?.strip_prefix('"')?;
    let rest = rest.trim_start().strip_prefix(',')?;
    Some(rest.trim_end().strip_suffix(']')?.trim())
}

/// A JSON string, unescaped.
fn string(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(json).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_messages() {
        assert!(matches!(
            ClientMessage::parse(r#" [ "EVENT" , {"a":[1]} ] "#),
            Ok(ClientMessage::Event(r#"{"a":[1]}"#))
        ));
        let req = ClientMessage::parse(r#"["REQ","a\"b",{},{"kinds":[1]}]"#).unwrap();
        assert!(matches!(req, ClientMessage::Req(id, filters) if id == "a\"b" && filters.len() == 2));
        assert!(matches!(ClientMessage::parse(r#"["NEG-OPEN","n",{},"61"]"#), Ok(ClientMessage::NegOpen(..))));
    }

    #[test]
    fn answers_what_is_none() {
        let answer = |text: &str| ClientMessage::parse(text).unwrap_err().0;
        for (text, starts) in [
            ("", r#"["NOTICE","invalid:"#),
            ("{}", r#"["NOTICE","invalid:"#),
            ("[]", r#"["NOTICE","invalid:"#),
            ("[1]", r#"["NOTICE","invalid:"#),
            (r#"["FOO"]"#, r#"["NOTICE","unsupported:"#),
            (r#"["REQ"]"#, r#"["NOTICE","invalid:"#),
            (r#"["REQ",1,{}]"#, r#"["NOTICE","invalid:"#),
            (r#"["REQ","",{}]"#, r#"["CLOSED","","invalid:"#),
            (r#"["REQ","a"]"#, r#"["CLOSED","a","invalid:"#),
            (r#"["NEG-OPEN","a",{}]"#, r#"["NEG-ERR","a","invalid:"#),
        ] {
            assert!(answer(text).starts_with(starts), "{text}: {}", answer(text));
        }
        let long = "x".repeat(65);
        assert!(answer(&format!(r#"["REQ","{long}",{{}}]"#)).starts_with(&format!(r#"["CLOSED","{long}","#)));
        assert!(answer(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))).starts_with("[\"NOTICE\""));
    }
}
