//! What the clients of an address may hold together, and what is left for others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, Key, Relay, now};

const PROXY: &str = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";

/// A client of that address.
async fn client_at(relay: &Relay, address: &str) -> Client {
    Client::connect_with(&relay.url, &[("x-forwarded-for", address)]).await.unwrap()
}

/// A filter that names so many authors, different ones for each `salt`.
fn authors(count: usize, salt: usize) -> Value {
    let authors: Vec<String> = (0..count).map(|n| format!("{:032x}{n:032x}", salt + 1)).collect();
    json!({"authors": authors, "limit": 0})
}

/// Opens subscriptions until one is refused, and says how many there are, and why.
async fn subscribe_until_refused(client: &mut Client, size: usize, salt: usize) -> (usize, String) {
    for n in 0..100 {
        let name = format!("{salt}-{n}");
        client.send(json!(["REQ", name, authors(size, salt * 1000 + n)])).await;
        let answer = client.recv_where(|message| message[1] == name.as_str()).await;
        if answer[0] == "CLOSED" {
            return (n, answer[2].as_str().unwrap().to_owned());
        }
        assert_eq!(answer[0], "EOSE");
    }
    panic!("a hundred subscriptions are not refused");
}

#[tokio::test]
async fn filters_of_an_address_are_bounded_in_bytes() {
    let relay =
        Relay::with(&format!("{PROXY}[limits]\nfilters_bytes_max = 10_000_000\nfilters_bytes_address_max = 500_000"));
    let (mut one, mut two) = (client_at(&relay, "203.0.113.1").await, client_at(&relay, "203.0.113.1").await);
    let mut other = client_at(&relay, "203.0.113.2").await;
    // About 80 bytes for each author.
    let (opened, why) = subscribe_until_refused(&mut one, 1_000, 0).await;
    assert!((4..=8).contains(&opened), "{opened}");
    assert!(why.starts_with("rate-limited: "), "{why}");
    // Its other connections have no more, whatever they ask; others have.
    for verb in ["REQ", "COUNT"] {
        let why = two.closed(verb, authors(1_000, 77)).await;
        assert!(why.starts_with("rate-limited: "), "{verb}: {why}");
    }
    let refusal = crate::nip77::missing(&mut two, authors(1_000, 78), &[]).await.unwrap_err();
    assert!(refusal.starts_with("rate-limited: "), "{refusal}");
    two.subscribe("small", json!({"kinds": [7]})).await;
    assert!(subscribe_until_refused(&mut other, 1_000, 5).await.0 + 1 >= opened);
    // What is closed, replaced or gone is given back, and what a query took when it is answered.
    one.send(json!(["CLOSE", "0-0"])).await;
    one.fence().await;
    for n in 0..20 {
        two.subscribe("again", authors(900, 100 + n)).await;
        two.count(json!({"kinds": [7]})).await;
    }
    drop(one);
    let mut after = client_at(&relay, "203.0.113.1").await;
    let patience = Instant::now() + Duration::from_secs(20);
    while Instant::now() < patience && !try_subscribe(&mut after, authors(3_000, 9)).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(try_subscribe(&mut after, authors(3_000, 9)).await);
}

async fn try_subscribe(client: &mut Client, filter: Value) -> bool {
    client.send(json!(["REQ", "try", filter])).await;
    client.recv_where(|message| message[1] == "try").await[0] == "EOSE"
}

#[tokio::test]
async fn many_addresses_leave_something_for_one_more() {
    let relay =
        Relay::with(&format!("{PROXY}[limits]\nfilters_bytes_max = 2_000_000\nfilters_bytes_address_max = 500_000"));
    let mut clients = Vec::new();
    for n in 1..=5 {
        let mut client = client_at(&relay, &format!("203.0.113.{n}")).await;
        let (opened, why) = subscribe_until_refused(&mut client, 200, n).await;
        assert!(opened > 0, "address {n} gets nothing");
        assert!(why.starts_with("rate-limited: "), "{why}");
        clients.push(client);
    }
    client_at(&relay, "203.0.113.99").await.subscribe("s", authors(20, 9)).await;
}

