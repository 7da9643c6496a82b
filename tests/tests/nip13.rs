//! NIP-13: proof of work, when it is asked for.

use serde_json::json;

use crate::harness::{Event, Key, Relay};

const MIN: u32 = 8;

fn bits(event: &Event) -> u32 {
    u32::from_str_radix(&event.id()[..8], 16).unwrap().leading_zeros()
}

/// An event with at least `min` and fewer than `max` bits that commits to `target`.
fn mined(key: &Key, min: u32, max: u32, target: Option<u32>) -> Event {
    (0..)
        .map(|nonce: u32| {
            let mut tag = vec!["nonce".to_owned(), nonce.to_string()];
            tag.extend(target.map(|target| target.to_string()));
            key.event(json!({"content": "work", "tags": [tag]}))
        })
        .find(|event| (min..max).contains(&bits(event)))
        .unwrap()
}

#[tokio::test]
async fn work_is_demanded() {
    let relay = Relay::with(&format!("[limits]\npow_min = {MIN}"));
    let mut client = relay.client().await;
    let key = Key::new();
    let text = client.refused(&mined(&key, 0, MIN, Some(MIN)), "pow: ").await;
    assert!(text.contains('8'), "says how much is needed: {text}");
    client.publish(&[&mined(&key, MIN, 33, Some(MIN))]).await;
    client.publish(&[&mined(&key, MIN, 33, Some(MIN + 10)), &mined(&key, MIN + 2, 33, Some(MIN + 2))]).await;
    // Lucky, but it committed to less.
    client.refused(&mined(&key, MIN, 33, Some(MIN - 1)), "pow: ").await;
    client.auth(&key).await;
    client.fence().await;
}

#[tokio::test]
async fn no_work_is_demanded_unless_configured() {
    let relay = Relay::start();
    let mut client = relay.client().await;
    let key = Key::new();
    client.publish(&[&mined(&key, 0, 4, Some(30)), &mined(&key, 0, 4, None)]).await;
}
