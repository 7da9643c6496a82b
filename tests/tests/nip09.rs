//! NIP-09: deletion requests, which also hold for what arrives later.

use serde_json::json;

use crate::harness::{Event, Key, Relay, Shared, now};

static RELAY: Shared = Shared::new();

fn deletion(key: &Key, at: u64, tags: serde_json::Value) -> Event {
    key.event(json!({"kind": 5, "created_at": at, "tags": tags}))
}

#[tokio::test]
async fn by_id() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (key, other) = (Key::new(), Key::new());
    let at = now() - 100;
    let mine = key.event(json!({"created_at": at}));
    let kept = key.event(json!({"created_at": at, "content": "kept"}));
    let theirs = other.event(json!({"created_at": at}));
    client.publish(&[&mine, &kept, &theirs]).await;
    // Also when the request claims to be older than its target.
    let request = deletion(&key, at - 10, json!([["e", mine.id()], ["e", theirs.id()], ["k", "1"]]));
    client.publish(&[&request]).await;
    assert_eq!(
        client.ids(json!({"ids": [mine.id(), kept.id(), theirs.id()], "authors": [key.public()]})).await,
        [kept.id()]
    );
    assert_eq!(client.ids(json!({"ids": [theirs.id()]})).await, [theirs.id()], "the event of another author");
    assert_eq!(client.ids(json!({"authors": [key.public()], "kinds": [5]})).await, [request.id()], "kept for ever");
    client.refused(&mine, "").await;
    assert_eq!(client.ids(json!({"ids": [mine.id()]})).await, [""; 0]);
    assert_eq!(client.count(json!({"authors": [key.public()]})).await["count"], 2);
}

#[tokio::test]
async fn before_the_target_arrives() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (key, other) = (Key::new(), Key::new());
    let at = now() - 100;
    let late = key.event(json!({"created_at": at}));
    let by_another = other.event(json!({"created_at": at, "content": "not theirs to delete"}));
    client.publish(&[&deletion(&key, at, json!([["e", late.id()], ["e", by_another.id()]]))]).await;
    client.refused(&late, "").await;
    client.publish(&[&by_another]).await;
    assert_eq!(client.ids(json!({"ids": [late.id()]})).await, [""; 0]);
}

#[tokio::test]
async fn by_address() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let at = now() - 100;
    for kind in [0, 3, 10002, 30000, 30023] {
        let (key, other) = (Key::new(), Key::new());
        let version = |n: u64| {
            let tags = if kind >= 30000 { json!([["d", "a:b"]]) } else { json!([]) };
            key.event(json!({"kind": kind, "created_at": at + n, "tags": tags}))
        };
        let [older, stored, same_time, newer] = [0, 1, 2, 3].map(version);
        client.publish(&[&stored]).await;
        let address = stored.address();
        client.publish(&[&deletion(&other, at + 50, json!([["a", address]]))]).await;
        assert_eq!(client.ids(json!({"ids": [stored.id()]})).await.len(), 1, "kind {kind}: somebody else's request");
        client.publish(&[&deletion(&key, at + 2, json!([["a", address], ["k", kind.to_string()]]))]).await;
        assert_eq!(client.ids(json!({"authors": [key.public()], "kinds": [kind]})).await, [""; 0], "kind {kind}");
        for gone in [&older, &stored, &same_time] {
            client.refused(gone, "").await;
        }
        client.publish(&[&newer]).await;
        assert_eq!(client.ids(json!({"authors": [key.public()], "kinds": [kind]})).await, [newer.id()], "kind {kind}");
    }
}

#[tokio::test]
async fn an_address_deletes_only_up_to_its_time_and_only_its_d() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    let article = |d: &str, n: u64| key.event(json!({"kind": 30023, "created_at": at + n, "tags": [["d", d]]}));
    let (x, y, empty) = (article("x", 5), article("y", 0), article("", 0));
    client.publish(&[&x, &y, &empty]).await;
    client.publish(&[&deletion(&key, at + 4, json!([["a", x.address()]]))]).await;
    assert_eq!(client.ids(json!({"authors": [key.public()], "kinds": [30023]})).await.len(), 3, "x is newer");
    client.publish(&[&deletion(&key, at + 4, json!([["a", format!("30023:{key}:")]]))]).await;
    let left = client.ids(json!({"authors": [key.public()], "kinds": [30023]})).await;
    assert_eq!(left, [x.id(), y.id()]);
}

