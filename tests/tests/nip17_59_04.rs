//! NIP-17, NIP-59, NIP-04: private messages reach those they are for, on every path.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Key, Relay, Shared, now};

static RELAY: Shared = Shared::new();

/// A gift wrap and an old style message from `sender` to `recipient`.
struct Mail {
    sender: Key,
    recipient: Key,
    wrap: Event,
    direct: Event,
    word: String,
}

async fn mail(relay: &Relay) -> Mail {
    let (sender, recipient) = (Key::new(), Key::new());
    // A tag and a word by which only this test asks.
    let word = format!("w{}", &Key::new().public()[..20]);
    let tags = json!([["p", recipient.public()], ["t", word]]);
    // Wraps are dated up to two days back.
    let wrap = Key::new().event(
        json!({"kind": 1059, "created_at": now() - 2 * 86_400, "tags": tags, "content": format!("wrapped {word}")}),
    );
    let direct =
        sender.event(json!({"kind": 4, "created_at": now() - 10, "tags": tags, "content": format!("direct {word}")}));
    let mut client = relay.client().await;
    client.publish(&[&wrap, &direct]).await;
    Mail { sender, recipient, wrap, direct, word }
}

async fn client_as(relay: &Relay, keys: &[&Key]) -> Client {
    let mut client = relay.client().await;
    for key in keys {
        client.auth(key).await;
    }
    client
}

#[tokio::test]
async fn stored() {
    let relay = RELAY.relay();
    let mail = mail(&relay).await;
    let public = Key::new().event(json!({"tags": [["t", mail.word]], "created_at": now() - 100}));
    relay.client().await.publish(&[&public]).await;
    let stranger = Key::new();
    let (wrap, direct, open) = (mail.wrap.id(), mail.direct.id(), public.id());
    for (keys, seen) in [
        (vec![], vec![open]),
        (vec![&stranger], vec![open]),
        (vec![&mail.sender], vec![direct, open]),
        (vec![&mail.recipient], vec![direct, open, wrap]),
        (vec![&stranger, &mail.recipient], vec![direct, open, wrap]),
    ] {
        let mut client = client_as(&relay, &keys).await;
        for filter in [json!({"#t": [mail.word]}), json!({"ids": [wrap, direct, open]})] {
            assert_eq!(client.ids(filter.clone()).await, seen, "{filter}");
            assert_eq!(client.count(filter).await["count"].as_u64(), Some(seen.len() as u64));
        }
        let newest = client.ids(json!({"#t": [mail.word], "limit": 1})).await;
        assert_eq!(newest, seen[..1], "what is left out takes no place in the limit");
    }
}

#[tokio::test]
async fn only_private_kinds_asked_for_without_auth() {
    let relay = RELAY.relay();
    let mail = mail(&relay).await;
    let mut client = relay.client().await;
    for filter in [
        json!({"kinds": [1059]}),
        json!({"kinds": [4]}),
        json!({"kinds": [4, 1059], "#p": [mail.recipient.public()]}),
        json!([{"kinds": [1059]}, {"kinds": [4]}]),
    ] {
        for verb in ["REQ", "COUNT"] {
            let reason = client.closed(verb, filter.clone()).await;
            assert!(reason.starts_with("auth-required: "), "{verb} {filter}: {reason}");
            assert!(!client.challenge.is_empty(), "it holds a challenge when it is told to answer it");
        }
    }
    // Where others may match too, they are left out.
    assert_eq!(client.ids(json!({"kinds": [1, 1059], "#p": [mail.recipient.public()]})).await, [""; 0]);
    // After AUTH the same question is answered.
    client.auth(&mail.recipient).await;
    let ids = client.ids(json!({"kinds": [1059], "#p": [mail.recipient.public()]})).await;
    assert_eq!(ids, [mail.wrap.id()]);
}

