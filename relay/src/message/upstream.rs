//! The other side of the protocol (NIP-01, NIP-42, NIP-67, NIP-77): what this relay says to other relays as their
//! client, and what it hears from them.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::reply::list;
use super::string;
use crate::event::{Id, unhex};

/// A header of the handshake by which a picorelay asks another for the hints of EOSE (NIP-67), whatever that one gives to
/// others. Nobody else reads it.
pub const EOSE_HINTS: &str = "picorelay-eose-hints";

/// A relay message, an event in it still unread JSON.
#[derive(Debug, PartialEq, Eq)]
pub enum RelayMessage<'a> {
    /// `["EVENT",<subscription>,<event>]`
    Event(Cow<'a, str>, &'a str),
    /// `["EOSE",<subscription>]`; true when the relay says that nothing else matches (NIP-67).
    Eose(Cow<'a, str>, bool),
    /// `["CLOSED",<subscription>,<reason>]`
    Closed(Cow<'a, str>, Cow<'a, str>),
    /// `["OK",<event id>,<accepted>,<reason>]`
    Ok(Id, bool, Cow<'a, str>),
    /// `["AUTH",<challenge>]`
    Auth(Cow<'a, str>),
    /// `["NOTICE",<text>]`
    Notice(Cow<'a, str>),
    /// `["NEG-MSG",<subscription>,<message>]`, the message no longer hex.
    NegMsg(Cow<'a, str>, Vec<u8>),
    /// `["NEG-ERR",<subscription>,<reason>]`
    NegErr(Cow<'a, str>, Cow<'a, str>),
    /// Something else that begins with a word.
    Other,
}

impl<'a> RelayMessage<'a> {
    /// Reads a text frame. `None`: it is no relay message.
    pub fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&'a RawValue> = serde_json::from_str(text).ok()?;
        let mut parts = parts.into_iter().map(RawValue::get);
        let verb = string(parts.next()?)?;
        // Some relays leave out the reason where there is none.
        let reason = |json: Option<&'a str>| json.and_then(string).unwrap_or_default();
        Some(match verb.as_ref() {
            "EVENT" => Self::Event(string(parts.next()?)?, parts.next()?),
            "EOSE" => {
                let subscription = string(parts.next()?)?;
                let hints: Vec<Cow<'_, str>> =
                    parts.next().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
                Self::Eose(subscription, hints.iter().any(|hint| hint == "finish"))
            }
            "CLOSED" => Self::Closed(string(parts.next()?)?, reason(parts.next())),
            "OK" => {
                let id = Id(unhex(&string(parts.next()?)?.to_ascii_lowercase())?);
                let accepted = serde_json::from_str(parts.next()?).ok()?;
                Self::Ok(id, accepted, reason(parts.next()))
            }
            "AUTH" => Self::Auth(string(parts.next()?)?),
            "NOTICE" => Self::Notice(reason(parts.next())),
            "NEG-MSG" => {
                let subscription = string(parts.next()?)?;
                let hex = string(parts.next()?)?;
                Self::NegMsg(subscription, data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?)
            }
            "NEG-ERR" => Self::NegErr(string(parts.next()?)?, reason(parts.next())),
            _ => Self::Other,
        })
    }
}

/// `["REQ",<subscription>,<filter>]`; `filter` is JSON.
pub fn req(subscription: &str, filter: &str) -> String {
    list(&["REQ", subscription], Some(filter))
}

/// `["CLOSE",<subscription>]`
pub fn close(subscription: &str) -> String {
    list(&["CLOSE", subscription], None)
}

/// `["EVENT",<event>]`; `event` is JSON.
pub fn event(event: &str) -> String {
    list(&["EVENT"], Some(event))
}

/// `["AUTH",<event>]`; `event` is JSON.
pub fn auth(event: &str) -> String {
    list(&["AUTH"], Some(event))
}

/// `["NEG-OPEN",<subscription>,<filter>,<message>]`; `filter` is JSON.
pub fn neg_open(subscription: &str, filter: &str, message: &[u8]) -> String {
    let last = format!("{filter},\"{}\"", data_encoding::HEXLOWER.encode(message));
    list(&["NEG-OPEN", subscription], Some(&last))
}

/// `["NEG-CLOSE",<subscription>]`
pub fn neg_close(subscription: &str) -> String {
    list(&["NEG-CLOSE", subscription], None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_relay_messages() {
        let hex = "ab".repeat(32);
        let ok = format!(r#"["OK","{hex}",false,"blocked: no"]"#);
        let bare_ok = format!(r#"["OK","{}",true]"#, hex.to_uppercase());
        let id = Id([0xab; 32]);
        for (text, message) in [
            (r#" ["EVENT", "a\"b", {"id":1} ] "#, Some(RelayMessage::Event(r#"a"b"#.into(), r#"{"id":1}"#))),
            (r#"["EOSE","a"]"#, Some(RelayMessage::Eose("a".into(), false))),
            (r#"["EOSE","a",["finish"]]"#, Some(RelayMessage::Eose("a".into(), true))),
            (r#"["EOSE","a",["more"]]"#, Some(RelayMessage::Eose("a".into(), false))),
            (r#"["EOSE","a",{}]"#, Some(RelayMessage::Eose("a".into(), false))),
            (r#"["CLOSED","a"]"#, Some(RelayMessage::Closed("a".into(), "".into()))),
            (&ok, Some(RelayMessage::Ok(id, false, "blocked: no".into()))),
            (&bare_ok, Some(RelayMessage::Ok(id, true, "".into()))),
            (r#"["AUTH","c"]"#, Some(RelayMessage::Auth("c".into()))),
            (r#"["NOTICE","hi"]"#, Some(RelayMessage::Notice("hi".into()))),
            (r#"["NEG-MSG","n","6100"]"#, Some(RelayMessage::NegMsg("n".into(), vec![0x61, 0]))),
            (r#"["NEG-ERR","n","blocked: big"]"#, Some(RelayMessage::NegErr("n".into(), "blocked: big".into()))),
            (r#"["PROTOCOL-ERROR","x"]"#, Some(RelayMessage::Other)),
            (r#"["NEG-MSG","n","6"]"#, None),
            (r#"["OK","ab",true,""]"#, None),
            (r#"["OK",1]"#, None),
            (r#"["EVENT","a"]"#, None),
            (r#"["EVENT",1,{}]"#, None),
            ("[]", None),
            ("{}", None),
            ("[1]", None),
            ("", None),
        ] {
            assert_eq!(RelayMessage::parse(text), message, "{text}");
        }
        assert_eq!(RelayMessage::parse(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))), None);
    }

    #[test]
    fn writes_what_a_relay_reads() {
        use crate::message::ClientMessage;
        assert!(
            matches!(ClientMessage::parse(&req("a", "{}")), Ok(ClientMessage::Req(id, filters)) if id == "a" && filters == ["{}"])
        );
        assert!(matches!(ClientMessage::parse(&close("a")), Ok(ClientMessage::Close(id)) if id == "a"));
        assert!(matches!(ClientMessage::parse(&event("{}")), Ok(ClientMessage::Event("{}"))));
        assert!(matches!(ClientMessage::parse(&auth("{}")), Ok(ClientMessage::Auth("{}"))));
        let open = neg_open("n", r#"{"kinds":[1]}"#, &[0x61, 0]);
        assert!(matches!(
            ClientMessage::parse(&open),
            Ok(ClientMessage::NegOpen(id, r#"{"kinds":[1]}"#, hex)) if id == "n" && hex == "6100"
        ));
        assert!(matches!(ClientMessage::parse(&neg_close("n")), Ok(ClientMessage::NegClose(id)) if id == "n"));
    }
}
