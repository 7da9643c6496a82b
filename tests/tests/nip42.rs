//! NIP-42: AUTH, with several keys for one connection.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::{Client, Key, Relay, Shared, now};

static RELAY: Shared = Shared::new();

#[tokio::test]
async fn each_connection_has_its_challenge() {
    let relay = RELAY.relay();
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let client = relay.client().await;
        assert!(client.challenge.len() >= 16, "{:?} can be guessed", client.challenge);
        assert!(seen.insert(client.challenge));
    }
}

#[tokio::test]
async fn what_auth_must_prove() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let other_challenge = relay.client().await.challenge;
    let (url, challenge) = (relay.url.clone(), client.challenge.clone());
    let with = |kind: u64, at: u64, tags: Value| key.event(json!({"kind": kind, "created_at": at, "tags": tags}));
    let right = json!([["relay", url], ["challenge", challenge]]);
    for wrong in [
        with(22242, now(), json!([["relay", url], ["challenge", other_challenge]])),
        with(22242, now(), json!([["relay", url], ["challenge", ""]])),
        with(22242, now(), json!([["relay", url]])),
        with(22242, now(), json!([["challenge", challenge]])),
        with(22242, now(), json!([["relay", "wss://relay.example"], ["challenge", challenge]])),
        with(22242, now(), json!([["relay", ""], ["challenge", challenge]])),
        with(22241, now(), right.clone()),
        with(1, now(), right.clone()),
        with(22242, now() - 3600, right.clone()),
        with(22242, now() + 3600, right.clone()),
    ] {
        let (accepted, text) = client.offer_auth(&wrong).await;
        assert!(!accepted, "accepted {wrong}");
        assert!(text.starts_with("invalid: ") || text.starts_with("restricted: "), "{text}");
    }
    let mut forged = with(22242, now(), right.clone());
    forged.0["sig"] = "00".repeat(64).into();
    assert!(!client.offer_auth(&forged).await.0);
    let mut of_another = with(22242, now(), right.clone());
    of_another.0["pubkey"] = Key::new().public().into();
    assert!(!client.offer_auth(&of_another).await.0);
    // None of this proved anything.
    let protected = key.event(json!({"tags": [["-"]]}));
    client.refused(&protected, "auth-required: ").await;
    // A little age is fine, and the same may be said twice.
    for event in [with(22242, now() - 60, right.clone()), with(22242, now() + 60, right)] {
        assert!(client.offer_auth(&event).await.0);
        assert!(client.offer_auth(&event).await.0);
    }
    client.publish(&[&protected]).await;
}

#[tokio::test]
async fn several_keys_are_authenticated_together() {
    let relay = RELAY.relay();
    let (ann, bob, eve) = (Key::new(), Key::new(), Key::new());
    let mut client = relay.client().await;
    let to = |key: &Key| Key::new().event(json!({"kind": 1059, "tags": [["p", key.public()]]}));
    let (for_ann, for_bob, for_eve) = (to(&ann), to(&bob), to(&eve));
    client.publish(&[&for_ann, &for_bob, &for_eve]).await;
    let all = json!({"ids": [for_ann.id(), for_bob.id(), for_eve.id()]});
    assert_eq!(client.query(all.clone()).await, []);
    client.auth(&ann).await;
    assert_eq!(client.query(all.clone()).await, [for_ann.clone()]);
    client.auth(&bob).await;
    let ids: HashSet<String> = client.ids(all).await.into_iter().collect();
    assert_eq!(ids, HashSet::from([for_ann.id().to_owned(), for_bob.id().to_owned()]));
    for key in [&ann, &bob] {
        client.publish(&[&key.event(json!({"tags": [["-"]]}))]).await;
    }
    client.refused(&eve.event(json!({"tags": [["-"]]})), "restricted: ").await;
}

#[tokio::test]
async fn keys_have_a_limit() {
    let relay = Relay::with("[auth]\nkeys_max = 2");
    let mut client = relay.client().await;
    let keys = [Key::new(), Key::new(), Key::new()];
    client.auth(&keys[0]).await;
    client.auth(&keys[1]).await;
    let (accepted, text) = client.offer_auth(&client.auth_event(&keys[2])).await;
    assert!(!accepted && text.contains(": "), "{text}");
    client.auth(&keys[0]).await;
    client.publish(&[&keys[1].event(json!({"tags": [["-"]]}))]).await;
}

#[tokio::test]
async fn auth_events_are_never_stored_or_broadcast() {
    let relay = RELAY.relay();
    let mut listener = relay.client().await;
    let mut client = relay.client().await;
    let key = Key::new();
    listener.subscribe("live", json!({"authors": [key.public()]})).await;
    client.auth(&key).await;
    let event = client.auth_event(&key);
    assert!(!client.offer(&event).await.0);
    assert_eq!(client.query(json!({"authors": [key.public()]})).await, []);
    let last = key.event(json!({}));
    client.publish(&[&last]).await;
    assert_eq!(listener.event_of("live").await, last);
}

#[tokio::test]
async fn the_public_url_is_what_counts() {
    let relay = Relay::with("[server]\npublic_url = \"wss://relay.example/\"");
    for (url, accepted) in [
        ("wss://relay.example", true),
        ("wss://relay.example/", true),
        ("wss://Relay.Example:443", true),
        ("wss://other.example", false),
        ("wss://relay.example.evil", false),
        ("relay.example.evil", false),
    ] {
        let mut client = relay.client().await;
        let tags = json!([["relay", url], ["challenge", client.challenge]]);
        let event = Key::new().event(json!({"kind": 22242, "tags": tags}));
        assert_eq!(client.offer_auth(&event).await.0, accepted, "{url}");
    }
}

async fn refused_everything(client: &mut Client, event: &crate::harness::Event) {
    client.refused(event, "auth-required: ").await;
    for verb in ["REQ", "COUNT"] {
        let reason = client.closed(verb, json!({"kinds": [1]})).await;
        assert!(reason.starts_with("auth-required: "), "{verb}: {reason}");
    }
    let refusal = crate::nip77::missing(client, json!({"kinds": [1]}), &[]).await.unwrap_err();
    assert!(refusal.starts_with("auth-required: "), "NEG-OPEN: {refusal}");
}

#[tokio::test]
async fn a_relay_may_demand_auth_for_everything() {
    let relay = Relay::with("[auth]\nrequired = true");
    let mut client = relay.client().await;
    let key = Key::new();
    let event = key.event(json!({}));
    refused_everything(&mut client, &event).await;
    client.auth(&key).await;
    client.publish(&[&event]).await;
    assert_eq!(client.query(json!({"kinds": [1]})).await, [event.clone()]);
    assert_eq!(client.count(json!({"kinds": [1]})).await["count"], 1);
    refused_everything(&mut relay.client().await, &event).await;
}
