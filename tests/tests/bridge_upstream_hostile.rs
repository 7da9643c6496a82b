//! Upstreams that are killed, slow, silent, or lie: nothing hangs, nothing false gets in, and the relay stays small.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use pico_bridge::kind;
use picofeed::{Block, Format};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::bridge::{room, wrapped};
use crate::bridge_upstream::through;
use crate::harness::pico::Node;
use crate::harness::{Conversation, Event, Key, PATIENCE, Relay, Scripted, now};

/// Short times and small limits, so that a test sees their end.
const SHORT: &str = "answer_seconds = 1\nrequest_seconds = 3\nping_seconds = 1\nconnect_seconds = 1\nfaults_max = 20\n\
    message_bytes_max = 200_000\nframe_bytes_max = 65_536\nrounds_max = 20\nretries_max = 2\nintake_events_max = 100";

/// `[[bridge.upstream]]` for each of these.
fn config(urls: &[String]) -> String {
    let upstreams: String = urls.iter().map(|url| format!("[[bridge.upstream]]\nurl = '{url}'\n")).collect();
    format!("{upstreams}[sync]\npause_seconds_max = 1\n{SHORT}\n[limits]\nmessages_per_minute = 0")
}

/// Blocks of one chain, each in an event of its own.
fn chain(count: usize) -> Vec<Event> {
    let (key, secret) = (Key::new(), picofeed::Secret::ed25519(rand::random()));
    let mut feed = picofeed::Feed::new(Format::V8);
    let blocks: Vec<Block> =
        (0..count).map(|n| feed.append(format!("block {n}").as_bytes(), &secret).unwrap().clone()).collect();
    blocks.iter().map(|block| wrapped(&key, "r", block, blocks[0].id())).collect()
}

/// A head that nobody can refuse: of a chain that may be anywhere. For the same number always the same event, so that what
/// is stored does not grow without end.
fn head(key: &Key, n: u64) -> Event {
    static TIME: OnceLock<u64> = OnceLock::new();
    let time = TIME.get_or_init(now);
    let chain = format!("{n:0128x}");
    let author = "ab".repeat(32);
    key.event(json!({
        "kind": kind::HEAD,
        "created_at": time - n % 1_000,
        "tags": [
            ["d", chain], ["i", format!("pico:block:{chain}")], ["i", format!("pico:author:{author}")],
            ["i", "pico:room:r"], ["k", "pico:block"], ["height", "1"],
        ],
    }))
}

async fn serve(conversation: &mut Conversation, events: &[Event]) -> Option<()> {
    loop {
        let (name, filter) = conversation.req().await?;
        conversation.give(&name, &filter, events, usize::MAX).await?;
    }
}

