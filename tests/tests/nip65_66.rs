//! NIP-65 and NIP-66: relay lists and reports of monitors are stored and found like any others.

use serde_json::json;

use crate::harness::{Key, Shared, now};

static RELAY: Shared = Shared::new();

#[tokio::test]
async fn relay_lists() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 10;
    let list = |n: u64, url: &str| {
        key.event(json!({"kind": 10002, "created_at": at + n, "tags": [["r", url], ["r", "wss://b.example", "read"]]}))
    };
    let (old, new) = (list(0, "wss://a.example"), list(1, "wss://c.example"));
    client.publish(&[&old, &new]).await;
    assert_eq!(client.query(json!({"kinds": [10002], "authors": [key.public()]})).await, [new.clone()]);
    assert_eq!(client.query(json!({"#r": ["wss://c.example"], "authors": [key.public()]})).await, [new]);
    assert_eq!(client.query(json!({"#r": ["wss://a.example"], "authors": [key.public()]})).await, []);
}

#[tokio::test]
async fn monitors() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let monitor = Key::new();
    let announcement = monitor.event(json!({"kind": 10166, "tags": [["frequency", "3600"], ["c", "ws"]]}));
    let at = now() - 10;
    let report = |n: u64, url: &str| {
        monitor.event(json!({"kind": 30166, "created_at": at + n, "content": "{}", "tags": [
            ["d", url], ["n", "clearnet"], ["N", "40"], ["R", "!payment"], ["rtt-open", "234"]
        ]}))
    };
    let (old, new) = (report(0, "wss://a.example/"), report(1, "wss://a.example/"));
    let other = report(2, "wss://b.example/");
    client.publish(&[&announcement, &old, &new, &other]).await;
    let by = |letter: &str, value: &str| json!({"kinds": [30166], "authors": [monitor.public()], letter: [value]});
    assert_eq!(client.ids(by("#d", "wss://a.example/")).await, [new.id()]);
    assert_eq!(client.ids(by("#N", "40")).await, [other.id(), new.id()]);
    assert_eq!(client.ids(by("#R", "!payment")).await.len(), 2);
    assert_eq!(client.ids(by("#n", "tor")).await.len(), 0);
    assert_eq!(client.ids(json!({"kinds": [10166], "authors": [monitor.public()]})).await, [announcement.id()]);
}
