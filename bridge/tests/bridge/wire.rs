//! What real nodes sent each other, as recorded in the vectors of picofeed.

use std::fs;

use pico_bridge::{Body, Frame, unwrap, wrap};
use picofeed::{Feed, Id, Limits};
use serde_json::Value;

use crate::common::{context, room, unhex};

#[test]
fn recorded_frames_and_blocks_go_there_and_back() {
    let path = format!("{}/picofeed/tests/vectors/wire.json", env!("CARGO_MANIFEST_DIR"));
    let wire: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for generation in ["generation_1", "generation_2"] {
        let steps = wire[generation]["steps"].as_array().unwrap();
        let frames: Vec<&Value> = steps.iter().flat_map(|step| step["frames"].as_array().unwrap()).collect();
        let blocks: usize = frames.iter().map(|frame| check(frame)).sum();
        assert!(blocks > 5, "{generation}");
    }
}

/// How many blocks there were in the frame.
fn check(recorded: &Value) -> usize {
    let bytes = unhex(&recorded["hex"]);
    let frame = Frame { room: room(), to: Some([7; 32]), bytes };
    assert_eq!(Frame::parse(&frame.draft(0).unwrap().parts(), 1 << 20), Ok(frame.clone()));
    if recorded["type"] != "BLOCKS" {
        return 0;
    }
    let limits = Limits::default();
    let feed = Feed::decode_any(frame.bytes[6..].to_vec(), &limits).unwrap().verify(&limits).unwrap();
    for (block, said) in feed.iter().zip(recorded["blocks"].as_array().unwrap()) {
        // Hand-written by the recorder: `["notes","alice 0",1700000000000]` or `{"text":"alice 0",..}`.
        let said: Value = serde_json::from_str(said["body"].as_str().unwrap()).unwrap();
        let text = said.get("text").or_else(|| said.get(1)).unwrap();
        let date = said.get("date").or_else(|| said.get(2)).unwrap();
        let Body::Record(record) = Body::of(block) else { panic!("not a record") };
        assert_eq!(date.as_f64().unwrap(), record.date.unwrap() as f64);
        let room = room();
        let drafts = wrap(block, &context(&room, Id::from([9; 64]), 2));
        assert_eq!(&drafts[2].content, text.as_str().unwrap());
        assert_eq!(unwrap(&drafts[0].parts(), &limits).unwrap().block, *block);
    }
    feed.len()
}
