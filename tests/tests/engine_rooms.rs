//! Rooms with slices: what is rejected is neither kept nor told, state is shown and survives.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use picofeed::{Block, Feed, Format, Secret};
use serde_json::{Value, json};

use crate::bridge::{self, relay_key};
use crate::harness::pico::{Node, live};
use crate::harness::{Event, Key, PATIENCE, Relay, asks_and_reads_nothing, is_let_go, picorelay};

const SHORT: Duration = Duration::from_millis(300);

const TASKS: &str = "[[pico.room]]\nname = \"tasks\"\nslices = [\"tasks\"]\n";

/// A MessagePack map of texts, as generation 1 writes bodies; `taskId` is binary.
fn body(fields: &[(&str, &str)], task: Option<&Block>) -> Vec<u8> {
    let text = |text: &str| {
        let len = text.len() as u16;
        let head = if len < 256 { vec![0xd9, len as u8] } else { [&[0xda][..], &len.to_be_bytes()].concat() };
        [&head, text.as_bytes()].concat()
    };
    let mut bytes = vec![0xde, 0, (fields.len() + 1 + usize::from(task.is_some())) as u8];
    for (key, value) in fields {
        bytes.extend([text(key), text(value)].concat());
    }
    if let Some(task) = task {
        bytes.extend([text("taskId"), vec![0xc4, 64], task.id().as_ref().to_vec()].concat());
    }
    bytes.extend([text("date"), [&[0xcb][..], &1_700_000_000_000.0f64.to_be_bytes()].concat()].concat());
    bytes
}

fn task(title: &str) -> Vec<u8> {
    body(&[("type", "task"), ("title", title), ("status", "todo")], None)
}

fn update(task: &Block, status: &str) -> Vec<u8> {
    body(&[("type", "update"), ("status", status)], Some(task))
}

/// A feed of one author.
fn feed(seed: u8, bodies: &[Vec<u8>]) -> Feed {
    let mut feed = Feed::new(Format::V3);
    bodies.iter().for_each(|body| drop(feed.append(body, &Secret::ed25519([seed; 32])).unwrap()));
    feed
}

async fn node(relay: &Relay, room: &str, seed: u8) -> Node {
    Node::connect(&format!("{}/pico/{room}", relay.url), Format::V3, seed).await
}

fn state(relay: &Relay, path: &str) -> Value {
    let answer = relay.http(&format!("GET /pico/{path}"), &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn what_is_rejected_is_neither_kept_nor_told() {
    let relay = Relay::with(TASKS);
    let mut listener = node(&relay, "tasks", 9).await;
    let mut writer = node(&relay, "tasks", 1).await;
    let mut all = feed(1, &[task("Water plants")]);
    let plants = all.last().unwrap().clone();
    for body in [update(&plants, "done"), update(&plants, "eaten"), task("Walk the dog")] {
        all.append(&body, &Secret::ed25519([1; 32])).unwrap();
    }
    writer.send(live(&all.encode())).await;
    listener.until("the good ones", |node| node.ids().len() == 2).await;
    relay.until_metric("picorelay_pico_rejected_total", "slice=\"tasks\"", 2.0).await;
    assert_eq!(relay.metric("picorelay_pico_rejected_total", "reason=\"no such status\""), 2.0);
    listener.listen(SHORT).await;
    assert_eq!(listener.ids().len(), 2, "nothing of what was rejected");
    let fresh = node(&relay, "tasks", 8).await;
    assert_eq!(fresh.heights(), [2]);
    let tasks = state(&relay, "tasks/state/tasks");
    let task = &tasks[plants.id().to_string()];
    assert_eq!((&task["title"], &task["status"]), (&json!("Water plants"), &json!("done")));
    // Somebody else's chain may change it, too.
    writer.send(live(&feed(2, &[update(&plants, "todo")]).encode())).await;
    listener.until("the change", |node| node.ids().len() == 3).await;
    assert_eq!(state(&relay, &format!("tasks/state/tasks?id={}", plants.id()))["status"], "todo");
    // An archive beside it knows nothing of this.
    let mut other = node(&relay, "other", 1).await;
    other.send(live(&all.encode())).await;
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"new\"", 7.0).await;
    assert_eq!(relay.http("GET /pico/other/state/tasks", &[]).status, 404);
}

/// What the slices accept becomes an event; what they reject does not, and is not taken from one.
#[tokio::test]
async fn accepted_blocks_become_events() {
    let relay = Relay::with(TASKS);
    let own = relay_key(&relay);
    let named = |event: &Event| bridge::named(event, "block").unwrap();
    let mut client = relay.client().await;
    client.subscribe("live", json!({"kinds": [7420]})).await;
    let mut writer = node(&relay, "tasks", 1).await;
    let first = writer.write_bytes(&task("wash up")).await;
    assert_eq!(named(&client.event_of("live").await), first.id().to_string());

    // An event with a block of another author: the slices accept it, and it is not put into an event again.
    let other = feed(2, &[task("dust")]);
    let event = bridge::wrapped(&Key::new(), "tasks", &other[0], other[0].id());
    client.publish(&[&event]).await;
    writer.until_has(&other[0]).await;
    assert_eq!(client.event_of("live").await["id"], event["id"]);

    let bad = feed(3, &[b"no task".to_vec()]);
    client.publish(&[&bridge::wrapped(&Key::new(), "tasks", &bad[0], bad[0].id())]).await;
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"rejected\"", 1.0).await;

    let second = writer.write_bytes(&update(&first, "done")).await;
    let last = loop {
        let event = client.event_of("live").await;
        if event["pubkey"] == own {
            break event;
        }
    };
    assert_eq!(named(&last), second.id().to_string());
    assert_eq!(client.query(json!({"kinds": [7420], "authors": [own]})).await.len(), 2);
}

