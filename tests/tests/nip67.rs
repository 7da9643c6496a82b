//! NIP-67: EOSE says whether there is more, to those who read it.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Key, Relay, Shared, now};

static RELAY: Shared = Shared::with("[limits]\neose_hints = true");

/// How many events came, and the hint of the EOSE.
async fn hint(client: &mut Client, filters: Value) -> (usize, Option<Value>) {
    let mut request = vec![json!("REQ"), json!("hint")];
    match filters {
        Value::Array(filters) => request.extend(filters),
        filter => request.push(filter),
    }
    client.send(Value::Array(request)).await;
    let mut events = 0;
    loop {
        let message = client.recv().await;
        match message[0].as_str() {
            Some("EVENT") => events += 1,
            Some("EOSE") => return (events, message.get(2).cloned()),
            _ => panic!("{message}"),
        }
    }
}

async fn five(client: &mut Client) -> (Key, Vec<Event>) {
    let key = Key::new();
    let at = now() - 1000;
    let events: Vec<Event> = (0..5).map(|n| key.event(json!({"created_at": at + n}))).collect();
    client.publish(&events.iter().collect::<Vec<_>>()).await;
    (key, events)
}

#[tokio::test]
async fn finish_and_more() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (key, events) = five(&mut client).await;
    let me = key.public();
    let (finish, more) = (Some(json!(["finish"])), Some(json!(["more"])));
    for (filters, wanted) in [
        (json!({"authors": [me]}), (5, &finish)),
        (json!({"authors": [me], "limit": 6}), (5, &finish)),
        (json!({"authors": [me], "limit": 5}), (5, &finish)),
        (json!({"authors": [me], "limit": 4}), (4, &more)),
        (json!({"authors": [me], "limit": 1}), (1, &more)),
        (json!({"ids": [events[0].id(), events[1].id()]}), (2, &finish)),
        (json!({"ids": [events[0].id(), events[1].id()], "limit": 1}), (1, &more)),
        (json!({"authors": []}), (0, &finish)),
        (json!({"authors": [Key::new().public()]}), (0, &finish)),
        (json!([{"authors": [me], "limit": 2}, {"ids": [events[4].id()]}]), (2, &more)),
        (json!([{"authors": [me]}, {"ids": [events[4].id()]}]), (5, &finish)),
        (json!({"authors": [me], "until": events[2].created_at(), "limit": 3}), (3, &finish)),
    ] {
        let (count, hint) = hint(&mut client, filters.clone()).await;
        assert_eq!(count, wanted.0, "{filters}");
        // The hint may be absent where finding out would cost, but it never lies.
        assert!(hint == *wanted.1 || hint.is_none() || hint == Some(json!([])), "{filters}: {hint:?}");
    }
    // Where everything was sent and it is plain, it is said.
    assert_eq!(hint(&mut client, json!({"authors": [me]})).await.1, finish);
    assert_eq!(hint(&mut client, json!({"authors": [me], "limit": 2})).await.1, more);
}

#[tokio::test]
async fn limits_of_the_relay_also_leave_more() {
    let relay = Relay::with("[limits]\neose_hints = true\nlimit_default = 2\nlimit_max = 3");
    let mut client = relay.client().await;
    let (key, _) = five(&mut client).await;
    for (filter, wanted) in [
        (json!({"authors": [key.public()]}), 2),
        (json!({"authors": [key.public()], "limit": 4}), 3),
        (json!({"authors": [key.public()], "limit": 100}), 3),
    ] {
        let (count, hint) = hint(&mut client, filter.clone()).await;
        assert_eq!(count, wanted, "{filter}");
        assert_eq!(hint, Some(json!(["more"])), "{filter}");
    }
}

#[tokio::test]
async fn what_the_client_may_not_see_is_not_more() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let someone = Key::new();
    let wrap =
        |n: u64| Key::new().event(json!({"kind": 1059, "created_at": now() - n, "tags": [["p", someone.public()]]}));
    let note = Key::new().event(json!({"tags": [["p", someone.public()]]}));
    client.publish(&[&wrap(5), &wrap(6), &note]).await;
    let (count, hint) = hint(&mut client, json!({"#p": [someone.public()], "limit": 1})).await;
    assert_eq!(count, 1);
    assert_ne!(hint, Some(json!(["more"])));
}

