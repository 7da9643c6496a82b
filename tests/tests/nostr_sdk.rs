//! The Rust `nostr-sdk` as a client.

use ::nostr_sdk::prelude::*;

use crate::harness::{PATIENCE, Relay as Server, Shared};

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
    let mut last = None;
    for n in 0..5 {
        last = Some(publish(&client, &keys, EventBuilder::text_note(format!("{word} number {n}"))).await);
    }
    let relay = client.relay(&server.url).await.unwrap();
    assert_eq!(relay.count_events(Filter::new().author(keys.public_key()), PATIENCE).await.unwrap(), 5);
    let reader = client_of(&server, &Keys::generate()).await;
    let search = Filter::new().search(&word);
    let mut other = server.client().await;
    let id = last.unwrap().id.to_hex();
    crate::nip50::until_found(&mut other, serde_json::json!({"search": word}), &id).await;
    assert_eq!(fetch(&reader, search).await.len(), 5);
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
