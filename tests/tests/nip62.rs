//! NIP-62: requests to vanish.

use serde_json::{Value, json};

use crate::harness::{Event, Key, Relay, Shared, now};

static RELAY: Shared = Shared::new();

fn vanish(key: &Key, at: u64, tags: Value) -> Event {
    key.event(json!({"kind": 62, "created_at": at, "tags": tags}))
}

#[tokio::test]
async fn everything_up_to_its_time_goes() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let at = now() - 100;
    for tags in [
        json!([["relay", "ALL_RELAYS"]]),
        json!([["relay", relay.url]]),
        json!([
            ["relay", "wss://other.example"],
            ["relay", format!("{}/", relay.url.to_uppercase().replace("WS://", "ws://"))]
        ]),
    ] {
        let (key, other) = (Key::new(), Key::new());
        let note = key.event(json!({"created_at": at}));
        let same_time = key.event(json!({"created_at": at + 10}));
        let newer = key.event(json!({"created_at": at + 11}));
        let profile = key.event(json!({"kind": 0, "created_at": at}));
        let deletion = key.event(json!({"kind": 5, "created_at": at, "tags": [["e", "00".repeat(32)]]}));
        let wrap = Key::new().event(json!({"kind": 1059, "created_at": at, "tags": [["p", key.public()]]}));
        let mention = other.event(json!({"created_at": at, "tags": [["p", key.public()]]}));
        client.publish(&[&note, &same_time, &newer, &profile, &deletion, &wrap, &mention]).await;
        client.auth(&key).await;
        let request = vanish(&key, at + 10, tags);
        client.publish(&[&request]).await;
        let left = client.ids(json!({"authors": [key.public()], "kinds": [0, 1, 5]})).await;
        assert_eq!(left, [newer.id()], "{request}");
        assert_eq!(client.ids(json!({"ids": [wrap.id()]})).await, [""; 0], "gift wraps to it go too");
        assert_eq!(client.ids(json!({"ids": [mention.id()]})).await, [mention.id()]);
        let late = key.event(json!({"created_at": at + 5, "content": "arrives later"}));
        for gone in [&note, &same_time, &profile, &deletion, &wrap, &late] {
            client.refused(gone, "").await;
        }
        client.publish(&[&key.event(json!({"created_at": at + 12}))]).await;
    }
}

#[tokio::test]
async fn a_request_to_another_relay_means_nothing_here() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let at = now() - 100;
    for tags in [
        json!([["relay", "wss://other.example"]]),
        json!([["relay", format!("{}/path", relay.url)]]),
        json!([["relay", "all_relays"]]),
        json!([["relay", ""]]),
        json!([["relay"]]),
        json!([["r", "ALL_RELAYS"]]),
        json!([]),
    ] {
        let key = Key::new();
        let note = key.event(json!({"created_at": at}));
        client.publish(&[&note]).await;
        client.offer(&vanish(&key, at + 1, tags.clone())).await;
        assert_eq!(client.ids(json!({"ids": [note.id()]})).await, [note.id()], "{tags}");
        client.publish(&[&key.event(json!({"created_at": at - 1}))]).await;
    }
}

#[tokio::test]
async fn a_deletion_request_cannot_take_it_back() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    let note = key.event(json!({"created_at": at}));
    let request = vanish(&key, at + 1, json!([["relay", "ALL_RELAYS"]]));
    client.publish(&[&note, &request]).await;
    client
        .publish(&[&key.event(json!({"kind": 5, "created_at": at + 2, "tags": [["e", request.id()], ["k", "62"]]}))])
        .await;
    client.refused(&note, "").await;
}

#[tokio::test]
async fn an_older_request_does_not_shorten_a_newer_one() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let key = Key::new();
    let at = now() - 100;
    let all = json!([["relay", "ALL_RELAYS"]]);
    client.publish(&[&vanish(&key, at + 10, all.clone())]).await;
    client.offer(&vanish(&key, at, all)).await;
    client.refused(&key.event(json!({"created_at": at + 5})), "").await;
    client.publish(&[&key.event(json!({"created_at": at + 11}))]).await;
}

#[tokio::test]
async fn the_configured_url_and_restarts() {
    let mut relay = Relay::with("[server]\npublic_url = \"wss://relay.example\"");
    let key = Key::new();
    let at = now() - 100;
    let note = key.event(json!({"created_at": at}));
    let mut client = relay.client().await;
    client.publish(&[&note]).await;
    client.publish(&[&vanish(&key, at + 1, json!([["relay", "WSS://Relay.Example:443/"]]))]).await;
    assert_eq!(client.ids(json!({"ids": [note.id()]})).await, [""; 0]);
    relay.restart();
    let mut client = relay.client().await;
    client.refused(&note, "").await;
    client.publish(&[&key.event(json!({"created_at": at + 2}))]).await;
}

