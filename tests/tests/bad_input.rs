//! Bad input gets the standard answer, costs little, changes nothing, and the next valid message on the same socket works.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Client, Event, Key, Relay, Shared};

static RELAY: Shared = Shared::new();

/// What must come back.
enum Answer {
    /// A NOTICE: there is nothing to answer to.
    Notice,
    /// CLOSED for this subscription, with this prefix.
    Closed(&'static str, &'static str),
    /// NEG-ERR for this session, with this prefix.
    NegErr(&'static str, &'static str),
    /// OK false for this id, with `invalid: `.
    NotOk(String),
    /// Any of them.
    Some,
}

async fn answered(client: &mut Client, what: &str, answer: &Answer) {
    let got = client.recv().await;
    let text = |at: usize| got[at].as_str().unwrap_or_default();
    let right = match answer {
        Answer::Notice => text(0) == "NOTICE" && !text(1).is_empty(),
        Answer::Closed(sub, prefix) => text(0) == "CLOSED" && text(1) == *sub && text(2).starts_with(prefix),
        Answer::NegErr(sub, prefix) => text(0) == "NEG-ERR" && text(1) == *sub && text(2).starts_with(prefix),
        Answer::NotOk(id) => text(0) == "OK" && text(1) == id && got[2] == false && text(3).starts_with("invalid: "),
        Answer::Some => ["NOTICE", "CLOSED", "OK", "NEG-ERR"].contains(&text(0)),
    };
    assert!(right, "{}: {got}", what.chars().take(200).collect::<String>());
}

#[tokio::test]
async fn messages_that_are_no_messages() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for text in [
        "",
        " ",
        "x",
        "null",
        "1",
        "\"REQ\"",
        "{}",
        "[]",
        "[[]]",
        "[1]",
        "[null]",
        "[{}]",
        "[\"\"]",
        "[\"HELLO\"]",
        "[\"req\",\"a\",{}]",
        "[\"EVENT\"]",
        "[\"EVENT\",1]",
        "[\"EVENT\",null]",
        "[\"EVENT\",[]]",
        "[\"EVENT\",{}]",
        "[\"EVENT\",{\"id\":1}]",
        "[\"EVENT\",{\"id\":\"x\"}]",
        "[\"REQ\"]",
        "[\"CLOSE\"]",
        "[\"CLOSE\",1]",
        "[\"AUTH\"]",
        "[\"AUTH\",1]",
        "[\"AUTH\",{}]",
        "[\"COUNT\"]",
        "[\"NEG-OPEN\"]",
        "[\"NEG-MSG\"]",
        "[\"NEG-CLOSE\"]",
        "[\"REQ\",\"a\"",
        "[\"REQ\",\"a\",{}",
        "[\"REQ\",\"a\",{}]]",
        "[\"REQ\",\"a\",{}] x",
        "['REQ','a',{}]",
        "[\"REQ\",\"a\",{},]",
        "[\"REQ\",\"a\u{1}\",{}]",
        "[\"REQ\",\"\\ud800\",{}]",
        "\u{feff}[\"REQ\",\"a\",{}]",
        "\u{0}",
        "[\"\\u0052EQ\"]",
    ] {
        client.send(text).await;
        answered(&mut client, text, &Answer::Some).await;
        client.fence().await;
    }
}