#[tokio::test]
async fn live() {
    let relay = RELAY.relay();
    let (recipient, sender, stranger) = (Key::new(), Key::new(), Key::new());
    let tag = Key::new().public();
    let mut listeners = Vec::new();
    for (keys, seen) in [
        (vec![], [false, false, true]),
        (vec![&stranger], [false, false, true]),
        (vec![&sender], [false, true, true]),
        (vec![&stranger, &recipient], [true, true, true]),
    ] {
        let mut client = client_as(&relay, &keys).await;
        client.subscribe("live", json!({"#t": [tag]})).await;
        listeners.push((client, seen));
    }
    let tags = json!([["p", recipient.public()], ["t", tag]]);
    let wrap = Key::new().event(json!({"kind": 1059, "tags": tags}));
    let direct = sender.event(json!({"kind": 4, "tags": tags}));
    let open = sender.event(json!({"tags": tags}));
    relay.client().await.publish(&[&wrap, &direct, &open]).await;
    for (mut client, seen) in listeners {
        for (event, seen) in [&wrap, &direct, &open].into_iter().zip(seen) {
            if seen {
                assert_eq!(client.event_of("live").await, *event);
            }
        }
        client.fence().await;
    }
}

/// One who proves the key while the subscription is open hears from then on.
#[tokio::test]
async fn live_after_a_later_auth() {
    let relay = RELAY.relay();
    let recipient = Key::new();
    let tag = Key::new().public();
    let mut client = relay.client().await;
    client.subscribe("live", json!({"#t": [tag]})).await;
    let wrap = |n: u64| {
        Key::new()
            .event(json!({"kind": 1059, "content": n.to_string(), "tags": [["p", recipient.public()], ["t", tag]]}))
    };
    let (before, after) = (wrap(1), wrap(2));
    // When the recipient has heard of the first, it has been told to all who were to hear it.
    let mut other = client_as(&relay, &[&recipient]).await;
    other.subscribe("live", json!({"#t": [tag]})).await;
    client.publish(&[&before]).await;
    assert_eq!(other.event_of("live").await, before);
    client.auth(&recipient).await;
    client.publish(&[&after]).await;
    assert_eq!(client.event_of("live").await, after);
}

#[tokio::test]
async fn ephemeral_gift_wraps() {
    let relay = RELAY.relay();
    let (recipient, tag) = (Key::new(), Key::new().public());
    let mut client = client_as(&relay, &[&recipient]).await;
    client.subscribe("live", json!({"#t": [tag]})).await;
    let wrap = Key::new().event(json!({"kind": 21059, "tags": [["p", recipient.public()], ["t", tag]]}));
    relay.client().await.publish(&[&wrap]).await;
    assert_eq!(client.event_of("live").await, wrap);
    assert_eq!(client.ids(json!({"#t": [tag]})).await, [""; 0], "never stored");
}

#[tokio::test]
async fn count_and_registers_tell_nothing() {
    let relay = RELAY.relay();
    let mail = mail(&relay).await;
    let filter = json!({"#p": [mail.recipient.public()]});
    let answer = relay.client().await.count(filter.clone()).await;
    assert_eq!(answer["count"], 0);
    assert_eq!(answer.get("hll").unwrap_or(&Value::Null).as_str().unwrap_or(&"0".repeat(512)), "0".repeat(512));
    assert_eq!(client_as(&relay, &[&mail.recipient]).await.count(filter).await["count"], 2);
}

#[tokio::test]
async fn negentropy_tells_nothing() {
    let relay = RELAY.relay();
    let mail = mail(&relay).await;
    let mut client = relay.client().await;
    let filter = json!({"#t": [mail.word]});
    assert_eq!(crate::nip77::missing(&mut client, filter.clone(), &[]).await.unwrap(), [""; 0]);
    let mut client = client_as(&relay, &[&mail.recipient]).await;
    let mut wanted = [mail.wrap.id(), mail.direct.id()];
    wanted.sort_unstable();
    assert_eq!(crate::nip77::missing(&mut client, filter, &[]).await.unwrap(), wanted);
    let refusal = crate::nip77::missing(&mut relay.client().await, json!({"kinds": [1059]}), &[]).await;
    assert!(refusal.unwrap_err().starts_with("auth-required: "));
}

