//! The information document (NIP-11). Everything in it derives from the running configuration.

use serde_json::{Map, Value, json};

use crate::config::{Config, Limits};
use crate::nips;

/// `software`: a URL.
pub const SOFTWARE: &str = env!("CARGO_PKG_REPOSITORY");
/// `version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Characters of a subscription id (NIP-01).
pub const SUBSCRIPTION_ID_CHARS_MAX: usize = 64;

/// The headers that the NIP demands with the document, and in the answer to OPTIONS.
pub const CORS_HEADERS: [(&str, &str); 3] = [
    ("access-control-allow-origin", "*"),
    // The wildcard does not cover Authorization (Fetch, CORS protocol).
    ("access-control-allow-headers", "*, authorization"),
    ("access-control-allow-methods", "GET, OPTIONS"),
];

/// True when an `Accept` header asks for the document: its type is in the list, whatever else is.
pub fn is_asked_for(accept: &str) -> bool {
    let is_ours = |part: &str| part.split(';').next().is_some_and(|kind| kind.trim() == "application/nostr+json");
    accept.to_ascii_lowercase().split(',').any(is_ours)
}

/// The document. `relay_key`: the relay's own public key, 64 hex digits.
pub fn document(config: &Config, relay_key: Option<&str>) -> Value {
    let info = &config.info;
    let mut fields = Map::new();
    let texts = [
        ("name", info.name.as_str()),
        ("description", &info.description),
        ("banner", &info.banner),
        ("icon", &info.icon),
        ("pubkey", &info.pubkey),
        ("self", relay_key.unwrap_or("")),
        ("contact", &info.contact),
        ("terms_of_service", &info.terms_of_service),
        ("software", SOFTWARE),
        ("version", VERSION),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        fields.insert(name.to_owned(), text.into());
    }
    let supported: Vec<u16> = nips::active(config).map(|nip| nip.number).collect();
    fields.insert("supported_nips".to_owned(), supported.into());
    fields.insert("limitation".to_owned(), limitation(&config.limits, config.auth.required));
    Value::Object(fields)
}

fn limitation(limits: &Limits, auth_required: bool) -> Value {
    let mut fields = json!({
        "max_message_length": limits.message_bytes_max,
        "max_subscriptions": limits.subscriptions_max,
        "max_subid_length": SUBSCRIPTION_ID_CHARS_MAX,
        "max_limit": limits.limit_max,
        "max_event_tags": limits.event_tags_max,
        "max_content_length": limits.content_chars_max,
        "min_pow_difficulty": limits.pow_min,
        "auth_required": auth_required,
        "payment_required": false,
        "restricted_writes": limits.pow_min > 0,
        "default_limit": limits.limit_default,
    });
    let ages = [
        ("created_at_lower_limit", limits.created_at_past_seconds_max),
        ("created_at_upper_limit", limits.created_at_future_seconds_max),
    ];
    for (name, seconds) in ages.into_iter().filter(|(_, seconds)| *seconds > 0) {
        if let Value::Object(fields) = &mut fields {
            fields.insert(name.to_owned(), seconds.into());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_follows_the_configuration() {
        let mut config = Config::default();
        let document = super::document(&config, None);
        assert_eq!(document["supported_nips"], json!([1, 4, 9, 11, 13, 17, 40, 42, 45, 50, 59, 62, 65, 66, 70, 77]));
        assert_eq!(document["limitation"]["created_at_upper_limit"], 900);
        assert_eq!(document["limitation"]["restricted_writes"], false);
        for absent in ["self", "pubkey", "icon"] {
            assert_eq!(document.get(absent), None, "{absent}");
        }
        assert_eq!(document["limitation"].get("created_at_lower_limit"), None);

        config.search.enabled = false;
        config.negentropy.enabled = false;
        config.limits.pow_min = 16;
        config.limits.created_at_past_seconds_max = 60;
        config.auth.required = true;
        config.limits.eose_hints = true;
        config.info.contact = "mailto:me@example.com".into();
        let document = super::document(&config, Some("ab"));
        assert_eq!(document["supported_nips"], json!([1, 4, 9, 11, 13, 17, 40, 42, 45, 59, 62, 65, 66, 67, 70]));
        assert_eq!(document["self"], "ab");
        assert_eq!(document["contact"], "mailto:me@example.com");
        assert_eq!(document["limitation"]["min_pow_difficulty"], 16);
        assert_eq!(document["limitation"]["restricted_writes"], true);
        assert_eq!(document["limitation"]["auth_required"], true);
        assert_eq!(document["limitation"]["created_at_lower_limit"], 60);
    }

    #[test]
    fn it_is_asked_for_by_type_in_a_list() {
        for (accept, asked) in [
            ("application/nostr+json", true),
            ("text/html, Application/Nostr+JSON;q=0.9", true),
            ("application/nostr+json+rpc", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(is_asked_for(accept), asked, "{accept}");
        }
    }
}
