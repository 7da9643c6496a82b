//! NIP-77: set reconciliation, with the reference library as the client.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};

use crate::harness::{Client, Event, Key, Relay, Shared, now};

static RELAY: Shared = Shared::new();

fn id(hex: &str) -> Id {
    Id::from_byte_array(HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap())
}

fn hexes(ids: &[Id]) -> Vec<String> {
    let mut hexes: Vec<String> = ids.iter().map(|id| HEXLOWER.encode(&id.to_bytes())).collect();
    hexes.sort_unstable();
    hexes
}

/// What only the client has, and what only the relay has; or why the relay refuses.
async fn reconcile(
    client: &mut Client,
    filter: Value,
    mine: &[Event],
    frame_bytes: u64,
) -> Result<(Vec<String>, Vec<String>), String> {
    let mut storage = NegentropyStorageVector::new();
    for event in mine {
        storage.insert(event.created_at(), id(event.id())).unwrap();
    }
    storage.seal().unwrap();
    let mut negentropy = Negentropy::owned(storage, frame_bytes).unwrap();
    let first = HEXLOWER.encode(&negentropy.initiate().unwrap());
    client.send(json!(["NEG-OPEN", "neg", filter, first])).await;
    let (mut have, mut need) = (Vec::new(), Vec::new());
    loop {
        let answer = client.recv_where(|message| message[1] == "neg").await;
        if answer[0] == "NEG-ERR" {
            return Err(answer[2].as_str().unwrap().to_owned());
        }
        assert_eq!(answer[0], "NEG-MSG", "{answer}");
        let message = HEXLOWER.decode(answer[2].as_str().unwrap().as_bytes()).unwrap();
        match negentropy.reconcile_with_ids(&message, &mut have, &mut need).unwrap() {
            Some(next) => client.send(json!(["NEG-MSG", "neg", HEXLOWER.encode(&next)])).await,
            None => break,
        }
    }
    client.send(json!(["NEG-CLOSE", "neg"])).await;
    Ok((hexes(&have), hexes(&need)))
}

/// The ids, sorted, that the relay has and the client lacks, or why the relay refuses.
pub(crate) async fn missing(client: &mut Client, filter: Value, mine: &[Event]) -> Result<Vec<String>, String> {
    Ok(reconcile(client, filter, mine, 0).await?.1)
}

fn sorted(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.id().to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[tokio::test]
async fn finds_the_difference() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 1000;
    // Times repeat, so that bounds need parts of ids.
    let events: Vec<Event> =
        (0..600).map(|n| key.event(json!({"created_at": at + n / 7, "content": n.to_string()}))).collect();
    for event in &events[100..] {
        client.send(format!(r#"["EVENT",{event}]"#)).await;
    }
    for event in &events[100..] {
        assert!(client.ok(event.id()).await.0);
    }
    let filter = json!({"authors": [key.public()]});
    for frame_bytes in [0, 4096] {
        for (mine, have, need) in [
            (&events[..], &events[..100], &events[..0]),
            (&events[100..], &events[..0], &events[..0]),
            (&events[..500], &events[..100], &events[500..]),
            (&events[..0], &events[..0], &events[100..]),
            (&events[..1], &events[..1], &events[100..]),
        ] {
            let found = reconcile(&mut client, filter.clone(), mine, frame_bytes).await.unwrap();
            assert_eq!(found, (sorted(have), sorted(need)), "frames of {frame_bytes}");
        }
    }
    let part = json!({"authors": [key.public()], "since": at + 50, "kinds": [1]});
    let newer: Vec<Event> = events.iter().filter(|event| event.created_at() >= at + 50).cloned().collect();
    assert_eq!(missing(&mut client, part, &[]).await.unwrap(), sorted(&newer));
}

#[tokio::test]
async fn small_frames_of_the_relay() {
    let relay = Relay::with("[negentropy]\nframe_bytes_max = 4096");
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100_000;
    let events: Vec<Event> = (0..800).map(|n| key.event(json!({"created_at": at + n * 13}))).collect();
    for event in &events {
        client.send(format!(r#"["EVENT",{event}]"#)).await;
    }
    for event in &events {
        assert!(client.ok(event.id()).await.0);
    }
    let found = reconcile(&mut client, json!({"authors": [key.public()]}), &events[..10], 0).await.unwrap();
    assert_eq!(found, (vec![], sorted(&events[10..])));
}

#[tokio::test]
async fn replaced_deleted_and_ephemeral_events_are_not_in_the_set() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    let old = key.event(json!({"kind": 0, "created_at": at}));
    let new = key.event(json!({"kind": 0, "created_at": at + 1}));
    let gone = key.event(json!({"created_at": at}));
    let request = key.event(json!({"kind": 5, "tags": [["e", gone.id()]]}));
    let ephemeral = key.event(json!({"kind": 20000}));
    client.publish(&[&old, &new, &gone, &request]).await;
    client.offer(&ephemeral).await;
    let found = missing(&mut client, json!({"authors": [key.public()]}), &[]).await.unwrap();
    assert_eq!(found, sorted(&[new, request]));
}

#[tokio::test]
async fn a_filter_without_values_is_an_empty_set() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let mine = [Key::new().event(json!({}))];
    let found = reconcile(&mut client, json!({"authors": []}), &mine, 0).await.unwrap();
    assert_eq!(found, (sorted(&mine), vec![]));
}

#[tokio::test]
async fn a_session_of_the_same_name_replaces() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (ann, bob) = (Key::new(), Key::new());
    let (a, b) = (ann.event(json!({})), bob.event(json!({})));
    client.publish(&[&a, &b]).await;
    // The first is left open half way; sessions and subscriptions are named apart.
    client.send(json!(["NEG-OPEN", "neg", {"authors": [ann.public()]}, "6100000200"])).await;
    let first = client.recv().await;
    assert_eq!((&first[0], &first[1]), (&json!("NEG-MSG"), &json!("neg")));
    client.subscribe("neg", json!({"authors": [ann.public()], "limit": 0})).await;
    assert_eq!(missing(&mut client, json!({"authors": [bob.public()]}), &[]).await.unwrap(), sorted(&[b]));
    let live = ann.event(json!({"content": "live"}));
    client.publish(&[&live]).await;
    assert_eq!(client.event_of("neg").await, live, "NEG-CLOSE does not close the subscription");
}

#[tokio::test]
async fn bad_messages() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for (filter, message, prefix) in [
        (json!({"kinds": ["x"]}), "61000000", "invalid: "),
        (json!({"kind": 1}), "61000000", "unsupported: "),
        (json!(1), "61000000", "invalid: "),
        (json!({"kinds": [1]}), "not hex", "invalid: "),
        (json!({"kinds": [1]}), "6", "invalid: "),
        (json!({"kinds": [1]}), "", "invalid: "),
        (json!({"kinds": [1]}), "6100000163", "invalid: "),
    ] {
        client.send(json!(["NEG-OPEN", "bad", filter, message])).await;
        let answer = client.recv().await;
        assert_eq!((&answer[0], &answer[1]), (&json!("NEG-ERR"), &json!("bad")), "{filter} {message}: {answer}");
        assert!(answer[2].as_str().unwrap().starts_with(prefix), "{filter} {message}: {answer}");
    }
    // A session that is not open.
    client.send(json!(["NEG-MSG", "none", "61000000"])).await;
    let answer = client.recv().await;
    assert_eq!((&answer[0], &answer[1]), (&json!("NEG-ERR"), &json!("none")));
    assert!(answer[2].as_str().unwrap().starts_with("closed: "), "{answer}");
    // An unknown version is answered with the highest that is known.
    client.send(json!(["NEG-OPEN", "new", {"kinds": [1]}, "62000000"])).await;
    assert_eq!(client.recv().await, json!(["NEG-MSG", "new", "61"]));
    client.send(json!(["NEG-CLOSE", "new"])).await;
    client.send(json!(["NEG-CLOSE", "none"])).await;
    client.fence().await;
}

