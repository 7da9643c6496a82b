//! NIP-42: AUTH, with several keys for one connection.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::{Client, Key, PATIENCE, Relay, Shared, now};

static RELAY: Shared = Shared::new();

#[tokio::test]
async fn each_connection_has_its_challenge() {
    let relay = RELAY.relay();
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let challenge = relay.client().await.challenged().await;
        assert!(challenge.len() >= 16, "{challenge:?} can be guessed");
        assert!(seen.insert(challenge));
    }
}

/// What comes until something is refused: all verbs, in order.
async fn until_refused(client: &mut Client, message: impl ToString) -> Vec<String> {
    client.send(message).await;
    let mut verbs = Vec::new();
    loop {
        let message = tokio::time::timeout(PATIENCE, client.recv_any()).await.expect("no answer").unwrap();
        verbs.push(message[0].as_str().unwrap().to_owned());
        let reason = match verbs.last().unwrap().as_str() {
            "OK" => &message[3],
            "CLOSED" | "NEG-ERR" => &message[2],
            _ => continue,
        };
        assert!(reason.as_str().unwrap().starts_with("auth-required: "), "{message}");
        return verbs;
    }
}

/// A challenge goes right before each `auth-required:`, of whatever it is about, until the client has authenticated.
#[tokio::test]
async fn the_challenge_comes_when_it_is_needed() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    // One who asks for nothing private hears nothing of it.
    client.subscribe("s", json!({"authors": [key.public()]})).await;
    client.publish(&[&key.event(json!({}))]).await;
    // The event may come live later than its OK.
    client.send(json!(["CLOSE", "s"]).to_string()).await;
    client.fence().await;
    assert_eq!(client.challenge, "");

    let private = json!({"kinds": [1059], "#p": [key.public()]});
    let protected = key.event(json!({"tags": [["-"]]}));
    let mut challenges = HashSet::new();
    for _ in 0..2 {
        for (message, refusal) in [
            (json!(["REQ", "r", private]), "CLOSED"),
            (json!(["COUNT", "c", private]), "CLOSED"),
            (json!(["NEG-OPEN", "n", private, "6100000200"]), "NEG-ERR"),
            (json!(["EVENT", protected.0]), "OK"),
        ] {
            client.challenge.clear();
            assert_eq!(until_refused(&mut client, &message).await, ["AUTH", refusal], "{message}");
            challenges.insert(client.challenge.clone());
        }
    }
    assert_eq!(challenges.len(), 1, "the same one each time");
    client.auth(&key).await;
    client.challenge.clear();
    let other = Key::new().event(json!({"tags": [["-"]]}));
    client.refused(&other, "restricted: ").await;
    assert_eq!(client.ids(private).await, [""; 0]);
    client.publish(&[&protected]).await;
    assert_eq!(client.challenge, "");
}

#[tokio::test]
async fn the_challenge_comes_at_once_where_it_is_wanted() {
    for config in ["[auth]\nchallenge = \"connect\"", "[auth]\nrequired = true"] {
        let relay = Relay::with(config);
        let mut client = relay.client().await;
        let hello = tokio::time::timeout(PATIENCE, client.recv_any()).await.expect("nothing comes").unwrap();
        assert_eq!(hello, json!(["AUTH", client.challenge]), "{config}");
        let first = client.challenge.clone();
        assert_eq!(until_refused(&mut client, json!(["REQ", "r", {"kinds": [4]}])).await, ["AUTH", "CLOSED"]);
        assert_eq!(client.challenge, first);
        client.auth(&Key::new()).await;
    }
}

/// One who authenticates before being asked has no challenge of this connection, and gets it.
#[tokio::test]
async fn an_answer_that_nobody_asked_for() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let event = key.event(json!({"kind": 22242, "tags": [["relay", relay.url], ["challenge", "of another time"]]}));
    let (accepted, text) = client.offer_auth(&event).await;
    assert!(!accepted && text.starts_with("invalid: "), "{text}");
    assert_ne!(client.challenge, "");
    client.auth(&key).await;
}

#[tokio::test]
async fn what_auth_must_prove() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let other_challenge = relay.client().await.challenged().await;
    let (url, challenge) = (relay.url.clone(), client.challenged().await);
    let expiring = |at: u64| json!([["relay", url], ["challenge", challenge], ["expiration", at.to_string()]]);
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
        with(22242, now(), expiring(now() - 10)),
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
    let fine = [
        with(22242, now() - 60, right.clone()),
        with(22242, now() + 60, right),
        with(22242, now(), expiring(now() + 600)),
    ];
    for event in fine {
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
        let tags = json!([["relay", url], ["challenge", client.challenged().await]]);
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