#[tokio::test]
async fn replacement_does_not_bring_back_what_was_deleted() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    let [one, two, three] = [1, 2, 3].map(|n| key.event(json!({"kind": 10002, "created_at": at + n})));
    client.publish(&[&one, &two]).await;
    client.publish(&[&deletion(&key, at + 2, json!([["e", two.id()]]))]).await;
    assert_eq!(client.ids(json!({"authors": [key.public()], "kinds": [10002]})).await, [""; 0]);
    client.refused(&two, "").await;
    client.publish(&[&three]).await;
    assert_eq!(client.ids(json!({"authors": [key.public()], "kinds": [10002]})).await, [three.id()]);
}

#[tokio::test]
async fn deleting_a_deletion_does_nothing() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    let note = key.event(json!({"created_at": at}));
    client.publish(&[&note]).await;
    let first = deletion(&key, at + 1, json!([["e", note.id()]]));
    client.publish(&[&first]).await;
    client.publish(&[&deletion(&key, at + 2, json!([["e", first.id()], ["k", "5"]]))]).await;
    assert_eq!(client.ids(json!({"ids": [first.id()]})).await, [first.id()]);
    client.refused(&note, "").await;
}

#[tokio::test]
async fn values_that_name_nothing_are_passed_by() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let note = key.event(json!({"created_at": now() - 5}));
    client.publish(&[&note]).await;
    let tags = json!([
        ["e"],
        ["e", ""],
        ["e", "zz"],
        ["e", "ab"],
        ["a"],
        ["a", ""],
        ["a", ":"],
        ["a", "1:2"],
        ["a", "x:y:z"],
        ["a", format!("70000:{key}:")],
        ["a", format!("1:{key}:")],
        ["k"],
        ["p", key.public()],
        ["x", note.id()]
    ]);
    client.publish(&[&deletion(&key, now(), tags)]).await;
    assert_eq!(client.ids(json!({"ids": [note.id()]})).await, [note.id()]);
}

#[tokio::test]
async fn a_gift_wrap_may_be_deleted_by_its_recipient() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (wrapper, recipient, stranger) = (Key::new(), Key::new(), Key::new());
    let wrap = wrapper.event(json!({"kind": 1059, "created_at": now() - 50, "tags": [["p", recipient.public()]]}));
    client.publish(&[&wrap]).await;
    client.auth(&recipient).await;
    client.publish(&[&deletion(&stranger, now(), json!([["e", wrap.id()]]))]).await;
    assert_eq!(client.ids(json!({"ids": [wrap.id()]})).await, [wrap.id()]);
    client.publish(&[&deletion(&recipient, now(), json!([["e", wrap.id()]]))]).await;
    assert_eq!(client.ids(json!({"ids": [wrap.id()]})).await, [""; 0]);
    client.refused(&wrap, "blocked: this event was deleted by its recipient").await;
}

#[tokio::test]
async fn what_was_deleted_stays_deleted_after_a_restart() {
    let mut relay = Relay::start();
    let key = Key::new();
    let at = now() - 100;
    let note = key.event(json!({"created_at": at}));
    let article = key.event(json!({"kind": 30023, "created_at": at, "tags": [["d", "x"]]}));
    let early = key.event(json!({"created_at": at, "content": "arrives after its deletion"}));
    let mut client = relay.client().await;
    client.publish(&[&note, &article]).await;
    let tags = json!([["e", note.id()], ["a", article.address()], ["e", early.id()]]);
    client.publish(&[&deletion(&key, at, tags)]).await;
    relay.restart();
    let mut client = relay.client().await;
    for gone in [&note, &article, &early] {
        client.refused(gone, "").await;
    }
    assert_eq!(client.query(json!({"authors": [key.public()]})).await.len(), 1);
}
