//! Every limit has a name in the configuration, and the client that meets it is told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::harness::{Client, Event, Key, Raw, Relay, now};

#[tokio::test]
async fn messages_per_minute() {
    let relay = Relay::with("[limits]\nmessages_per_minute = 30\nqueries_per_minute = 0");
    let (mut client, mut other) = (relay.client().await, relay.client().await);
    let key = Key::new();
    let events: Vec<Event> = (0..60).map(|n| key.event(json!({"content": n.to_string()}))).collect();
    let mut accepted = 0;
    for event in &events {
        let (yes, text) = client.offer(event).await;
        accepted += u64::from(yes);
        assert!(yes || text.starts_with("rate-limited: "), "{text}");
    }
    assert!((20..=40).contains(&accepted), "{accepted} accepted");
    let reason = client.closed("REQ", json!({"kinds": [1]})).await;
    assert!(reason.starts_with("rate-limited: "), "{reason}");
    assert_eq!(other.count(json!({"authors": [key.public()]})).await["count"], accepted, "others are not limited");
}

#[tokio::test]
async fn queries_per_minute() {
    let relay = Relay::with("[limits]\nqueries_per_minute = 20");
    let mut client = relay.client().await;
    let mut refused = 0;
    for n in 0..40 {
        client.send(json!(["REQ", n.to_string(), {"kinds": [7]}])).await;
        let answer = client.recv().await;
        if answer[0] == "CLOSED" {
            refused += 1;
            assert!(answer[2].as_str().unwrap().starts_with("rate-limited: "), "{answer}");
        }
    }
    assert!((10..=30).contains(&refused), "{refused} refused");
    let reason = client.closed("COUNT", json!({"kinds": [1]})).await;
    assert!(reason.starts_with("rate-limited: "), "{reason}");
    let refusal = crate::nip77::missing(&mut client, json!({"kinds": [1]}), &[]).await.unwrap_err();
    assert!(refusal.starts_with("rate-limited: "), "{refusal}");
    // Events are not queries.
    client.publish(&[&Key::new().event(json!({}))]).await;
}

