//! NIP-50: search.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Client, Event, Key, Relay, Shared, now};

static RELAY: Shared = Shared::new();

/// A word that nobody else uses.
fn word() -> String {
    format!("w{}", &Key::new().public()[..16])
}

/// Asks what is stored, and counts it: both must be `wanted`.
async fn check(client: &mut Client, filter: Value, wanted: &[&Event]) {
    let found: BTreeSet<String> = client.ids(filter.clone()).await.into_iter().collect();
    let wanted: BTreeSet<String> = wanted.iter().map(|event| event.id().to_owned()).collect();
    assert_eq!(found, wanted, "{filter}");
    if filter.get("limit").is_none() {
        assert_eq!(client.count(filter.clone()).await["count"], wanted.len(), "COUNT {filter}");
    }
}

#[tokio::test]
async fn stored_live_and_counted_alike() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (ann, bob, w) = (Key::new(), Key::new(), word());
    let at = now() - 1000;
    let e = |key: &Key, n: u64, kind: u64, text: &str, tags: Value| {
        key.event(json!({"kind": kind, "created_at": at + n, "content": text, "tags": tags}))
    };
    let profile = json!({"name": format!("{w}wonder"), "about": "Caf\u{e9} owner"}).to_string();
    let events = [
        e(&ann, 0, 1, &format!("the {w} orange falls"), json!([])),
        e(&bob, 1, 1, &format!("a {w} Apple, an ORANGE!"), json!([["t", "fruit"]])),
        e(&ann, 2, 30023, &format!("{w} apple"), json!([["d", "x"], ["title", "M\u{fc}nchen"], ["alt", "unseen"]])),
        e(&ann, 3, 1, "apple and orange", json!([])),
        e(&ann, 4, 7, &format!("{w} apple"), json!([])),
        e(&bob, 5, 1, &format!("{w} 今夜の検索テストは成功です"), json!([["t", "音楽祭"]])),
        e(&bob, 6, 1, &format!("{w} 最新Rust言語で relayを作る"), json!([])),
        e(&bob, 7, 1, &format!("{w} พรุ่งนี้อากาศดีมาก"), json!([])),
        e(&bob, 8, 1, &format!("{w} 我们测试中文搜索功能 ☕ https://example.com/a-path re:zero"), json!([])),
        e(&bob, 9, 1, &format!("{w} 서울에서 만나요"), json!([])),
        e(&bob, 10, 0, &profile, json!([])),
        e(&ann, 11, 1, &format!("x{w}"), json!([])),
    ];
    let all = [0, 1, 2, 5, 6, 7, 8, 9, 10];
    let with = |words: &str| json!({"search": format!("{w} {words}")});
    let cases: Vec<(Value, Vec<usize>)> = vec![
        (json!({"search": w}), all.to_vec()),
        (json!({"search": w[..12]}), all.to_vec()),
        (json!({"search": w.to_uppercase()}), all.to_vec()),
        (json!({"search": format!("ORANGE {w}")}), vec![0, 1]),
        (with("apple"), vec![1, 2]),
        (with("app"), vec![1, 2]),
        (with("ap"), vec![]),
        (with("pple"), vec![]),
        (with("an-orange"), vec![1]),
        (with("orange-an"), vec![]),
        (with("fruit"), vec![1]),
        (with("munchen"), vec![2]),
        (with("unseen"), vec![]),
        (with("cafe"), vec![10]),
        (with("about"), vec![]),
        (with("検索"), vec![5]),
        (with("検索テスト"), vec![5]),
        (with("テスト"), vec![5]),
        (with("検査"), vec![]),
        (with("夜"), vec![5]),
        (with("音楽"), vec![5]),
        (with("Rust言語"), vec![6]),
        (with("rust relay"), vec![6]),
        (with("อากาศ"), vec![7]),
        (with("搜索"), vec![8]),
        (with("https://example.com"), vec![8]),
        (with("서울"), vec![9]),
        (with("만나"), vec![9]),
        (with("language:en sentiment:positive"), all.to_vec()),
        (with("nostr:npub1qqqq"), vec![]),
        (with("nothere"), vec![]),
        (json!({"search": format!("{w} apple"), "kinds": [1]}), vec![1]),
        (json!({"search": w, "kinds": [7]}), vec![]),
        (json!({"search": w, "kinds": [0, 7]}), vec![10]),
        (json!({"search": w, "authors": [ann.public()]}), vec![0, 2]),
        (json!({"search": w, "since": at + 1, "until": at + 2}), vec![1, 2]),
        (json!({"search": w, "#t": ["fruit", "none"]}), vec![1]),
        (json!({"search": w, "#t": ["none"]}), vec![]),
        (json!({"search": w, "ids": [events[0].id(), events[3].id()]}), vec![0]),
        (json!({"search": w, "kinds": [30023], "authors": [ann.public()], "#d": ["x"]}), vec![2]),
        (json!({"search": "🤙"}), vec![]),
        (json!({"search": "☕ … !!! #"}), vec![]),
        (json!({"search": "language:en nsfw:true"}), vec![]),
        (json!({"search": ""}), vec![]),
        (json!({"search": format!("re:{w}")}), vec![]),
    ];
    let mut listener = relay.client().await;
    for (number, (filter, _)) in cases.iter().enumerate() {
        let mut silent = filter.clone();
        silent["limit"] = json!(0);
        listener.subscribe(&number.to_string(), silent).await;
    }
    client.publish(&events.iter().collect::<Vec<_>>()).await;
    for (filter, wanted) in &cases {
        check(&mut client, filter.clone(), &wanted.iter().map(|n| &events[*n]).collect::<Vec<_>>()).await;
    }
    // Everything was delivered before this is.
    let mark = e(&ann, 12, 1, &format!("mark {w}mark"), json!([]));
    listener.subscribe("mark", json!({"search": format!("{w}mark")})).await;
    client.publish(&[&mark]).await;
    let mut live = vec![BTreeSet::new(); cases.len()];
    loop {
        let message = listener.recv_where(|message| message[0] == "EVENT").await;
        if message[1] == "mark" {
            break;
        }
        let number: usize = message[1].as_str().unwrap().parse().unwrap();
        if message[2]["id"] != mark.id() {
            live[number].insert(message[2]["id"].as_str().unwrap().to_owned());
        }
    }
    for ((filter, wanted), live) in cases.iter().zip(live) {
        let wanted = wanted.iter().map(|n| events[*n].id().to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(live, wanted, "live {filter}");
    }
    assert_eq!(client.ids(json!({"search": w, "limit": 3})).await.len(), 3);
}