#[tokio::test]
async fn a_client_with_two_hundred_subscriptions_of_a_long_follow_list_is_served() {
    let relay = Relay::with("[limits]\nsubscriptions_max = 300");
    let mut client = relay.client().await;
    let key = Key::new();
    for n in 0..200 {
        let mut filter = authors(1_000, 0);
        filter["authors"].as_array_mut().unwrap().push(json!(key.public()));
        filter["kinds"] = json!([2_000 + n]);
        client.subscribe(&n.to_string(), filter).await;
    }
    let event = key.event(json!({"kind": 2_150}));
    client.publish(&[&event]).await;
    assert_eq!(client.event_of("150").await, event);
}

/// Opens a session, and gives the answer to NEG-OPEN.
async fn neg_open(client: &mut Client, name: &str, filter: Value) -> Value {
    client.send(json!(["NEG-OPEN", name, filter, "6100000200"])).await;
    client.recv_where(|message| message[1] == name).await
}

fn is_refused(answer: &Value, prefix: &str) -> bool {
    answer[0] == "NEG-ERR" && answer[2].as_str().unwrap().starts_with(prefix)
}

#[tokio::test]
async fn reconciliations_of_a_connection_and_of_an_address() {
    let relay = Relay::with(&format!("{PROXY}[negentropy]\nsessions_connection_max = 2\nsessions_address_max = 3"));
    let mut clients = Vec::new();
    for (address, names) in [("203.0.113.1", 2), ("203.0.113.1", 1), ("203.0.113.2", 2)] {
        let mut client = client_at(&relay, address).await;
        for n in 0..names {
            let answer = neg_open(&mut client, &n.to_string(), json!({"kinds": [1]})).await;
            assert_eq!(answer[0], "NEG-MSG", "{answer}");
        }
        let answer = neg_open(&mut client, "more", json!({"kinds": [1]})).await;
        assert!(is_refused(&answer, "rate-limited: "), "{answer}");
        clients.push(client);
    }
    // One of the same name takes its place, and one that is closed leaves its own.
    let answer = neg_open(&mut clients[0], "0", json!({"kinds": [7]})).await;
    assert_eq!(answer[0], "NEG-MSG", "{answer}");
    clients[0].send(json!(["NEG-CLOSE", "0"])).await;
    clients[0].fence().await;
    let answer = neg_open(&mut clients[1], "more", json!({"kinds": [1]})).await;
    assert_eq!(answer[0], "NEG-MSG", "{answer}");
}

