//! `picorelay sync`: whole relays.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nostr_relay_builder::builder::RateLimit;
use nostr_relay_builder::{LocalRelay, RelayBuilder};
use serde_json::{Value, json};

use crate::harness::{
    Event, Key, Output, PATIENCE, Relay, Scripted, Tap, now, picorelay, picorelay_with_input, start_picorelay,
};

/// Notes of some people, a few in each second, profiles among them.
fn events(count: usize) -> Vec<Event> {
    let keys: Vec<Key> = (0..5).map(|_| Key::new()).collect();
    let draft = |n: usize| json!({"content": format!("note {n}"), "created_at": now() - 10_000 + n as u64 / 3});
    let mut events: Vec<Event> = (0..count).map(|n| keys[n % 5].event(draft(n))).collect();
    events.extend(keys.iter().map(|key| key.event(json!({"kind": 0, "content": "{}"}))));
    events
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<String> {
    events.into_iter().map(|event| event.id().to_owned()).collect()
}

/// Puts events into the data folder `data`.
fn import(folder: &Path, events: &[Event]) {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let output = picorelay_with_input(folder, &["import", "--trust", "--data", "data"], &lines);
    assert!(output.success, "{output:?}");
}

/// What is in the data folder `data`.
fn export(folder: &Path) -> BTreeSet<String> {
    let output = picorelay(folder, &["export", "--data", "data"]);
    assert!(output.success, "{output:?}");
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    output.stdout.lines().map(id).collect()
}

/// Options that make a test see more than one page, range and message.
const SMALL: &str = "[sync]\npage_events_max = 50\nrange_events_max = 200\nframe_bytes_max = 4096\npause_seconds_max = 1\n\
    answer_seconds = 2\nconnect_seconds = 2\nattempts_max = 3";

/// A data folder with these events, and a configuration.
fn folder_with(events: &[Event]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("picorelay.toml"), SMALL).unwrap();
    import(folder.path(), events);
    folder
}

async fn sync(folder: &Path, url: &str, more: &[&str]) -> Output {
    let arguments: Vec<String> =
        ["sync", url, "--data", "data"].iter().chain(more).map(|text| (*text).to_owned()).collect();
    let folder = folder.to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        picorelay(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    });
    ran.await.unwrap()
}

fn says(output: &Output, count: usize, what: &str) {
    let line = output.stdout.lines().find(|line| line.trim_start().ends_with(what));
    let line = line.unwrap_or_else(|| panic!("{what}: {output:?}"));
    assert_eq!(line.split_whitespace().next(), Some(count.to_string().as_str()), "{output:?}");
}

/// A relay by other people that takes as many events as come.
async fn other_people() -> LocalRelay {
    let rate_limit = RateLimit { max_reqs: 500, notes_per_minute: 1_000_000 };
    let relay = LocalRelay::new(RelayBuilder::default().rate_limit(rate_limit).default_filter_limit(5_000));
    relay.run().await.unwrap();
    relay
}

