//! Slices of rooms that are files, in the running relay: loaded, changed, and stuck.

use std::time::Instant;

use picofeed::{Feed, Format, Secret};
use serde_json::{Value, json};

use crate::harness::pico::{Node, live};
use crate::harness::{PATIENCE, Relay};
use crate::slices::{SHORT, STUCK, write};

/// A chain of one author: bodies are CBOR `[collection, payload, 0]`, both texts.
fn chain(author: u8, blocks: &[(&str, &str)]) -> Feed {
    let text = |text: &str| [&[0x60 + text.len() as u8][..], text.as_bytes()].concat();
    let mut feed = Feed::new(Format::V8);
    for (collection, payload) in blocks {
        let body = [&[0x83][..], &text(collection), &text(payload), &[0]].concat();
        feed.append(&body, &Secret::ed25519([author; 32])).unwrap();
    }
    feed
}

async fn node(relay: &Relay, room: &str, seed: u8) -> Node {
    Node::connect(&format!("{}/pico/{room}", relay.url), Format::V8, seed).await
}

/// A collection that keeps the last word of each author that `./lib/words.js` allows.
const WORDS: &str = "
    import { Memory } from '@telamon/picostore'
    import { allowed } from './lib/words.js'
    class Words extends Memory {
      compute (_, { payload, reject }) { return allowed(payload) ? payload : reject(`no ${payload}`) }
    }
    export default store => store.register('words', Words)";

fn allows(word: &str) -> String {
    format!("export const allowed = word => word === '{word}'")
}

