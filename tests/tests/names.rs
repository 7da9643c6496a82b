//! The names of a relay: `server.public_url`, one, several, with a path, or none.

use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use crate::harness::{Client, Key, Relay, now};

/// Whether AUTH for a relay of this URL is accepted from somebody who connects with this `Host`.
async fn takes_auth(relay: &Relay, host: Option<&str>, url: &str) -> bool {
    let headers: Vec<_> = host.into_iter().map(|host| ("host", host)).collect();
    let mut client = Client::connect_with(&relay.url, &headers).await.unwrap();
    let tags = json!([["relay", url], ["challenge", client.challenged().await]]);
    let (accepted, text) = client.offer_auth(&Key::new().event(json!({"kind": 22242, "tags": tags}))).await;
    assert!(accepted || text.starts_with("invalid: this relay is "), "{text}");
    accepted
}

#[tokio::test]
async fn several_names() {
    let relay = Relay::with(
        "[server]\npublic_url = [\"wss://relay.example/\", \"ws://box.local:7420\", \"ws://abcdefgh.onion\"]",
    );
    for (url, accepted) in [
        ("wss://relay.example", true),
        ("WSS://Relay.Example:443/", true),
        ("ws://box.local:7420/", true),
        ("ws://box.local", false),
        ("ws://abcdefgh.onion:80", true),
        ("ws://relay.example", false),
        ("wss://other.example", false),
        (relay.url.as_str(), false),
    ] {
        assert_eq!(takes_auth(&relay, None, url).await, accepted, "{url}");
        // What it is called by does not matter where it has names.
        assert_eq!(takes_auth(&relay, Some("localhost:1234"), url).await, accepted, "{url}");
    }
    let mut client = relay.client().await;
    for url in ["wss://relay.example", "ws://box.local:7420", "ws://abcdefgh.onion/"] {
        let key = Key::new();
        let note = key.event(json!({"created_at": now() - 10}));
        let vanish = key.event(json!({"kind": 62, "tags": [["relay", url]]}));
        client.publish(&[&note, &vanish]).await;
        assert_eq!(client.ids(json!({"ids": [note.id()]})).await, [""; 0], "{url}");
    }
    for (host, shown) in [
        ("relay.example", "wss://relay.example/"),
        ("box.local:7420", "ws://box.local:7420"),
        ("abcdefgh.onion", "ws://abcdefgh.onion"),
        ("other.example", "wss://relay.example/"),
    ] {
        let page = page(&relay, "/", host).await;
        assert!(page.contains(&format!("<code id=\"url\">{shown}</code>")), "{host}: {page}");
    }
}