/// Everything a relay gives, by pages that are larger than what it has.
async fn all_of(url: &str) -> BTreeSet<String> {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send(Message::text(r#"["REQ","all",{"limit":5000}]"#)).await.unwrap();
    let mut ids = BTreeSet::new();
    loop {
        let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("no answer") };
        let message: Value = serde_json::from_str(&text).unwrap();
        match message[0].as_str() {
            Some("EVENT") => drop(ids.insert(message[2]["id"].as_str().unwrap().to_owned())),
            Some("EOSE") => return ids,
            _ => {}
        }
    }
}

async fn publish(url: &str, events: &[Event]) {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for event in events {
        socket.send(Message::text(format!(r#"["EVENT",{event}]"#))).await.unwrap();
        loop {
            let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("no answer") };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message[0] == "OK" {
                assert_eq!(message[2], true, "{message}");
                break;
            }
        }
    }
}

/// Two halves that overlap become the same whole, and a second run finds nothing to do.
async fn becomes_the_same(url: &str, is_negentropy: bool) {
    let tap = Tap::before(url, is_negentropy).await;
    let all = events(600);
    let (ours, theirs) = (&all[..400], &all[200..]);
    let folder = folder_with(ours);
    publish(url, theirs).await;
    let first = sync(folder.path(), &tap.url, &[]).await;
    assert!(first.success, "{first:?}");
    says(&first, 205, " fetched");
    says(&first, 200, " sent");
    says(&first, 0, " refused here");
    says(&first, 0, " refused there");
    let whole = ids(&all);
    assert_eq!(export(folder.path()), whole);
    assert_eq!(all_of(url).await, whole);
    assert_eq!(tap.count("NEG-MSG") > 0, is_negentropy);
    assert_eq!(std::fs::read_dir(folder.path().join("data/sync")).unwrap().count(), 0, "all is done");
    let sent = tap.count("EVENT");
    let second = sync(folder.path(), &tap.url, &[]).await;
    assert!(second.success, "{second:?}");
    says(&second, 0, " fetched");
    says(&second, 0, " sent");
    if is_negentropy {
        assert_eq!(tap.count("EVENT"), sent);
    }
}

const UNLIMITED: &str = "[limits]\nmessages_per_minute = 0\nqueries_per_minute = 0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_another_picorelay() {
    becomes_the_same(&Relay::with(UNLIMITED).url, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_picorelay_without_negentropy() {
    becomes_the_same(&Relay::with(&format!("[negentropy]\nenabled = false\n{UNLIMITED}")).url, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_relay_by_other_people() {
    let relay = other_people().await;
    becomes_the_same(relay.url().await.as_str(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_relay_by_other_people_without_negentropy() {
    let relay = other_people().await;
    becomes_the_same(relay.url().await.as_str(), false).await;
}

/// One whose answers go on beyond the limit to the end of their oldest second (NIP-67).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_relay_that_gives_whole_seconds() {
    let config = format!("[negentropy]\nenabled = false\n{UNLIMITED}\neose_hints = true\n");
    becomes_the_same(&Relay::with(&config).url, false).await;
    // Seconds of more events than a page has.
    let relay = Relay::with(&config);
    let key = Key::new();
    let draft = |n: u64| json!({"created_at": now() - 5_000 + n / 150, "content": n.to_string()});
    let all: Vec<Event> = (0..450).map(|n| key.event(draft(n))).collect();
    publish(&relay.url, &all).await;
    let folder = folder_with(&[]);
    let output = sync(folder.path(), &relay.url, &["--dir", "down"]).await;
    assert!(output.success, "{output:?}");
    assert_eq!(export(folder.path()), ids(&all));
}

/// One that does not compare more than a few events at a time: ranges are halved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_relay_that_compares_little() {
    let relay = Relay::with(&format!("[negentropy]\nrecords_max = 150\n{UNLIMITED}"));
    becomes_the_same(&relay.url, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_and_some_events_only() {
    let relay = Relay::with(UNLIMITED);
    let all = events(90);
    let (ours, theirs) = (&all[..45], &all[45..]);
    publish(&relay.url, theirs).await;
    let folder = folder_with(ours);
    let notes_of = |events: &[Event]| ids(events.iter().filter(|event| event["kind"] == 1));

    let down = sync(folder.path(), &relay.url, &["--dir", "down", "--filter", r#"{"kinds":[1]}"#]).await;
    says(&down, 45, " fetched");
    says(&down, 0, " sent");
    assert_eq!(export(folder.path()), notes_of(&all));
    assert_eq!(all_of(&relay.url).await, ids(theirs));

    let since = all[30].created_at();
    let late: Vec<Event> = ours.iter().filter(|event| event.created_at() >= since).cloned().collect();
    let up = sync(folder.path(), &relay.url, &["--dir", "up", "--filter", &format!(r#"{{"since":{since}}}"#)]).await;
    says(&up, late.len(), " sent");
    assert_eq!(all_of(&relay.url).await, ids(theirs.iter().chain(&late)));
}

/// Private and protected events stay where they are, and what the other refuses is told by reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_sent_and_what_is_refused() {
    let relay = Relay::with("[limits]\ncontent_chars_max = 100");
    let key = Key::new();
    let note = key.event(json!({"content": "hello"}));
    let long = key.event(json!({"content": "x".repeat(101)}));
    let private = key.event(json!({"kind": 4, "tags": [["p", key.public()]]}));
    let protected = key.event(json!({"tags": [["-"]]}));
    let folder = folder_with(&[note.clone(), long, private, protected]);
    let output = sync(folder.path(), &relay.url, &[]).await;
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.ends_with("not all is on both sides: 1 refused there\n"), "{output:?}");
    says(&output, 1, " sent");
    says(&output, 1, " refused there");
    assert!(output.stdout.contains("1 invalid: ") || output.stdout.contains("1 blocked: "), "{output:?}");
    assert_eq!(all_of(&relay.url).await, ids([&note]));
    assert_eq!(export(folder.path()).len(), 4);
}

/// Killed in the middle, it goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_after_a_kill() {
    let relay = Relay::with(UNLIMITED);
    let all = events(1_000);
    publish(&relay.url, &all).await;
    let folder = folder_with(&[]);
    // Without negentropy, which would find by itself what is there already.
    let tap = Tap::before(&relay.url, false).await;
    let mut child = start_picorelay(folder.path(), &["sync", &tap.url, "--data", "data"]);
    let began = Instant::now();
    while tap.count("REQ") < 8 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = tap.count("REQ");
    let there = export(folder.path()).len();
    assert!(there > 100 && there < 1_005, "killed in the middle: {there}");
    let output = sync(folder.path(), &tap.url, &[]).await;
    assert!(output.success, "{output:?}");
    assert_eq!(export(folder.path()), ids(&all));
    let again = tap.count("REQ") - before;
    // 1,005 events are 21 pages of 50; without a memory there would be as many again.
    assert!(again <= 24usize.saturating_sub(before) + 4, "{before} pages, then {again}");
    let passed_again = output.stdout.lines().find(|line| line.ends_with("were here already")).unwrap();
    let passed_again: usize = passed_again.split_whitespace().next().unwrap().parse().unwrap();
    assert!(passed_again <= 150, "{passed_again}");
}

/// Fetches 1,000 events through a connection that is cut whenever so many messages of a kind have passed.
async fn cut_after(verb: &str, counts: &[usize]) {
    let relay = Relay::with(UNLIMITED);
    let all = events(1_000);
    publish(&relay.url, &all).await;
    let folder = folder_with(&[]);
    let tap = Tap::before(&relay.url, false).await;
    let (path, url) = (folder.path().to_owned(), tap.url.clone());
    let running = tokio::spawn(async move { sync(&path, &url, &[]).await });
    for count in counts {
        let began = Instant::now();
        while tap.count(verb) < *count && !running.is_finished() {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tap.cut();
    }
    let output = running.await.unwrap();
    assert!(output.success, "{output:?}");
    assert!(output.stderr.contains("trying again"), "{output:?}");
    assert_eq!(export(folder.path()), ids(&all));
}

/// A connection that is cut is taken up again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_after_a_cut() {
    cut_after("REQ", &[5, 10]).await;
}

/// Connections that end early are no reason to give up as long as each brings something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_as_long_as_something_comes() {
    cut_after("EVENT", &[150, 300, 450, 600]).await;
}

/// A relay without negentropy that has these events, newest first, and ends the connection after so many of an answer.
async fn cutting(events: Vec<Event>, most: usize) -> Scripted {
    Scripted::start(move |mut it| {
        let events = events.clone();
        async move {
            while let Some((name, filter)) = it.req().await
                && it.give(&name, &filter, &events, most).await.is_some()
            {}
        }
    })
    .await
}

/// A relay that cuts the connection inside every large page is asked for smaller ones, and one that cuts it even inside
/// the smallest is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gets_past_cuts_inside_every_page() {
    let mut all = events(1_000);
    all.sort_by_key(|event| std::cmp::Reverse(event.created_at()));
    let folder = folder_with(&[]);
    let config = SMALL.replace("page_events_max = 50\nrange_events_max = 200", "page_events_max = 500");
    std::fs::write(folder.path().join("picorelay.toml"), &config).unwrap();
    let relay = cutting(all.clone(), 100).await;
    let output = sync(folder.path(), &relay.url, &["--dir", "down"]).await;
    assert!(output.success, "{output:?}");
    assert_eq!(export(folder.path()), ids(&all));
    says(&output, all.len(), " fetched");
    // 500, 250 and 125 are too many.
    assert_eq!(relay.connections(), 4, "{output:?}");

    let folder = folder_with(&[]);
    std::fs::write(folder.path().join("picorelay.toml"), &config).unwrap();
    let relay = cutting(all, 4).await;
    let output = sync(folder.path(), &relay.url, &["--dir", "down"]).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("closed the connection"), "{output:?}");
    assert_eq!(export(folder.path()).len(), 4);
}

/// A relay that says OK to everything: keeps what `keeps` says, and has `has`.
async fn agreeable(has: Vec<Event>, keeps: impl Fn(&Event) -> bool + Send + Sync + Clone + 'static) -> Scripted {
    let kept = Arc::new(Mutex::new(has));
    Scripted::start(move |mut it| {
        let (kept, keeps) = (Arc::clone(&kept), keeps.clone());
        async move {
            while let Some(message) = it.hear().await {
                let name = message[1].as_str().unwrap_or_default().to_owned();
                let there = kept.lock().unwrap().clone();
                let said = match message[0].as_str() {
                    Some("EVENT") => {
                        let event = Event(message[1].clone());
                        let id = event.id().to_owned();
                        if keeps(&event) {
                            kept.lock().unwrap().push(event);
                        }
                        it.say(json!(["OK", id, true, ""])).await
                    }
                    Some("REQ") => it.give(&name, &message[2], &there, usize::MAX).await,
                    Some("NEG-OPEN") => it.say(json!(["NEG-ERR", name, "unsupported: not here"])).await,
                    _ => Some(()),
                };
                if said.is_none() {
                    return;
                }
            }
        }
    })
    .await
}

/// A relay that says that it has taken an event may not have kept it: some of what was sent is asked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_and_not_kept_is_told() {
    // Profiles may be replaced there by newer ones, and are not asked for.
    let (notes, profiles) = (30, 5);
    let all = events(notes);
    let sent = notes + profiles;
    let nothing = agreeable(vec![], |_| false).await;
    let output = sync(folder_with(&all).path(), &nothing.url, &["--dir", "up"]).await;
    assert_eq!(output.code, Some(3), "{output:?}");
    says(&output, sent, " sent");
    says(&output, notes, " not kept there, of 30 that were asked for again");
    assert!(output.stderr.ends_with(": 30 taken there and not kept\n"), "{output:?}");

    let everything = agreeable(vec![], |_| true).await;
    let output = sync(folder_with(&all).path(), &everything.url, &["--dir", "up"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    says(&output, 0, " not kept there, of 30 that were asked for again");

    // No more than so many are asked for, and those that are gone there as their author wants it are not missed.
    let folder = folder_with(&all);
    std::fs::write(folder.path().join("picorelay.toml"), format!("{SMALL}\nsample_events_max = 10")).unwrap();
    let output = sync(folder.path(), &nothing.url, &["--dir", "up"]).await;
    let line = output.stdout.lines().find(|line| line.contains("not kept there, of ")).unwrap();
    let asked: usize = line.split_whitespace().rev().nth(5).unwrap().parse().unwrap();
    assert!((1..=10).contains(&asked), "{line}");

    let key = Key::new();
    let notes = [key.event(json!({"content": "oops"})), key.event(json!({"content": "stays"}))];
    let passing = key.event(json!({"content": "soon gone", "tags": [["expiration", (now() + 1_000).to_string()]]}));
    let gone = notes[0].id().to_owned();
    let deletion = key.event(json!({"kind": 5, "tags": [["e", gone]]}));
    let strict = agreeable(vec![deletion], move |event| event.id() != gone && event["content"] != "soon gone").await;
    let folder = folder_with(&[notes[0].clone(), notes[1].clone(), passing]);
    let output = sync(folder.path(), &strict.url, &["--dir", "up"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    says(&output, 3, " sent");
    says(&output, 0, " not kept there, of 2 that were asked for again");
}

/// One cut inside the large page of a crowded second costs a connection, and no event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_inside_a_crowded_second_loses_nothing() {
    let at = now() - 1_000;
    let mut all: Vec<Event> =
        (0..300).map(|n| Key::new().event(json!({"content": n.to_string(), "created_at": at + n / 150}))).collect();
    all.sort_by_key(|event| std::cmp::Reverse(event.created_at()));
    let (given, is_cut) = (all.clone(), Arc::new(Mutex::new(false)));
    let relay = Scripted::start(move |mut it| {
        let (given, is_cut) = (given.clone(), Arc::clone(&is_cut));
        async move {
            while let Some((name, filter)) = it.req().await {
                let is_large = filter["limit"].as_u64().is_some_and(|limit| limit > 1_000);
                let cuts = is_large && !std::mem::replace(&mut *is_cut.lock().unwrap(), is_large);
                if it.give(&name, &filter, &given, if cuts { 100 } else { usize::MAX }).await.is_none() {
                    return;
                }
            }
        }
    })
    .await;
    let folder = folder_with(&[]);
    let output = sync(folder.path(), &relay.url, &["--dir", "down"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(export(folder.path()), ids(&all));
    assert_eq!(relay.connections(), 2, "{output:?}");
}

/// Who keeps nothing is found out, whatever it does when it is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_nothing_is_found_out() {
    let all: Vec<Event> = (0..30).map(|n| Key::new().event(json!({"content": n.to_string()}))).collect();
    let forged = Key::new().event(json!({"content": "something else"}));
    for how in ["cuts", "refuses", "forges"] {
        let forged = forged.clone();
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let relay = Scripted::start(move |mut it| {
            let (forged, count) = (forged.clone(), Arc::clone(&count));
            async move {
                while let Some(message) = it.hear().await {
                    let name = message[1].clone();
                    let ids = message[2]["ids"].as_array().cloned();
                    let said = match (message[0].as_str(), ids) {
                        (Some("EVENT"), _) => it.say(json!(["OK", name["id"], true, ""])).await,
                        (Some("NEG-OPEN"), _) => it.say(json!(["NEG-ERR", name, "unsupported: no"])).await,
                        (Some("REQ"), Some(ids)) => {
                            let times = {
                                let mut count = count.lock().unwrap();
                                *count += 1;
                                *count
                            };
                            match how {
                                "cuts" if times <= 3 => None,
                                "refuses" => it.say(json!(["CLOSED", name, "restricted: not for you"])).await,
                                "forges" => {
                                    for id in ids {
                                        let mut event = forged.0.clone();
                                        event["id"] = id;
                                        let _ = it.say(json!(["EVENT", name, event])).await;
                                    }
                                    it.say(json!(["EOSE", name])).await
                                }
                                _ => it.say(json!(["EOSE", name])).await,
                            }
                        }
                        (Some("REQ"), None) => it.say(json!(["EOSE", name, ["finish"]])).await,
                        _ => Some(()),
                    };
                    if said.is_none() {
                        return;
                    }
                }
            }
        })
        .await;
        let folder = folder_with(&all);
        let mut output = sync(folder.path(), &relay.url, &["--dir", "up"]).await;
        if how == "cuts" {
            // What was sent is remembered for the next run, which has nothing else to do.
            assert_eq!(output.code, Some(1), "{how}: {output:?}");
            output = sync(folder.path(), &relay.url, &["--dir", "up"]).await;
            says(&output, 0, " sent");
        }
        assert_eq!(output.code, Some(3), "{how}: {output:?}");
        let said = match how {
            "refuses" => "30 taken there, of which it does not say whether they are kept",
            _ => "30 taken there and not kept",
        };
        assert!(output.stderr.contains(said), "{how}: {output:?}");
        assert!(*asked.lock().unwrap() < 30, "{how}: {}", asked.lock().unwrap());
    }
}

/// What its author deleted at the other relay, and not here, is nobody's loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_there_is_not_missed() {
    let key = Key::new();
    let notes = [key.event(json!({"content": "oops"})), key.event(json!({"content": "stays"}))];
    let other = Relay::start();
    let deletion = key.event(json!({"kind": 5, "tags": [["e", notes[0].id()]]}));
    other.client().await.publish(&[&deletion]).await;
    let folder = folder_with(&notes);
    let output = sync(folder.path(), &format!("ws://127.0.0.1:{}", other.port), &["--dir", "up"]).await;
    says(&output, 1, " refused there");
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// What is false counts once, however often it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_false_counts_once() {
    let mut all = events(100);
    all.sort_by_key(|event| std::cmp::Reverse(event.created_at()));
    for event in &mut all[..10] {
        event.0["sig"] = "00".repeat(64).into();
    }
    // It comes anew with each connection, of which the first end in the middle of a page.
    let given = all.clone();
    let relay = Scripted::start(move |mut it| {
        let (given, most) = (given.clone(), if it.number <= 3 { 20 } else { usize::MAX });
        async move {
            while let Some((name, filter)) = it.req().await
                && it.give(&name, &filter, &given, most).await.is_some()
            {}
        }
    })
    .await;
    let folder = folder_with(&[]);
    let output = sync(folder.path(), &relay.url, &["--dir", "down"]).await;
    assert_eq!(output.code, Some(3), "{output:?}");
    // 50 and 25 are too many for the first ones.
    assert_eq!(relay.connections(), 3, "{output:?}");
    says(&output, all.len() - 10, " fetched");
    says(&output, 10, " refused here");
    assert!(output.stderr.ends_with(": 10 refused here\n"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_what_is_wrong() {
    let folder = folder_with(&[]);
    let check = async |url: &str, said: &str| {
        let began = Instant::now();
        let output = sync(folder.path(), url, &[]).await;
        let code = if url.starts_with("ws") { 1 } else { 2 };
        assert!(output.code == Some(code) && output.stderr.contains(said), "{said}: {output:?}");
        assert!(began.elapsed() < PATIENCE, "{said}");
    };
    check("ws://127.0.0.1:1", "cannot connect").await;
    check("http://127.0.0.1:1", "must be a URL that starts with ws:// or wss://").await;
    let silent = Scripted::start(|mut it| async move { it.until_gone().await }).await;
    check(&silent.url, "did not answer a REQ in time").await;
    assert_eq!(silent.connections(), 3, "sync.attempts_max");
    let deaf = Scripted::on_sockets(|_, socket| async move {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        drop(socket);
    })
    .await;
    check(&deaf.url, "no answer within 2s").await;
    let refuses = Scripted::start(|mut it| async move {
        while let Some((name, _)) = it.req().await {
            let _ = it.say(json!(["CLOSED", name, "restricted: members only"])).await;
        }
    })
    .await;
    check(&refuses.url, "restricted: members only").await;
    assert_eq!(refuses.connections(), 1);
    let lies = Scripted::start(|mut it| async move {
        let Some((name, _)) = it.req().await else { return };
        let event = Key::new().event(json!({}));
        while it.say(json!(["EVENT", name, event.0])).await.is_some() {}
    })
    .await;
    check(&lies.url, "sends what is false or was not asked for").await;
    std::fs::write(folder.path().join("picorelay.toml"), format!("{SMALL}\nretries_max = 1")).unwrap();
    let hurried = Scripted::start(|mut it| async move {
        while let Some((name, _)) = it.req().await {
            let _ = it.say(json!(["CLOSED", name, "rate-limited: slow down"])).await;
        }
    })
    .await;
    check(&hurried.url, "says rate-limited, however long the pause").await;
    assert_eq!(hurried.connections(), 1);
    let output = sync(folder.path(), &hurried.url, &[]).await;
    says(&output, 1, " pauses, as the other relay said rate-limited");
    // A server on the same folder.
    let mut relay = Relay::start();
    let (data, url) = (relay.data(), relay.url.clone());
    let locked = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        picorelay(folder.path(), &["sync", &url, "--data", data.to_str().unwrap()])
    });
    let locked = locked.await.unwrap();
    assert!(!locked.success && locked.stderr.contains("is in use by another picorelay"), "{locked:?}");
    relay.stop();
}

/// SIGTERM ends it in order, and says how to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn can_be_stopped() {
    let folder = folder_with(&[]);
    let silent = Scripted::start(|mut it| async move { it.until_gone().await }).await;
    std::fs::write(folder.path().join("picorelay.toml"), "").unwrap();
    let mut child = start_picorelay(folder.path(), &["sync", &silent.url, "--data", "data"]);
    let began = Instant::now();
    while silent.connections() == 0 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let began = Instant::now();
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Nothing that a hostile relay says gets in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_false_gets_in() {
    let folder = folder_with(&[]);
    let hostile = Scripted::start(|mut it| async move {
        let key = Key::new();
        while let Some((name, filter)) = it.req().await {
            let mut forged = key.event(json!({"content": "forged"})).0;
            forged["content"] = "changed".into();
            let mut unsigned = key.event(json!({"content": "unsigned"})).0;
            unsigned["sig"] = "00".repeat(64).into();
            let expired = key.event(json!({"content": "old", "tags": [["expiration", "1"]]})).0;
            let future = key.event(json!({"content": "late", "created_at": now() + 100_000})).0;
            let good = key.event(json!({"content": "good", "created_at": 1_700_000_000})).0;
            let mut misnamed = key.event(json!({"content": "wrong id"})).0;
            misnamed["id"] = "ab".repeat(32).into();
            let is_first = filter["until"].as_u64().is_none_or(|until| until > now());
            for event in [forged, unsigned, misnamed, expired, future, good].iter().filter(|_| is_first) {
                let _ = it.say(json!(["EVENT", name, event])).await;
                // Of a request that there never was.
                let _ = it.say(json!(["EVENT", "r99", event])).await;
            }
            let _ = it.say(json!(["EOSE", name])).await;
        }
    })
    .await;
    let output = sync(folder.path(), &hostile.url, &[]).await;
    assert_eq!(output.code, Some(3), "{output:?}");
    let said = "done, but not all is on both sides: 3 refused here, 7 false or not asked for\n";
    assert!(output.stderr.ends_with(said), "{output:?}");
    says(&output, 1, " fetched");
    says(&output, 4, " refused here");
    assert_eq!(export(folder.path()).len(), 1);
}

/// What is gone for good, as its author wants it, is no reason to complain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_is_not_missed() {
    let relay = other_people().await;
    let key = Key::new();
    let deleted = key.event(json!({"content": "oops"}));
    let deletion = key.event(json!({"kind": 5, "tags": [["e", deleted.id()]]}));
    publish(relay.url().await.as_str(), &[deleted]).await;
    let folder = folder_with(&[deletion]);
    let output = sync(folder.path(), relay.url().await.as_str(), &["--dir", "down"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    says(&output, 1, " deleted by its author");
}

/// Relays give fewer events than they are asked for. What cannot be read for that is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_relay_that_gives_little() {
    let rate_limit = RateLimit { max_reqs: 500, notes_per_minute: 1_000_000 };
    let relay = LocalRelay::new(RelayBuilder::default().rate_limit(rate_limit).max_filter_limit(7));
    relay.run().await.unwrap();
    let tap = Tap::before(relay.url().await.as_str(), false).await;
    let all = events(100);
    publish(&tap.url, &all).await;
    let folder = folder_with(&[]);
    let output = sync(folder.path(), &tap.url, &["--dir", "down"]).await;
    assert!(output.success, "{output:?}");
    assert_eq!(export(folder.path()), ids(&all));
    // Pages overlap, and each event counts once.
    says(&output, all.len(), " fetched");
    says(&output, 0, " were here already");

    let key = Key::new();
    let at_once: Vec<Event> =
        (0..20).map(|n| key.event(json!({"content": format!("{n}"), "created_at": now() - 5_000}))).collect();
    publish(&tap.url, &at_once).await;
    let output = sync(folder.path(), &tap.url, &["--dir", "down"]).await;
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.ends_with(": 1 seconds of which some may be missed\n"), "{output:?}");
    says(&output, 1, " seconds with more events than the other relay gives at a time");
    assert_eq!(export(folder.path()).len(), all.len() + 7);
}

/// A feed that came to a room all at once: its events, by one relay, are all of one second. And what others published then.
fn burst(at: u64) -> Vec<Event> {
    let (relay, secret) = (Key::new(), picofeed::Secret::ed25519(rand::random()));
    let mut feed = picofeed::Feed::new(picofeed::Format::V8);
    let blocks: Vec<picofeed::Block> =
        (0..300).map(|n| feed.append(format!("{n}").as_bytes(), &secret).unwrap().clone()).collect();
    let mut events: Vec<Event> = blocks
        .iter()
        .map(|block| {
            let draft = crate::bridge::wrapped(&relay, "r", block, blocks[0].id()).0;
            relay.event(json!({
                "kind": draft["kind"], "tags": draft["tags"], "content": draft["content"], "created_at": at,
            }))
        })
        .collect();
    let notes = |n: usize| Key::new().event(json!({"content": n.to_string(), "created_at": at}));
    events.extend((0..60).map(notes));
    events
}

/// A second with more events than a page has is read whole if the relay gives more than a page has, and in pieces if not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_read_to_its_end() {
    for limit in [None, Some(90)] {
        let rate_limit = RateLimit { max_reqs: 500, notes_per_minute: 1_000_000 };
        let builder = RelayBuilder::default().rate_limit(rate_limit);
        let relay = LocalRelay::new(match limit {
            Some(limit) => builder.max_filter_limit(limit),
            None => builder,
        });
        relay.run().await.unwrap();
        let tap = Tap::before(relay.url().await.as_str(), false).await;
        let mut all = burst(now() - 5_000);
        all.extend(events(30));
        publish(relay.url().await.as_str(), &all).await;
        let folder = folder_with(&[]);
        let output = sync(folder.path(), &tap.url, &[]).await;
        let got = export(folder.path());
        let chain = |event: &&Event| event["kind"] == 7420;
        assert!(ids(all.iter().filter(chain)).is_subset(&got), "{limit:?}: {} of {}", got.len(), all.len());
        says(&output, got.len(), " fetched");
        says(&output, 0, " sent");
        match limit {
            None => assert!(output.code == Some(0) && got == ids(&all), "{output:?}"),
            // Notes of people who were in no page cannot be asked for.
            Some(_) => {
                assert_eq!(output.code, Some(3), "{output:?}");
                says(&output, 1, " seconds with more events than the other relay gives at a time");
            }
        }
        assert!(tap.count("REQ") < 100, "{limit:?}: {} requests", tap.count("REQ"));
    }
}
