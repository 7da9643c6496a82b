//! NIP-67: EOSE says whether there is more.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Key, Relay, Shared, now};

static RELAY: Shared = Shared::new();

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
    let relay = Relay::with("[limits]\nlimit_default = 2\nlimit_max = 3");
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