#[tokio::test]
async fn sets_have_a_limit() {
    let relay = Relay::with("[negentropy]\nrecords_max = 10");
    let mut client = relay.client().await;
    let key = Key::new();
    let events: Vec<Event> = (0..11).map(|n| key.event(json!({"content": n.to_string()}))).collect();
    client.publish(&events[..10].iter().collect::<Vec<_>>()).await;
    let filter = json!({"authors": [key.public()]});
    assert_eq!(missing(&mut client, filter.clone(), &[]).await.unwrap(), sorted(&events[..10]));
    client.publish(&[&events[10]]).await;
    let refusal = missing(&mut client, filter, &[]).await.unwrap_err();
    assert!(refusal.starts_with("blocked: "), "{refusal}");
}

#[tokio::test]
async fn the_limit_of_a_filter_holds() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 1000;
    let events: Vec<Event> =
        (0..40).map(|n| key.event(json!({"created_at": at - n, "content": n.to_string()}))).collect();
    client.publish(&events.iter().collect::<Vec<_>>()).await;
    for (limit, newest) in [(0, 0), (1, 1), (10, 10), (40, 40), (100_000, 40)] {
        let filter = json!({"authors": [key.public()], "limit": limit});
        assert_eq!(missing(&mut client, filter, &[]).await.unwrap(), sorted(&events[..newest]), "limit {limit}");
    }
    assert_eq!(missing(&mut client, json!({"authors": [key.public()]}), &[]).await.unwrap(), sorted(&events));
    // What the client has beside that is its own.
    let filter = json!({"authors": [key.public()], "limit": 10});
    let found = reconcile(&mut client, filter, &events[5..20], 0).await.unwrap();
    assert_eq!(found, (sorted(&events[10..20]), sorted(&events[..5])));
}

#[tokio::test]
async fn sessions_have_a_limit_and_end_with_their_connection() {
    let relay = Relay::with("[negentropy]\nsessions_max = 2");
    let mut first = relay.client().await;
    let open = |name: &str| json!(["NEG-OPEN", name, {"kinds": [1]}, "6100000200"]);
    for name in ["a", "b"] {
        first.send(open(name)).await;
        assert_eq!(first.recv().await[0], "NEG-MSG");
    }
    let mut second = relay.client().await;
    second.send(open("c")).await;
    let refusal = second.recv().await;
    assert_eq!(refusal[0], "NEG-ERR", "{refusal}");
    first.send(json!(["NEG-CLOSE", "a"])).await;
    first.fence().await;
    second.send(open("c")).await;
    assert_eq!(second.recv().await[0], "NEG-MSG");
}

#[tokio::test]
async fn can_be_switched_off() {
    let relay = Relay::with("[negentropy]\nenabled = false");
    let refusal = missing(&mut relay.client().await, json!({"kinds": [1]}), &[]).await.unwrap_err();
    assert!(refusal.contains(": "), "{refusal}");
}
