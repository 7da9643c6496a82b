//! NIP-01: REQ, CLOSE and filters on stored events.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Key, Shared, now};

static RELAY: Shared = Shared::new();

/// Publishes events of one key whose `created_at` are `at` and returns them.
async fn published(client: &mut Client, key: &Key, at: &[u64]) -> Vec<Event> {
    let mut events = Vec::new();
    for (n, at) in at.iter().enumerate() {
        events.push(key.event(json!({"created_at": at, "content": format!("{n}")})));
    }
    client.publish(&events.iter().collect::<Vec<_>>()).await;
    events
}

#[tokio::test]
async fn speaks_as_the_nip_says() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 10;
    let old = key.event(json!({"created_at": at}));
    let new = key.event(json!({"created_at": at + 1}));
    let live = key.event(json!({"created_at": at - 5}));
    client.name("key", &key);
    client.name("old", &old);
    client.name("newest", &new);
    client.name("live", &live);
    client.check(r#"["EVENT",<old>]"#, &[r#"["OK","<old.id>",true,".."]"#]).await;
    client.check(r#"["EVENT",<newest>]"#, &[r#"["OK","<newest.id>",true,".."]"#]).await;
    client
        .check(r#"["REQ","a",{"authors":["<key>"],"limit":1}]"#, &[r#"["EVENT","a",<newest>]"#, r#"["EOSE","a"]"#])
        .await;
    client
        .check(
            r#"["REQ","b",{"authors":["<key>"]}]"#,
            &[r#"["EVENT","b",<newest>]"#, r#"["EVENT","b",<old>]"#, r#"["EOSE","b"]"#],
        )
        .await;
    client.check(r#"["CLOSE","b"]"#, &[]).await;
    client.send(client.names.fill(r#"["EVENT",<live>]"#)).await;
    let ok = client.recv_where(|message| message[0] == "OK").await;
    assert_eq!(ok[2], true);
    client.expect(&[r#"["EVENT","a",<live>]"#]).await;
    client.fence().await;
}

#[tokio::test]
async fn newest_first_and_ties_by_lowest_id() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 1000;
    let mut times = Vec::new();
    for n in 0..60 {
        times.push(at + (n * 7) % 5);
    }
    let mut events = published(&mut client, &key, &times).await;
    events.sort_by(|a, b| b.created_at().cmp(&a.created_at()).then(a.id().cmp(b.id())));
    let ids: Vec<&str> = events.iter().map(Event::id).collect();
    let me = key.public();
    for filters in [
        json!({"authors": [me]}),
        json!({"authors": [me, Key::new().public()], "kinds": [1, 2, 3]}),
        json!({"ids": ids}),
        json!([{"authors": [me], "kinds": [1]}, {"authors": [me]}, {"ids": ids}]),
        json!([{"authors": [me], "until": at + 2}, {"authors": [me], "since": at + 2}]),
    ] {
        assert_eq!(client.ids(filters.clone()).await, ids, "{filters}");
    }
    for limit in [1, 2, 13, 59, 60, 61] {
        let got = client.ids(json!({"authors": [me], "limit": limit})).await;
        assert_eq!(got, ids[..limit.min(60)], "limit {limit}");
    }
}

/// More than a scan gives in one go.
#[tokio::test]
async fn long_answers_are_whole_and_in_order() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let keys: Vec<Key> = (0..3).map(|_| Key::new()).collect();
    let at = now() - 10_000;
    let mut events: Vec<Event> = (0..1800)
        .map(|n| {
            keys[n as usize % 3].event(json!({"created_at": at + n / 4, "kind": n % 2 + 1, "tags": [["t", "long"]]}))
        })
        .collect();
    for event in &events {
        client.send(format!(r#"["EVENT",{event}]"#)).await;
    }
    for event in &events {
        assert!(client.ok(event.id()).await.0);
    }
    events.sort_by(|a, b| b.created_at().cmp(&a.created_at()).then(a.id().cmp(b.id())));
    let ids: Vec<&str> = events.iter().map(Event::id).collect();
    let people: Vec<String> = keys.iter().map(Key::public).collect();
    for filters in [
        json!({"authors": people, "limit": 1800}),
        json!({"authors": people, "kinds": [1, 2], "limit": 1800}),
        json!({"authors": people, "#t": ["long", "other"], "limit": 1800}),
        json!([{"authors": people[..2], "limit": 1800}, {"authors": people[1..], "limit": 1800}]),
    ] {
        assert!(client.ids(filters.clone()).await == ids, "{filters}");
    }
    assert_eq!(client.ids(json!({"authors": people})).await, ids[..500], "the default limit");
    assert_eq!(client.count(json!({"authors": people})).await["count"], 1800);
}

#[tokio::test]
async fn bounds_are_inclusive() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 1000;
    let events = published(&mut client, &key, &[at, at + 1, at + 2]).await;
    let me = key.public();
    for (filter, wanted) in [
        (json!({"since": at + 1}), vec![2, 1]),
        (json!({"until": at + 1}), vec![1, 0]),
        (json!({"since": at + 1, "until": at + 1}), vec![1]),
        (json!({"since": at + 2, "until": at}), vec![]),
        (json!({"since": at + 3}), vec![]),
        (json!({"until": at - 1}), vec![]),
        (json!({"since": 0, "until": 17_000_000_000_u64}), vec![2, 1, 0]),
    ] {
        let mut filter = filter;
        filter["authors"] = json!([me]);
        let wanted: Vec<&str> = wanted.iter().map(|n| events[*n as usize].id()).collect();
        assert_eq!(client.ids(filter.clone()).await, wanted, "{filter}");
    }
}

#[tokio::test]
async fn conditions_and_values() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (ann, bob) = (Key::new(), Key::new());
    let word = ann.public();
    let at = now() - 100;
    let e = |key: &Key, n: u64, kind: u64, tags: Value| {
        key.event(json!({"kind": kind, "created_at": at - n, "tags": tags}))
    };
    let events = [
        e(&ann, 0, 1, json!([["t", word], ["e", "aa".repeat(32)]])),
        e(&ann, 1, 7, json!([["t", word], ["e", "bb".repeat(32)]])),
        e(&bob, 2, 1, json!([["t", word], ["t", "second"], ["p", ann.public()]])),
        e(&bob, 3, 1, json!([["T", word]])),
        e(&bob, 4, 1, json!([["x", "first", word]])),
        e(&bob, 5, 1, json!([["tt", word]])),
    ];
    client.publish(&events.iter().collect::<Vec<_>>()).await;
    let (ann, bob) = (ann.public(), bob.public());
    for (filters, wanted) in [
        (json!({"#t": [word]}), vec![0, 1, 2]),
        (json!({"#T": [word]}), vec![3]),
        (json!({"#x": [word]}), vec![]),
        (json!({"#x": ["first"], "authors": [bob]}), vec![4]),
        (json!({"#t": [word], "#e": ["aa".repeat(32)]}), vec![0]),
        (json!({"#t": [word], "#e": ["aa".repeat(32), "bb".repeat(32)]}), vec![0, 1]),
        (json!({"#t": [word], "kinds": [1]}), vec![0, 2]),
        (json!({"#t": [word, "second"], "authors": [bob]}), vec![2]),
        (json!({"#p": [ann], "#t": ["second"]}), vec![2]),
        (json!({"#t": [&word[..63]]}), vec![]),
        (json!({"#t": [word.to_uppercase()]}), vec![]),
        (json!({"authors": [ann], "kinds": [7]}), vec![1]),
        (json!({"authors": [ann, bob], "kinds": [1], "limit": 2}), vec![0, 2]),
        (json!([{"authors": [ann], "limit": 1}, {"authors": [bob], "limit": 2}]), vec![0, 2, 3]),
        (json!([{"#t": [word]}, {"authors": [ann]}, {"ids": [events[5].id()]}]), vec![0, 1, 2, 5]),
        (json!({"ids": [events[0].id(), events[3].id(), "00".repeat(32)], "kinds": [1]}), vec![0, 3]),
        (json!({"ids": [events[0].id()], "authors": [bob]}), vec![]),
    ] {
        let wanted: Vec<&str> = wanted.iter().map(|n| events[*n as usize].id()).collect();
        assert_eq!(client.ids(filters.clone()).await, wanted, "{filters}");
        // A limit says how many events to send; a count sends none.
        if !filters.to_string().contains("limit") {
            assert_eq!(client.count(filters.clone()).await["count"], wanted.len(), "{filters}");
        }
    }
}

#[tokio::test]
async fn an_empty_list_matches_nothing() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    published(&mut client, &key, &[now()]).await;
    for filter in [
        json!({"ids": []}),
        json!({"authors": []}),
        json!({"kinds": []}),
        json!({"#t": []}),
        json!({"kinds": [1], "authors": []}),
    ] {
        let events = client.query(filter.clone()).await;
        assert_eq!(events, [], "{filter}");
        client.subscribe("never", filter.clone()).await;
    }
    // The empty list of one filter takes nothing from another.
    assert_eq!(client.query(json!([{"kinds": []}, {"authors": [key.public()]}])).await.len(), 1);
    let event = key.event(json!({"content": "live"}));
    client.publish(&[&event]).await;
    client.fence().await;
    client.check(r#"["REQ","never",{"limit":0,"kinds":[]}]"#, &[r#"["EOSE","never"]"#]).await;
}

#[tokio::test]
async fn limit_zero_sends_eose_and_stays_live() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    published(&mut client, &key, &[now() - 1]).await;
    client.name("key", &key);
    client.check(r#"["REQ","z",{"authors":["<key>"],"limit":0}]"#, &[r#"["EOSE","z"]"#]).await;
    for n in 0..3 {
        let event = key.event(json!({"content": format!("live {n}")}));
        client.publish(&[&event]).await;
        assert_eq!(client.event_of("z").await, event);
    }
}

#[tokio::test]
async fn unknown_filter_keys_are_refused() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for filter in [
        json!({"kind": 3}),
        json!({"author": []}),
        json!({"#ee": ["x"]}),
        json!({"#": ["x"]}),
        json!({"#1": ["x"]}),
        json!({"&t": ["x"]}),
        json!({"kinds": [1], "foo": null}),
        json!([{"kinds": [1]}, {"foo": 1}]),
    ] {
        for verb in ["REQ", "COUNT"] {
            let reason = client.closed(verb, filter.clone()).await;
            assert!(reason.starts_with("unsupported: "), "{verb} {filter}: {reason}");
        }
    }
}

#[tokio::test]
async fn bad_filters_get_closed_and_no_notice() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let hex = "ab".repeat(32);
    for filter in [
        json!({"ids": "x"}),
        json!({"ids": ["ab"]}),
        json!({"ids": [hex.to_uppercase()]}),
        json!({"ids": [format!("{hex}00")]}),
        json!({"ids": [1]}),
        json!({"ids": null}),
        json!({"authors": [&hex[..63]]}),
        json!({"authors": ["npub1"]}),
        json!({"#e": ["not hex"]}),
        json!({"#p": [hex.to_uppercase()]}),
        json!({"#t": [1]}),
        json!({"#t": "x"}),
        json!({"kinds": ["1"]}),
        json!({"kinds": [65536]}),
        json!({"kinds": [-1]}),
        json!({"kinds": [1.5]}),
        json!({"since": "1"}),
        json!({"since": -1}),
        json!({"until": 1.5}),
        json!({"limit": -1}),
        json!({"limit": "1"}),
        json!({"search": 1}),
        json!("x"),
        json!(1),
        json!(null),
        json!([[]]),
    ] {
        for verb in ["REQ", "COUNT"] {
            let reason = client.closed(verb, filter.clone()).await;
            assert!(reason.starts_with("invalid: "), "{verb} {filter}: {reason}");
        }
    }
    client.check(r#"["REQ","none"]"#, &[r#"["CLOSED","none","invalid: .."]"#]).await;
    client.check(r#"["COUNT","none"]"#, &[r#"["CLOSED","none","invalid: .."]"#]).await;
    client.fence().await;
}

#[tokio::test]
async fn a_refused_req_ends_the_old_subscription_of_that_name() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    client.subscribe("s", json!({"authors": [key.public()]})).await;
    client.check(r#"["REQ","s",{"kinds":["x"]}]"#, &[r#"["CLOSED","s","invalid: .."]"#]).await;
    client.subscribe("t", json!({"authors": [key.public()]})).await;
    let event = key.event(json!({}));
    client.publish(&[&event]).await;
    client.name("e", &event);
    // CLOSED said that `s` is over, so only `t` hears of it.
    client.expect(&[r#"["EVENT","t",<e>]"#]).await;
    client.fence().await;
}

#[tokio::test]
async fn subscription_ids() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for sub in ["a", " ", "a:b/c d", "\"\\\n", "😂", &"x".repeat(64), &"日".repeat(64)] {
        client.send(json!(["REQ", sub, {"kinds": []}])).await;
        let answer = client.recv().await;
        assert_eq!((&answer[0], &answer[1]), (&json!("EOSE"), &json!(sub)));
        client.send(json!(["CLOSE", sub])).await;
    }
    for sub in [json!(""), json!("x".repeat(65)), json!(1), json!(null), json!(["a"]), json!({})] {
        for verb in ["REQ", "COUNT"] {
            client.send(json!([verb, sub, {"kinds": []}])).await;
            let answer = client.recv().await;
            let echoed = answer[0] == "CLOSED" && answer[1] == sub;
            assert!(echoed || answer[0] == "NOTICE", "{verb} {sub}: {answer}");
        }
    }
    client.fence().await;
}

#[tokio::test]
async fn close_ends_quietly() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    client.name("key", &key);
    client.check(r#"["REQ","a",{"authors":["<key>"]}]"#, &[r#"["EOSE","a"]"#]).await;
    client.check(r#"["REQ","b",{"authors":["<key>"]}]"#, &[r#"["EOSE","b"]"#]).await;
    client.send(r#"["CLOSE","a"]"#).await;
    client.send(r#"["CLOSE","a"]"#).await;
    client.send(r#"["CLOSE","never opened"]"#).await;
    let event = key.event(json!({}));
    client.publish(&[&event]).await;
    client.name("e", &event);
    client.expect(&[r#"["EVENT","b",<e>]"#]).await;
    client.fence().await;
}

#[tokio::test]
async fn subscription_ids_belong_to_their_connection() {
    let relay = RELAY.relay();
    let (mut one, mut two) = (relay.client().await, relay.client().await);
    let key = Key::new();
    one.subscribe("s", json!({"authors": [key.public()]})).await;
    two.subscribe("s", json!({"authors": [key.public()], "kinds": [7]})).await;
    two.send(r#"["CLOSE","s"]"#).await;
    two.fence().await;
    let event = key.event(json!({}));
    two.publish(&[&event]).await;
    assert_eq!(one.event_of("s").await, event);
}
