//! What the log says of clients and of the machine.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Key, Relay, now};

const PROXIED: &str = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\nlog_summary_seconds = 1\n";

async fn from(relay: &Relay, address: &str) -> Client {
    Client::connect_with(&relay.url, &[("x-forwarded-for", address)]).await.unwrap()
}

#[tokio::test]
async fn a_line_now_and_then_says_who_came_and_what_was_refused() {
    let relay =
        Relay::with(&format!("{PROXIED}\n[limits]\nconnections_per_address_max = 1\nmessages_per_minute = 10\n"));
    let mut client = from(&relay, "203.0.113.7").await;
    client.publish(&[&Key::new().event(json!({}))]).await;
    client.refused(&Key::new().event(json!({"created_at": now() + 100_000})), "invalid: ").await;
    client.query(json!({"limit": 1})).await;
    assert!(Client::connect_with(&relay.url, &[("x-forwarded-for", "203.0.113.7")]).await.is_err());
    relay.until_log("clients: 1 came, 0 left, 1 are here; 1 events accepted, 1 queries").await;
    relay.until_log("1 connections refused (full_address 1)").await;
    relay.until_log("1 events not taken (verify 1)").await;
    relay.until_log("refused most to 203.0.113.0/24 2").await;
    for _ in 0..20 {
        client.send(r#"["CLOSE","x"]"#).await;
    }
    relay.until_log("messages refused (rate-limited ").await;
    drop(client);
    relay.until_log("clients: 0 came, 1 left, 0 are here").await;
    // When nothing happens, nothing is said.
    let lines = relay.log().lines().count();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(relay.log().lines().count(), lines, "{}", relay.log());
    assert!(!relay.log().contains("203.0.113.7"), "{}", relay.log());
}

#[tokio::test]
async fn line_by_line_at_debug_and_whole_addresses_only_when_asked_for() {
    for (addresses, shown, hidden) in [
        ("short", "203.0.113.0/24", "203.0.113.7"),
        ("full", "203.0.113.7", "203.0.113.0/24"),
        ("off", "from=-", "203.0.113"),
    ] {
        let relay = Relay::with(&format!(
            "{PROXIED}log = \"info,picorelay::clientlog=debug\"\nlog_addresses = \"{addresses}\"\n"
        ));
        let mut client = from(&relay, "203.0.113.7").await;
        client.refused(&Key::new().event(json!({"created_at": now() + 100_000})), "invalid: ").await;
        client.send(r#"["REQ","a",{"kinds":"x"}]"#).await;
        client.fence().await;
        drop(client);
        relay.until_log(" left ").await;
        let log = relay.log();
        for said in ["connected", "an event was not taken", "a message was refused", shown] {
            assert!(log.contains(said), "{said}\n{log}");
        }
        assert!(!log.contains(hidden), "{hidden}\n{log}");
    }
}

#[tokio::test]
async fn the_soft_limit_of_descriptors_is_raised() {
    let relay = Relay::after("ulimit -Sn 40", "");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", relay.pid())).unwrap();
    let line: Vec<&str> =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(line[0], line[1], "soft and hard");
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(relay.client().await);
    }
    for client in &mut clients {
        client.fence().await;
    }
}

#[tokio::test]
async fn too_few_descriptors_are_told() {
    let relay = Relay::after("ulimit -n 200", "");
    relay.until_log("limits.connections_max is 10000, but there are file descriptors for only 150 clients").await;
    let mut clients = Vec::new();
    for _ in 0..150 {
        clients.push(relay.client().await);
    }
    // The others are told.
    let (status, _) = match Client::connect_with(&relay.url, &[]).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => (answer.status().as_u16(), answer),
        other => panic!("{:?}", other.map(|_| "it is let in")),
    };
    assert_eq!(status, 503);
    assert_eq!(relay.http("GET /health", &[]).status, 200);
    drop(clients);
    // Fewer than at the start.
    let lowered = Command::new("prlimit").args(["--nofile=30:30", "--pid", &relay.pid().to_string()]).status();
    assert!(lowered.unwrap().success());
    let silent: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(("127.0.0.1", relay.port)).unwrap()).collect();
    relay.until_log("connections cannot be taken: there are no file descriptors left").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(relay.log().matches("no file descriptors left").count(), 1, "once a minute\n{}", relay.log());
    drop(silent);
    relay.client().await.fence().await;
}
