//! NIP-40: expired events are not taken and not served.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Event, Key, Relay, Shared, now};

static RELAY: Shared = Shared::new();

fn expiring(key: &Key, kind: u64, at: impl ToString) -> Event {
    key.event(json!({"kind": kind, "created_at": now() - 100, "tags": [["expiration", at.to_string()]]}))
}

#[tokio::test]
async fn expired_events_are_refused() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    for at in [now() - 1, now() - 100_000, 1] {
        client.refused(&expiring(&key, 1, at), "").await;
    }
    assert_eq!(client.query(json!({"authors": [key.public()]})).await, []);
    client.publish(&[&expiring(&key, 1, now() + 1000)]).await;
}

#[tokio::test]
async fn events_end_at_their_second_on_every_path() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let me = json!({"authors": [key.public()]});
    let end = now() + 3;
    let short = expiring(&key, 1, end);
    let long = expiring(&key, 1, end + 1000);
    let never = key.event(json!({"content": "for ever", "created_at": now() - 200}));
    client.publish(&[&short, &long, &never]).await;
    assert_eq!(client.query(me.clone()).await.len(), 3);
    // Time is what is awaited here.
    while now() <= end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.ids(me.clone()).await, [long.id(), never.id()]);
    assert_eq!(client.ids(json!({"ids": [short.id()]})).await, [""; 0]);
    assert_eq!(client.count(me.clone()).await["count"], 2);
    assert_eq!(crate::nip77::missing(&mut client, me.clone(), &[]).await.unwrap().len(), 2);
    // Sent again it may be known still, but it does not come back.
    client.offer(&short).await;
    assert_eq!(client.ids(me).await, [long.id(), never.id()]);
}

#[tokio::test]
async fn values_that_are_no_time_mean_nothing() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    for at in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
        client.publish(&[&expiring(&key, 1, at)]).await;
    }
    assert_eq!(client.query(json!({"authors": [key.public()]})).await.len(), 5);
}

#[tokio::test]
async fn expired_ephemeral_events_are_not_passed_on() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    client.subscribe("live", json!({"authors": [key.public()]})).await;
    client.refused(&expiring(&key, 20001, now() - 1), "invalid: ").await;
    client.refused(&expiring(&key, 20001, 1), "invalid: ").await;
    let lives = expiring(&key, 20001, now() + 1000);
    client.publish(&[&lives]).await;
    assert_eq!(client.event_of("live").await, lives);
}

/// The operator's program takes longer than the event has left.
#[tokio::test]
async fn ephemeral_events_that_expire_while_they_wait_are_not_passed_on() {
    let relay = Relay::with(
        r#"
        [policy]
        plugin_ms_max = 30000
        plugin = ["/bin/sh", "-c", """while read -r line; do
            id=${line#*'"id":"'}
            case $line in *slow*) sleep 3 ;; esac
            printf '{"id":"%.64s","action":"accept"}\n' "$id"
        done"""]
        "#,
    );
    let mut client = relay.client().await;
    let key = Key::new();
    client.subscribe("live", json!({"authors": [key.public()]})).await;
    let slow =
        |end: u64| key.event(json!({"kind": 20001, "content": "slow", "tags": [["expiration", end.to_string()]]}));
    client.refused(&slow(now() + 2), "invalid: ").await;
    let lives = slow(now() + 1000);
    client.publish(&[&lives]).await;
    assert_eq!(client.event_of("live").await, lives);
}

#[tokio::test]
async fn what_was_replaced_does_not_come_back() {
    let mut relay = Relay::with("[storage]\nsweep_seconds = 1");
    let mut client = relay.client().await;
    let key = Key::new();
    let end = now() + 3;
    let status = |at: u64, tags: serde_json::Value| key.event(json!({"kind": 30315, "created_at": at, "tags": tags}));
    let old = status(now() - 100, json!([["d", "music"]]));
    let fresh = status(now() - 50, json!([["d", "music"], ["expiration", end.to_string()]]));
    let other = status(now() - 100, json!([["d", "general"]]));
    client.publish(&[&old, &fresh]).await;
    relay.until_metric("picorelay_store_events", "", 1.0).await;
    let began = std::time::Instant::now();
    while relay.metric("picorelay_store_events", "") > 0.0 {
        assert!(began.elapsed() < Duration::from_secs(60), "it is not swept");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.refused(&old, "").await;
    client.publish(&[&other]).await;
    relay.restart();
    let mut client = relay.client().await;
    client.refused(&old, "").await;
    assert_eq!(client.ids(json!({"authors": [key.public()]})).await, [other.id()]);
    client.publish(&[&status(now(), json!([["d", "music"]]))]).await;
}
