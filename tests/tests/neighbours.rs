//! What one address does costs it, and not its neighbours: false events, floods, large messages, places.

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use picofeed::{Block, Feed, Format, Secret};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::bridge;
use crate::harness::{Client, Event, Key, PATIENCE, Relay, now};

/// Of another address than the others, who come from 127.0.0.1.
const BAD: [u8; 4] = [127, 0, 0, 2];

/// Events of which each has a signature of another one.
fn false_events(count: usize) -> Vec<String> {
    let key = Key::new();
    let signature = key.event(json!({"content": "another"}))["sig"].clone();
    (0..count)
        .map(|n| {
            let mut event = key.event(json!({"content": format!("false {n}")}));
            event.0["sig"] = signature.clone();
            format!(r#"["EVENT",{event}]"#)
        })
        .collect()
}

fn block() -> Block {
    let mut feed = Feed::new(Format::V8);
    feed.append(b"a block", &Secret::ed25519([1; 32])).unwrap();
    feed.iter().next().unwrap().clone()
}

/// Publishes for a while, one event after the other, and says how long each took.
async fn publish_for(client: &mut Client, time: Duration) -> Vec<Duration> {
    let (key, began) = (Key::new(), Instant::now());
    let mut took = Vec::new();
    while began.elapsed() < time {
        let event = key.event(json!({"content": format!("{} {}", took.len(), began.elapsed().as_nanos())}));
        let asked = Instant::now();
        client.publish(&[&event]).await;
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    took
}

/// The seconds of Retry-After, where the relay answers 429.
async fn refused(relay: &Relay, address: [u8; 4]) -> Option<u64> {
    match Client::connect_from(&relay.url, address).await {
        Ok(_) => None,
        Err(Error::Http(response)) => {
            assert_eq!(response.status().as_u16(), 429);
            Some(response.headers()["retry-after"].to_str().unwrap().parse().unwrap())
        }
        Err(error) => panic!("refused without an answer: {error}"),
    }
}

/// What is signed falsely inside a true event, or only to authenticate, counts as a false event does.
#[tokio::test]
async fn other_false_signatures_count_too() {
    let relay = Relay::with("[limits]\nfalse_events_per_minute = 20\nrefused_seconds_min = 60");
    let (key, block) = (Key::new(), block());
    let wrapped = bridge::wrapped(&key, "r", &block, block.id());
    let mut content = BASE64.decode(wrapped["content"].as_str().unwrap().as_bytes()).unwrap();
    *content.last_mut().unwrap() ^= 1;
    let content = BASE64.encode(&content);
    let mut client = Client::connect_from(&relay.url, BAD).await.unwrap();
    for n in 0..60 {
        let tags = &wrapped["tags"];
        let event = key.event(json!({"kind": 7420, "tags": tags, "content": content, "created_at": now() - n}));
        if !client.try_send(&format!(r#"["EVENT",{event}]"#)).await {
            break;
        }
    }
    let (answers, close) = client.until_closed().await;
    assert!(answers.iter().all(|answer| answer[2] == false), "{answers:?}");
    assert_eq!(close.map(|close| u16::from(close.code)), Some(1008));
    assert!(refused(&relay, BAD).await.is_some(), "it is let in");

    let mut client = Client::connect_from(&relay.url, [127, 0, 0, 3]).await.unwrap();
    let challenge = client.challenged().await;
    let tags = json!([["relay", relay.url], ["challenge", challenge]]);
    let mut event = key.event(json!({"kind": 22242, "tags": tags}));
    event.0["sig"] = wrapped["sig"].clone();
    for _ in 0..60 {
        if !client.try_send(&format!(r#"["AUTH",{event}]"#)).await {
            break;
        }
    }
    let (_, close) = client.until_closed().await;
    assert_eq!(close.map(|close| u16::from(close.code)), Some(1008));
    relay.client().await.publish(&[&Key::new().event(json!({"content": "of another address"}))]).await;
}

/// Events begin rooms, too: no more of them than peers may.
#[tokio::test]
async fn an_address_begins_only_so_many_rooms_by_events() {
    let relay = Relay::with("[pico]\naddress_new_rooms_per_hour = 3");
    let (key, block) = (Key::new(), block());
    let of = |room: &str| bridge::wrapped(&key, room, &block, block.id());
    let mut client = Client::connect_from(&relay.url, BAD).await.unwrap();
    for n in 0..3 {
        client.publish(&[&of(&format!("r{n}"))]).await;
    }
    client.refused(&of("r3"), "rate-limited: too many new rooms").await;
    // What is declared is not begun; another address has its own.
    client.publish(&[&of("main")]).await;
    relay.client().await.publish(&[&of("r4")]).await;
    relay.until_blocks(5).await;
}

/// Slower, then closed, then refused for a while, and let in again. The neighbour notices nothing.
#[tokio::test]
async fn false_events_are_answered_by_delay_then_closing_then_refusal() {
    let relay = Relay::with("[limits]\nrefused_seconds_min = 2\nrefused_seconds_max = 2");
    let mut healthy = relay.client().await;
    let mut before = Client::connect_from(&relay.url, BAD).await.unwrap();
    before.publish(&[&Key::new().event(json!({"content": "true, from the same address"}))]).await;

    // A few are refused and nothing else.
    let events = false_events(400);
    let mut clumsy = Client::connect_from(&relay.url, BAD).await.unwrap();
    for event in &events[..10] {
        clumsy.send(event).await;
        let answer = clumsy.recv().await;
        assert_eq!(
            (&answer[0], &answer[2], &answer[3]),
            (&json!("OK"), &json!(false), &json!("invalid: bad signature"))
        );
    }
    // More make each slower than the one before.
    let asked = Instant::now();
    for event in &events[10..20] {
        clumsy.send(event).await;
        assert_eq!(clumsy.recv().await[2], false);
    }
    let slowed = asked.elapsed();
    assert!(slowed > Duration::from_millis(800), "{slowed:?} for ten");

    let mut bad = Client::connect_from(&relay.url, BAD).await.unwrap();
    for event in &events[20..] {
        if !bad.try_send(event).await {
            break;
        }
    }
    let (answers, close) = bad.until_closed().await;
    assert!(answers.iter().all(|answer| answer[2] == false), "{answers:?}");
    let close = close.expect("a reason");
    assert_eq!((u16::from(close.code), close.reason.as_str().split(':').next()), (1008, Some("rate-limited")));

    // Nobody new from there; who was there and sends what is true stays.
    let wait = refused(&relay, BAD).await.expect("it is let in");
    assert!((1..=3).contains(&wait), "{wait}");
    let took = publish_for(&mut before, Duration::from_millis(200)).await;
    assert!(!took.is_empty());
    assert_eq!(relay.http("GET /health", &[]).status, 200);
    assert!(publish_for(&mut healthy, Duration::from_millis(200)).await.len() > 1);
    assert!(relay.metric("picorelay_connections_total", "outcome=\"false_events\"") >= 1.0);

    tokio::time::sleep(Duration::from_secs(wait)).await;
    let mut again = Client::connect_from(&relay.url, BAD).await.unwrap();
    again.publish(&[&Key::new().event(json!({"content": "true after all"}))]).await;
}

/// Whatever one address queues, an event of another waits only for its turn; what a connection that is gone had queued is
/// not looked at. Without budgets and penalties, so that the flood goes on, and by counts, which a busy machine leaves alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_false_events_delays_nobody_else() {
    let relay = Relay::with("[limits]\nmessages_per_minute = 0\nfalse_events_per_minute = 0");
    let mut healthy = relay.client().await;
    let flood = std::sync::Arc::new(false_events(1_000));
    let mut floods = Vec::new();
    for _ in 0..20 {
        let (url, flood) = (relay.url.clone(), std::sync::Arc::clone(&flood));
        floods.push(tokio::spawn(async move {
            // Each comes again and again, and leaves what it has queued.
            loop {
                let mut client = Client::connect_from(&url, BAD).await.unwrap();
                for event in flood.iter() {
                    if !client.try_send(event).await {
                        break;
                    }
                }
            }
        }));
    }
    let refused = || relay.metric("picorelay_events_total", "reason=\"verify\"");
    relay.until_metric("picorelay_events_total", "reason=\"verify\"", 1_000.0).await;
    let key = Key::new();
    let mut beside = Vec::new();
    for n in 0..15 {
        let before = refused();
        healthy.publish(&[&key.event(json!({"content": n.to_string()}))]).await;
        beside.push(refused() - before);
    }
    beside.sort_by(f64::total_cmp);
    // In the order of arrival it would be all that is queued, up to 20,000; some are looked at while the true one is saved.
    assert!(beside[7] < 6_000.0, "false events beside each true one: {beside:?}");

    floods.iter().for_each(tokio::task::JoinHandle::abort);
    let began = Instant::now();
    while relay.metric("picorelay_connections", "") > 1.0 {
        assert!(began.elapsed() < PATIENCE, "they stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let gone = refused();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = refused() - gone;
    assert!(left < 600.0, "{left} events of connections that are gone were looked at");
    healthy.fence().await;
}

#[tokio::test]
async fn a_new_connection_does_not_renew_the_budgets() {
    let relay = Relay::with("[limits]\nmessages_per_minute = 20\nqueries_per_minute = 10\naddress_budget_factor = 2");
    let mut accepted = 0;
    let key = Key::new();
    for connection in 0..4 {
        let mut client = Client::connect_from(&relay.url, BAD).await.unwrap();
        for n in 0..30 {
            let (yes, text) = client.offer(&key.event(json!({"content": format!("{connection} {n}")}))).await;
            accepted += usize::from(yes);
            assert!(yes || text.starts_with("rate-limited: "), "{text}");
        }
    }
    assert!((40..=50).contains(&accepted), "{accepted}");
    let mut client = relay.client().await;
    client.publish(&[&key.event(json!({"content": "from elsewhere"}))]).await;

    // The same by key, from two addresses.
    let (one, two) = (Key::new(), Key::new());
    let mut answered = 0;
    for host in 10..14 {
        let mut client = Client::connect_from(&relay.url, [127, 0, 0, host]).await.unwrap();
        client.auth(&one).await;
        for _ in 0..10 {
            client.send(json!(["REQ", "a", {"kinds": [7]}])).await;
            answered += usize::from(client.recv().await[0] == "EOSE");
        }
    }
    assert!((20..=25).contains(&answered), "{answered}");
    let mut other = Client::connect_from(&relay.url, [127, 0, 0, 14]).await.unwrap();
    other.auth(&two).await;
    other.fence().await;
}

#[tokio::test]
async fn bytes_have_a_budget_too() {
    let limits = "[limits]\nmessage_bytes_max = 100_000\nmessage_bytes_per_minute = 300_000\naddress_budget_factor = 0";
    let relay = Relay::with(limits);
    let (mut client, key) = (relay.client().await, Key::new());
    let mut texts = Vec::new();
    for n in 0..5 {
        let (accepted, text) = client.offer(&key.event(json!({"content": format!("{n}{}", "x".repeat(80_000))}))).await;
        texts.push(text);
        assert_eq!(accepted, n < 3, "{texts:?}");
    }
    assert!(texts[3].starts_with("rate-limited: ") && texts[4].starts_with("rate-limited: "), "{texts:?}");
    // What is small still fits.
    client.publish(&[&key.event(json!({"content": "small"}))]).await;
    let filter = json!({"authors": (0..1_000).map(|_| key.public()).collect::<Vec<_>>()});
    assert!(client.closed("REQ", filter).await.starts_with("rate-limited: "));
    // And nothing is counted where messages are not.
    let relay = Relay::with(&limits.replace("[limits]", "[limits]\nmessages_per_minute = 0"));
    let mut client = relay.client().await;
    for n in 0..5 {
        client.publish(&[&key.event(json!({"content": format!("{n}{}", "x".repeat(80_000))}))]).await;
    }
}

/// A flood of what is refused is not even read.
#[tokio::test]
async fn who_goes_on_over_budget_is_read_slowly() {
    let relay = Relay::with("[limits]\nmessages_per_minute = 60");
    let mut client = Client::connect_from(&relay.url, BAD).await.unwrap();
    for n in 0..1_000 {
        client.send(json!(["CLOSE", n.to_string()])).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let read = relay.metric("picorelay_messages_total", "type=\"CLOSE\"");
    // Sixty have a budget, sixty are refused, then about two a second are read.
    assert!((100.0..160.0).contains(&read), "{read}");
    relay.client().await.fence().await;
}

/// What is not verified yet is bounded in bytes, and everything is answered all the same.
#[tokio::test]
async fn large_events_in_flight_are_bounded_and_all_answered_in_order() {
    let relay = Relay::with(
        "[limits]\nevents_in_flight_bytes_max = 1_000_000\nin_flight_bytes_all_max = 4_000_000\nmessages_per_minute = 0",
    );
    let key = Key::new();
    let clients = (0..6).map(|client| {
        let (url, key) = (relay.url.clone(), &key);
        async move {
            let mut client =
                if client < 3 { Client::connect(&url).await } else { Client::connect_from(&url, BAD).await.unwrap() };
            let large = "x".repeat(180_000);
            // Versions of one event, each newer than the one before: in another order some would be refused.
            let tags = json!([["d", client_name(&client)]]);
            let versions: Vec<Event> = (0..20)
                .map(|n| {
                    let content = if n % 3 == 0 { large.as_str() } else { "small" };
                    key.event(
                        json!({"kind": 30_000, "tags": tags, "created_at": 1_700_000_000 + n, "content": content}),
                    )
                })
                .collect();
            for event in &versions {
                client.send(format!(r#"["EVENT",{event}]"#)).await;
            }
            for event in &versions {
                let answer = client.recv().await;
                assert_eq!((&answer[1], &answer[2]), (&event["id"], &json!(true)), "{answer}");
            }
        }
    });
    futures_util::future::join_all(clients).await;
}

fn client_name(client: &Client) -> String {
    format!("{:p}", std::ptr::from_ref(client))
}

/// Large messages are read elsewhere, and answered in their place.
#[tokio::test]
async fn large_messages_are_answered_in_their_place() {
    let relay = Relay::start();
    let (mut client, key) = (relay.client().await, Key::new());
    let events: Vec<Event> = [10, 60_000, 20, 190_000, 30]
        .iter()
        .enumerate()
        .map(|(n, len)| key.event(json!({"content": format!("{n}{}", "y".repeat(*len))})))
        .collect();
    for event in &events {
        client.send(format!(r#"["EVENT",{event}]"#)).await;
    }
    for event in &events {
        assert_eq!(client.ok(event.id()).await, (true, String::new()));
    }
    let many: Vec<String> = (0..4_000).map(|_| Key::new().public()).chain([key.public()]).collect();
    assert_eq!(client.query(json!({"authors": many})).await.len(), 5);
    assert_eq!(client.count(json!({"authors": many})).await["count"], 5);
    // Rubbish of every kind has its answer, too.
    let deep = format!(r#"["REQ","deep",{}1{}]"#, "[".repeat(100_000), "]".repeat(100_000));
    let broken = events[1].to_string().replacen("\"kind\":1", "\"kind\":\"1\"", 1);
    let wrong: Vec<Value> = vec![json!("x"); 30_000];
    client.send(&deep).await;
    assert!(["CLOSED", "NOTICE"].contains(&client.recv().await[0].as_str().unwrap()));
    client
        .check(&format!(r#"["EVENT",{broken}]"#), &[&format!(r#"["OK","{}",false,"invalid: .."]"#, events[1].id())])
        .await;
    client.check(&json!(["REQ", "w", {"kinds": wrong}]).to_string(), &[r#"["CLOSED","w","invalid: .."]"#]).await;
    client
        .check(&json!(["NEG-OPEN", "n", {"kinds": wrong}, "61"]).to_string(), &[r#"["NEG-ERR","n","invalid: .."]"#])
        .await;
    client.check(&format!(r#"["NOTHING","{}"]"#, "z".repeat(50_000)), &[r#"["NOTICE","unsupported: .."]"#]).await;
    client.fence().await;
}

/// Whoever closes properly has said what they said, answered or not.
#[tokio::test]
async fn what_was_sent_before_a_proper_end_is_saved() {
    let relay = Relay::start();
    let key = Key::new();
    let mut client = relay.client().await;
    for n in 0..300 {
        client.send(format!(r#"["EVENT",{}]"#, key.event(json!({"content": n.to_string()})))).await;
    }
    client.send_message(tokio_tungstenite::tungstenite::Message::Close(None)).await;
    let (_, close) = client.until_closed().await;
    assert!(close.is_none(), "{close:?}");
    // The end was answered, while the last ones were still being saved.
    let began = std::time::Instant::now();
    loop {
        let count = relay.client().await.count(json!({"authors": [key.public()]})).await["count"].clone();
        if count == 300 {
            break;
        }
        assert!(began.elapsed() < crate::harness::PATIENCE, "{count} of 300");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// One address has all places. Whoever else comes gets one, of the connection that has said nothing for longest.
#[tokio::test]
async fn an_address_that_has_all_places_makes_room() {
    let relay = Relay::with("[limits]\nconnections_max = 6");
    let mut greedy = Vec::new();
    for _ in 0..6 {
        let mut client = Client::connect_from(&relay.url, BAD).await.unwrap();
        client.fence().await;
        greedy.push(client);
    }
    greedy[0].fence().await;
    assert!(Client::connect_from(&relay.url, BAD).await.is_err(), "it is full for its own");
    let mut newcomer = relay.client().await;
    newcomer.fence().await;
    let (_, close) = greedy.remove(1).until_closed().await;
    let close = close.expect("a reason");
    assert!(u16::from(close.code) == 1008 && close.reason.starts_with("rate-limited: "), "{close:?}");
    // Half of the places are a fair share of two.
    let mut second = relay.client().await;
    let mut third = relay.client().await;
    assert!(Client::connect_from(&relay.url, [127, 0, 0, 1]).await.is_err());
    for client in [&mut newcomer, &mut second, &mut third, &mut greedy[0]] {
        client.fence().await;
    }
}

/// The same for connections that say nothing at all.
#[tokio::test]
async fn silent_sockets_keep_nobody_out() {
    let relay = Relay::with("[limits]\nconnections_waiting_max = 20");
    let mut silent = Vec::new();
    for _ in 0..100 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((BAD, 0).into()).unwrap();
        silent.push(socket.connect(([127, 0, 0, 1], relay.port).into()).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for _ in 0..5 {
        relay.client().await.fence().await;
    }
    let mut gone = 0;
    for stream in &mut silent {
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(stream, &mut byte);
        gone += usize::from(tokio::time::timeout(Duration::from_millis(20), read).await.is_ok());
    }
    // Twenty beyond those that may come at once, and one for each who came later.
    assert!((24..=26).contains(&gone), "{gone} of 100 are gone");
    assert!(relay.metric("picorelay_waiting_closes_total", "") >= 24.0, "they are counted");
}
