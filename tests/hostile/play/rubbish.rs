//! Messages that mean nothing, or that are too large.

use std::sync::Arc;

use serde_json::json;

use crate::crew::Crew;
use crate::line::{BINARY, Rounds, TEXT, flood, frame, pieces, text};

/// A little less than the relay takes.
const FULL: usize = 520_000;

/// Deep ones, wide ones, and some that look right for long.
pub(crate) async fn json_bombs(crew: Arc<Crew>) {
    let deep = "[".repeat(FULL);
    let nested = format!(r#"["REQ","a",{}"#, r#"{"a":["#.repeat(FULL / 6));
    let wide = format!("[{}1]", "1,".repeat(FULL / 2));
    let escapes = format!(r#"["EVENT",{{"content":"{}"}}]"#, r"\u0041".repeat(FULL / 6 - 10));
    let members =
        format!(r#"["EVENT",{{{}"a":1}}]"#, (0..30_000).map(|n| format!(r#""m{n}":[{{}}],"#)).collect::<String>());
    let filter = format!(r#"["REQ","a",{{"ids":[{}"x"]}}]"#, r#""0","#.repeat(FULL / 4 - 10));
    let bombs = [deep, nested, wide, escapes, members, filter];
    flood(Arc::clone(&crew), Some("/"), pieces(bombs.map(text)), Rounds::Endless).await;
}

/// Short texts and binary messages that are no nostr.
pub(crate) async fn garbage(crew: Arc<Crew>) {
    let texts =
        ["", "null", "[]", "[1]", "{", r#"["EVENT"]"#, r#"["REQ"]"#, r#"["EVENT",{}]"#, r#"["WHAT","a"]"#, "\u{0}"];
    let frames = (0..5_000).map(|n| match n % 11 {
        10 => frame(BINARY, true, &[0xff; 100]),
        which => text(texts[which]),
    });
    flood(Arc::clone(&crew), Some("/"), pieces(frames), Rounds::Endless).await;
}

/// Messages of up to four times of what is taken, each of which has to be read to its end.
pub(crate) async fn giants(crew: Arc<Crew>) {
    let event = |len: usize| json!(["EVENT", {"content": "x".repeat(len)}]).to_string();
    let frames = [600_000, 1_000_000, 2_000_000].map(|len| frame(TEXT, true, event(len).as_bytes()));
    flood(Arc::clone(&crew), Some("/"), pieces(frames), Rounds::Endless).await;
}
