//! NIP-01: live delivery, replacement of subscriptions, and the seam between stored and live.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::{Event, Key, Shared, now};

static RELAY: Shared = Shared::new();

#[tokio::test]
async fn live_events_match_like_stored_ones() {
    let relay = RELAY.relay();
    let (mut publisher, mut listener) = (relay.client().await, relay.client().await);
    let (ann, bob) = (Key::new(), Key::new());
    let (a, b) = (ann.public(), bob.public());
    let at = now() - 50;
    let subs: Vec<(String, Value)> = [
        json!({"authors": [a, b]}),
        json!({"authors": [a], "kinds": [1]}),
        json!({"authors": [a], "kinds": [7]}),
        json!({"authors": [a], "#t": ["x"]}),
        json!({"authors": [a], "#T": ["x"]}),
        json!({"#p": [a]}),
        json!({"#p": [a], "#t": ["x", "y"]}),
        json!({"#e": ["aa".repeat(32)], "authors": [a]}),
        json!({"authors": [a, b], "since": at, "until": at}),
        json!({"authors": [a], "since": at + 1}),
        json!({"authors": [a], "until": at - 1}),
        json!({"authors": [a], "limit": 1}),
        json!([{"authors": [a], "kinds": [1]}, {"#t": ["x"], "authors": [a]}, {"authors": [a]}]),
        json!({"authors": [a], "kinds": []}),
        json!({"kinds": [1, 7], "authors": [b]}),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, filters)| (format!("{n}"), filters))
    .collect();
    for (sub, filters) in &subs {
        listener.subscribe(sub, filters.clone()).await;
    }
    let e = |key: &Key, kind: u64, tags: Value| key.event(json!({"kind": kind, "created_at": at, "tags": tags}));
    let events = [
        e(&ann, 1, json!([["t", "x"]])),
        e(&ann, 7, json!([["T", "x"], ["e", "aa".repeat(32)]])),
        e(&bob, 1, json!([["p", a], ["t", "y"]])),
        e(&bob, 7, json!([["p", b], ["t", "x"]])),
        e(&bob, 2, json!([["q", "p", a]])),
    ];
    let end = ann.event(json!({"content": "end", "created_at": at}));
    publisher.publish(&events.iter().collect::<Vec<_>>()).await;
    publisher.publish(&[&end]).await;
    let mut heard: HashSet<(String, String)> = HashSet::new();
    let mut heard_last = 0;
    while heard_last < 5 {
        let message = listener.recv().await;
        assert_eq!(message[0], "EVENT", "{message}");
        let (sub, id) = (message[1].as_str().unwrap(), message[2]["id"].as_str().unwrap());
        assert!(heard.insert((sub.into(), id.into())), "twice for one subscription: {message}");
        // The last event is for subscriptions 0, 1, 8, 11 and 12.
        heard_last += usize::from(id == end.id());
    }
    // What a REQ finds now is what live delivery sent, but for the limit.
    for (sub, mut filters) in subs {
        if let Some(filter) = filters.as_object_mut() {
            filter.remove("limit");
        }
        let stored: HashSet<String> = publisher.ids(filters.clone()).await.into_iter().collect();
        let live = heard.iter().filter(|(of, _)| *of == sub).map(|(_, id)| id.clone()).collect();
        assert_eq!(stored, live, "{filters}");
    }
}

#[tokio::test]
async fn the_limit_is_ignored_live() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    client.subscribe("l", json!({"authors": [key.public()], "limit": 2})).await;
    for n in 0..10 {
        let event = key.event(json!({"content": format!("{n}")}));
        client.publish(&[&event]).await;
        assert_eq!(client.event_of("l").await, event);
    }
}

#[tokio::test]
async fn duplicates_and_refused_events_are_not_broadcast() {
    let relay = RELAY.relay();
    let (mut publisher, mut listener) = (relay.client().await, relay.client().await);
    let key = Key::new();
    listener.subscribe("l", json!({"authors": [key.public()]})).await;
    let at = now() - 10;
    let new = key.event(json!({"kind": 0, "created_at": at + 1}));
    let old = key.event(json!({"kind": 0, "created_at": at}));
    let mut forged = key.event(json!({"content": "forged"}));
    forged.0["sig"] = "00".repeat(64).into();
    let last = key.event(json!({"content": "last"}));
    publisher.publish(&[&new]).await;
    assert!(publisher.offer(&new).await.0);
    publisher.refused(&old, "duplicate: ").await;
    publisher.refused(&forged, "invalid: ").await;
    publisher.publish(&[&last]).await;
    assert_eq!(listener.event_of("l").await, new);
    assert_eq!(listener.event_of("l").await, last);
}

#[tokio::test]
async fn a_req_with_a_known_id_replaces() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (ann, bob) = (Key::new(), Key::new());
    client.subscribe("s", json!({"authors": [ann.public()]})).await;
    client.subscribe("s", json!({"authors": [bob.public()]})).await;
    let (a, b) = (ann.event(json!({})), bob.event(json!({})));
    client.publish(&[&a, &b]).await;
    assert_eq!(client.event_of("s").await, b);
    client.fence().await;
}