#[tokio::test]
async fn state_survives_kill_and_is_computed_anew() {
    let mut relay = Relay::with(TASKS);
    let mut writer = node(&relay, "tasks", 1).await;
    let mut all = feed(1, &[task("Water plants"), task("Walk the dog"), task("Sleep")]);
    let dog = all.blocks()[1].clone();
    all.append(&update(&dog, "done"), &Secret::ed25519([1; 32])).unwrap();
    writer.send(live(&all.encode())).await;
    relay.until_blocks(4).await;
    let before = state(&relay, "tasks/state/tasks");
    assert_eq!(before.as_object().unwrap().len(), 3);
    relay.kill9();
    relay.restart();
    assert_eq!(state(&relay, "tasks/state/tasks"), before);
    relay.stop();
    let data = relay.data();
    let data = data.to_str().unwrap();
    let folder = relay.data().parent().unwrap().to_path_buf();
    let reload = |args: &[&str]| picorelay(&folder, &[&["pico", "reload", "--data", data], args].concat());
    let done = reload(&["tasks"]);
    assert!(done.success, "{done:?}");
    for line in ["4 blocks", "3 objects", "0 objects changed", "0 blocks rejected"] {
        assert!(done.stdout.contains(line), "{done:?}");
    }
    assert!(!reload(&["other"]).success, "an archive has no slices");
    relay.restart();
    assert_eq!(state(&relay, "tasks/state/tasks"), before);
    // And it goes on from there.
    let mut writer = node(&relay, "tasks", 1).await;
    all.append(&update(&dog, "todo"), &Secret::ed25519([1; 32])).unwrap();
    writer.send(live(&all.encode())).await;
    relay.until_blocks(1).await;
    assert_eq!(state(&relay, &format!("tasks/state/tasks?id={}", dog.id()))["status"], "todo");
}

#[tokio::test]
async fn blocks_that_came_before_the_rules_are_only_dropped_when_asked() {
    let mut relay = Relay::with("");
    let mut writer = node(&relay, "tasks", 1).await;
    writer.send(live(&feed(1, &[task("Water plants"), b"chat".to_vec(), task("Sleep")]).encode())).await;
    relay.until_blocks(3).await;
    relay.stop();
    let folder = relay.data().parent().unwrap().to_path_buf();
    std::fs::write(folder.join("picorelay.toml"), TASKS).unwrap();
    let refused = picorelay(&folder, &["pico", "reload", "tasks"]);
    assert!(!refused.success && refused.stderr.contains("no slice accepts it"), "{refused:?}");
    let done = picorelay(&folder, &["pico", "reload", "tasks", "--drop"]);
    assert!(done.success && done.stdout.contains("2 blocks rejected"), "{done:?}");
    relay.restart();
    assert_eq!(node(&relay, "tasks", 2).await.heights(), [1]);
    assert_eq!(state(&relay, "tasks/state/tasks").as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn an_import_asks_the_slices() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("picorelay.toml"), TASKS).unwrap();
    std::fs::write(folder.path().join("a.pico"), feed(1, &[task("a"), task(""), task("c")]).encode()).unwrap();
    let done = picorelay(folder.path(), &["import", "a.pico", "--room", "tasks"]);
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(done.stdout.contains("1 new") && done.stdout.contains("2 rejected by tasks"), "{done:?}");
}

