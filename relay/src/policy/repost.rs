//! What a repost carries in its content (NIP-18): an event, which may be a repost itself.

use serde_json::Value;

/// Reposts in reposts that are looked into. One level is usual; what is deeper is taken for an attempt to hide something.
const LEVELS_MAX: usize = 8;

/// Kinds of reposts.
pub(super) fn is_repost(kind: u16) -> bool {
    matches!(kind, 6 | 16)
}

/// Whether the content of a repost holds a protected event (NIP-70), at any depth.
///
/// Read as leniently as clients read it: whatever else is wrong with the event, its last `tags` count. Of what our parser
/// does not read but another might (halves of surrogate pairs, huge numbers, deep nesting), the look of it counts.
pub(super) fn embeds_protected(content: &str) -> bool {
    let mut content = content.to_owned();
    for _ in 0..LEVELS_MAX {
        // White space and byte order marks, as `trim` of JavaScript takes them away.
        let text = content.trim_matches(|letter: char| letter.is_whitespace() || letter == '\u{feff}');
        if !text.starts_with('{') {
            return false;
        }
        let Ok(inner) = serde_json::from_str::<Value>(text) else { return looks_protected(text) };
        let tags = inner.get("tags").and_then(Value::as_array);
        if tags.is_some_and(|tags| tags.iter().any(|tag| tag.get(0).is_some_and(|name| name == "-"))) {
            return true;
        }
        // An event of another kind carries nothing; one whose kind is no number might, to somebody.
        let is_other = inner.get("kind").and_then(Value::as_f64).is_some_and(|kind| kind != 6.0 && kind != 16.0);
        match inner.get("content") {
            Some(Value::String(next)) if !is_other => content.clone_from(next),
            _ => return false,
        }
    }
    true
}

/// Whether there is something like `["-"`, at any depth of escaping.
fn looks_protected(text: &str) -> bool {
    let bare: String = text.chars().filter(|letter| !letter.is_whitespace() && *letter != '\\').collect();
    let bare = bare.replace("u0022", "\"").replace("u002d", "-").replace("u002D", "-");
    bare.contains("[\"-\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_protected_event() {
        let protected = r#"{"kind":1,"content":"mine","tags":[["t","x"],["-"]]}"#;
        let open = r#"{"kind":1,"content":"it says [\"-\"]","tags":[["t","-"],["x","[\"-\"]"]]}"#;
        let wrap = |kind: &str, inner: &str| {
            format!(r#"{{"kind":{kind},"tags":[["e","x"]],"content":{}}}"#, Value::from(inner))
        };
        let nested = |levels: usize, inner: &str| (0..levels).fold(inner.to_owned(), |inner, _| wrap("6", &inner));
        // Grows by a few letters a level where `\\` would double.
        let (mut deep, mut deep_open) = (protected.to_owned(), open.to_owned());
        for text in [&mut deep, &mut deep_open] {
            for _ in 0..100 {
                let escaped = text.replace('\\', "\\u005c").replace('"', "\\u0022");
                *text = format!(r#"{{"kind":16,"tags":[],"content":"{escaped}"}}"#);
            }
        }
        for (content, expected) in [
            (protected.to_owned(), true),
            (format!("\u{feff}{protected}"), true),
            (format!(" \n\u{a0}\u{feff} {protected}\r\n\u{feff}"), true),
            (nested(1, protected), true),
            (nested(7, protected), true),
            (wrap("16", &format!("\u{feff} {protected}")), true),
            (wrap("6.0", protected), true),
            (wrap("\"6\"", protected), true),
            (wrap("null", protected), true),
            (deep, true),
            (deep_open, true),
            (protected.replace("\"mine\"", "\"\\ud800\""), true),
            (protected.replace("\"mine\"", "1e999"), true),
            (protected.replace("\"mine\"", &format!("{}{}", "[".repeat(200), "]".repeat(200))), true),
            (protected.replace("\"mine\"", "\"\\ud800\"").replace("[\"-\"]", " [ \"\\u002d\" ] "), true),
            (wrap("6", &protected.replace("\"mine\"", "\"\\ud800\"")), true),
            (protected.replace("\"mine\"", "1,\"tags\":[]"), true),
            (protected.replace(r#","tags":[["t","x"],["-"]]"#, r#","tags":[["-"]],"tags":[]"#), false),
            (open.to_owned(), false),
            (nested(3, open), false),
            // A note that quotes one carries none.
            (wrap("1", protected), false),
            ("not JSON [\"-\"]".into(), false),
            ("{}".into(), false),
            (String::new(), false),
            ("[[\"-\"]]".into(), false),
        ] {
            assert_eq!(embeds_protected(&content), expected, "{content:.200}");
        }
    }
}
