//! NIP-40: expired events are not taken and not served.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Event, Key, Shared, now};

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
async fn ephemeral_events_do_not_expire() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    client.subscribe("live", json!({"authors": [key.public()]})).await;
    let event = expiring(&key, 20001, now() - 1);
    client.publish(&[&event]).await;
    assert_eq!(client.event_of("live").await, event);
}