fn words(relay: &Relay) -> Value {
    let answer = relay.http("GET /pico/talk/state/words", &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Sends the word by a new author until it is accepted.
async fn until_allowed(relay: &Relay, authors: &mut u8, word: &str) {
    let mut writer = node(relay, "talk", 1).await;
    let began = Instant::now();
    let before = words(relay).as_object().unwrap().len();
    while words(relay).as_object().unwrap().len() == before {
        assert!(began.elapsed() < PATIENCE, "{word} is never allowed");
        *authors += 1;
        let decided = ["new", "rejected"].map(|outcome| blocks(relay, outcome)).iter().sum::<f64>();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        writer.send(live(&chain(*authors, &[("words", word)]).encode())).await;
        while ["new", "rejected"].map(|outcome| blocks(relay, outcome)).iter().sum::<f64>() == decided {
            assert!(began.elapsed() < PATIENCE, "{word} is never decided on");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert!(words(relay).as_object().unwrap().values().any(|value| value == word));
}

fn blocks(relay: &Relay, outcome: &str) -> f64 {
    relay.metric("picorelay_pico_blocks_total", &format!("outcome=\"{outcome}\""))
}

#[tokio::test]
async fn slices_change_while_the_relay_runs() {
    for by_signal in [false, true] {
        let every = if by_signal { 0 } else { 1 };
        let mut relay = Relay::with(&format!("[engine]\nreload_seconds = {every}"));
        let folder = relay.data().join("slices/talk");
        let told = |relay: &Relay| {
            if by_signal {
                relay.hang_up();
            }
        };
        write(&folder.join("words.js"), WORDS);
        write(&folder.join("lib/words.js"), &allows("one"));
        relay.restart();
        assert_eq!(words(&relay), json!({}), "at once");
        let mut authors = 0;
        until_allowed(&relay, &mut authors, "one").await;
        // A file that is imported.
        write(&folder.join("lib/words.js"), &allows("two"));
        told(&relay);
        until_allowed(&relay, &mut authors, "two").await;
        // What does not load changes nothing: neither a file that is wrong ..
        write(&folder.join("lib/words.js"), "export const allowed = ");
        told(&relay);
        relay.until_log("the old ones go on").await;
        relay.until_log("lib/words.js:1").await;
        until_allowed(&relay, &mut authors, "two").await;
        // .. nor one that is not there; when it comes, it is loaded.
        write(&folder.join("words.js"), &WORDS.replace("lib/words", "lib/more"));
        told(&relay);
        relay.until_log("lib/more.js").await;
        until_allowed(&relay, &mut authors, "two").await;
        write(&folder.join("lib/more.js"), &allows("three"));
        write(&folder.join("words.js"), &WORDS.replace("lib/words", "lib/more").replace("no $", "not $"));
        told(&relay);
        until_allowed(&relay, &mut authors, "three").await;
        // Another file beside it.
        write(&folder.join("more.js"), &WORDS.replace("'words'", "'others'").replace("lib/words", "lib/more"));
        told(&relay);
        let began = Instant::now();
        while relay.http("GET /pico/talk/state/others", &[]).status != 200 {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // The state has outlived all of this.
        let before = words(&relay);
        assert!(before.as_object().unwrap().len() >= 5);
        relay.restart();
        assert_eq!(words(&relay), before);
    }
}

#[tokio::test]
async fn a_room_whose_slice_cannot_be_stopped_holds_up_nobody_else() {
    let text = format!(
        "{STUCK}
        import {{ Memory }} from '@telamon/picostore'
        class Words extends Memory {{ compute (_, {{ payload }}) {{ if (payload === 'stuck') stuck(); return payload }} }}
        export default store => store.register('words', Words)"
    );
    let mut relay = Relay::with(SHORT);
    for room in ["talk", "other"] {
        write(&relay.data().join("slices").join(room).join("words.js"), &text);
    }
    relay.restart();
    let (mut writer, mut other) = (node(&relay, "talk", 1).await, node(&relay, "other", 1).await);
    writer.send(live(&chain(2, &[("words", "fine")]).encode())).await;
    relay.until_blocks(1).await;
    let before = words(&relay);
    // A good block in the same message is not kept either: what the engine was about is given up.
    writer.send(live(&chain(3, &[("words", "good"), ("words", "stuck")]).encode())).await;
    relay.until_metric("picorelay_script_stuck", "", 1.0).await;
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"failed\"", 2.0).await;
    relay.until_log("cannot be stopped").await;
    // The room takes nothing, and shows and hands out what it has.
    writer.send(live(&chain(4, &[("words", "fine")]).encode())).await;
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"failed\"", 3.0).await;
    assert_eq!(words(&relay), before);
    assert_eq!(node(&relay, "talk", 9).await.ids().len(), 1);
    // Others go on: rooms with the same slice, rooms without, events.
    other.send(live(&chain(2, &[("words", "fine")]).encode())).await;
    node(&relay, "main", 1).await.send(live(&chain(2, &[("x", "y")]).encode())).await;
    relay.until_blocks(3).await;
    let key = crate::harness::Key::new();
    assert!(relay.client().await.offer(&key.event(json!({"content": "hello"}))).await.0);
    // And it can be stopped.
    let began = Instant::now();
    relay.restart();
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    assert_eq!(words(&relay), before);
    let mut writer = node(&relay, "talk", 1).await;
    writer.send(live(&chain(3, &[("words", "good")]).encode())).await;
    relay.until_blocks(1).await;
    assert_eq!(words(&relay).as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn a_room_whose_slice_is_stuck_while_it_is_loaded_holds_up_nobody_else() {
    let mut relay = Relay::with(SHORT);
    write(&relay.data().join("slices/talk/words.js"), &format!("{STUCK}\nstuck()\n{WORDS}"));
    write(&relay.data().join("slices/talk/lib/words.js"), &allows("fine"));
    relay.restart();
    assert_eq!(relay.http("GET /pico/talk/state/words", &[]).status, 503);
    let (mut writer, mut other) = (node(&relay, "talk", 1).await, node(&relay, "main", 1).await);
    writer.send(live(&chain(2, &[("words", "fine")]).encode())).await;
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"failed\"", 1.0).await;
    other.send(live(&chain(2, &[("words", "fine")]).encode())).await;
    relay.until_blocks(1).await;
    relay.stop();
}

#[tokio::test]
async fn a_slice_that_was_stuck_and_comes_back_lets_its_room_go_on() {
    let text = format!(
        "{STUCK}
        import {{ Memory }} from '@telamon/picostore'
        const compute = (_, {{ payload }}) => {{ if (payload === 'stuck') for (let n = 0; n < 20; n++) large * large; return payload }}
        class Words extends Memory {{ compute (...all) {{ return compute(...all) }} }}
        export default store => store.register('words', Words)"
    );
    let limits = "[script]\ncall_ms_max = 50\nload_ms_max = 200\nstuck_ms_max = 300\n[engine]\nreload_seconds = 1";
    let mut relay = Relay::with(limits);
    let path = relay.data().join("slices/talk/words.js");
    write(&path, &text);
    write(
        &relay.data().join("slices/talk/other.js"),
        &WORDS
            .replace("'words'", "'others'")
            .replace("allowed(payload)", "true")
            .replace("import { allowed } from './lib/words.js'", ""),
    );
    relay.restart();
    let mut writer = node(&relay, "talk", 1).await;
    writer.send(live(&chain(2, &[("words", "stuck")]).encode())).await;
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"failed\"", 1.0).await;
    relay.until_log("has come to an end").await;
    assert_eq!(words(&relay), json!({}));
    // The room goes on without the slice, until its file changes.
    writer.send(live(&chain(3, &[("words", "fine")]).encode())).await;
    relay.until_metric("picorelay_pico_rejected_total", "slice=\"words\"", 1.0).await;
    writer.send(live(&chain(4, &[("others", "fine")]).encode())).await;
    relay.until_blocks(1).await;
    let mut authors = 4;
    write(&path, &text.replace("'stuck'", "'stuck then'"));
    until_allowed(&relay, &mut authors, "stuck").await;
    relay.stop();
}