#[tokio::test]
async fn wrong_types_get_the_answer_of_their_message() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for (text, answer) in [
        (r#"["REQ","a",{"kinds":[1e10]}]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{"kinds":[1e0]}]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{"since":1e10}]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{"since":1e400}]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{"since":-0.0}]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{"limit":18446744073709551616}]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{"kinds":[65536]}]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{"kinds":[1],"kinds":[2]}]"#, Answer::Closed("a", "invalid: ")),
        (r##"["REQ","a",{"#t":["x"],"#t":["y"]}]"##, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{"since":1,"since":2}]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",1]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",[]]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{},null]"#, Answer::Closed("a", "invalid: ")),
        (r#"["REQ","a",{"x":{"deep":[1]}}]"#, Answer::Closed("a", "unsupported: ")),
        (r#"["COUNT","a",{"kinds":[1e10]}]"#, Answer::Closed("a", "invalid: ")),
        (r#"["NEG-OPEN","a",{"kinds":[1e10]},"61000000"]"#, Answer::NegErr("a", "invalid: ")),
        (r#"["NEG-OPEN","a",{"kinds":[1]}]"#, Answer::NegErr("a", "invalid: ")),
        (r#"["NEG-OPEN","a",{"kinds":[1]},1]"#, Answer::NegErr("a", "invalid: ")),
        (r#"["REQ","",{}]"#, Answer::Some),
        (r#"["REQ",1,{}]"#, Answer::Some),
    ] {
        client.send(text).await;
        answered(&mut client, text, &answer).await;
        client.fence().await;
    }
    let too_long = format!(r#"["REQ","{}",{{}}]"#, "x".repeat(65));
    client.send(&too_long).await;
    answered(&mut client, &too_long, &Answer::Some).await;
    client.fence().await;
}

/// Events that have an id get their OK, however wrong the rest is.
#[tokio::test]
async fn events_of_wrong_shape() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let event = key.event(json!({"content": "x", "created_at": 1_700_000_000, "tags": [["t", "x"]]}));
    let wire = event.to_string();
    let id = || Answer::NotOk(event.id().to_owned());
    for (from, to) in [
        (r#""kind":1"#, r#""kind":65536"#),
        (r#""kind":1"#, r#""kind":1e10"#),
        (r#""kind":1"#, r#""kind":1.0"#),
        (r#""kind":1"#, r#""kind":true"#),
        (r#""kind":1"#, r#""kind":1,"kind":1"#),
        (r#""content":"x""#, r#""content":"x","content":"x""#),
        (r#""content":"x""#, r#""content":{}"#),
        (r#""content":"x""#, r#""content":"\ud800""#),
        (r#""created_at":1700000000"#, r#""created_at":1.7e9"#),
        (r#""created_at":1700000000"#, r#""created_at":-1700000000"#),
        (r#""created_at":1700000000"#, r#""created_at":99999999999999999999"#),
        (r#"[["t","x"]]"#, r#"[["t",1]]"#),
        (r#"[["t","x"]]"#, r#"[[["t"]]]"#),
        (r#"[["t","x"]]"#, r#"[[]]"#),
        (r#"[["t","x"]]"#, r#"{"t":"x"}"#),
    ] {
        assert!(wire.contains(from), "{wire}");
        let wrong = wire.replace(from, to);
        client.send(format!(r#"["EVENT",{wrong}]"#)).await;
        answered(&mut client, &wrong, &id()).await;
        client.fence().await;
    }
    let pubkey = wire.replace(&key.public(), &key.public().to_uppercase());
    client.send(format!(r#"["EVENT",{pubkey}]"#)).await;
    answered(&mut client, &pubkey, &id()).await;
    let upper = wire.replace(event.id(), &event.id().to_uppercase());
    client.send(format!(r#"["EVENT",{upper}]"#)).await;
    answered(&mut client, &upper, &Answer::Some).await;
    assert_eq!(client.query(json!({"authors": [key.public()]})).await, []);
    client.publish(&[&event]).await;
}

#[tokio::test]
async fn deep_and_huge_json() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for text in [
        "[".repeat(100_000),
        format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)),
        "{\"a\":".repeat(50_000),
        format!(r#"["REQ","a",{}{}]"#, "[".repeat(50_000), "]".repeat(50_000)),
        format!(r#"["REQ","a",{{"x":{}{}}}]"#, "[".repeat(50_000), "]".repeat(50_000)),
        format!(r#"["REQ","a",{}1{}]"#, r#"{"x":"#.repeat(50_000), "}".repeat(50_000)),
        format!(r#"["EVENT",{}{}]"#, "[".repeat(50_000), "]".repeat(50_000)),
        format!(r#"["EVENT",{{"tags":{}{}}}]"#, "[".repeat(50_000), "]".repeat(50_000)),
        format!("[\"{}\"]", "x".repeat(400_000)),
        format!("[{}1]", "1,".repeat(200_000)),
    ] {
        client.send(&text).await;
        answered(&mut client, &text, &Answer::Some).await;
        client.fence().await;
    }
    // An event with a deep member that nobody knows.
    let event = Key::new().event(json!({}));
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let wire = event.to_string().replacen('{', &format!(r#"{{"x":{deep},"#), 1);
    client.send(format!(r#"["EVENT",{wire}]"#)).await;
    assert_eq!(client.recv().await[0], "OK");
    client.fence().await;
}

#[tokio::test]
async fn oversize_frames() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let too_long = format!(r##"["REQ","a",{{"#t":["{}"]}}]"##, "x".repeat(600 * 1024));
    client.send(&too_long).await;
    answered(&mut client, "600 KiB", &Answer::Closed("a", "invalid: ")).await;
    client.fence().await;
    client.send("x".repeat(600 * 1024)).await;
    answered(&mut client, "600 KiB of nothing", &Answer::Notice).await;
    client.fence().await;
    // Nobody reads megabytes to be polite: the connection ends, and says why (RFC 6455, 7.4.1).
    let mut absurd = relay.client().await;
    absurd.try_send("x".repeat(8 << 20)).await;
    let (_, close) = absurd.until_closed().await;
    assert!(close.is_none_or(|close| u16::from(close.code) == 1009));
    client.fence().await;
    // An event as large as allowed passes, and one a little larger does not.
    let key = Key::new();
    let large = key.event(json!({"content": "x".repeat(199_000)}));
    client.publish(&[&large]).await;
    assert_eq!(client.query(json!({"ids": [large.id()]})).await, [large]);
    client.refused(&key.event(json!({"content": "x".repeat(200_001)})), "").await;
}

#[tokio::test]
async fn binary_frames() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for bytes in [vec![], vec![0, 159, 146, 150], br#"["REQ","a",{}]"#.to_vec()] {
        client.send_message(Message::binary(bytes)).await;
        answered(&mut client, "binary", &Answer::Notice).await;
        client.fence().await;
    }
    client.send_message(Message::Ping(vec![1, 2, 3].into())).await;
    client.fence().await;
}

/// RFC 6455 (8.1) has the connection failed; either way the sender is told, and others notice nothing.
#[tokio::test]
async fn broken_utf8() {
    let relay = RELAY.relay();
    let mut other = relay.client().await;
    for bytes in [&b"\xff\xfe"[..], b"[\"REQ\",\"\xc0\x80\",{}]", b"[\"REQ\",\"a\",{\"#t\":[\"\xed\xa0\x80\"]}]"] {
        let mut client = relay.client().await;
        client.send_text_bytes(bytes).await;
        match client.recv_or_close().await {
            Ok(answer) => {
                assert_eq!(answer[0], "NOTICE", "{answer}");
                client.fence().await;
            }
            Err(close) => assert!(close.is_none_or(|close| u16::from(close.code) == 1007)),
        }
        other.fence().await;
        relay.client().await.fence().await;
    }
}

#[tokio::test]
async fn thousands_of_tags() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let with = |count: usize| {
        let tags: Vec<Value> = (0..count).map(|n| json!(["t", n.to_string()])).collect();
        key.event(json!({"kind": 3, "created_at": 1_700_000_000 + count, "tags": tags}))
    };
    let most: Event = with(5000);
    client.publish(&[&most]).await;
    let text = client.refused(&with(5001), "").await;
    assert!(text.contains(": "), "{text}");
    assert_eq!(client.query(json!({"authors": [key.public()], "#t": ["4999"]})).await, [most]);
    client.fence().await;
}

#[tokio::test]
async fn filters_with_thousands_of_values() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let event = key.event(json!({"tags": [["t", "1777"]]}));
    client.publish(&[&event]).await;
    let values = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(client.query(json!({"#t": values(4000), "authors": [key.public()]})).await, [event.clone()]);
    let hexes = |count: usize| (0..count).map(|n| format!("{n:064x}")).collect::<Vec<_>>();
    let mut authors = hexes(4000);
    authors.push(key.public());
    assert_eq!(client.query(json!({"authors": authors, "kinds": [1]})).await, [event]);
    for filter in
        [json!({"#t": values(5001)}), json!({"ids": hexes(5001)}), json!({"kinds": [1], "authors": hexes(5000)})]
    {
        for verb in ["REQ", "COUNT"] {
            let reason = client.closed(verb, filter.clone()).await;
            assert!(reason.contains(": "), "{reason}");
        }
    }
    let filters: Vec<Value> = (0..21).map(|n| json!({"kinds": [n]})).collect();
    assert!(client.closed("REQ", json!(filters)).await.contains(": "));
    client.fence().await;
}

#[tokio::test]
async fn a_thousand_reqs_on_one_socket() {
    let relay = Relay::with("[limits]\nqueries_per_minute = 0");
    let mut client = relay.client().await;
    let key = Key::new();
    for n in 0..1000 {
        client.send(json!(["REQ", format!("{n}"), {"authors": [key.public()]}])).await;
    }
    let (mut open, mut closed) = (0, 0);
    for _ in 0..1000 {
        let answer = client.recv().await;
        match answer[0].as_str() {
            Some("EOSE") => open += 1,
            Some("CLOSED") => {
                assert!(answer[2].as_str().unwrap().contains(": "), "{answer}");
                closed += 1;
            }
            _ => panic!("{answer}"),
        }
    }
    assert_eq!((open, closed), (100, 900));
    // The hundred work, and one that is closed makes room for another.
    client.send(json!(["CLOSE", "0"])).await;
    client.subscribe("new", json!({"kinds": [7], "authors": [key.public()]})).await;
    client.send(json!(["CLOSE", "new"])).await;
    let event = key.event(json!({}));
    relay.client().await.publish(&[&event]).await;
    for _ in 0..99 {
        assert_eq!(client.recv().await[0], "EVENT");
    }
    client.fence().await;
}

#[tokio::test]
async fn much_bad_input_costs_little() {
    let relay = Relay::with("[limits]\nmessages_per_minute = 0\nqueries_per_minute = 0");
    let mut client = relay.client().await;
    let junk = format!(r#"["EVENT",{{"id":"{}","tags":[{}["x"]]}}]"#, "ab".repeat(32), r#"["t","x"],"#.repeat(2000));
    for _ in 0..50 {
        client.send(&junk).await;
        client.recv().await;
    }
    client.fence().await;
    assert_eq!(relay.metric("picorelay_events_total", "invalid"), 50.0, "bad events are counted");
    let before = relay.memory_bytes();
    for _ in 0..500 {
        client.send(&junk).await;
        client.recv().await;
    }
    client.fence().await;
    let more = relay.memory_bytes().saturating_sub(before);
    assert!(more < 32 << 20, "bad input cost {more} bytes of memory");
}
