//! NIP-50: search.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Key, PATIENCE, Relay, Shared, now};

static RELAY: Shared = Shared::new();

/// Asks until `id` is found: the index follows the writes a little later, so that it delays no OK.
pub(crate) async fn until_found(client: &mut Client, filter: Value, id: &str) {
    tokio::time::timeout(PATIENCE, async {
        while !client.ids(filter.clone()).await.iter().any(|found| found == id) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{filter} never finds {id}"));
}

/// A word that nobody else uses.
fn word() -> String {
    format!("w{}", &Key::new().public()[..16])
}

#[tokio::test]
async fn words_and_other_conditions() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (ann, bob, w) = (Key::new(), Key::new(), word());
    let at = now() - 1000;
    let e = |key: &Key, n: u64, kind: u64, text: &str| {
        key.event(json!({"kind": kind, "created_at": at + n, "content": text}))
    };
    let first = e(&ann, 0, 1, &format!("the {w} orange falls"));
    let second = e(&bob, 1, 1, &format!("a {w} Apple, an ORANGE!"));
    let article = e(&ann, 2, 30023, &format!("{w} apple"));
    let other = e(&ann, 3, 1, "apple and orange");
    let unindexed = e(&ann, 4, 7, &format!("{w} apple"));
    let last = e(&bob, 5, 1, &format!("{w} last"));
    client.publish(&[&first, &second, &article, &other, &unindexed, &last]).await;
    until_found(&mut client, json!({"search": w}), last.id()).await;
    for (filter, mut wanted) in [
        (json!({"search": w}), vec![&first, &second, &article, &last]),
        (json!({"search": format!("{w} orange")}), vec![&first, &second]),
        (json!({"search": format!("ORANGE {w}")}), vec![&first, &second]),
        (json!({"search": format!("{w} apple")}), vec![&second, &article]),
        (json!({"search": format!("{w} apple"), "kinds": [1]}), vec![&second]),
        (json!({"search": w, "authors": [ann.public()]}), vec![&first, &article]),
        (json!({"search": w, "since": at + 1, "until": at + 2}), vec![&second, &article]),
        (json!({"search": w, "#t": ["none"]}), vec![]),
        (json!({"search": w, "ids": [first.id(), other.id()]}), vec![&first]),
        (json!({"search": format!("{w} language:en sentiment:positive")}), vec![&first, &second, &article, &last]),
        (json!({"search": format!("{w} nothere")}), vec![]),
        (json!({"search": w, "limit": 0}), vec![]),
    ] {
        let mut found = client.ids(filter.clone()).await;
        found.sort_unstable();
        wanted.sort_by(|a, b| a.id().cmp(b.id()));
        assert_eq!(found, wanted.iter().map(|event| event.id()).collect::<Vec<_>>(), "{filter}");
    }
}

#[tokio::test]
async fn the_limit_comes_after_the_ranking() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (key, w) = (Key::new(), word());
    let at = now() - 1000;
    let best = key.event(json!({"created_at": at, "content": format!("{w} {w} {w}")}));
    client.publish(&[&best]).await;
    let mut last = best.clone();
    for n in 1..20 {
        last =
            key.event(json!({"created_at": at + n, "content": format!("{w} {}", "and many other words ".repeat(20))}));
        client.publish(&[&last]).await;
    }
    until_found(&mut client, json!({"search": w}), last.id()).await;
    assert_eq!(client.ids(json!({"search": w, "limit": 1})).await, [best.id()]);
    assert_eq!(client.ids(json!({"search": w})).await[0], best.id());
}

#[tokio::test]
async fn odd_queries_are_answered() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for text in [
        "",
        " ",
        "\"",
        "\"\"",
        "a\"b",
        "*",
        "NEAR(a b)",
        "a AND",
        "OR",
        "NOT x",
        "(",
        "x:",
        ":",
        "-",
        "^a",
        "{col}: x",
        "\u{0}",
        "😂",
        "日本",
        "a:b:c",
    ] {
        for filter in [json!({"search": text, "limit": 3}), json!({"search": text, "kinds": [1], "limit": 3})] {
            client.query(filter).await;
        }
    }
    client.query(json!({"search": "word ".repeat(2000), "limit": 3})).await;
}

#[tokio::test]
async fn what_is_gone_is_not_found() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (key, w) = (Key::new(), word());
    let at = now() - 100;
    let note = key.event(json!({"created_at": at, "content": w}));
    let old = key.event(json!({"created_at": at + 1, "kind": 0, "content": format!("old {w}")}));
    client.publish(&[&note, &old]).await;
    until_found(&mut client, json!({"search": w}), old.id()).await;
    let new = key.event(json!({"created_at": at + 2, "kind": 0, "content": format!("new {w}")}));
    client.publish(&[&key.event(json!({"kind": 5, "tags": [["e", note.id()]]})), &new]).await;
    until_found(&mut client, json!({"search": w}), new.id()).await;
    assert_eq!(client.ids(json!({"search": w})).await, [new.id()]);
}

#[tokio::test]
async fn is_refused_when_it_is_off() {
    let relay = Relay::with("[search]\nenabled = false");
    let mut client = relay.client().await;
    for verb in ["REQ", "COUNT"] {
        let reason = client.closed(verb, json!({"search": "x"})).await;
        assert!(reason.starts_with("unsupported: "), "{verb}: {reason}");
    }
}
