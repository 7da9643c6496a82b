//! `docs/nostr-pico.md` says what the crate does.

use std::fs;

use serde_json::Value;

/// Every JSON object in the specification is an event of the golden vectors.
#[test]
fn examples_are_from_the_vectors() {
    let root = env!("CARGO_MANIFEST_DIR");
    let spec = fs::read_to_string(format!("{root}/../docs/nostr-pico.md")).unwrap();
    let mut events = Vec::new();
    for name in ["blocks", "frames", "copies"] {
        let vectors: Value = serde_json::from_slice(&fs::read(format!("{root}/vectors/{name}.json")).unwrap()).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            events.extend(case["events"].as_array().into_iter().flatten().cloned());
            events.extend(Some(case["event"].clone()));
        }
    }
    let examples = spec.split("```json\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let mut kinds = Vec::new();
    for example in examples {
        let example: Value = serde_json::from_str(example).unwrap();
        assert!(events.contains(&example), "not in the vectors: {example}");
        kinds.push(example["kind"].as_u64().unwrap());
    }
    assert_eq!(kinds, [7420, 37420, 27420, 1]);
}
