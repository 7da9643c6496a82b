//! Everything else on the one port.

use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use crate::harness::{Client, Key, Relay, Shared};

static RELAY: Shared = Shared::new();

#[test]
fn landing_page() {
    let relay = RELAY.relay();
    let page = relay.http("GET /", &[("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")]);
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.body.contains("picorelay") && page.body.contains(&relay.url), "{}", page.body);
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let without_accept = relay.http("GET /", &[]);
    assert_eq!(without_accept.body, page.body);
}

#[test]
fn health_and_readiness() {
    let relay = RELAY.relay();
    for path in ["/health", "/ready"] {
        let response = relay.http(&format!("GET {path}"), &[]);
        assert_eq!(response.status, 200, "{path}: {response:?}");
    }
}

#[tokio::test]
async fn metrics() {
    let relay = Relay::start();
    let response = relay.http("GET /metrics", &[]);
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").starts_with("text/plain"), "{response:?}");
    let mut client = relay.client().await;
    let before = relay.http("GET /metrics", &[]).body;
    client.publish(&[&Key::new().event(json!({}))]).await;
    client.send("bad input").await;
    client.recv().await;
    client.fence().await;
    let after = relay.http("GET /metrics", &[]).body;
    assert_ne!(before, after);
    for line in after.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(name.starts_with("picorelay"), "{line}");
    }
    let refused = |reason: &str| relay.metric("picorelay_http_refused_total", &format!("reason=\"{reason}\""));
    assert_eq!((refused("handshake"), refused("room")), (0.0, 0.0));
    assert_eq!(relay.http("GET /", &[("Upgrade", "websocket")]).status, 400);
    assert!(Client::connect_with(&format!("{}/pico/nostr", relay.url), &[]).await.is_err());
    assert_eq!((refused("handshake"), refused("room")), (1.0, 1.0));

    let off = Relay::with("[server]\nmetrics = false");
    assert_eq!(off.http("GET /metrics", &[]).status, 404);
}

#[test]
fn other_paths_and_methods() {
    let relay = RELAY.relay();
    for path in ["/x", "/health/x", "/index.html", "//", "/%2e%2e/etc/passwd", "/favicon.ico"] {
        let status = relay.http(&format!("GET {path}"), &[]).status;
        assert_eq!(status, 404, "{path}");
    }
    for method in ["DELETE /", "PUT /", "PATCH /", "POST /health"] {
        let status = relay.http(method, &[("Content-Length", "0")]).status;
        assert!((400..500).contains(&status), "{method}: {status}");
    }
    let head = relay.http("HEAD /", &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let query = relay.http("GET /?x=1", &[("Accept", "application/nostr+json")]);
    assert_eq!(query.status, 200);
}

#[test]
fn cors() {
    let relay = RELAY.relay();
    let headers = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "accept,authorization,content-type"),
    ];
    let response = relay.http("OPTIONS /", &headers);
    assert!((200..300).contains(&response.status), "{response:?}");
    assert_eq!(response.header("access-control-allow-origin"), "*");
    let allowed = response.header("access-control-allow-headers").to_ascii_lowercase();
    assert!(allowed.contains('*') || allowed.contains("accept"), "{allowed}");
    assert!(allowed.contains("authorization"), "`*` does not cover Authorization: {allowed}");
    assert!(response.header("access-control-allow-methods").contains("GET"));
}

#[tokio::test]
async fn only_the_root_upgrades() {
    let relay = RELAY.relay();
    for path in ["/x", "/nostr", "//", "/a/../", "/health", "/metrics"] {
        match Client::connect_with(&format!("{}{path}", relay.url), &[]).await {
            // What else is there answers as it always does.
            Err(Error::Http(response)) if ["/health", "/metrics"].contains(&path) => assert_eq!(response.status(), 200),
            Err(Error::Http(response)) => assert_eq!(response.status(), 404, "{path}"),
            Err(error) => panic!("{path}: {error}"),
            Ok(_) => panic!("{path} upgrades"),
        }
    }
    for path in ["", "/", "/?x=1"] {
        Client::connect(&format!("{}{path}", relay.url)).await.fence().await;
    }
}

#[test]
fn what_is_no_http() {
    use std::io::{Read, Write};
    let relay = RELAY.relay();
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"[\"REQ\",\"a\",{}]\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
    {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", relay.port)).unwrap();
        socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        socket.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // Closed or reset, with or without an answer, but not left open.
        let ended = socket.read_to_end(&mut answer);
        assert!(!matches!(ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{bytes:?}");
    }
    assert_eq!(relay.http("GET /health", &[]).status, 200);
}
