//! NIP-01: ids, signatures, kinds, replacement, and what is answered to an EVENT.

use serde_json::{Value, json};

use crate::harness::{Event, Key, Shared, now};

static RELAY: Shared = Shared::new();

/// Text that must survive: the seven escapes, what must not be escaped, non-characters, other control characters.
const TEXTS: &[&str] = &[
    "\n \" \\ \r \t \u{8} \u{c}",
    "/ </script> 'quotes' \u{7f}",
    "\u{2028}\u{2029}\u{feff}",
    "😂 мир 日本 \u{10ffff}",
    "\u{fffe}\u{ffff}\u{1fffe}\u{fdd0}",
    "\\u0041 \\n \\\\ \\\" literal backslashes",
    "\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{b}\u{e}\u{f}\u{10}\u{1b}\u{1f}",
    "\u{0}",
    "",
];

#[tokio::test]
async fn ids_with_every_escape() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    for text in TEXTS {
        let event = key.event(json!({"content": text, "tags": [["t", text], ["x", text, text]]}));
        client.publish(&[&event]).await;
        assert_eq!(client.query(json!({"ids": [event.id()]})).await, [event], "{text:?}");
    }
}

#[tokio::test]
async fn ids_over_verbatim_control_characters() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    for text in TEXTS {
        let draft = json!({"content": text, "tags": [["t", text]], "created_at": now(), "kind": 7});
        let tags = format!(r#"[["t",{0}]]"#, verbatim(text));
        let hashed = format!(r#"[0,"{key}",{},7,{tags},{}]"#, draft["created_at"], verbatim(text));
        let event = key.seal(draft, &hashed);
        client.publish(&[&event]).await;
        assert_eq!(client.query(json!({"ids": [event.id()]})).await, [event], "{text:?}");
    }
}

/// A string as NIP-01 writes it: seven characters are escaped, all others stand for themselves.
fn verbatim(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            other => out.push(other),
        }
    }
    out + "\""
}

#[tokio::test]
async fn the_wire_may_escape_more() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let event = Key::new().event(json!({"content": "a/b é 😂"}));
    let wire = event.to_string().replace("a/b é 😂", r"\u0061\/b \u00e9 \ud83d\ude02");
    client.name("e", &event);
    client
        .check(&format!(r#" [ "EVENT" , {} ] "#, wire.replace(',', " ,\n ")), &[r#"["OK","<e.id>",true,".."]"#])
        .await;
    assert_eq!(client.query(json!({"ids": [event.id()]})).await, [event]);
}

#[tokio::test]
async fn events_that_are_wrong_are_refused() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (key, other) = (Key::new(), Key::new());
    let right = key.event(json!({"content": "right"}));
    let change = |member: &str, value: Value| {
        let mut event = right.clone();
        event.0[member] = value;
        event
    };
    let upper = |member: &str| change(member, right[member].as_str().unwrap().to_uppercase().into());
    let without = |member: &str| {
        let mut event = right.clone();
        event.0.as_object_mut().unwrap().remove(member);
        event
    };
    let same_id = [
        change("content", "wrong".into()),
        change("created_at", json!(right.created_at() + 1)),
        change("kind", json!(2)),
        change("tags", json!([["t", "x"]])),
        change("pubkey", other.public().into()),
        change("sig", other.event(json!({}))["sig"].clone()),
        change("sig", "00".repeat(64).into()),
        change("pubkey", "ff".repeat(32).into()),
        change("sig", "ab".into()),
        change("pubkey", "ab".into()),
        upper("pubkey"),
        upper("sig"),
        change("kind", json!(65536)),
        change("kind", json!(-1)),
        change("kind", json!("1")),
        change("kind", json!(1.5)),
        change("created_at", json!(-1)),
        change("created_at", json!("1")),
        change("created_at", json!(1e30)),
        change("content", json!(1)),
        change("content", Value::Null),
        change("tags", json!({})),
        change("tags", json!(["t"])),
        change("tags", json!([[1]])),
        change("tags", json!([["t", null]])),
        without("sig"),
        without("pubkey"),
        without("tags"),
        without("content"),
        without("kind"),
        without("created_at"),
    ];
    for event in &same_id {
        client.refused(event, "invalid: ").await;
    }
    let wrong_id = change("id", "00".repeat(32).into());
    client.refused(&wrong_id, "invalid: ").await;
    assert_eq!(client.ids(json!({"authors": [key.public(), other.public()]})).await, [""; 0]);
    client.publish(&[&right]).await;
}

#[tokio::test]
async fn a_signature_of_another_key_over_the_right_id() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (key, other) = (Key::new(), Key::new());
    let mut event = key.event(json!({"content": "mine"}));
    let hashed = json!([0, key.public(), event.created_at(), 1, [], "mine"]).to_string();
    event.0["sig"] = other.seal(json!({}), &hashed)["sig"].clone();
    client.refused(&event, "invalid: ").await;
}