#[tokio::test]
async fn a_replaced_scan_is_silent() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (ann, bob) = (Key::new(), Key::new());
    let at = now() - 1000;
    let filler = "x".repeat(2000);
    for n in 0..300 {
        let event = ann.event(json!({"created_at": at + n, "content": filler}));
        client.send(format!(r#"["EVENT",{event}]"#)).await;
    }
    let of_bob = bob.event(json!({}));
    client.publish(&[&of_bob]).await;
    assert_eq!(client.count(json!({"authors": [ann.public()]})).await["count"], 300);
    for _ in 0..300 {
        client.recv_where(|message| message[0] == "OK").await;
    }
    client.send(json!(["REQ", "s", {"authors": [ann.public()]}])).await;
    client.send(json!(["REQ", "s", {"authors": [ann.public()], "since": at + 10}])).await;
    client.send(json!(["REQ", "s", {"authors": [bob.public()]}])).await;
    client.send(json!(["REQ", "fence", {"kinds": []}])).await;
    let mut of_the_last = Vec::new();
    let mut fence = false;
    while !fence || of_the_last.len() < 2 {
        let message = client.recv().await;
        fence |= message[1] == "fence";
        if message[2]["id"] == of_bob.id() || !of_the_last.is_empty() && message[1] == "s" {
            of_the_last.push(message);
        }
    }
    // Once the last one speaks, no older one does.
    assert_eq!(of_the_last[0][2]["id"], of_bob.id());
    assert_eq!(of_the_last[1][0], "EOSE");
    client.fence().await;
}

#[tokio::test]
async fn a_closed_scan_is_silent() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let filler = "x".repeat(2000);
    for n in 0..200 {
        let event = key.event(json!({"content": format!("{n}{filler}")}));
        client.send(format!(r#"["EVENT",{event}]"#)).await;
    }
    for _ in 0..200 {
        client.recv_where(|message| message[0] == "OK").await;
    }
    client.send(json!(["REQ", "s", {"authors": [key.public()]}])).await;
    client.send(json!(["CLOSE", "s"])).await;
    client.send(json!(["REQ", "end", {"kinds": []}])).await;
    client.recv_where(|message| message[1] == "end").await;
    // The same name can be used again at once, and only the new one speaks.
    client.send(json!(["REQ", "t", {"authors": [key.public()]}])).await;
    client.send(json!(["CLOSE", "t"])).await;
    client.send(json!(["REQ", "t", {"ids": []}])).await;
    client.send(json!(["REQ", "end", {"kinds": []}])).await;
    client.recv_where(|message| message[0] == "EOSE" && message[1] == "end").await;
    client.fence().await;
}

/// Several publish while others begin to listen at every moment: each listener gets each event once, in whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_between_stored_and_live() {
    const PUBLISHERS: usize = 3;
    const EVENTS: usize = 150;
    const LISTENERS: usize = 12;
    let relay = RELAY.relay();
    let tag = Key::new().public();
    let mut tasks = Vec::new();
    for _ in 0..PUBLISHERS {
        let (mut client, tag) = (relay.client().await, tag.clone());
        tasks.push(tokio::spawn(async move {
            let key = Key::new();
            let events: Vec<Event> =
                (0..EVENTS).map(|n| key.event(json!({"content": format!("{n}"), "tags": [["t", tag]]}))).collect();
            for event in &events {
                client.send(format!(r#"["EVENT",{event}]"#)).await;
            }
            for event in &events {
                assert!(client.ok(event.id()).await.0);
            }
        }));
    }
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        let (mut client, tag) = (relay.client().await, tag.clone());
        listeners.push(tokio::spawn(async move {
            client.send(json!(["REQ", "s", {"#t": [tag]}])).await;
            let (mut ids, mut eose) = (HashSet::new(), 0);
            while ids.len() < PUBLISHERS * EVENTS || eose == 0 {
                let message = client.recv().await;
                match message[0].as_str() {
                    Some("EVENT") => assert!(ids.insert(message[2]["id"].to_string()), "doubled: {message}"),
                    Some("EOSE") => eose += 1,
                    _ => panic!("{message}"),
                }
            }
            assert_eq!(eose, 1);
            client.fence().await;
        }));
        // Not all at once: the next begins when this one is under way and more was published.
        tokio::task::yield_now().await;
        relay.client().await.fence().await;
    }
    for task in tasks.into_iter().chain(listeners) {
        task.await.unwrap();
    }
}

/// While versions of a profile follow each other, every question finds one, and a subscription gets none twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_that_is_being_replaced_is_always_found() {
    let relay = RELAY.relay();
    let (mut publisher, mut asker) = (relay.client().await, relay.client().await);
    let key = Key::new();
    let version = |n: u64| key.event(json!({"kind": 0, "created_at": 1_700_000_000 + n, "content": format!("{n}")}));
    let (first, last) = (version(0), 1_000);
    publisher.publish(&[&first]).await;
    let versions: Vec<Event> = (1..=last).map(version).collect();
    let writing = tokio::spawn(async move {
        for version in &versions {
            publisher.publish(&[version]).await;
        }
    });
    for n in 0_u32.. {
        let sub = format!("s{n}");
        asker.send(json!(["REQ", sub, {"authors": [key.public()], "kinds": [0]}])).await;
        let mut stored = 0;
        let mut given = HashSet::new();
        loop {
            let message = asker.recv_where(|message| message[1] == sub.as_str()).await;
            if message[0] == "EOSE" {
                break;
            }
            stored += 1;
            assert!(given.insert(message[2]["id"].to_string()), "twice: {message}");
        }
        assert_eq!(stored, 1, "question {n}");
        if n % 10 == 0 {
            // What comes live is not what was stored.
            let done = format!("done {n}");
            asker.send(json!(["REQ", done, {"ids": [first.id()]}])).await;
            loop {
                let message =
                    asker.recv_where(|message| message[1] == sub.as_str() || message[1] == done.as_str()).await;
                if message[1] == done.as_str() {
                    break;
                }
                assert!(given.insert(message[2]["id"].to_string()), "twice: {message}");
            }
            asker.send(json!(["CLOSE", done])).await;
        }
        asker.send(json!(["CLOSE", sub])).await;
        if writing.is_finished() {
            break;
        }
    }
    writing.await.unwrap();
}