/// A way to be hostile, and what the relay says of its end.
type Case = (&'static str, Scripted);

/// Answers each page with what `event` makes, without end.
async fn endless(event: impl Fn(&Key, u64) -> Value + Send + Sync + Clone + 'static) -> Scripted {
    Scripted::start(move |mut conversation| {
        let event = event.clone();
        async move {
            let key = Key::numbered(1);
            let Some((mut name, _)) = conversation.req().await else { return };
            for n in 0.. {
                // The first REQ is the live one; the pages that follow are what is to be filled.
                if n == 0 {
                    let _ = conversation.say(json!(["EOSE", name])).await;
                    let Some((page, _)) = conversation.req().await else { return };
                    name = page;
                }
                if conversation.say(json!(["EVENT", name, event(&key, n)])).await.is_none() {
                    return;
                }
            }
        }
    })
    .await
}

async fn cases() -> Vec<Case> {
    let of_kind_1 = |key: &Key, n: u64| key.event(json!({"content": n.to_string()})).0;
    let bad_signature = |key: &Key, n: u64| {
        let mut event = head(key, n).0;
        event["sig"] = "ab".repeat(64).into();
        event
    };
    let wrong_id = |key: &Key, n: u64| {
        let mut event = head(key, n).0;
        event["id"] = format!("{n:064x}").into();
        event
    };
    vec![
        ("lies", endless(of_kind_1).await),
        ("lies", endless(bad_signature).await),
        ("lies", endless(wrong_id).await),
        ("lies", endless(|_, _| json!({"kind": "nonsense"})).await),
        // Valid ones without end: as many as were asked for are taken, and the rest is a lie.
        ("lies", endless(|key, n| head(key, n).0).await),
        ("silent", Scripted::start(|mut it| async move { it.until_gone().await }).await),
        (
            "unreachable",
            Scripted::on_sockets(|_, socket| async move {
                sleep(Duration::from_secs(3600)).await;
                drop(socket);
            })
            .await,
        ),
        (
            "unreachable",
            Scripted::on_sockets(|_, mut socket| async move {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno").await;
            })
            .await,
        ),
        // Handshakes, and then lets its receive buffer run full.
        (
            "silent",
            Scripted::start(|it| async move {
                sleep(Duration::from_secs(3600)).await;
                drop(it);
            })
            .await,
        ),
        (
            "lies",
            Scripted::start(|mut it| async move {
                while it.socket.send(Message::Binary(Bytes::from_static(&[0; 100]))).await.is_ok() {}
            })
            .await,
        ),
        (
            "lies",
            Scripted::start(|mut it| async move {
                while it.socket.send(Message::Ping(Bytes::from_static(&[0; 100]))).await.is_ok() {}
            })
            .await,
        ),
        (
            "lies",
            Scripted::start(|mut it| async move {
                for n in 0.. {
                    if it.say(json!(["NOTICE", format!("{n} {}", "x".repeat(10_000))])).await.is_none() {
                        return;
                    }
                }
            })
            .await,
        ),
        (
            "too_long",
            Scripted::start(|mut it| async move {
                let _ = it.say(format!("[\"NOTICE\",\"{}\"]", "x".repeat(50_000_000))).await;
                it.until_gone().await;
            })
            .await,
        ),
        // A frame that says it is as long as may be, and comes a byte a second.
        (
            "silent",
            Scripted::start(|it| async move {
                let mut socket = it.socket.into_inner();
                let _ = socket.write_all(&[0x81, 126, 0xff, 0xff]).await;
                while socket.write_all(b"[").await.is_ok() {
                    sleep(Duration::from_millis(200)).await;
                }
            })
            .await,
        ),
        // Events that come one by one, each in time, and never end.
        (
            "silent",
            Scripted::start(|mut it| async move {
                let key = Key::numbered(1);
                let Some((live, _)) = it.req().await else { return };
                let _ = it.say(json!(["EOSE", live])).await;
                let Some((name, _)) = it.req().await else { return };
                for n in 0.. {
                    if it.say(json!(["EVENT", name, head(&key, n).0])).await.is_none() {
                        return;
                    }
                    sleep(Duration::from_millis(500)).await;
                }
            })
            .await,
        ),
        // Comparing that never comes to an end, and then pages that never come.
        (
            "silent",
            Scripted::start(|mut it| async move {
                while let Some(message) = it.hear().await {
                    let name = message[1].clone();
                    let said = match message[0].as_str() {
                        // All of time, with a fingerprint that nobody has.
                        Some("NEG-OPEN" | "NEG-MSG") => {
                            let mut answer = vec![0x61, 0, 0, 1];
                            answer.extend(rand::random::<[u8; 16]>());
                            it.say(json!(["NEG-MSG", name, data_encoding::HEXLOWER.encode(&answer)])).await
                        }
                        Some("REQ") if message[2]["limit"] == 1 => it.say(json!(["EOSE", name])).await,
                        _ => Some(()),
                    };
                    if said.is_none() {
                        return;
                    }
                }
            })
            .await,
        ),
        ("silent", auth(None).await),
        ("refused", auth(Some((false, "restricted: not you"))).await),
        ("refused", auth(Some((true, ""))).await),
        (
            "refused",
            Scripted::start(|mut it| async move {
                while let Some((name, _)) = it.req().await {
                    let _ = it.say(json!(["CLOSED", name, "blocked: no"])).await;
                }
            })
            .await,
        ),
        (
            "rate_limited",
            Scripted::start(|mut it| async move {
                while let Some((name, _)) = it.req().await {
                    let _ = it.say(json!(["CLOSED", name, "rate-limited: no"])).await;
                }
            })
            .await,
        ),
        (
            "gone",
            Scripted::start(|mut it| async move {
                let _ = it.req().await;
            })
            .await,
        ),
        (
            "gone",
            Scripted::on_sockets(|_, socket| async move {
                // In the middle of a frame.
                let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await.map(|it| it.into_inner()) else {
                    return;
                };
                let _ = socket.write_all(&[0x81, 126, 0xff, 0xff, b'[']).await;
                let _ = socket.read(&mut [0; 1000]).await;
            })
            .await,
        ),
    ]
}

/// Wants AUTH for everything, and answers it with that, or not at all; whatever the answer, it wants it again.
async fn auth(answer: Option<(bool, &'static str)>) -> Scripted {
    Scripted::start(move |mut it| async move {
        let _ = it.say(r#"["AUTH","who are you"]"#).await;
        while let Some(message) = it.hear().await {
            let said = match (message[0].as_str(), answer) {
                (Some("AUTH"), Some((accepted, why))) => it.say(json!(["OK", message[1]["id"], accepted, why])).await,
                (Some("REQ"), _) => it.say(json!(["CLOSED", message[1], "auth-required: who are you"])).await,
                _ => Some(()),
            };
            if said.is_none() {
                return;
            }
        }
    })
    .await
}

/// Waits until each has come to its end so often.
async fn until_ended(relay: &Relay, cases: &[Case], times: usize) {
    for (number, (outcome, case)) in cases.iter().enumerate() {
        let host = case.url.trim_start_matches("ws://");
        let began = Instant::now();
        let shown = || -> Vec<String> {
            let metrics = relay.http("GET /metrics", &[]).body;
            let of_host = |line: &&str| line.starts_with("picorelay_upstream_connections_total") && line.contains(host);
            metrics.lines().filter(of_host).map(str::to_owned).collect()
        };
        let ended = || {
            let line = shown().into_iter().find(|line| line.contains(&format!("\"{outcome}\"")));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).unwrap_or(0)
        };
        while ended() < times {
            assert!(began.elapsed() < PATIENCE * 3, "case {number}, {outcome}: {:?}", shown());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// All of them at once, and an honest one beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_upstreams_cost_only_themselves() {
    let cases = cases().await;
    let honest = chain(50);
    let served = honest.clone();
    let good = Scripted::start(move |mut it| {
        let served = served.clone();
        async move {
            let _ = serve(&mut it, &served).await;
        }
    })
    .await;
    let mut urls: Vec<String> = cases.iter().map(|(_, case)| case.url.clone()).collect();
    urls.push(good.url.clone());
    let mut relay = Relay::with(&config(&urls));
    let small = relay.memory_bytes();
    until_ended(&relay, &cases, 2).await;
    let grown = relay.memory_bytes().saturating_sub(small) >> 20;
    // Clients and nodes do not notice.
    relay.until_blocks(50).await;
    let mut node = Node::connect(&room(&relay, "r"), Format::V8, 1).await;
    assert_eq!(node.ids().len(), 50);
    let began = Instant::now();
    let mut client = relay.client().await;
    client.publish(&[&Key::new().event(json!({}))]).await;
    node.write("still here").await;
    relay.until_blocks(51).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // Nothing false is there: no event of another kind, and each is what its id says.
    for event in client.query(json!({"kinds": [1, kind::BLOCK, kind::HEAD], "limit": 5000})).await {
        let hashed = json!([0, event["pubkey"], event["created_at"], event["kind"], event["tags"], event["content"]])
            .to_string();
        assert_eq!(crate::harness::sha256_hex(hashed), event.id());
        assert_ne!(event["sig"], "ab".repeat(64));
    }
    assert_eq!(client.query(json!({"kinds": [1]})).await.len(), 1);
    // Three times as much changes little.
    until_ended(&relay, &cases, 6).await;
    let later = relay.memory_bytes().saturating_sub(small) >> 20;
    eprintln!("{} MiB at the start, {grown} more after a while, {later} more later", small >> 20);
    assert!(later < 80 && later < grown + 20, "{grown} MiB more, then {later}");
    let began = Instant::now();
    relay.stop();
    eprintln!("stopped in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Killed in the middle of what it gives, three times, each time after a few events more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_killed_is_asked_again() {
    let events = chain(40);
    let upstream = Scripted::start(move |mut it| {
        let events = events.clone();
        async move {
            if it.number > 3 {
                let _ = serve(&mut it, &events).await;
                return;
            }
            let Some((live, _)) = it.req().await else { return };
            let _ = it.say(json!(["EOSE", live])).await;
            let Some((name, _)) = it.req().await else { return };
            for event in events.iter().rev().take(it.number * 10) {
                let _ = it.say(json!(["EVENT", name, event.0])).await;
            }
        }
    })
    .await;
    let relay = Relay::with(&through(&upstream.url));
    relay.until_blocks(40).await;
    let node = Node::connect(&room(&relay, "r"), Format::V8, 1).await;
    assert_eq!(node.ids().len(), 40);
    assert_eq!(upstream.connections(), 4);
}

/// An upstream that never says what is new, and never compares: it is asked for everything now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upstream_does_not_tell_is_found_later() {
    let events = chain(7);
    let upstream = Scripted::start(move |mut it| {
        let events = events.clone();
        async move {
            let Some((live, _)) = it.req().await else { return };
            let _ = it.say(json!(["EOSE", live])).await;
            // Each time that it is asked it has two more.
            for round in 1.. {
                let Some((name, filter)) = it.req().await else { return };
                assert!(filter["since"].is_null(), "everything, not what is new: {filter}");
                for event in events.iter().take(round * 2) {
                    let _ = it.say(json!(["EVENT", name, event.0])).await;
                }
                let _ = it.say(json!(["EOSE", name, ["finish"]])).await;
            }
        }
    })
    .await;
    let relay = Relay::with(&through(&upstream.url).replace("[sync]", "[sync]\nfull_seconds = 1"));
    relay.until_blocks(7).await;
    assert_eq!(upstream.connections(), 1);
    assert_eq!(relay.metric("picorelay_upstream_connected", ""), 1.0);
}

/// An upstream has something, and then no more. Blocks are given back to it; the head of a chain that was made a moment ago
/// is not, since it goes when the next one comes, of which we may not have heard yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replaced_there_is_not_given_back() {
    let events = chain(1);
    // A second and 999 seconds old.
    let (young, old) = (head(&Key::numbered(7), 1), head(&Key::numbered(7), 999));
    let all = vec![events[0].clone(), young.clone(), old.clone()];
    let (taken, given) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(all));
    let (noted, given_by_it) = (Arc::clone(&taken), Arc::clone(&given));
    let upstream = Scripted::start(move |mut it| {
        let (noted, given) = (Arc::clone(&noted), Arc::clone(&given_by_it));
        async move {
            let mut asked = 0;
            while let Some(message) = it.hear().await {
                let name = message[1].clone();
                let said = match message[0].as_str() {
                    Some("NEG-OPEN") => it.say(json!(["NEG-ERR", name, "unsupported: no"])).await,
                    Some("REQ") => {
                        asked += 1;
                        // The first request is the live one.
                        if it.number == 1 && asked == 2 {
                            for event in given.iter() {
                                let _ = it.say(json!(["EVENT", name, event.0])).await;
                            }
                        }
                        it.say(json!(["EOSE", name, ["finish"]])).await
                    }
                    Some("EVENT") => {
                        let id = name["id"].as_str().unwrap().to_owned();
                        noted.lock().unwrap().insert(id.clone());
                        it.say(json!(["OK", id, true, ""])).await
                    }
                    _ => Some(()),
                };
                if said.is_none() || it.number == 1 && asked == 3 {
                    return;
                }
            }
        }
    })
    .await;
    let relay = Relay::with(&through(&upstream.url).replace("[sync]", "[sync]\nfull_seconds = 1"));
    let back = BTreeSet::from([events[0].id().to_owned(), old.id().to_owned()]);
    let began = Instant::now();
    while taken.lock().unwrap().len() < back.len() {
        assert!(began.elapsed() < PATIENCE, "{:?} of {back:?}", taken.lock().unwrap());
        sleep(Duration::from_millis(20)).await;
    }
    relay.until_log("in step with an upstream relay").await;
    assert_eq!(*taken.lock().unwrap(), back);
    assert_eq!(relay.client().await.query(json!({"ids": [young.id()]})).await.len(), 1);
}

/// One that had no negentropy is asked again after a while: relays are updated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upstream_cannot_do_is_forgotten() {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&opened);
    let upstream = Scripted::start(move |mut it| {
        let seen = Arc::clone(&seen);
        async move {
            let mut asked = 0;
            while let Some(message) = it.hear().await {
                let name = message[1].clone();
                let said = match message[0].as_str() {
                    Some("NEG-OPEN") => {
                        seen.lock().unwrap().push(it.number);
                        it.say(json!(["NEG-ERR", name, "unsupported: not yet"])).await
                    }
                    Some("REQ") => {
                        asked += 1;
                        it.say(json!(["EOSE", name, ["finish"]])).await
                    }
                    _ => Some(()),
                };
                // Each connection ends when it was asked for everything.
                if said.is_none() || asked == 2 {
                    return;
                }
            }
        }
    })
    .await;
    let config = through(&upstream.url).replace("[sync]", "[sync]\nfull_seconds = 3");
    let _relay = Relay::with(&config);
    let began = Instant::now();
    while opened.lock().unwrap().len() < 2 {
        assert!(began.elapsed() < PATIENCE, "it is never asked again");
        sleep(Duration::from_millis(20)).await;
    }
    let opened = opened.lock().unwrap().clone();
    assert!(opened[0] == 1 && opened[1] > 2, "not with every connection: {opened:?}");
}

/// More is written here than an upstream takes at a time: what is dropped on the way is found by comparing, and nothing
/// is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_overruns_an_upstream_comes_later() {
    let (told, taken) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::<Value>::new())));
    let (going, given) = (Arc::clone(&told), Arc::clone(&taken));
    let upstream = Scripted::start(move |mut it| {
        let (going, given) = (Arc::clone(&going), Arc::clone(&given));
        async move {
            let mut is_slow = true;
            while let Some(message) = it.hear().await {
                let name = message[1].clone();
                match message[0].as_str() {
                    Some("NEG-OPEN") => drop(it.say(json!(["NEG-ERR", name, "unsupported: no"])).await),
                    Some("REQ") => {
                        let there = given.lock().unwrap().clone();
                        if message[2]["limit"] != 1 {
                            for event in there {
                                let _ = it.say(json!(["EVENT", name, event])).await;
                            }
                        }
                        let _ = it.say(json!(["EOSE", name, ["finish"]])).await;
                    }
                    Some("EVENT") => {
                        if std::mem::take(&mut is_slow) {
                            going.notified().await;
                        }
                        given.lock().unwrap().push(message[1].clone());
                        let _ = it.say(json!(["OK", message[1]["id"], true, ""])).await;
                    }
                    _ => {}
                }
            }
        }
    })
    .await;
    let config = through(&upstream.url)
        .replace("[sync]", "[sync]\noutbox_bytes_max = 20_000\nevents_in_flight_max = 2\nanswer_seconds = 60");
    let relay = Relay::with(&config);
    relay.until_metric("picorelay_upstream_connected", "", 1.0).await;
    let mut node = Node::connect(&room(&relay, "r"), Format::V8, 1).await;
    for n in 0..100 {
        node.write(&format!("{n} {}", "x".repeat(500))).await;
    }
    relay.until_blocks(100).await;
    let mut client = relay.client().await;
    crate::bridge::until_events(&mut client, json!({"kinds": [kind::BLOCK]}), 100).await;
    told.notify_one();
    let began = Instant::now();
    let blocks = || {
        let taken = taken.lock().unwrap();
        let ids: BTreeSet<String> =
            taken.iter().filter(|event| event["kind"] == kind::BLOCK).map(|event| event["id"].to_string()).collect();
        ids.len()
    };
    while blocks() < 100 {
        assert!(began.elapsed() < PATIENCE, "{} of 100", blocks());
        sleep(Duration::from_millis(20)).await;
    }
    relay.until_log("events come faster than an upstream relay takes them").await;
    assert_eq!(upstream.connections(), 1);
}

