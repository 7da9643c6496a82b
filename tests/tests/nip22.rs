//! NIP-22: comments are found by their upper-case tags.

use serde_json::json;

use crate::harness::{Key, Shared};

static RELAY: Shared = Shared::new();

#[tokio::test]
async fn upper_case_tags_are_indexed_apart() {
    let relay = RELAY.relay();
    let mut client = relay.client().await;
    let (author, root) = (Key::new(), Key::new().public());
    let parent = Key::new().public();
    let comment = author.event(json!({"kind": 1111, "content": "a comment", "tags": [
        ["E", root, "", author.public()], ["K", "1063"], ["P", author.public()], ["A", format!("30023:{root}:x")],
        ["I", "https://example.com/#x"], ["e", parent], ["k", "1111"], ["p", author.public()]
    ]}));
    client.subscribe("live", json!({"#E": [root], "kinds": [1111]})).await;
    client.publish(&[&comment]).await;
    assert_eq!(client.event_of("live").await, comment);
    for (filter, found) in [
        (json!({"#E": [root]}), true),
        (json!({"#e": [root]}), false),
        (json!({"#e": [parent]}), true),
        (json!({"#E": [parent]}), false),
        (json!({"#A": [format!("30023:{root}:x")]}), true),
        (json!({"#a": [format!("30023:{root}:x")]}), false),
        (json!({"#P": [author.public()], "#K": ["1063"]}), true),
        (json!({"#P": [author.public()], "#K": ["1111"]}), false),
        (json!({"#I": ["https://example.com/#x"], "#k": ["1111"], "authors": [author.public()]}), true),
    ] {
        let filter_text = filter.to_string();
        assert_eq!(client.ids(filter.clone()).await.len(), usize::from(found), "{filter_text}");
        assert_eq!(client.count(filter).await["count"], u64::from(found), "{filter_text}");
    }
}
