//! The Rust `nostr-sdk` as a client.

use ::nostr_sdk::prelude::*;

use std::collections::HashSet;

use crate::harness::{self, Key, PATIENCE, Relay as Server, Shared};

static RELAY: Shared = Shared::new();

async fn client_of(server: &Server, keys: &Keys) -> Client {
    let options = MemoryDatabaseOptions { events: true, ..Default::default() };
    let database = MemoryDatabase::with_opts(options);
    let client = Client::builder().signer(keys.clone()).database(database).build();
    client.add_relay(&server.url).await.unwrap();
    let connected = client.try_connect(PATIENCE).await;
    assert!(connected.failed.is_empty(), "{connected:?}");
    client
}

async fn publish(client: &Client, keys: &Keys, builder: EventBuilder) -> Event {
    let event = builder.sign_with_keys(keys).unwrap();
    let output = client.send_event(&event).await.unwrap();
    assert!(output.failed.is_empty(), "{output:?}");
    event
}

async fn fetch(client: &Client, filter: Filter) -> Vec<Event> {
    client.fetch_events(filter, PATIENCE).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn publishes_fetches_and_subscribes() {
    let server = RELAY.relay();
    let keys = Keys::generate();
    let (writer, reader) = (client_of(&server, &keys).await, client_of(&server, &Keys::generate()).await);
    let note = publish(&writer, &keys, EventBuilder::text_note("hello \u{1} \"world\"")).await;
    let of_author = Filter::new().author(keys.public_key());
    assert_eq!(fetch(&reader, of_author.clone()).await, [note]);
    let mut notifications = reader.notifications();
    // It does not wait for EOSE, so the next event may come as a stored or as a live one.
    let subscription = reader.subscribe(of_author, None).await.unwrap();
    assert!(subscription.failed.is_empty());
    let live = publish(&writer, &keys, EventBuilder::text_note("live")).await;
    let heard = tokio::time::timeout(PATIENCE, async {
        loop {
            if let RelayPoolNotification::Event { event, .. } = notifications.recv().await.unwrap()
                && event.id == live.id
            {
                return event;
            }
        }
    });
    assert_eq!(*heard.await.unwrap(), live);
    writer.shutdown().await;
    reader.shutdown().await;
}

#[tokio::test]
async fn private_messages_reach_their_recipient_only() {
    let server = RELAY.relay();
    let (alice, bob, eve) = (Keys::generate(), Keys::generate(), Keys::generate());
    let (sender, recipient) = (client_of(&server, &alice).await, client_of(&server, &bob).await);
    let stranger = client_of(&server, &eve).await;
    let sent = sender.send_private_msg_to([&server.url], bob.public_key(), "secret", []).await.unwrap();
    assert!(sent.failed.is_empty(), "{sent:?}");
    let wraps = Filter::new().kind(Kind::GiftWrap).pubkey(bob.public_key());
    // The library answers `auth-required` with AUTH and asks again.
    let found = fetch(&recipient, wraps.clone()).await;
    assert_eq!(found.len(), 1);
    let gift = recipient.unwrap_gift_wrap(&found[0]).await.unwrap();
    assert_eq!((gift.sender, gift.rumor.content.as_str()), (alice.public_key(), "secret"));
    assert_eq!(fetch(&stranger, wraps).await, []);
    assert_eq!(fetch(&stranger, Filter::new().pubkey(bob.public_key())).await, []);
}

#[tokio::test]
async fn deletes() {
    let server = RELAY.relay();
    let keys = Keys::generate();
    let client = client_of(&server, &keys).await;
    let kept = publish(&client, &keys, EventBuilder::text_note("kept")).await;
    let gone = publish(&client, &keys, EventBuilder::text_note("gone")).await;
    publish(&client, &keys, EventBuilder::delete(EventDeletionRequest::new().id(gone.id))).await;
    let reader = client_of(&server, &Keys::generate()).await;
    assert_eq!(fetch(&reader, Filter::new().author(keys.public_key()).kind(Kind::TextNote)).await, [kept]);
    let other = Keys::generate();
    let again = client_of(&server, &other).await.send_event(&gone).await.unwrap();
    assert!(again.success.is_empty(), "a deleted event is refused: {again:?}");
}

#[tokio::test]
async fn counts_and_searches() {
    let server = RELAY.relay();
    let keys = Keys::generate();
    let client = client_of(&server, &keys).await;
    let word = format!("w{}", &keys.public_key().to_hex()[..16]);
    for n in 0..5 {
        publish(&client, &keys, EventBuilder::text_note(format!("{word} number {n}"))).await;
    }
    let relay = client.relay(&server.url).await.unwrap();
    assert_eq!(relay.count_events(Filter::new().author(keys.public_key()), PATIENCE).await.unwrap(), 5);
    let reader = client_of(&server, &Keys::generate()).await;
    assert_eq!(fetch(&reader, Filter::new().search(&word)).await.len(), 5);
}

#[tokio::test]
async fn protected_events_after_auth() {
    let server = RELAY.relay();
    let keys = Keys::generate();
    let client = client_of(&server, &keys).await;
    let event = publish(&client, &keys, EventBuilder::text_note("mine").tag(Tag::protected())).await;
    assert_eq!(fetch(&client_of(&server, &Keys::generate()).await, Filter::new().id(event.id)).await, [event.clone()]);
    let stranger = client_of(&server, &Keys::generate()).await;
    let other = EventBuilder::text_note("not mine").tag(Tag::protected()).sign_with_keys(&keys).unwrap();
    let output = stranger.send_event(&other).await.unwrap();
    assert!(output.success.is_empty(), "{output:?}");
}

#[tokio::test]
async fn syncs_both_ways() {
    let server = RELAY.relay();
    let keys = Keys::generate();
    let writer = client_of(&server, &keys).await;
    let filter = Filter::new().author(keys.public_key());
    for n in 0..40 {
        publish(&writer, &keys, EventBuilder::text_note(format!("there {n}"))).await;
    }
    let client = client_of(&server, &Keys::generate()).await;
    for n in 0..20 {
        let event = EventBuilder::text_note(format!("here {n}")).sign_with_keys(&keys).unwrap();
        assert!(client.database().save_event(&event).await.unwrap().is_success());
    }
    let options = SyncOptions::default().direction(SyncDirection::Both);
    let output = client.sync(filter.clone(), &options).await.unwrap();
    assert!(output.failed.is_empty(), "{output:?}");
    assert_eq!((output.received.len(), output.sent.len()), (40, 20), "{output:?}");
    assert_eq!(fetch(&writer, filter.clone()).await.len(), 60);
    assert_eq!(client.database().count(filter).await.unwrap(), 60);
}

#[tokio::test]
async fn replaces() {
    let server = RELAY.relay();
    let keys = Keys::generate();
    let client = client_of(&server, &keys).await;
    let reader = client_of(&server, &Keys::generate()).await;
    let now = Timestamp::now();
    for (kind, tags) in [(Kind::Metadata, vec![]), (Kind::LongFormTextNote, vec![Tag::identifier("post")])] {
        let version = |age| EventBuilder::new(kind, "{}").tags(tags.clone()).custom_created_at(now - age);
        publish(&client, &keys, version(2_u64)).await;
        let newest = publish(&client, &keys, version(1)).await;
        let found = fetch(&reader, Filter::new().author(keys.public_key()).kind(kind)).await;
        assert_eq!(found, [newest]);
    }
}

/// The next event of this kind that a client hears.
async fn next(notifications: &mut tokio::sync::broadcast::Receiver<RelayPoolNotification>, kind: Kind) -> Event {
    loop {
        if let RelayPoolNotification::Event { event, .. } = notifications.recv().await.unwrap()
            && event.kind == kind
        {
            return *event;
        }
    }
}

#[tokio::test]
async fn asks_a_remote_signer() {
    let server = RELAY.relay();
    let (app, signer) = (Keys::generate(), Keys::generate());
    let (ours, theirs) = (client_of(&server, &app).await, client_of(&server, &signer).await);
    let (mut answers, mut requests) = (ours.notifications(), theirs.notifications());
    for (client, keys) in [(&ours, &app), (&theirs, &signer)] {
        let filter = Filter::new().kind(Kind::NostrConnect).pubkey(keys.public_key());
        client.subscribe(filter, None).await.unwrap();
    }
    let message = |text: &str, to| EventBuilder::new(Kind::NostrConnect, text).tag(Tag::public_key(to));
    // Ephemeral: it reaches those who have subscribed, and `subscribe` does not wait for EOSE. A query after it does.
    fetch(&theirs, Filter::new().limit(1)).await;
    fetch(&ours, Filter::new().limit(1)).await;
    publish(&ours, &app, message("ping", signer.public_key())).await;
    let request = tokio::time::timeout(PATIENCE, next(&mut requests, Kind::NostrConnect)).await.unwrap();
    publish(&theirs, &signer, message("pong", request.pubkey)).await;
    let answer = tokio::time::timeout(PATIENCE, next(&mut answers, Kind::NostrConnect)).await.unwrap();
    assert_eq!((request.content.as_str(), answer.content.as_str()), ("ping", "pong"));
}

#[tokio::test]
async fn pages_through_a_crowded_second() {
    let mut server = Server::start();
    server.stop();
    let author = Key::new();
    let newest = harness::now() - 100_000;
    let events: Vec<String> = (0..5000_u64)
        .map(|number| {
            // 1,440 of them have the same time.
            let age = if number < 1780 { number } else { 1780 + (number - 1780).saturating_sub(1439) };
            let draft = serde_json::json!({"content": format!("number {number}"), "created_at": newest - age});
            author.event(draft).to_string()
        })
        .collect();
    std::fs::write(server.data().join("events.jsonl"), events.join("\n")).unwrap();
    let file = server.data().join("events.jsonl");
    let imported = server.run(&["import", file.to_str().unwrap()]);
    assert!(imported.success, "{}", imported.stderr);
    server.restart();
    let client = client_of(&server, &Keys::generate()).await;
    let filter = Filter::new().author(PublicKey::parse(&author.public()).unwrap()).limit(2000);
    let (mut seen, mut until) = (HashSet::new(), Timestamp::now());
    loop {
        let page = fetch(&client, filter.clone().until(until)).await;
        until = page.iter().map(|event| event.created_at).min().unwrap();
        let before = seen.len();
        seen.extend(page.iter().map(|event| event.id));
        if seen.len() == before {
            break;
        }
    }
    assert_eq!(seen.len(), 5000);
}

/// Its subscriptions go on after the relay was started again, and it can publish.
async fn comes_back(end: fn(&mut Server)) {
    let mut server = Server::start();
    let keys = Keys::generate();
    let client = client_of(&server, &Keys::generate()).await;
    let mut notifications = client.notifications();
    client.subscribe(Filter::new().author(keys.public_key()), None).await.unwrap();
    fetch(&client, Filter::new().limit(1)).await;
    end(&mut server);
    server.restart_here();
    let writer = client_of(&server, &keys).await;
    let relay = client.relay(&server.url).await.unwrap();
    let back = async {
        while !relay.is_connected() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // The subscription is sent again at some time after that.
        loop {
            publish(&writer, &keys, EventBuilder::text_note("live again")).await;
            let heard = next(&mut notifications, Kind::TextNote);
            if tokio::time::timeout(std::time::Duration::from_secs(1), heard).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE * 3, back).await.expect("live events again");
    let own = Keys::generate();
    publish(&client, &own, EventBuilder::text_note("published again")).await;
}

#[tokio::test]
async fn comes_back_after_a_stop() {
    comes_back(Server::stop).await;
}

#[tokio::test]
async fn comes_back_after_a_kill() {
    comes_back(Server::kill9).await;
}