#[tokio::test]
async fn a_large_state_comes_in_pages() {
    let relay = Relay::with(&format!("{TASKS}\n[engine]\npage_objects_max = 10\n"));
    let mut writer = node(&relay, "tasks", 1).await;
    let bodies: Vec<Vec<u8>> = (0..25).map(|n| task(&format!("task {n}"))).collect();
    writer.send(live(&feed(1, &bodies).encode())).await;
    relay.until_blocks(25).await;
    let mut path = "/pico/tasks/state/tasks?limit=7".to_owned();
    let mut sizes = Vec::new();
    let mut all = serde_json::Map::new();
    loop {
        let answer = relay.http(&format!("GET {path}"), &[]);
        let page = answer.json().as_object().unwrap().clone();
        sizes.push(page.len());
        all.extend(page);
        let Some(next) = answer.header("link").strip_suffix(">; rel=\"next\"") else { break };
        path = next.strip_prefix('<').unwrap().to_owned();
    }
    assert_eq!((sizes, all.len()), (vec![7, 7, 7, 4], 25));
    assert_eq!(state(&relay, "tasks/state/tasks?limit=100").as_object().unwrap().len(), 10, "page_objects_max");
    for (query, status) in [
        ("?limit=0", 400),
        ("?limit=many", 400),
        ("?what=1", 400),
        ("?id=none", 404),
        ("?after=zz", 200),
        ("?after=%00%C3%BF", 200),
        ("?after=%00%ff", 400),
    ] {
        assert_eq!(relay.http(&format!("GET /pico/tasks/state/tasks{query}"), &[]).status, status, "{query}");
    }
    for path in ["/pico/tasks/state/nope", "/pico/main/state/tasks", "/pico/tasks/state/", "/pico/Tasks/state/tasks"] {
        assert_eq!(relay.http(&format!("GET {path}"), &[]).status, 404, "{path}");
    }
    assert_eq!(relay.http("GET /pico/nostr/state/tasks", &[]).status, 403);
    // A watch sends it in parts.
    let mut watch = Watch::open(&relay, "/pico/tasks/state/tasks");
    let parts: Vec<usize> = (0..3).map(|_| watch.next().1.as_object().unwrap().len()).collect();
    assert_eq!(parts, [10, 10, 5]);
}

/// A connection that reads server-sent events.
struct Watch(BufReader<TcpStream>);

impl Watch {
    fn open(relay: &Relay, path: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", relay.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n").unwrap();
        let mut lines = BufReader::new(socket);
        let mut head = String::new();
        while lines.read_line(&mut head).unwrap() > 2 {}
        assert!(head.contains("200 OK") && head.contains("text/event-stream"), "{head}");
        Self(lines)
    }

    /// The next event: its name, and its data.
    fn next(&mut self) -> (String, Value) {
        let (mut event, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
            if let Some(name) = line.strip_prefix("event: ") {
                event = name.trim().to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (event, serde_json::from_str(data).unwrap_or_else(|_| data.trim().into()));
            }
        }
    }

    fn has_ended(mut self) -> bool {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut self.0, &mut rest).is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_gets_the_value_and_then_every_change() {
    let mut relay = Relay::with(&format!("{TASKS}\n[engine]\nwatchers_max = 2\n"));
    let path = "/pico/tasks/state/tasks";
    let mut all = Watch::open(&relay, path);
    assert_eq!(all.next(), (String::new(), json!({})));
    let mut writer = node(&relay, "tasks", 1).await;
    let mut feed = feed(1, &[task("Water plants")]);
    let plants = feed.last().unwrap().clone();
    writer.send(live(&feed.encode())).await;
    let (event, change) = all.next();
    assert_eq!((event.as_str(), &change[plants.id().to_string()]["status"]), ("change", &json!("todo")));
    let mut one = Watch::open(&relay, &format!("{path}?id={}", plants.id()));
    assert_eq!(one.next().1["status"], "todo");
    let refused = relay.http(&format!("GET {path}"), &[("accept", "text/event-stream")]);
    assert_eq!(refused.status, 503, "watchers_max");
    feed.append(&update(&plants, "done"), &Secret::ed25519([1; 32])).unwrap();
    writer.send(live(&feed.encode())).await;
    assert_eq!(one.next(), (String::new(), all.next().1[plants.id().to_string()].clone()));
    relay.stop();
    assert!(one.has_ended() && all.has_ended());
}