#[tokio::test]
async fn the_limit_comes_after_the_ranking() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (key, w) = (Key::new(), word());
    let at = now() - 1000;
    let best = key.event(json!({"created_at": at, "content": format!("{w} {w} {w}")}));
    client.publish(&[&best]).await;
    for n in 1..20 {
        let text = format!("{w} {}", "and many other words ".repeat(20));
        client.publish(&[&key.event(json!({"created_at": at + n, "content": text}))]).await;
    }
    let beginning = key.event(json!({"created_at": at + 30, "content": format!("{w}s {w}s {w}s")}));
    client.publish(&[&beginning]).await;
    assert_eq!(client.ids(json!({"search": w, "limit": 1})).await, [best.id()]);
    let all = client.ids(json!({"search": w})).await;
    assert_eq!((all.len(), &*all[0], &*all[20]), (21, best.id(), beginning.id()));
}

/// Of a word that everybody uses all matches are found, whatever else is asked for.
#[tokio::test]
async fn many_matches_and_other_conditions() {
    let limits = "[limits]\nmessages_per_minute = 0\nqueries_per_minute = 0\n[search]\ncandidates_max = 20";
    let mut relay = Relay::with(limits);
    let mut client = relay.client().await;
    let keys = [Key::new(), Key::new(), Key::new()];
    let at = now() - 10_000;
    let event = |n: u64| {
        let (key, kind) =
            (&keys[if n.is_multiple_of(50) { 0 } else { 1 + (n % 2) as usize }], if n % 70 == 3 { 1111 } else { 1 });
        let rare = if n % 100 == 7 { " rarely" } else { "" };
        let tags = json!([["t", if n % 40 == 1 { "some" } else { "most" }]]);
        key.event(json!({"kind": kind, "created_at": at + n, "content": format!("the note {n}{rare}"), "tags": tags}))
    };
    let events: Vec<_> = (0..1_500).map(event).collect();
    for part in events.chunks(250) {
        for event in part {
            client.send(format!(r#"["EVENT",{event}]"#)).await;
        }
        for event in part {
            assert!(client.ok(event.id()).await.0);
        }
    }
    type Is = fn(u64) -> bool;
    let cases: [(Value, Is); 8] = [
        (json!({"search": "the"}), |_| true),
        (json!({"search": "the", "authors": [keys[0].public()]}), |n| n % 50 == 0),
        (json!({"search": "the", "until": at + 300}), |n| n <= 300),
        (json!({"search": "the", "since": at + 100, "until": at + 150}), |n| (100..=150).contains(&n)),
        (json!({"search": "note the", "kinds": [1111]}), |n| n % 70 == 3),
        (json!({"search": "the", "#t": ["some"]}), |n| n % 40 == 1),
        (json!({"search": "the rare note"}), |n| n % 100 == 7),
        (json!({"search": "note the", "#t": ["most"], "authors": [keys[0].public()], "until": at + 900}), |n| {
            n % 50 == 0 && n <= 900
        }),
    ];
    for restarted in [false, true] {
        if restarted {
            // A relay that stops indexes the rest.
            relay.restart();
            client = relay.client().await;
        }
        for (filter, is) in &cases {
            let wanted: Vec<_> = (0..1_500).filter(|n| is(*n)).map(|n| &events[n as usize]).collect();
            let mut all = filter.clone();
            all["limit"] = json!(5_000);
            check(&mut client, all, &wanted).await;
            assert_eq!(client.count(filter.clone()).await["count"], wanted.len(), "COUNT {filter}");
            for limit in [1, 10, 25] {
                let mut few = filter.clone();
                few["limit"] = json!(limit);
                assert_eq!(client.ids(few.clone()).await.len(), wanted.len().min(limit), "{few}");
            }
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_found() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    for n in 0..20 {
        let w = word();
        let event = key.event(json!({"content": format!("fresh {w}"), "created_at": now() - n}));
        client.publish(&[&event]).await;
        check(&mut client, json!({"search": w}), &[&event]).await;
        check(&mut client, json!({"search": format!("{w} fresh"), "authors": [key.public()]}), &[&event]).await;
    }
}

/// Whoever pages with `until` gets each match once, if the newest are asked for.
#[tokio::test]
async fn pages() {
    let relay = Relay::with("[search]\ncandidates_max = 1");
    let mut client = relay.client().await;
    let (key, at) = (Key::new(), now() - 1000);
    let mut wanted = BTreeSet::new();
    for n in 0..60 {
        let content = if n % 3 == 0 { "a page with more words around it" } else { "page page" };
        let event = key.event(json!({"created_at": at + n, "content": content}));
        client.publish(&[&event]).await;
        wanted.insert(event.id().to_owned());
    }
    let (mut found, mut until) = (Vec::new(), at + 1000);
    loop {
        let page = client.query(json!({"search": "page", "limit": 7, "until": until})).await;
        let Some(oldest) = page.iter().map(|event| event.0["created_at"].as_u64().unwrap()).min() else { break };
        until = oldest - 1;
        found.extend(page.iter().map(|event| event.id().to_owned()));
    }
    assert_eq!(found.len(), wanted.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[tokio::test]
async fn the_index_survives_what_happens_to_the_relay() {
    let mut relay = Relay::with("");
    let mut client = relay.client().await;
    let (key, at) = (Key::new(), now() - 1000);
    let note = |n: u64, kind: u64, text: &str| key.event(json!({"kind": kind, "created_at": at + n, "content": text}));
    let first = [note(0, 1, "before alpha"), note(1, 7, "before beta")];
    client.publish(&first.iter().collect::<Vec<_>>()).await;
    relay.kill9();
    relay.restart();
    let mut client = relay.client().await;
    check(&mut client, json!({"search": "before"}), &[&first[0]]).await;
    let second = [note(2, 1, "after alpha"), note(3, 7, "after beta")];
    client.publish(&second.iter().collect::<Vec<_>>()).await;
    // Other kinds: the index is made anew.
    relay.stop();
    relay.reconfigure("[search]\nkinds = [7]");
    let mut client = relay.client().await;
    check(&mut client, json!({"search": "beta"}), &[&first[1], &second[1]]).await;
    check(&mut client, json!({"search": "alpha"}), &[]).await;
    relay.stop();
    relay.reconfigure("");
    let mut client = relay.client().await;
    check(&mut client, json!({"search": "alp"}), &[&first[0], &second[0]]).await;
    check(&mut client, json!({"search": "beta"}), &[]).await;
}

#[tokio::test]
async fn odd_queries_are_answered() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for text in [
        "",
        " ",
        "\"",
        "\"\"",
        "a\"b",
        "*",
        "NEAR(a b)",
        "a AND",
        "OR",
        "NOT x",
        "(",
        "x:",
        ":",
        "-",
        "^a",
        "{col}: x",
        "\u{0}",
        "😂",
        "日本",
        "a:b:c",
        "\u{e31}\u{301}",
    ] {
        for filter in [json!({"search": text, "limit": 3}), json!({"search": text, "kinds": [1], "limit": 3})] {
            client.query(filter).await;
        }
    }
    client.query(json!({"search": "word ".repeat(2000), "limit": 3})).await;
    client.query(json!({"search": "検索".repeat(60), "limit": 3})).await;
    for many in ["a b c d e f g h i j k l m n o p q", &"検索".repeat(70)] {
        for verb in ["REQ", "COUNT"] {
            let reason = client.closed(verb, json!({"search": many})).await;
            assert!(reason.starts_with("invalid: more than 16 words"), "{reason}");
        }
    }
}

#[tokio::test]
async fn what_is_gone_is_not_found() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (key, w) = (Key::new(), word());
    let at = now() - 100;
    let note = key.event(json!({"created_at": at, "content": w}));
    let old = key.event(json!({"created_at": at + 1, "kind": 0, "content": format!("old {w}")}));
    client.publish(&[&note, &old]).await;
    check(&mut client, json!({"search": w}), &[&note, &old]).await;
    let new = key.event(json!({"created_at": at + 2, "kind": 0, "content": format!("new {w}")}));
    client.publish(&[&key.event(json!({"kind": 5, "tags": [["e", note.id()]]})), &new]).await;
    check(&mut client, json!({"search": w}), &[&new]).await;
}

#[tokio::test]
async fn is_refused_when_it_is_off() {
    let relay = Relay::with("[search]\nenabled = false");
    let mut client = relay.client().await;
    for verb in ["REQ", "COUNT"] {
        let reason = client.closed(verb, json!({"search": "x"})).await;
        assert!(reason.starts_with("unsupported: "), "{verb}: {reason}");
    }
}