/// NIP-62: "the tag list MUST include at least one relay value".
#[tokio::test]
async fn a_request_without_a_relay_is_refused() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    for tags in [json!([]), json!([["relay"]]), json!([["relay", ""]]), json!([["r", "ALL_RELAYS"]])] {
        client.refused(&vanish(&Key::new(), now(), tags), "invalid: ").await;
    }
}

/// "Relays that restrict who can post MUST also follow the request to vanish regardless of the user's status."
#[tokio::test]
async fn no_rule_of_the_operator_keeps_it_away() {
    const RULES: [(&str, &str); 5] = [
        ("[limits]\npow_min = 30", "pow: "),
        ("[limits]\ncontent_chars_max = 3\nevent_tags_max = 1", "blocked: "),
        ("[limits]\ncreated_at_past_seconds_max = 30", "invalid: "),
        ("[auth]\nrequired = true", "auth-required: "),
        (
            r#"
            [policy]
            plugin = ["/bin/sh", "-c", """while read -r line; do
                id=${line#*'"id":"'}
                printf '{"id":"%.64s","action":"reject","msg":"blocked: not on the list"}\\n' "$id"
            done"""]
            "#,
            "blocked: ",
        ),
    ];
    let at = now() - 100;
    for (rules, why) in RULES {
        let mut relay = Relay::start();
        let key = Key::new();
        let note = key.event(json!({"created_at": at}));
        relay.client().await.publish(&[&note]).await;
        relay.reconfigure(rules);
        let mut client = relay.client().await;
        let draft = |kind: u64, tags: Value| {
            key.event(json!({"kind": kind, "created_at": at + 1, "tags": tags, "content": "please forget me"}))
        };
        let more = json!([["relay", "wss://other.example"], ["relay", "ALL_RELAYS"]]);
        client.refused(&draft(1, more.clone()), why).await;
        // One that names another relay is an event like others.
        client.refused(&draft(62, json!([["relay", "wss://other.example"], ["relay", "wss://b.example"]])), why).await;
        client.publish(&[&draft(62, more)]).await;
        relay.reconfigure("");
        assert_eq!(relay.client().await.ids(json!({"ids": [note.id()]})).await, [""; 0], "{rules}");
    }
    // Slices.
    let relay = Relay::start();
    let mut client = relay.client().await;
    let key = Key::new();
    let note = key.event(json!({"created_at": at}));
    client.publish(&[&note]).await;
    let folder = relay.data().join("slices").join("nostr");
    std::fs::create_dir_all(&folder).unwrap();
    let no = "export default store => store.register({ name: 'no', filter: () => 'not on the list' })";
    std::fs::write(folder.join("no.js"), no).unwrap();
    relay.hang_up();
    while client.offer(&key.event(json!({"created_at": at, "content": now().to_string()}))).await.0 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    client.publish(&[&vanish(&key, at + 1, json!([["relay", relay.url]]))]).await;
    assert_eq!(client.ids(json!({"authors": [key.public()], "kinds": [1]})).await, [""; 0]);
}

/// What makes an event wrong for everybody holds for it, too.
#[tokio::test]
async fn one_from_the_future_is_refused() {
    let relay = RELAY.relay();
    let request = vanish(&Key::new(), now() + 100_000, json!([["relay", "ALL_RELAYS"]]));
    relay.client().await.refused(&request, "invalid: ").await;
}

#[tokio::test]
async fn new_gift_wraps_are_taken_whatever_their_time() {
    let mut relay = Relay::start();
    let key = Key::new();
    let wrap =
        |ago: u64| Key::new().event(json!({"kind": 1059, "created_at": now() - ago, "tags": [["p", key.public()]]}));
    let (old, own) = (wrap(3_600), key.event(json!({"kind": 1059, "created_at": now() - 3_600})));
    let mut client = relay.client().await;
    client.publish(&[&old, &vanish(&key, now(), json!([["relay", "ALL_RELAYS"]]))]).await;
    for start in ["before a restart", "after it"] {
        // NIP-59 dates them up to two days back.
        let new = wrap(86_400);
        client.publish(&[&new]).await;
        client.refused(&old, "blocked: the recipient ").await;
        client.refused(&own, "blocked: the author ").await;
        let mut reader = relay.client().await;
        reader.auth(&key).await;
        assert_eq!(reader.ids(json!({"ids": [old.id(), new.id()]})).await, [new.id()], "{start}");
        relay.restart();
        client = relay.client().await;
    }
}