/// A stream to somebody who does not read it ends, and its place is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_waits_for_nobody() {
    let relay = Relay::with(&format!("[server]\nsend_seconds = 1\n{TASKS}\n[engine]\nwatchers_max = 1\n"));
    let mut writer = node(&relay, "tasks", 1).await;
    let bodies: Vec<Vec<u8>> = (0..40).map(|n| task(&format!("{n} {}", "x".repeat(60_000)))).collect();
    writer.send(live(&feed(1, &bodies).encode())).await;
    relay.until_blocks(40).await;
    let path = "/pico/tasks/state/tasks";
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    let mut silent = asks_and_reads_nothing(relay.port, &request, 1).await;
    tokio::time::sleep(SHORT).await;
    let refused = relay.http(&format!("GET {path}"), &[("accept", "text/event-stream")]);
    assert_eq!(refused.status, 503, "the only place is taken");
    assert!(is_let_go(&mut silent).await, "it may wait for ever");
    Watch::open(&relay, path).next();
}

#[test]
fn what_is_asked_wrongly_is_refused() {
    let relay = Relay::with(TASKS);
    let path = "/pico/tasks/state/tasks";
    let stream = [("accept", "text/event-stream")];
    for (query, headers, why) in [
        ("?limit=1", &stream[..], "a stream sends all objects"),
        ("?after=a", &stream, "a stream sends all objects"),
        ("?id=a&after=b", &stream, "a stream sends all objects"),
        ("?after=%ff", &[], "a parameter is not UTF-8"),
        ("?id=%C3", &[], "a parameter is not UTF-8"),
        ("?id=%ff", &stream, "a parameter is not UTF-8"),
        ("?limit=0", &[], "limit is at least 1"),
        ("?limit=x", &[], "known are the parameters"),
        ("?before=1", &[], "known are the parameters"),
    ] {
        let answer = relay.http(&format!("GET {path}{query}"), headers);
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert!(answer.body.contains(why), "{query}: {answer:?}");
    }
    for query in ["?after=%C3%A4", "?after=%", "?after=%zz&limit=2", "?limit=1", ""] {
        assert_eq!(relay.http(&format!("GET {path}{query}"), &[]).status, 200, "{query}");
    }
}

#[tokio::test]
async fn one_author_writes_only_so_fast() {
    let relay = Relay::with(
        "[[pico.room]]\nname = \"slow\"\nslices = [\"rate\", \"archive\"]\n[engine]\nrate_blocks_per_minute = 1\nrate_burst = 5\n",
    );
    let mut writer = node(&relay, "slow", 1).await;
    let bodies: Vec<Vec<u8>> = (0..20).map(|n| vec![1, n]).collect();
    writer.send(live(&feed(1, &bodies).encode())).await;
    relay.until_metric("picorelay_pico_rejected_total", "slice=\"rate\"", 15.0).await;
    writer.send(live(&feed(2, &bodies).encode())).await;
    relay.until_metric("picorelay_pico_rejected_total", "slice=\"rate\"", 30.0).await;
    let mut fresh = node(&relay, "slow", 9).await;
    fresh.until("ten blocks", |node| node.ids().len() == 10).await;
    assert_eq!(state(&relay, "slow/state/rate").as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn a_room_whose_slices_cannot_be_loaded_takes_nothing() {
    let mut relay = Relay::with("");
    let folder = relay.data().join("slices").join("chess");
    relay.stop();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("rules.js"), "this is no script").unwrap();
    relay.restart();
    let mut writer = node(&relay, "chess", 1).await;
    writer.send(live(&feed(1, &[task("a")]).encode())).await;
    relay.until_metric("picorelay_pico_blocks_total", "outcome=\"not_loaded\"", 1.0).await;
    relay.until_log("the slices of the room cannot be loaded").await;
    let later = relay.http("GET /pico/chess/state/rules", &[]);
    assert_eq!((later.status, later.header("retry-after")), (503, "5"));
    // Other rooms are none the worse.
    let mut other = node(&relay, "main", 1).await;
    other.send(live(&feed(1, &[task("a")]).encode())).await;
    relay.until_blocks(1).await;
}