/// Valid events without end are read as fast as the configuration says, and no faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_pours_is_read_slower() {
    let taken = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&taken);
    let upstream = Scripted::start(move |mut it| {
        let noted = Arc::clone(&noted);
        async move {
            let key = Key::numbered(1);
            let Some((live, _)) = it.req().await else { return };
            let _ = it.say(json!(["EOSE", live])).await;
            let Some((page, _)) = it.req().await else { return };
            let _ = it.say(json!(["EOSE", page, ["finish"]])).await;
            let (mut sink, mut stream) = it.socket.split();
            let pouring = async {
                for n in 0.. {
                    let text = json!(["EVENT", live, head(&key, n).0]).to_string();
                    if sink.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
            };
            let listening = async {
                while let Some(Ok(message)) = stream.next().await {
                    if message.to_text().is_ok_and(|text| text.starts_with("[\"EVENT\"")) {
                        noted.store(true, Ordering::Release);
                    }
                }
            };
            tokio::join!(pouring, listening);
        }
    })
    .await;
    let config = through(&upstream.url).replace("[sync]", "[sync]\nevents_per_minute = 1_200");
    let relay = Relay::with(&config);
    let received = || relay.metric("picorelay_upstream_events_total", "outcome=\"received\"");
    // Twenty a second, of which those of ten seconds may come at once.
    relay.until_metric("picorelay_upstream_events_total", "outcome=\"received\"", 200.0).await;
    let (began, before) = (Instant::now(), received());
    sleep(Duration::from_secs(3)).await;
    let rate = (received() - before) / began.elapsed().as_secs_f64();
    assert!(rate > 5.0 && rate < 45.0, "{rate} in a second");
    relay.until_log("it is read slower").await;
    assert_eq!(upstream.connections(), 1);
    // What is written here goes out all the same.
    let mut node = Node::connect(&room(&relay, "r"), Format::V8, 1).await;
    node.write("hello").await;
    let began = Instant::now();
    while !taken.load(Ordering::Acquire) {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
}

/// One that cuts the connection inside every large page is asked for smaller ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_are_cut_off_become_smaller() {
    let key = Key::numbered(1);
    let events: Vec<Event> = (0..400).map(|n| head(&key, n)).collect();
    let upstream = Scripted::start(move |mut it| {
        let events = events.clone();
        async move {
            while let Some((name, filter)) = it.req().await
                && it.give(&name, &filter, &events, 100).await.is_some()
            {}
        }
    })
    .await;
    let relay = Relay::with(&through(&upstream.url));
    relay.until_metric("picorelay_upstream_events_total", "outcome=\"received\"", 400.0).await;
    // 500, 250 and 125 are too many.
    assert_eq!(upstream.connections(), 4);
    assert_eq!(relay.metric("picorelay_upstream_connected", ""), 1.0);
}

