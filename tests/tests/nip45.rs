//! NIP-45: COUNT, and HyperLogLog registers.

use serde_json::{Value, json};

use crate::harness::{Event, Key, Relay, Shared, now, sha256_hex};

static RELAY: Shared = Shared::new();

#[tokio::test]
async fn counts_what_a_req_would_find() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (ann, bob) = (Key::new(), Key::new());
    let at = now() - 1000;
    for n in 0..12 {
        let key = if n % 3 == 0 { &ann } else { &bob };
        client
            .publish(&[&key.event(json!({"created_at": at + n, "kind": n % 2 + 1, "tags": [["t", n.to_string()]]}))])
            .await;
    }
    let (a, b) = (ann.public(), bob.public());
    for (filters, wanted) in [
        (json!({"authors": [a, b]}), 12),
        (json!({"authors": [a]}), 4),
        (json!({"authors": [a, b], "kinds": [1]}), 6),
        (json!({"authors": [a, b], "#t": ["1", "2", "3"]}), 3),
        (json!({"authors": [a, b], "since": at + 3, "until": at + 5}), 3),
        (json!([{"authors": [a]}, {"authors": [a, b]}, {"authors": [b], "kinds": [1]}]), 12),
        (json!({"authors": []}), 0),
        (json!({"ids": ["00".repeat(32)]}), 0),
    ] {
        let answer = client.count(filters.clone()).await;
        assert_eq!(answer["count"], wanted, "{filters}");
        assert_ne!(answer.get("approximate"), Some(&json!(true)), "{filters}");
    }
}

#[tokio::test]
async fn speaks_as_the_nip_says() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    client.name("nobody", Key::new());
    client.check(r#"["COUNT","q",{"authors":["<nobody>"]}]"#, &[r#"["COUNT","q",{"count":0}]"#]).await;
    // A query id of COUNT is no subscription: nothing is open, nothing needs to be closed.
    client.check(r#"["REQ","q",{"authors":["<nobody>"]}]"#, &[r#"["EOSE","q"]"#]).await;
    client.check(r#"["COUNT","q",{"kinds":"x"}]"#, &[r#"["CLOSED","q","invalid: .."]"#]).await;
}

#[tokio::test]
async fn a_large_count_is_approximate() {
    let relay = Relay::with("[limits]\ncount_max = 10");
    let mut client = relay.client().await;
    let key = Key::new();
    for n in 0..25 {
        client.publish(&[&key.event(json!({"content": n.to_string()}))]).await;
    }
    let answer = client.count(json!({"kinds": [1], "#t": ["none"]})).await;
    assert_eq!(answer["count"], 0);
    let answer = client.count(json!({"authors": [key.public()]})).await;
    let count = answer["count"].as_u64().unwrap();
    assert!(count == 25 || (answer["approximate"] == true && count >= 10), "{answer}");
}

/// The registers that NIP-45 prescribes.
fn registers(offset_hex: &str, events: &[Event]) -> String {
    let offset = usize::from_str_radix(&offset_hex[32..33], 16).unwrap() + 8;
    let mut registers = [0_u8; 256];
    for event in events {
        let key = data_encoding::HEXLOWER.decode(event["pubkey"].as_str().unwrap().as_bytes()).unwrap();
        let mut zeros = 0;
        for byte in &key[offset + 1..] {
            zeros += byte.leading_zeros() as u8;
            if *byte != 0 {
                break;
            }
        }
        let register = &mut registers[usize::from(key[offset])];
        *register = (*register).max(zeros + 1);
    }
    data_encoding::HEXLOWER.encode(&registers)
}

#[tokio::test]
async fn registers_are_those_of_the_nip() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let someone = Key::new().public();
    let address = format!("30023:{someone}:{}", "0".repeat(40));
    for (letter, value, offset_hex, kind) in [
        ("e", Key::new().public(), None, 7),
        ("e", Key::new().public(), None, 6),
        ("q", Key::new().public(), None, 1),
        ("E", Key::new().public(), None, 1111),
        ("p", Key::new().public(), None, 3),
        ("a", address.clone(), Some(someone.clone()), 7),
        ("t", format!("word{someone}"), Some(sha256_hex(format!("word{someone}"))), 1),
        ("r", "https://example.com/é".into(), Some(sha256_hex("https://example.com/é")), 1),
    ] {
        let mut events = Vec::new();
        for _ in 0..40 {
            events.push(Key::new().event(json!({"kind": kind, "tags": [[letter, value]]})));
        }
        // The same key twice changes nothing.
        let again = Key::new();
        for n in 0..2 {
            let extra = again.event(
                json!({"kind": kind, "content": n.to_string(), "created_at": now() - n, "tags": [[letter, value]]}),
            );
            if kind != 3 || n == 0 {
                events.push(extra);
            }
        }
        client.publish(&events.iter().collect::<Vec<_>>()).await;
        let mut filter = json!({"kinds": [kind]});
        filter[format!("#{letter}")] = json!([value]);
        let answer = client.count(filter.clone()).await;
        assert_eq!(answer["count"], events.len(), "{filter}");
        let wanted = registers(offset_hex.as_ref().unwrap_or(&value), &events);
        assert_eq!(answer["hll"].as_str(), Some(wanted.as_str()), "{filter}");
    }
}

#[tokio::test]
async fn no_registers_where_the_offset_is_undefined() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let x = Key::new().public();
    for filters in [
        json!({"kinds": [7], "authors": [x]}),
        json!({"ids": [x]}),
        json!([{"#e": [x], "kinds": [7]}, {"#e": [x], "kinds": [6]}]),
    ] {
        assert_eq!(client.count(filters.clone()).await.get("hll"), None::<&Value>, "{filters}");
    }
}