/// Following `until` through everything, page by page, loses nothing.
#[tokio::test]
async fn paging_by_until_loses_nothing() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 1000;
    let mut wanted = Vec::new();
    for n in 0..40 {
        let event = key.event(json!({"created_at": at + n / 3, "content": n.to_string()}));
        client.publish(&[&event]).await;
        wanted.push(event.id().to_owned());
    }
    let (mut found, mut until) = (std::collections::BTreeSet::new(), now());
    loop {
        let page = client.query(json!({"authors": [key.public()], "until": until, "limit": 7})).await;
        let Some(last) = page.last() else { break };
        until = last.created_at();
        let before = found.len();
        found.extend(page.iter().map(|event| event.id().to_owned()));
        if found.len() == before {
            break;
        }
    }
    wanted.sort_unstable();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), wanted);
}

/// The events of one second, and some that are older.
async fn dense(client: &mut Client, ties: usize, older: usize) -> Key {
    let key = Key::new();
    let at = now() - 5_000;
    let ties = (0..ties).map(|n| (at, n)).chain((0..older).map(|n| (at - 1 - n as u64, n)));
    for (created_at, n) in ties {
        client.publish(&[&key.event(json!({"created_at": created_at, "content": n.to_string()}))]).await;
    }
    key
}

/// An answer goes on to the end of its oldest second, so that a client that goes on one second lower loses nothing.
#[tokio::test]
async fn the_oldest_second_is_whole() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = dense(&mut client, 60, 10).await;
    let more = Some(json!(["more"]));
    assert_eq!(hint(&mut client, json!({"authors": [key.public()], "limit": 50})).await, (60, more.clone()));
    assert_eq!(hint(&mut client, json!({"authors": [key.public()], "limit": 60})).await, (60, more.clone()));
    assert_eq!(hint(&mut client, json!({"authors": [key.public()], "limit": 61})).await, (61, more));
    assert_eq!(hint(&mut client, json!({"authors": [key.public()], "limit": 0})).await.0, 0);
    let (mut found, mut until) = (std::collections::BTreeSet::new(), now());
    loop {
        let page = client.query(json!({"authors": [key.public()], "until": until, "limit": 7})).await;
        let Some(last) = page.last() else { break };
        until = last.created_at() - 1;
        found.extend(page.iter().map(|event| event.id().to_owned()));
    }
    assert_eq!(found.len(), 70);
}

#[tokio::test]
async fn the_oldest_second_has_a_limit() {
    let relay = Relay::with("[limits]\neose_hints = true\noldest_second_events_max = 5");
    let mut client = relay.client().await;
    let key = dense(&mut client, 30, 0).await;
    assert_eq!(hint(&mut client, json!({"authors": [key.public()], "limit": 10})).await, (15, Some(json!(["more"]))));
}

/// By default EOSE has two elements, whatever it could say, and `limit` is the limit.
#[tokio::test]
async fn nothing_of_it_unless_it_is_switched_on() {
    let relay = Relay::start();
    let document = relay.http("GET /", &[("Accept", "application/nostr+json")]).json();
    assert!(!document["supported_nips"].as_array().unwrap().contains(&json!(67)), "{document}");
    let mut client = relay.client().await;
    let key = dense(&mut client, 20, 5).await;
    for (filter, count) in [
        (json!({"authors": [key.public()], "limit": 10}), 10),
        (json!({"authors": [key.public()]}), 25),
        (json!({"kinds": []}), 0),
    ] {
        assert_eq!(hint(&mut client, filter.clone()).await, (count, None), "{filter}");
    }
    // Another picorelay asks for it by a header that nobody else sends. It gets the hint, and no more than it asked for.
    let headers = [("picorelay-eose-hints", "1")];
    let mut other = Client::connect_with(&relay.url, &headers).await.unwrap();
    let more = Some(json!(["more"]));
    assert_eq!(hint(&mut other, json!({"authors": [key.public()], "limit": 10})).await, (10, more));
    assert_eq!(hint(&mut other, json!({"authors": [key.public()]})).await, (25, Some(json!(["finish"]))));
}
