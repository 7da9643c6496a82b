//! NIP-11: the information document, derived from the running configuration.

use serde_json::{Value, json};

use crate::harness::{Key, Relay, Shared};

static RELAY: Shared = Shared::new();

const ACCEPT: &str = "application/nostr+json";

fn document(relay: &Relay) -> Value {
    let response = relay.http("GET /", &[("Accept", ACCEPT)]);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[test]
fn is_found_by_its_media_type() {
    let relay = RELAY.relay();
    for accept in [ACCEPT, "text/html, application/nostr+json;q=0.9", "APPLICATION/NOSTR+JSON"] {
        let response = relay.http("GET /", &[("Accept", accept)]);
        assert_eq!(response.status, 200);
        assert!(response.header("content-type").starts_with(ACCEPT), "{accept}: {response:?}");
        assert!(response.json()["supported_nips"].is_array());
        for header in ["origin", "headers", "methods"] {
            let name = format!("access-control-allow-{header}");
            assert!(!response.header(&name).is_empty(), "{name} is missing");
        }
        assert_eq!(response.header("access-control-allow-origin"), "*");
        // A cache must not give it to those who ask for the page.
        assert!(response.header("vary").contains("accept"), "{response:?}");
    }
    for accept in ["text/html", "application/json", "*/*", "application/nostr+json+rpc"] {
        let response = relay.http("GET /", &[("Accept", accept)]);
        assert!(response.header("content-type").starts_with("text/html"), "{accept}: {response:?}");
        assert!(response.header("vary").contains("accept"), "{response:?}");
    }
}

#[test]
fn says_what_it_supports() {
    let relay = RELAY.relay();
    let document = document(&relay);
    let nips: Vec<u64> = document["supported_nips"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    for nip in [1, 4, 9, 11, 13, 17, 40, 42, 45, 50, 59, 62, 65, 66, 70, 77] {
        assert!(nips.contains(&nip), "{nip} is missing in {nips:?}");
    }
    assert!(nips.is_sorted());
    assert!(document["software"].as_str().unwrap().starts_with("http"));
    assert!(!document["version"].as_str().unwrap().is_empty());
    assert!(!document["name"].as_str().unwrap().is_empty());
    for gone in ["retention", "relay_countries", "language_tags", "tags", "posting_policy", "privacy_policy"] {
        assert!(document.get(gone).is_none(), "{gone} was removed from the NIP");
    }
    let limitation = &document["limitation"];
    for (name, wanted) in [
        ("max_message_length", json!(512 * 1024)),
        ("max_subscriptions", json!(100)),
        ("max_subid_length", json!(64)),
        ("max_limit", json!(5000)),
        ("default_limit", json!(500)),
        ("max_event_tags", json!(5000)),
        ("max_content_length", json!(200_000)),
        ("created_at_upper_limit", json!(900)),
        ("auth_required", json!(false)),
        ("payment_required", json!(false)),
        ("restricted_writes", json!(false)),
    ] {
        assert_eq!(limitation[name], wanted, "{name}");
    }
}

#[test]
fn follows_the_configuration() {
    let operator = Key::new().public();
    let relay = Relay::with(&format!(
        r#"
        [info]
        name = "a \"quoted\" <name>"
        description = "for tests"
        pubkey = "{operator}"
        contact = "mailto:me@example.com"
        icon = "https://example.com/icon.png"
        banner = "https://example.com/banner.png"
        terms_of_service = "https://example.com/terms"
        [limits]
        message_bytes_max = 100000
        subscriptions_max = 7
        limit_max = 9
        limit_default = 8
        event_tags_max = 6
        content_chars_max = 5
        pow_min = 4
        created_at_past_seconds_max = 1000
        created_at_future_seconds_max = 30
        [auth]
        required = true
        [search]
        enabled = false
        [negentropy]
        enabled = false
        "#
    ));
    let document = document(&relay);
    for (name, wanted) in [
        ("name", "a \"quoted\" <name>"),
        ("description", "for tests"),
        ("pubkey", operator.as_str()),
        ("contact", "mailto:me@example.com"),
        ("icon", "https://example.com/icon.png"),
        ("banner", "https://example.com/banner.png"),
        ("terms_of_service", "https://example.com/terms"),
    ] {
        assert_eq!(document[name], wanted);
    }
    for (name, wanted) in [
        ("max_message_length", json!(100_000)),
        ("max_subscriptions", json!(7)),
        ("max_limit", json!(9)),
        ("default_limit", json!(8)),
        ("max_event_tags", json!(6)),
        ("max_content_length", json!(5)),
        ("min_pow_difficulty", json!(4)),
        ("created_at_lower_limit", json!(1000)),
        ("created_at_upper_limit", json!(30)),
        ("auth_required", json!(true)),
    ] {
        assert_eq!(document["limitation"][name], wanted, "{name}");
    }
    let nips = document["supported_nips"].as_array().unwrap();
    assert!(!nips.contains(&json!(50)) && !nips.contains(&json!(77)), "{nips:?}");
    let page = relay.http("GET /", &[]);
    assert!(!page.body.contains("<name>"), "the landing page escapes what the operator wrote");
}
