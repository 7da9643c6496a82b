//! NIP-70: protected events come from their author only, and reposts do not carry them.

use serde_json::json;

use crate::harness::{Key, Shared};

static RELAY: Shared = Shared::new();

#[tokio::test]
async fn only_from_the_author() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (author, other) = (Key::new(), Key::new());
    let protected = author.event(json!({"tags": [["t", "x"], ["-"]]}));
    client.refused(&protected, "auth-required: ").await;
    client.auth(&other).await;
    client.refused(&protected, "restricted: ").await;
    assert_eq!(client.query(json!({"ids": [protected.id()]})).await, []);
    client.auth(&author).await;
    client.publish(&[&protected]).await;
    // Everybody may read it.
    assert_eq!(relay.client().await.query(json!({"ids": [protected.id()]})).await, [protected.clone()]);
    let live = author.event(json!({"kind": 20001, "tags": [["-"]]}));
    relay.client().await.refused(&live, "auth-required: ").await;
}

#[tokio::test]
async fn reposts_do_not_embed_them() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (author, reposter) = (Key::new(), Key::new());
    client.auth(&reposter).await;
    let protected = author.event(json!({"content": "mine", "tags": [["-"]]}));
    let open = author.event(json!({"content": r#"it says ["-"]"#, "tags": [["t", "-"], ["x", "[\"-\"]"]]}));
    let wrap = |kind: u64, inner: &str| reposter.event(json!({"kind": kind, "content": inner})).to_string();
    let nested = |levels: usize, inner: &str| (0..levels).fold(inner.to_owned(), |inner, _| wrap(6, &inner));
    let text = protected.to_string();
    let spaced = protected.to_string().replace(r#"["-"]"#, " [ \"\\u002d\" ] ");
    for (kind, content, accepted) in [
        (6, protected.to_string(), false),
        (16, protected.to_string(), false),
        (6, spaced, false),
        (6, wrap(6, &text), false),
        (16, wrap(16, &text), false),
        (6, nested(4, &text), false),
        (6, format!("\u{feff}{text}"), false),
        (16, format!(" \n\u{feff} {text}\r\n "), false),
        (6, wrap(16, &format!("\u{feff}{text}")), false),
        // What other parsers read.
        (6, text.replace("\"mine\"", "\"\\ud800\""), false),
        (6, nested(9, &open.to_string()), false),
        (6, nested(2, &open.to_string()), true),
        (6, wrap(1, &text), true),
        (6, open.to_string(), true),
        (16, open.to_string(), true),
        (6, String::new(), true),
        (6, "not JSON [\"-\"]".into(), true),
        (6, "{}".into(), true),
        (1, protected.to_string(), true),
    ] {
        let repost = reposter.event(json!({"kind": kind, "content": content, "tags": [["e", protected.id()]]}));
        let (got, text) = client.offer(&repost).await;
        assert_eq!(got, accepted, "kind {kind} {content}: {text}");
        assert!(got || text.contains(": "), "{text}");
    }
}