#[tokio::test]
async fn an_idle_reconciliation_is_closed_by_itself() {
    let relay = Relay::with("[negentropy]\nidle_seconds = 1\nsessions_max = 2\nsessions_address_max = 1");
    let (mut idle, mut other) = (relay.client().await, relay.client().await);
    let started = Instant::now();
    assert_eq!(neg_open(&mut idle, "n", json!({"kinds": [1]})).await[0], "NEG-MSG");
    assert!(is_refused(&neg_open(&mut other, "o", json!({"kinds": [1]})).await, "rate-limited: "));
    // It says nothing, and is told.
    assert_eq!(idle.recv().await, json!(["NEG-ERR", "n", "closed: you took too long to respond!"]));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(neg_open(&mut other, "o", json!({"kinds": [1]})).await[0], "NEG-MSG");
    idle.send(json!(["NEG-MSG", "n", "6100000200"])).await;
    let answer = idle.recv().await;
    assert!(is_refused(&answer, "closed: "), "{answer}");
    // Who goes on talking is not idle.
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        other.send(json!(["NEG-MSG", "o", "6100000200"])).await;
        assert_eq!(other.recv().await[0], "NEG-MSG");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn bytes_of_reconciliations_of_an_address() {
    // Room for 300 events in all, of which 100 for an address; the first 64 are taken together.
    let relay = Relay::with(&format!("{PROXY}[negentropy]\nbytes_max = 40_000\nbytes_address_max = 12_000"));
    let (mut one, mut other) = (client_at(&relay, "203.0.113.1").await, client_at(&relay, "203.0.113.2").await);
    let key = Key::new();
    let at = now() - 1_000;
    for n in 0..70 {
        one.publish(&[&key.event(json!({"created_at": at + n}))]).await;
    }
    let (few, all) = (json!({"authors": [key.public()], "until": at + 40}), json!({"authors": [key.public()]}));
    assert_eq!(neg_open(&mut one, "few", few.clone()).await[0], "NEG-MSG");
    assert_eq!(neg_open(&mut one, "few too", few.clone()).await[0], "NEG-MSG");
    let answer = neg_open(&mut one, "more", all.clone()).await;
    assert!(is_refused(&answer, "rate-limited: "), "{answer}");
    assert!(answer[2].as_str().unwrap().contains("too big"), "{answer}");
    assert_eq!(neg_open(&mut other, "few", few.clone()).await[0], "NEG-MSG");
    // What was refused holds nothing, and what is closed gives back.
    one.send(json!(["NEG-CLOSE", "few"])).await;
    assert_eq!(neg_open(&mut one, "few", few).await[0], "NEG-MSG");
}

#[tokio::test]
async fn a_second_message_waits_for_the_answer_to_the_first() {
    let relay = Relay::start();
    let mut client = relay.client().await;
    for n in 0..200 {
        client.send(json!(["NEG-OPEN", "n", {"kinds": [2_000 + n]}, "6100000200"])).await;
        client.send(json!(["NEG-MSG", "n", "6100000200"])).await;
        let answers = [client.recv().await, client.recv().await];
        for answer in &answers {
            assert!(answer[0] == "NEG-MSG" || is_refused(answer, "error: wait"), "{answer}");
        }
        assert!(answers.iter().any(|answer| answer[0] == "NEG-MSG"), "{answers:?}");
    }
}

#[tokio::test]
async fn a_count_that_finds_nothing_stops_looking() {
    let relay = Relay::with("[limits]\ncount_max = 300\n[storage]\nslice_examined_max = 150");
    let mut client = relay.client().await;
    let (ann, bob) = (Key::new(), Key::new());
    let at = now() - 1_000;
    for n in 0..600 {
        client.send(format!(r#"["EVENT",{}]"#, ann.event(json!({"created_at": at + n, "tags": [["t", "x"]]})))).await;
        client.recv().await;
    }
    client.publish(&[&bob.event(json!({"created_at": at, "tags": [["t", "x"]]}))]).await;
    // Many events are looked at, and none matches.
    let strangers: Vec<String> = (0..30).map(|n| Key::numbered(1_000 + n).public()).collect();
    let answer = client.count(json!({"#t": ["x"], "#p": strangers})).await;
    assert_eq!((&answer["count"], &answer["approximate"]), (&json!(0), &json!(true)), "{answer}");
    let answer = client.count(json!({"authors": [bob.public()]})).await;
    assert_eq!(answer, json!({"count": 1}), "few are looked at");
    let answer = client.count(json!({"authors": [ann.public()]})).await;
    let count = answer["count"].as_u64().unwrap();
    assert!((100..500).contains(&count) && answer["approximate"] == true, "{answer}");
}

#[tokio::test]
async fn many_counts_and_searches_at_once_are_all_answered() {
    let relay =
        Relay::with("[limits]\ncounts_at_once_max = 1\nqueries_at_once_address_max = 2\n[search]\nat_once_max = 1");
    let mut client = relay.client().await;
    for n in 0..40 {
        client.send(json!(["COUNT", format!("c{n}"), {"kinds": [2_000 + n]}])).await;
        client.send(json!(["REQ", format!("s{n}"), {"search": "word", "kinds": [1]}])).await;
    }
    let mut answered = 0;
    while answered < 80 {
        let answer = client.recv().await;
        assert!(answer[0] == "COUNT" || answer[0] == "EOSE", "{answer}");
        answered += 1;
    }
}