async fn is_full(relay: &Relay, headers: &[(&'static str, &str)]) -> bool {
    match Client::connect_with(&relay.url, headers).await {
        Ok(_) => false,
        Err(Error::Http(response)) => {
            let status = response.status().as_u16();
            assert!([429, 503].contains(&status), "{status}");
            true
        }
        Err(error) => panic!("refused without an answer: {error}"),
    }
}

#[tokio::test]
async fn connections_per_address() {
    let relay = Relay::with("[limits]\nconnections_per_address_max = 2");
    let (mut one, two) = (relay.client().await, relay.client().await);
    assert!(is_full(&relay, &[]).await);
    // Nobody believes a client about its address.
    assert!(is_full(&relay, &[("x-forwarded-for", "203.0.113.9")]).await);
    one.fence().await;
    drop(two);
    // The relay notices that one has gone.
    until_room(&relay).await;
    one.fence().await;
}

#[tokio::test]
async fn connections_behind_a_trusted_proxy() {
    let relay = Relay::with("[limits]\nconnections_per_address_max = 1\n[server]\ntrusted_proxies = [\"127.0.0.1\"]");
    let from = |address| [("x-forwarded-for", address)];
    let mut one = Client::connect_with(&relay.url, &from("203.0.113.9")).await.unwrap();
    let mut two = Client::connect_with(&relay.url, &from("203.0.113.10")).await.unwrap();
    let mut network = Client::connect_with(&relay.url, &from("2001:db8::1")).await.unwrap();
    assert!(is_full(&relay, &from("203.0.113.9")).await);
    assert!(is_full(&relay, &from("198.51.100.1, 203.0.113.9")).await, "the right-most entry counts");
    assert!(is_full(&relay, &from("2001:db8::2")).await, "a /64 is one address");
    for client in [&mut one, &mut two, &mut network] {
        client.fence().await;
    }
}

#[tokio::test]
async fn connections_of_all() {
    let relay = Relay::with("[limits]\nconnections_max = 2");
    let (mut one, two) = (relay.client().await, relay.client().await);
    assert!(is_full(&relay, &[]).await);
    one.fence().await;
    drop(two);
    until_room(&relay).await;
    assert_eq!(relay.http("GET /health", &[]).status, 200);
}

async fn until_room(relay: &Relay) {
    for _ in 0..500 {
        if !is_full(relay, &[]).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a closed connection still takes a place");
}

#[tokio::test]
async fn subscriptions_filters_and_values() {
    let relay = Relay::with("[limits]\nsubscriptions_max = 3\nfilters_max = 2\nfilter_values_max = 10");
    let mut client = relay.client().await;
    for sub in ["a", "b", "c"] {
        client.subscribe(sub, json!({"kinds": [7]})).await;
    }
    client.check(r#"["REQ","d",{"kinds":[7]}]"#, &[r#"["CLOSED","d","rate-limited: .."]"#]).await;
    // Replacing one is no more than before.
    client.subscribe("a", json!({"kinds": [6]})).await;
    // Negentropy sessions count too.
    let refusal = crate::nip77::missing(&mut client, json!({"kinds": [7]}), &[]).await.unwrap_err();
    assert!(refusal.starts_with("rate-limited: "), "{refusal}");
    // COUNT opens nothing.
    client.count(json!({"kinds": [7]})).await;
    client.send(json!(["CLOSE", "a"])).await;
    for (filters, fine) in [
        (json!([{"kinds": [1]}, {"kinds": [2]}]), true),
        (json!([{"kinds": [1]}, {"kinds": [2]}, {"kinds": [3]}]), false),
        (json!({"kinds": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}), true),
        (json!({"kinds": [1, 2, 3, 4, 5, 6], "#t": ["a", "b", "c", "d", "e"]}), false),
    ] {
        if fine {
            client.query(filters).await;
        } else {
            for verb in ["REQ", "COUNT"] {
                let reason = client.closed(verb, filters.clone()).await;
                assert!(["blocked: ", "invalid: "].iter().any(|prefix| reason.starts_with(prefix)), "{reason}");
            }
        }
    }
}

#[tokio::test]
async fn events() {
    let relay = Relay::with(
        "[limits]\nevent_tags_max = 3\ncontent_chars_max = 5\ncreated_at_future_seconds_max = 60\n\
         created_at_past_seconds_max = 1000\nmessage_bytes_max = 2000",
    );
    let mut client = relay.client().await;
    let key = Key::new();
    for (draft, accepted) in [
        (json!({"content": "日本語です"}), true),
        (json!({"content": "abcdef"}), false),
        (json!({"tags": [["a"], ["b"], ["c"]]}), true),
        (json!({"tags": [["a"], ["b"], ["c"], ["d"]]}), false),
        (json!({"created_at": now() + 30}), true),
        (json!({"created_at": now() + 120}), false),
        (json!({"created_at": now() - 900}), true),
        (json!({"created_at": now() - 1100}), false),
        // What lives long may be old, and wraps lie about their time.
        (json!({"kind": 10002, "created_at": now() - 1100}), true),
        (json!({"kind": 0, "created_at": 1}), true),
        (json!({"kind": 30023, "created_at": now() - 1100}), true),
        (json!({"kind": 1059, "created_at": now() - 170_000, "tags": [["p", key.public()]]}), true),
        (json!({"kind": 20001, "created_at": now() + 120}), false),
    ] {
        let event = key.event(draft.clone());
        let (yes, text) = client.offer(&event).await;
        assert_eq!(yes, accepted, "{draft}: {text}");
        assert!(yes || ["invalid: ", "blocked: "].iter().any(|prefix| text.starts_with(prefix)), "{draft}: {text}");
    }
    let large = key.event(json!({"tags": [["t", "x".repeat(2000)]]}));
    client.refused(&large, "invalid: ").await;
    client.fence().await;
}

#[tokio::test]
async fn limits_of_queries() {
    let relay = Relay::with("[limits]\nlimit_default = 3\nlimit_max = 5");
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    for n in 0..8 {
        client.publish(&[&key.event(json!({"created_at": at + n, "kind": 1 + n % 2}))]).await;
    }
    let me = key.public();
    for (filters, wanted) in [
        (json!({"authors": [me]}), 3),
        (json!({"authors": [me], "limit": 4}), 4),
        (json!({"authors": [me], "limit": 8}), 5),
        (json!({"authors": [me], "limit": 18_446_744_073_709_551_615_u64}), 5),
        (json!([{"authors": [me], "kinds": [1]}, {"authors": [me], "kinds": [2]}]), 6),
    ] {
        assert_eq!(client.query(filters.clone()).await.len(), wanted, "{filters}");
    }
    assert_eq!(client.count(json!({"authors": [me]})).await["count"], 8, "COUNT is not limited");
}

#[tokio::test]
async fn many_events_in_flight_are_all_answered() {
    let relay = Relay::with("[limits]\nevents_in_flight_max = 4\nverify_queue_max = 8\nmessages_per_minute = 0");
    let mut client = relay.client().await;
    let key = Key::new();
    let events: Vec<Event> = (0..300).map(|n| key.event(json!({"content": n.to_string()}))).collect();
    for event in &events {
        client.send(format!(r#"["EVENT",{event}]"#)).await;
    }
    for event in &events {
        let (accepted, text) = client.ok(event.id()).await;
        assert!(accepted, "{text}");
    }
}

/// Pings and binary messages cost as much as others: who sends very many of them is soon not read any more.
#[tokio::test]
async fn what_is_no_message_counts_too() {
    let relay = Relay::with("[limits]\nmessages_per_minute = 60");
    for opcode in [0x9, 0x2] {
        let mut client = Raw::open(relay.port, "/").await;
        for _ in 0..400 {
            assert!(client.send_frame(opcode, b"x").await);
        }
        let end = Instant::now() + Duration::from_millis(1_500);
        let mut answers = 0;
        while let Some(Some(_)) = client.frame_until(end).await {
            answers += 1;
        }
        // A minute's worth, and in between as many that were too many.
        assert!((1..=140).contains(&answers), "opcode {opcode}: {answers}");
    }
}

/// Pages are paced by address, whatever a request pretends to be; probes and WebSockets are not.
#[tokio::test(flavor = "multi_thread")]
async fn pages_have_a_budget_by_address() {
    let relay = Relay::with("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[limits]\nrequests_per_minute = 4");
    let from = ("X-Forwarded-For", "203.0.113.9");
    for path in ["GET /", "GET /nothing", "GET /pico/a", "GET /metrics"] {
        assert_ne!(relay.http(path, &[from]).status, 429, "{path}");
    }
    let answer = relay.http("GET /metrics", &[from, ("Upgrade", "websocket")]);
    assert_eq!(answer.status, 429);
    assert_eq!(relay.metric("picorelay_http_refused_total", "reason=\"requests\""), 1.0);
    assert_eq!(relay.http("GET /health", &[]).status, 200);
    assert_eq!(relay.http("GET /ready", &[]).status, 200);
    relay.client().await.fence().await;
}

#[tokio::test]
async fn silent_clients_are_pinged_and_dead_ones_closed() {
    let relay = Relay::with("[limits]\nping_seconds = 1");
    let mut alive = relay.client().await;
    let mut dead = relay.client().await;
    dead.subscribe("s", json!({"kinds": [7]})).await;
    let started = Instant::now();
    // The library answers pings while it reads; `dead` reads nothing.
    while started.elapsed().as_secs() < 4 {
        let nothing = tokio::time::timeout(Duration::from_millis(500), alive.recv_or_close()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }
    alive.fence().await;
    let (messages, _) = dead.until_closed().await;
    assert!(messages.iter().all(|message: &Value| message[0] == "NOTICE"), "{messages:?}");
}
