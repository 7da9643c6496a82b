//! POP-04 as `tests/vectors/pop04.json` has it.

use pico_bridge::Page;
use picofeed::{Feed, Format, Key, Limits};
use serde_json::Value;

use crate::common::unhex;

#[test]
fn every_page_is_judged_as_the_vectors_say() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/pop04.json")).unwrap();
    let pages = vectors["pages"].as_array().unwrap();
    assert_eq!(pages.len(), 39);
    for page in pages {
        check(page, &vectors["identities"]);
    }
}

fn check(page: &Value, identities: &Value) {
    let id = &page["id"];
    let body = match page["body"].as_str() {
        Some(body) => body.as_bytes().to_vec(),
        None => from_recipe(page),
    };
    assert_eq!(body.len() as u64, page["body_len"].as_u64().unwrap(), "{id}");
    let author = identities.as_array().unwrap().iter().find(|identity| identity["name"] == page["author"]).unwrap();
    let author = author["pk"].as_str().unwrap().parse::<Key>().unwrap();
    if page["feed"].is_string() {
        let feed = Feed::decode(Format::V8, unhex(&page["feed"]), &Limits::default()).unwrap();
        let feed = feed.verify(&Limits::default()).unwrap();
        assert_eq!((feed[0].body(), feed[0].author()), (body.as_slice(), author), "{id}");
    }

    let expect = &page["expect"];
    match Page::parse(&body, &author) {
        Ok(page) => {
            assert_eq!(expect["valid"], true, "{id}");
            assert_eq!(expect["runlevel"], page.runlevel(), "{id}");
            assert_eq!(expect["headers"], serde_json::json!(page.headers()), "{id}");
            assert_eq!(expect["body_offset"], page.body_offset(), "{id}");
            assert_eq!(&body[page.body_offset()..], page.document(), "{id}");
            if let Some(custom_elements) = expect["custom_elements"].as_bool() {
                assert_eq!(custom_elements, page.custom_elements(), "{id}");
            }
        }
        Err(invalid) => assert_eq!(expect["reason"], invalid.to_string(), "{id}"),
    }
}

/// `"html0\n\n" followed by 65529 times "a"`
fn from_recipe(page: &Value) -> Vec<u8> {
    let words: Vec<&str> = page["body_recipe"].as_str().unwrap().split_whitespace().collect();
    let start: String = serde_json::from_str(words[0]).unwrap();
    let mut body = start.into_bytes();
    body.resize(body.len() + words[3].parse::<usize>().unwrap(), b'a');
    body
}