#[tokio::test]
async fn every_event_gets_its_ok_and_a_duplicate_is_ok() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let events: Vec<Event> = (0..50).map(|n| key.event(json!({"content": format!("{n}")}))).collect();
    for event in &events {
        client.send(format!(r#"["EVENT",{event}]"#)).await;
        client.send(format!(r#"["EVENT",{event}]"#)).await;
    }
    for event in &events {
        assert!(client.ok(event.id()).await.0);
        let (accepted, text) = client.ok(event.id()).await;
        assert!(accepted && text.starts_with("duplicate: "), "{accepted} {text:?}");
    }
    let (accepted, text) = relay.client().await.offer(&events[0]).await;
    assert!(accepted && text.starts_with("duplicate: "), "{accepted} {text:?}");
    assert_eq!(client.query(json!({"authors": [key.public()]})).await.len(), 50);
}

#[tokio::test]
async fn a_known_id_with_a_wrong_signature_changes_nothing() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let event = Key::new().event(json!({}));
    client.publish(&[&event]).await;
    let mut forged = event.clone();
    forged.0["sig"] = "00".repeat(64).into();
    client.offer(&forged).await;
    assert_eq!(client.query(json!({"ids": [event.id()]})).await, [event]);
}

#[tokio::test]
async fn kinds_and_how_they_are_kept() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let at = now() - 100;
    for (kind, kept) in [
        (1, 2),
        (2, 2),
        (6, 2),
        (41, 2),
        (44, 2),
        (45, 2),
        (999, 2),
        (1000, 2),
        (9999, 2),
        (40000, 2),
        (65535, 2),
        (0, 1),
        (3, 1),
        (10000, 1),
        (10002, 1),
        (19999, 1),
        (30000, 1),
        (30023, 1),
        (39999, 1),
    ] {
        let key = Key::new();
        let old = key.event(json!({"kind": kind, "created_at": at, "tags": [["d", "x"]]}));
        let new = key.event(json!({"kind": kind, "created_at": at + 1, "tags": [["d", "x"]]}));
        client.publish(&[&old, &new]).await;
        let ids = client.ids(json!({"authors": [key.public()]})).await;
        assert_eq!(ids, [new.id(), old.id()][..kept], "kind {kind}");
        let by_id = client.ids(json!({"ids": [old.id()]})).await;
        assert_eq!(by_id.len(), kept - 1, "kind {kind}");
    }
}

#[tokio::test]
async fn addressable_events_have_an_address() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    let with = |n: u64, tags: Value| key.event(json!({"kind": 30000, "created_at": at + n, "tags": tags}));
    let x = with(0, json!([["d", "x"]]));
    let y = with(1, json!([["d", "y"]]));
    let empty = with(2, json!([["d", ""]]));
    client.publish(&[&x, &y, &empty]).await;
    assert_eq!(client.ids(json!({"authors": [key.public()]})).await, [empty.id(), y.id(), x.id()]);
    // A missing `d` is an empty one; of several the first counts; more strings in the tag do not matter.
    let missing = with(3, json!([["t", "z"]]));
    let first = with(4, json!([["d", "x", "more"], ["d", "y"]]));
    client.publish(&[&missing, &first]).await;
    assert_eq!(client.ids(json!({"authors": [key.public()]})).await, [first.id(), missing.id(), y.id()]);
    let bare = with(5, json!([["d"]]));
    client.publish(&[&bare]).await;
    assert_eq!(client.ids(json!({"authors": [key.public()]})).await, [bare.id(), first.id(), y.id()]);
    // Another kind and another author are other addresses.
    let other = Key::new();
    let theirs = other.event(json!({"kind": 30000, "created_at": at + 9, "tags": [["d", "x"]]}));
    let kind = key.event(json!({"kind": 30001, "created_at": at + 9, "tags": [["d", "x"]]}));
    client.publish(&[&theirs, &kind]).await;
    assert_eq!(client.ids(json!({"ids": [first.id()]})).await, [first.id()]);
}

#[tokio::test]
async fn an_older_version_is_refused() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let at = now() - 100;
    for kind in [0, 3, 10000, 30000] {
        let key = Key::new();
        let old = key.event(json!({"kind": kind, "created_at": at}));
        let new = key.event(json!({"kind": kind, "created_at": at + 1}));
        client.publish(&[&new]).await;
        client.refused(&old, "duplicate: ").await;
        assert_eq!(client.ids(json!({"authors": [key.public()]})).await, [new.id()], "kind {kind}");
    }
}

#[tokio::test]
async fn of_versions_of_one_second_the_lowest_id_wins() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let at = now() - 100;
    for kind in [0, 3, 10000, 30000] {
        for lowest_first in [true, false] {
            let key = Key::new();
            let mut events: Vec<Event> =
                (0..4).map(|n| key.event(json!({"kind": kind, "created_at": at, "content": format!("{n}")}))).collect();
            events.sort_by(|a, b| a.id().cmp(b.id()));
            let lowest = events[0].clone();
            if lowest_first {
                client.publish(&[&lowest]).await;
                for event in &events[1..] {
                    client.refused(event, "duplicate: ").await;
                }
            } else {
                events.reverse();
                client.publish(&events.iter().collect::<Vec<_>>()).await;
            }
            assert_eq!(client.ids(json!({"authors": [key.public()]})).await, [lowest.id()], "kind {kind}");
        }
    }
}

#[tokio::test]
async fn ephemeral_events_reach_listeners_and_are_not_stored() {
    let relay = RELAY.relay();
    let (mut publisher, mut listener) = (relay.client().await, relay.client().await);
    for kind in [20000, 24133, 29999] {
        let key = Key::new();
        listener.subscribe("live", json!({"kinds": [kind], "authors": [key.public()]})).await;
        let event = key.event(json!({"kind": kind, "content": "now"}));
        publisher.publish(&[&event]).await;
        assert_eq!(listener.event_of("live").await, event);
        assert_eq!(publisher.ids(json!({"ids": [event.id()]})).await, [""; 0]);
        assert_eq!(publisher.count(json!({"authors": [key.public()]})).await["count"], 0);
    }
}

#[tokio::test]
async fn members_that_nip01_does_not_know_are_not_kept() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let event = Key::new().event(json!({}));
    let mut more = event.clone();
    more.0["seen"] = json!({"deep": [1, 2, {"x": null}]});
    assert!(client.offer(&more).await.0);
    assert_eq!(client.query(json!({"ids": [event.id()]})).await, [event]);
}
