//! NIP-62: requests to vanish.

use serde_json::{Value, json};

use crate::harness::{Event, Key, Relay, Shared, now};

static RELAY: Shared = Shared::new();

fn vanish(key: &Key, at: u64, tags: Value) -> Event {
    key.event(json!({"kind": 62, "created_at": at, "tags": tags}))
}

#[tokio::test]
async fn everything_up_to_its_time_goes() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let at = now() - 100;
    for tags in [
        json!([["relay", "ALL_RELAYS"]]),
        json!([["relay", relay.url]]),
        json!([
            ["relay", "wss://other.example"],
            ["relay", format!("{}/", relay.url.to_uppercase().replace("WS://", "ws://"))]
        ]),
    ] {
        let (key, other) = (Key::new(), Key::new());
        let note = key.event(json!({"created_at": at}));
        let same_time = key.event(json!({"created_at": at + 10}));
        let newer = key.event(json!({"created_at": at + 11}));
        let profile = key.event(json!({"kind": 0, "created_at": at}));
        let deletion = key.event(json!({"kind": 5, "created_at": at, "tags": [["e", "00".repeat(32)]]}));
        let wrap = Key::new().event(json!({"kind": 1059, "created_at": at, "tags": [["p", key.public()]]}));
        let mention = other.event(json!({"created_at": at, "tags": [["p", key.public()]]}));
        client.publish(&[&note, &same_time, &newer, &profile, &deletion, &wrap, &mention]).await;
        client.auth(&key).await;
        let request = vanish(&key, at + 10, tags);
        client.publish(&[&request]).await;
        let left = client.ids(json!({"authors": [key.public()], "kinds": [0, 1, 5]})).await;
        assert_eq!(left, [newer.id()], "{request}");
        assert_eq!(client.ids(json!({"ids": [wrap.id()]})).await, [""; 0], "gift wraps to it go too");
        assert_eq!(client.ids(json!({"ids": [mention.id()]})).await, [mention.id()]);
        let late = key.event(json!({"created_at": at + 5, "content": "arrives later"}));
        for gone in [&note, &same_time, &profile, &deletion, &wrap, &late] {
            client.refused(gone, "").await;
        }
        client.publish(&[&key.event(json!({"created_at": at + 12}))]).await;
    }
}

#[tokio::test]
async fn a_request_to_another_relay_means_nothing_here() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let at = now() - 100;
    for tags in [
        json!([["relay", "wss://other.example"]]),
        json!([["relay", format!("{}/path", relay.url)]]),
        json!([["relay", "all_relays"]]),
        json!([["relay", ""]]),
        json!([["relay"]]),
        json!([["r", "ALL_RELAYS"]]),
        json!([]),
    ] {
        let key = Key::new();
        let note = key.event(json!({"created_at": at}));
        client.publish(&[&note]).await;
        client.offer(&vanish(&key, at + 1, tags.clone())).await;
        assert_eq!(client.ids(json!({"ids": [note.id()]})).await, [note.id()], "{tags}");
        client.publish(&[&key.event(json!({"created_at": at - 1}))]).await;
    }
}

#[tokio::test]
async fn a_deletion_request_cannot_take_it_back() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    let note = key.event(json!({"created_at": at}));
    let request = vanish(&key, at + 1, json!([["relay", "ALL_RELAYS"]]));
    client.publish(&[&note, &request]).await;
    client
        .publish(&[&key.event(json!({"kind": 5, "created_at": at + 2, "tags": [["e", request.id()], ["k", "62"]]}))])
        .await;
    client.refused(&note, "").await;
}

#[tokio::test]
async fn an_older_request_does_not_shorten_a_newer_one() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    let all = json!([["relay", "ALL_RELAYS"]]);
    client.publish(&[&vanish(&key, at + 10, all.clone())]).await;
    client.offer(&vanish(&key, at, all)).await;
    client.refused(&key.event(json!({"created_at": at + 5})), "").await;
    client.publish(&[&key.event(json!({"created_at": at + 11}))]).await;
}

#[tokio::test]
async fn the_configured_url_and_restarts() {
    let mut relay = Relay::with("[server]\npublic_url = \"wss://relay.example\"");
    let key = Key::new();
    let at = now() - 100;
    let note = key.event(json!({"created_at": at}));
    let mut client = relay.client().await;
    client.publish(&[&note]).await;
    client.publish(&[&vanish(&key, at + 1, json!([["relay", "WSS://Relay.Example:443/"]]))]).await;
    assert_eq!(client.ids(json!({"ids": [note.id()]})).await, [""; 0]);
    relay.restart();
    let mut client = relay.client().await;
    client.refused(&note, "").await;
    client.publish(&[&key.event(json!({"created_at": at + 2}))]).await;
}
