//! How connections end, and that quiet ones do not: RFC 6455 (5.5.1, 7), at `/` and in rooms.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;

use crate::harness::{Client, Key, PATIENCE, Raw, Relay, Shared};

static RELAY: Shared = Shared::new();

const PATHS: [&str; 2] = ["/", "/pico/closing"];

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code() {
    let relay = RELAY.relay();
    for path in PATHS {
        for (payload, answer) in [
            (&[][..], None),
            (&1000u16.to_be_bytes(), Some(1000)),
            (&1001u16.to_be_bytes(), Some(1001)),
            (&3000u16.to_be_bytes(), Some(3000)),
            (b"\x03\xe8bye", Some(1000)),
            // Codes that nobody may send.
            (&1005u16.to_be_bytes(), Some(1002)),
            (&999u16.to_be_bytes(), Some(1002)),
            (&[3], Some(1002)),
        ] {
            let mut client = Raw::open(relay.port, path).await;
            client.send_frame(8, payload).await;
            let (opcodes, code) = client.until_ended().await;
            assert_eq!((opcodes.last(), code), (Some(&8), answer), "{path} {payload:?}");
        }
    }
    // After traffic, too.
    let mut client = Raw::open(relay.port, "/").await;
    client.text(r#"["REQ","a",{"kinds":[]}]"#).await;
    assert_eq!(client.frame().await, Some((1, br#"["EOSE","a"]"#.to_vec())));
    client.send_frame(8, &1000u16.to_be_bytes()).await;
    assert_eq!(client.until_ended().await, (vec![8], Some(1000)));
}

/// What is no frame, or none that may come there, is told before the end, also when more follows it.
#[tokio::test]
async fn faults_are_told_before_the_end() {
    let relay = RELAY.relay();
    for path in PATHS {
        for (what, bytes, code) in [
            ("unmasked", &[0x81, 2, 0x5b, 0x5d][..], 1002),
            ("a reserved bit", &[0xc1, 0x82, 0, 0, 0, 0, 0x5b, 0x5d], 1002),
            ("a continuation of nothing", &[0x80, 0x82, 0, 0, 0, 0, 0x5b, 0x5d], 1002),
            ("a reserved opcode", &[0x83, 0x82, 0, 0, 0, 0, 0x5b, 0x5d], 1002),
            ("a reserved control opcode", &[0x8b, 0x82, 0, 0, 0, 0, 0x5b, 0x5d], 1002),
            ("a ping in parts", &[0x09, 0x80, 0, 0, 0, 0], 1002),
            ("text that is not UTF-8", &[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe], 1007),
            ("a gigabyte", &[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], 1009),
        ] {
            let mut client = Raw::open(relay.port, path).await;
            client.send(bytes).await;
            client.send(&[0; 10_000]).await;
            let (opcodes, told) = client.until_ended().await;
            assert_eq!((opcodes.last(), told), (Some(&8), Some(code)), "{path}: {what}");
        }
    }
    relay.client().await.fence().await;
}

/// A stop: what was asked for is answered, no Close frame comes (several client libraries would stay away for good), and
/// the connections end when the relay does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_connections_without_a_close_frame() {
    let mut relay = Relay::start();
    let key = Key::new();
    let mut quiet = Vec::new();
    for path in PATHS {
        quiet.push(Raw::open(relay.port, path).await);
    }
    let mut busy = Raw::open(relay.port, "/").await;
    let events: Vec<_> = (0..20).map(|n| key.event(json!({"content": n.to_string()}))).collect();
    for event in &events {
        busy.text(&format!(r#"["EVENT",{event}]"#)).await;
    }
    // The first OK: what was sent before the stop has arrived.
    assert_eq!(busy.frame().await.unwrap().0, 1);
    let began = Instant::now();
    relay.stop();
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}: nothing was to be waited for", began.elapsed());
    let mut oks = 1;
    while let Some((opcode, payload)) = busy.frame().await {
        assert_eq!(opcode, 1, "{payload:?}");
        assert!(payload.starts_with(b"[\"OK\"") && payload.ends_with(b",true,\"\"]"));
        oks += 1;
    }
    relay.restart();
    let mut client = relay.client().await;
    let stored = client.ids(json!({"authors": [key.public()]})).await.len();
    assert_eq!(oks, stored, "what is stored was acknowledged, and the other way round");
    for mut connection in quiet {
        let (opcodes, _) = connection.until_ended().await;
        assert!(!opcodes.contains(&8), "{opcodes:?}");
    }
}

/// Proxies close a connection on which one direction is silent: no direction is, for longer than `ping_seconds`.
#[tokio::test]
async fn quiet_connections_are_pinged_in_time() {
    let relay = Relay::with("[limits]\nping_seconds = 2\n[pico]\nping_seconds = 2");
    for path in PATHS {
        // Whoever says nothing, and whoever says a lot that needs no answer.
        for chatty in [false, true] {
            let mut client = Raw::open(relay.port, path).await;
            let (mut pings, mut last) = (0, Instant::now());
            // A late message shifts the silence, but does not make it longer.
            let mut next = Instant::now() + Duration::from_millis(if chatty { 200 } else { 1_300 });
            while pings < 2 {
                assert!(last.elapsed() < PATIENCE, "{path}: no ping");
                match client.frame_until(next).await {
                    Some(Some((9, payload))) => {
                        // A second of grace, for a busy machine and for rooms, which look once a second.
                        assert!(last.elapsed() < Duration::from_millis(3_900), "{path}: after {:?}", last.elapsed());
                        (pings, last) = (pings + 1, Instant::now());
                        client.send_frame(10, &payload).await;
                    }
                    Some(Some(_)) => last = Instant::now(),
                    Some(None) => panic!("{path}: closed"),
                    None => {
                        client.send_frame(10, &[]).await;
                        next = Instant::now() + if chatty { Duration::from_millis(200) } else { PATIENCE };
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn whoever_does_not_answer_a_ping_is_let_go() {
    let relay = Relay::with("[limits]\nping_seconds = 1\n[pico]\nping_seconds = 1\nreply_seconds = 30");
    for path in PATHS {
        let mut client = Raw::open(relay.port, path).await;
        let began = Instant::now();
        let (opcodes, _) = client.until_ended().await;
        assert!(opcodes.contains(&9), "{path}: {opcodes:?}");
        assert!(began.elapsed() >= Duration::from_millis(1_900), "{path}: {:?}", began.elapsed());
    }
    // Who answers stays: the library does it by itself while it is read.
    let mut client = relay.client().await;
    let silence = timeout(Duration::from_secs(4), client.recv());
    assert!(silence.await.is_err(), "something came");
    client.fence().await;
}

#[tokio::test]
async fn other_protocols_are_not_wanted() {
    let relay = RELAY.relay();
    let h2c =
        [("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA")];
    for path in ["/", "/pico/closing", "/health"] {
        assert_eq!(relay.http(&format!("GET {path}"), &h2c).status, 200, "{path}");
    }
    let accept = [&h2c[..], &[("Accept", "application/nostr+json")]].concat();
    assert!(relay.http("GET /", &accept).json()["supported_nips"].is_array());
    for path in PATHS {
        let url = format!("{}{path}", relay.url);
        if path == "/" {
            Client::connect_with(&url, &[("upgrade", "h2c, websocket")]).await.unwrap().fence().await;
        }
        let handshake = |version: &'static str, key: &'static str| {
            [("Upgrade", "websocket"), ("Sec-WebSocket-Version", version), (key, "dGhlIHNhbXBsZSBub25jZQ==")]
        };
        let old = relay.http(
            &format!("GET {path}"),
            &[&handshake("8", "Sec-WebSocket-Key")[..], &[("Connection", "Upgrade")]].concat(),
        );
        assert_eq!((old.status, old.header("sec-websocket-version")), (426, "13"), "{path}");
        let keyless =
            relay.http(&format!("GET {path}"), &[&handshake("13", "X-Key")[..], &[("Connection", "Upgrade")]].concat());
        assert_eq!(keyless.status, 400, "{path}");
        assert_eq!(relay.http(&format!("GET {path}"), &handshake("13", "Sec-WebSocket-Key")).status, 400, "{path}");
    }
}
