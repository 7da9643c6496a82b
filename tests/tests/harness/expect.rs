//! Messages with names in them, and patterns of messages.
//!
//! `<name>` stands for a bound text: the JSON of an event, the hex of a key. `<name.id>` is a member of an event. In
//! what is expected, `"<any>"` is any value, a string that ends in `..` any string that begins so, and `["COUNT",x,{..}]`
//! may carry more than is named (registers of NIP-45).

use std::collections::HashMap;

use serde_json::Value;

/// What `<name>` stands for.
#[derive(Default, Clone)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    pub(crate) fn bind(&mut self, name: &str, text: impl ToString) {
        self.0.insert(name.to_owned(), text.to_string());
    }

    /// Puts the bound texts in. What is not bound stays.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            out.push_str(&rest[..start]);
            let from = &rest[start..];
            let Some(end) = from.find('>') else {
                rest = from;
                break;
            };
            match self.look_up(&from[1..end]) {
                Some(found) => out.push_str(&found),
                None => out.push_str(&from[..=end]),
            }
            rest = &from[end + 1..];
        }
        out + rest
    }

    fn look_up(&self, name: &str) -> Option<String> {
        let Some((name, member)) = name.split_once('.') else {
            return self.0.get(name).cloned();
        };
        let event: Value = serde_json::from_str(self.0.get(name)?).ok()?;
        match event.get(member)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// True when `got` is as `wanted` says.
pub(crate) fn matches(wanted: &Value, got: &Value) -> bool {
    match (wanted, got) {
        (Value::String(text), _) if text == "<any>" => true,
        (Value::String(text), Value::String(got)) if text.ends_with("..") => {
            got.starts_with(text.trim_end_matches(".."))
        }
        (Value::Array(wanted), Value::Array(got)) => {
            wanted.len() == got.len() && wanted.iter().zip(got).all(|(wanted, got)| matches(wanted, got))
        }
        (Value::Object(wanted), Value::Object(got)) if wanted.contains_key("count") => {
            wanted.iter().all(|(name, wanted)| got.get(name).is_some_and(|got| matches(wanted, got)))
        }
        _ => wanted == got,
    }
}

#[test]
fn fills_and_matches() {
    let mut names = Names::default();
    names.bind("e", r#"{"id":"ab","kind":1}"#);
    names.bind("me", "cd");
    assert_eq!(
        names.fill(r#"[<e>,"<e.id>",<e.kind>,"<me>","<any>","a<b"]"#),
        r#"[{"id":"ab","kind":1},"ab",1,"cd","<any>","a<b"]"#
    );
    for (wanted, got, same) in [
        (r#"["OK","x",false,"invalid: .."]"#, r#"["OK","x",false,"invalid: bad"]"#, true),
        (r#"["OK","x",false,"invalid: .."]"#, r#"["OK","x",false,"blocked: bad"]"#, false),
        (r#"["EOSE","a"]"#, r#"["EOSE","a",["finish"]]"#, false),
        (r#"["EOSE","a",["more"]]"#, r#"["EOSE","a"]"#, false),
        (r#"["CLOSED","a"]"#, r#"["CLOSED","a","x"]"#, false),
        (r#"["COUNT","a",{"count":1}]"#, r#"["COUNT","a",{"count":1,"hll":"00"}]"#, true),
        (r#"["EVENT","a","<any>"]"#, r#"["EVENT","a",{"id":1}]"#, true),
    ] {
        let parse = |text| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(matches(&parse(wanted), &parse(got)), same, "{wanted} {got}");
    }
}