/// A page, as somebody gets it who uses this name.
async fn page(relay: &Relay, path: &str, host: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", relay.port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

/// A relay without a name believes what cannot be anybody else's: see `http/host.rs`.
#[tokio::test]
async fn no_name() {
    let relay = Relay::start();
    let port = relay.port;
    for (host, url, accepted) in [
        (None, format!("ws://127.0.0.1:{port}"), true),
        (None, format!("ws://localhost:{port}/"), true),
        (None, "ws://box.local:7420".to_owned(), false),
        (Some("box.local:7420"), "ws://box.local:7420".to_owned(), true),
        (Some("box.local:7420"), "wss://Box.local:7420/".to_owned(), true),
        (Some("box.local:7420"), "ws://other.local:7420".to_owned(), false),
        (Some("192.168.1.5:7420"), "ws://192.168.1.5:7420".to_owned(), true),
        (Some("192.168.1.5:7420"), "ws://192.168.1.5".to_owned(), false),
        (Some("relay.example"), "ws://relay.example".to_owned(), false),
        (Some("relay.example"), "wss://relay.example".to_owned(), false),
        (Some("203.0.113.7:7420"), "ws://203.0.113.7:7420".to_owned(), false),
    ] {
        assert_eq!(takes_auth(&relay, host, &url).await, accepted, "{host:?} {url}");
    }
    // What one client calls it does not count for another, but for a request to vanish it does.
    assert!(!takes_auth(&relay, None, "ws://box.local:7420").await);
    let mut client = relay.client().await;
    for (url, gone) in [("ws://box.local:7420", true), ("ws://relay.example", false), ("ws://never-heard.local", false)]
    {
        let key = Key::new();
        let note = key.event(json!({"created_at": now() - 10}));
        client.publish(&[&note]).await;
        client.offer(&key.event(json!({"kind": 62, "tags": [["relay", url]]}))).await;
        assert_eq!(client.ids(json!({"ids": [note.id()]})).await.is_empty(), gone, "{url}");
    }
    let note = "the relay does not know that it is its own";
    for (host, is_known) in [("box.local:7420", true), ("relay.example", false)] {
        let page = page(&relay, "/", host).await;
        assert!(page.contains(&format!("ws://{host}")), "{page}");
        assert_eq!(!page.contains(note), is_known, "{host}: {page}");
    }
}

/// Somebody behind a proxy is where the proxy says: a name of the local network is not theirs to claim.
#[tokio::test]
async fn a_stranger_cannot_claim_a_local_name() {
    let relay = Relay::with("[server]\ntrusted_proxies = [\"127.0.0.1\"]");
    relay.until_log("server.public_url is empty").await;
    let url = "ws://box.local:7420";
    for (client, accepted) in [("192.168.1.20", true), ("203.0.113.9", false)] {
        let headers = [("host", "box.local:7420"), ("x-forwarded-for", client)];
        let mut client = Client::connect_with(&relay.url, &headers).await.unwrap();
        let tags = json!([["relay", url], ["challenge", client.challenged().await]]);
        let answer = client.offer_auth(&Key::new().event(json!({"kind": 22242, "tags": tags}))).await;
        assert_eq!(answer.0, accepted, "{answer:?}");
    }
}

/// A proxy may keep the path of a URL, or take it away.
#[tokio::test]
async fn a_name_with_a_path() {
    let relay = Relay::with("[server]\npublic_url = \"wss://relay.example/nostr\"\n[[pico.room]]\nname = \"notes\"");
    for path in ["/nostr", "/nostr/", "/nostr/?x=1", "", "/"] {
        Client::connect(&format!("{}{path}", relay.url)).await.fence().await;
    }
    for (path, status) in [
        ("/nostr", 200),
        ("/nostr/", 200),
        ("/", 200),
        ("/nostr/health", 200),
        ("/nostr/pico/notes", 200),
        ("/pico/notes", 200),
        ("/nostr/x", 404),
        ("/nostrum", 404),
        ("/nostr/nostr", 404),
    ] {
        assert_eq!(relay.http(&format!("GET {path}"), &[]).status, status, "{path}");
    }
    for path in ["/nostr", "/"] {
        let document = relay.http(&format!("GET {path}"), &[("Accept", "application/nostr+json")]);
        assert!(document.json()["supported_nips"].is_array(), "{path}");
        let page = relay.http(&format!("GET {path}"), &[]).body;
        assert!(page.contains("href=\"/nostr/pico/notes\""), "{path}: {page}");
    }
    assert!(relay.http("GET /nostr/pico/notes", &[]).body.contains("wss://relay.example/nostr/pico/notes"));
    for path in ["/nostr/pico/notes", "/pico/notes"] {
        tokio_tungstenite::connect_async(format!("{}{path}", relay.url)).await.unwrap();
    }
    assert!(takes_auth(&relay, None, "wss://relay.example/nostr").await);
    assert!(!takes_auth(&relay, None, "wss://relay.example").await);
    for path in ["/other", "/nostr/nostr", "/nostr/health"] {
        let refused = Client::connect_with(&format!("{}{path}", relay.url), &[]).await;
        assert!(matches!(refused, Err(Error::Http(_))), "{path} upgrades");
    }
}