/// A pause is never said to be of no time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pauses_are_said_as_they_are() {
    let relay = Relay::with(&through("ws://127.0.0.1:1"));
    let began = Instant::now();
    let said = || relay.log().lines().find(|line| line.contains("trying again")).map(str::to_owned);
    while said().is_none() {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    let said = said().unwrap();
    // The first pause is from half a second to a second.
    assert!(said.contains("seconds=1") && !said.contains("seconds=0"), "{said}");
}

/// Ids that it says it has and does not give are not waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_promised_and_not_given_is_let_go() {
    let events = chain(3);
    let upstream = Scripted::start(move |mut it| {
        let events = events.clone();
        async move {
            while let Some(message) = it.hear().await {
                let name = message[1].clone();
                let mut answer = vec![];
                match message[0].as_str() {
                    // All of time, a list of 100 ids that nobody has.
                    Some("NEG-OPEN") => {
                        let mut list = vec![0x61, 0, 0, 2, 100];
                        (0..100).for_each(|_| list.extend(rand::random::<[u8; 32]>()));
                        answer.push(json!(["NEG-MSG", name, data_encoding::HEXLOWER.encode(&list)]));
                    }
                    Some("REQ") => {
                        if message[2]["ids"].is_null() {
                            answer.extend(events.iter().map(|event| json!(["EVENT", name, event.0])));
                        }
                        answer.push(json!(["EOSE", name]));
                    }
                    // Its list says that it does not have what it gave.
                    Some("EVENT") => answer.push(json!(["OK", message[1]["id"], true, ""])),
                    _ => {}
                }
                for said in answer {
                    if it.say(said).await.is_none() {
                        return;
                    }
                }
            }
        }
    })
    .await;
    let relay = Relay::with(&through(&upstream.url));
    relay.until_metric("picorelay_upstream_events_total", "outcome=\"missing\"", 100.0).await;
    relay.until_blocks(3).await;
    assert_eq!(upstream.connections(), 1);
    assert_eq!(relay.metric("picorelay_upstream_connected", ""), 1.0);
}