#[tokio::test]
async fn search_tells_nothing() {
    let relay = Relay::with("[search]\nkinds = [1, 4, 1059]");
    let mail = mail(&relay).await;
    let open = Key::new().event(json!({"content": format!("open {}", mail.word)}));
    let mut client = relay.client().await;
    client.publish(&[&open]).await;
    assert_eq!(client.ids(json!({"search": mail.word})).await, [open.id()]);
}

#[tokio::test]
async fn restricted_kinds_are_configured() {
    let relay = Relay::with("[auth]\nrestricted_kinds = [4, 1059, 30078]");
    let (key, other) = (Key::new(), Key::new());
    let mine = key.event(json!({"kind": 30078, "tags": [["d", "settings"]]}));
    let note = key.event(json!({}));
    let mut client = relay.client().await;
    client.publish(&[&mine, &note]).await;
    assert_eq!(client.ids(json!({"authors": [key.public()]})).await, [note.id()]);
    client.auth(&other).await;
    assert_eq!(client.ids(json!({"authors": [key.public()]})).await, [note.id()]);
    client.auth(&key).await;
    assert_eq!(client.query(json!({"authors": [key.public()]})).await.len(), 2);
}

/// Whether somebody has thousands of private messages or none, a stranger's question costs the same.
#[tokio::test]
async fn the_work_of_an_answer_tells_nothing() {
    let relay = Relay::with("[limits]\nmessages_per_minute = 0\nqueries_per_minute = 0");
    let (victim, nobody, stranger) = (Key::new(), Key::new(), Key::new());
    let mut sender = relay.client().await;
    let wraps: Vec<Event> = (0..3_000)
        .map(|n| {
            let kind = if n % 2 == 0 { 1059 } else { 4 };
            let content = n.to_string();
            Key::new().event(json!({"kind": kind, "content": content, "tags": [["p", victim.public()]]}))
        })
        .collect();
    for batch in wraps.chunks(300) {
        for event in batch {
            sender.send(format!(r#"["EVENT",{event}]"#)).await;
        }
        for event in batch {
            assert!(sender.ok(event.id()).await.0);
        }
    }
    for is_known in [false, true] {
        let mut client = relay.client().await;
        if is_known {
            client.auth(&stranger).await;
        }
        for filter in [
            json!({"#p": ["WHO"]}),
            json!({"#p": ["WHO"], "limit": 10}),
            json!({"#p": ["WHO"], "kinds": [1, 4, 1059]}),
            json!({"#p": ["WHO"], "since": now() - 3_600, "until": now()}),
            json!({"authors": ["WHO"]}),
            json!({"authors": ["WHO"], "kinds": [1, 4]}),
        ] {
            let mut costs = Vec::new();
            for key in [&victim, &nobody] {
                let filter: Value = serde_json::from_str(&filter.to_string().replace("WHO", &key.public())).unwrap();
                let examined = || relay.metric("picorelay_query_examined_total", "");
                let (before, started) = (examined(), std::time::Instant::now());
                for _ in 0..5 {
                    assert_eq!(client.count(filter.clone()).await["count"], 0, "{filter}");
                    assert_eq!(client.query(filter.clone()).await, [], "{filter}");
                }
                costs.push((examined() - before, started.elapsed()));
            }
            let [(work, took), (work_none, took_none)] = costs[..] else { panic!("two keys") };
            assert_eq!(work, work_none, "{filter}, known: {is_known}: entries about the victim, and about nobody");
            let most = took_none * 3 + std::time::Duration::from_millis(500);
            assert!(took < most, "{filter}, known: {is_known}: {took:?}, and {took_none:?} about nobody");
        }
    }
    let mut client = client_as(&relay, &[&victim]).await;
    assert_eq!(client.count(json!({"#p": [victim.public()]})).await["count"], 3_000);
}
