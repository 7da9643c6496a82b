//! Events that are not what they say.

use pico_bridge::{Context, Head, Mode, Parts, unwrap};
use picofeed::{Format, Limits};
use serde_json::{Value, json};

use crate::{
    common::{context, parts, room},
    golden::{events, feed},
};

/// Cases with the reason, made from the events of a feed by changing one thing.
pub(crate) fn vectors() -> Value {
    let cases = cases().into_iter().map(|(about, event)| {
        let reason = read(&parts(&event)).unwrap_err();
        json!({ "about": about, "reason": reason, "event": event })
    });
    json!({
        "about": "Events that must be refused. Their ids and signatures are those of the events they were made from, and \
            not to be looked at here. `reason` is how this implementation puts it.",
        "cases": cases.collect::<Vec<_>>(),
    })
}

fn read(parts: &Parts<'_>) -> Result<(), String> {
    match parts.kind {
        37420 => Head::parse(parts).map(drop).map_err(|error| error.to_string()),
        _ => unwrap(parts, &Limits::default()).map(drop).map_err(|error| error.to_string()),
    }
}

fn cases() -> Vec<(String, Value)> {
    let room = room();
    let wrapped = |format: Format, at: usize| {
        let feed = feed(format);
        events(&feed[at], &Context { mode: Mode::Wrap, ..context(&room, feed[0].id(), at as u64 + 1) })
    };
    let mut cases = Vec::new();
    let mut case = |about: &str, event: &Value, change: &dyn Fn(&mut Value)| {
        let mut event = event.clone();
        change(&mut event);
        cases.push((about.to_owned(), event));
    };
    let genesis = &wrapped(Format::V8, 0)[0];
    let child = &wrapped(Format::V8, 1)[0];
    let v3 = &wrapped(Format::V3, 1)[0];
    let pop02 = &wrapped(Format::Pop02, 2)[0];
    let other = &wrapped(Format::V8, 2)[0];

    case("another kind", genesis, &|event| event["kind"] = json!(1));
    for what in ["block", "chain", "author", "parent", "room"] {
        case(&format!("without {what}"), child, &|event| tags(event).retain(|tag| !is(tag, what)));
        case(&format!("{what} twice"), child, &|event| {
            let tag = tags(event).iter().find(|tag| is(tag, what)).unwrap().clone();
            tags(event).push(tag);
        });
        case(&format!("{what} in upper case"), child, &|event| {
            let tag = tags(event).iter_mut().find(|tag| is(tag, what)).unwrap();
            let (prefix, value) = tag[1].as_str().unwrap().rsplit_once(':').unwrap();
            tag[1] = json!(format!("{prefix}:{}", value.to_uppercase()));
        });
        if what != "room" {
            case(&format!("{what} of something else"), child, &|event| {
                let tag = tags(event).iter_mut().find(|tag| is(tag, what)).unwrap();
                let last = tag[1].as_str().unwrap().ends_with('0');
                let mut value = tag[1].as_str().unwrap().to_owned();
                value.pop();
                value.push(if last { '1' } else { '0' });
                // A chain is only known to be wrong if it is the block itself, or the block a genesis.
                let id = event_id(event);
                let tag = tags(event).iter_mut().find(|tag| is(tag, what)).unwrap();
                tag[1] = json!(if what == "chain" { format!("pico:chain:{id}") } else { value });
            });
        }
    }
    case("genesis of another chain", genesis, &|event| {
        let tag = tags(event).iter_mut().find(|tag| is(tag, "chain")).unwrap();
        tag[1] = json!(format!("pico:chain:{}", "ab".repeat(64)));
    });
    case("genesis with a parent", genesis, &|event| {
        tags(event).push(json!(["i", format!("pico:parent:{}", "ab".repeat(64))]));
    });
    case("without k", genesis, &|event| tags(event).retain(|tag| tag[0] != "k"));
    case("without format", genesis, &|event| tags(event).retain(|tag| tag[0] != "format"));
    for (name, event, formats) in [
        ("v8", genesis, ["v3", "pop02", "v9", ""]),
        ("v3", v3, ["v8", "pop02", "V3", ""]),
        ("pop02", pop02, ["v8", "v3", "PIC0", ""]),
    ] {
        for format in formats {
            case(&format!("{name} called {format:?}"), event, &|event| {
                tags(event).iter_mut().find(|tag| tag[0] == "format").unwrap()[1] = json!(format);
            });
        }
    }
    for (name, event) in [("v8", child), ("v3", v3), ("pop02", pop02)] {
        case(&format!("{name} by another author"), event, &|event| {
            let tag = tags(event).iter_mut().find(|tag| is(tag, "author")).unwrap();
            tag[1] = json!(format!("pico:author:{}", feed(Format::V8)[2].author()));
            if name == "pop02" {
                tag[1] = json!(format!("pico:author:{}", feed(Format::Pop02)[0].author()));
            }
        });
        case(&format!("{name}, cut"), event, &|event| {
            let content = event["content"].as_str().unwrap();
            event["content"] = json!(&content[..content.len() - 4]);
        });
        case(&format!("{name}, followed by something"), event, &|event| {
            let bytes = [decode(event), vec![0]].concat();
            event["content"] = json!(data_encoding::BASE64.encode(&bytes));
        });
        case(&format!("{name}, body changed"), event, &|event| {
            let mut bytes = decode(event);
            *bytes.last_mut().unwrap() ^= 1;
            event["content"] = json!(data_encoding::BASE64.encode(&bytes));
        });
    }
    case("pop02 with the end flag", pop02, &|event| {
        let mut bytes = decode(event);
        bytes[0] |= 8;
        event["content"] = json!(data_encoding::BASE64.encode(&bytes));
    });
    case("content of another block", child, &|event| event["content"] = other["content"].clone());
    case("empty", genesis, &|event| event["content"] = json!(""));
    case("base64 without padding", v3, &|event| {
        let mut bytes = decode(event);
        bytes.truncate(bytes.len() / 3 * 3 - 1);
        event["content"] = json!(data_encoding::BASE64_NOPAD.encode(&bytes));
    });
    case("base64 of the other alphabet", genesis, &|event| {
        event["content"] = json!(event["content"].as_str().unwrap().replace('/', "_").replace('+', "-"));
    });
    case("base64 with a line end", genesis, &|event| {
        event["content"] = json!(format!("{}\n", event["content"].as_str().unwrap()));
    });
    let head = &wrapped(Format::V8, 1)[1];
    for name in ["d", "height"] {
        case(&format!("head without {name}"), head, &|event| tags(event).retain(|tag| tag[0] != name));
    }
    for height in ["0", "02", "+2", "-1", "x", "", "1", "18446744073709551616"] {
        case(&format!("head of height {height:?}"), head, &|event| {
            tags(event).iter_mut().find(|tag| tag[0] == "height").unwrap()[1] = json!(height);
        });
    }
    cases
}

fn tags(event: &mut Value) -> &mut Vec<Value> {
    event["tags"].as_array_mut().unwrap()
}

fn is(tag: &Value, what: &str) -> bool {
    tag[1].as_str().unwrap().starts_with(&format!("pico:{what}:"))
}

fn event_id(event: &mut Value) -> String {
    let tag = tags(event).iter().find(|tag| is(tag, "block")).unwrap();
    tag[1].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned()
}

fn decode(event: &Value) -> Vec<u8> {
    data_encoding::BASE64.decode(event["content"].as_str().unwrap().as_bytes()).unwrap()
}

#[test]
fn what_is_not_pico_may_stand_beside() {
    let room = room();
    let feed = feed(Format::V8);
    let mut event = events(&feed[0], &Context { mode: Mode::Wrap, ..context(&room, feed[0].id(), 1) }).remove(0);
    tags(&mut event).extend([json!(["-"]), json!(["i", "https://example.com"]), json!(["k", "web"]), json!(["i"])]);
    assert_eq!(unwrap(&parts(&event), &Limits::default()).unwrap().block, feed[0]);
}
