//! Much of what is allowed.

use std::sync::Arc;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::crew::Crew;
use crate::line::{Rounds, drain, each, flood, pieces, text, upgraded};

async fn send(crew: Arc<Crew>, verb: &str, events: Vec<String>) {
    let frames = events.into_iter().map(|event| text(format!(r#"["{verb}",{event}]"#)));
    flood(Arc::clone(&crew), Some("/"), pieces(frames), Rounds::Endless).await;
}

/// Events that the relay has.
pub(crate) async fn duplicates(crew: Arc<Crew>) {
    let events = crew.files.stored();
    send(crew, "EVENT", events).await;
}

/// Rightly signed events that are not stored.
pub(crate) async fn ephemeral(crew: Arc<Crew>) {
    let events = crew.files.ephemeral();
    send(crew, "EVENT", events).await;
}

/// AUTH events for challenges of others.
pub(crate) async fn auth(crew: Arc<Crew>) {
    let events = crew.files.auth();
    send(crew, "AUTH", events).await;
}

/// Connects, leaves, and connects, let in or not.
pub(crate) async fn come_and_go(crew: Arc<Crew>) {
    crew.go().await;
    each(&crew, |crew, number| async move {
        loop {
            drop(upgraded(&crew, number, "/", None).await);
        }
    })
    .await;
}

/// A hundred subscriptions to everything that comes, and reads it all.
pub(crate) async fn subscriptions_to_everything(crew: Arc<Crew>) {
    let requests: Vec<u8> = (0..100).flat_map(|n| text(json!(["REQ", format!("n{n}"), {"limit": 0}]))).collect();
    subscribe(crew, requests).await;
}

/// Ten of them.
pub(crate) async fn ten_subscriptions_to_everything(crew: Arc<Crew>) {
    let requests: Vec<u8> = (0..10).flat_map(|n| text(json!(["REQ", format!("n{n}"), {"limit": 0}]))).collect();
    subscribe(crew, requests).await;
}

async fn subscribe(crew: Arc<Crew>, requests: Vec<u8>) {
    crew.go().await;
    each(&crew, move |crew, number| {
        let requests = requests.clone();
        async move {
            if let Ok(mut stream) = upgraded(&crew, number, "/", None).await
                && stream.write_all(&requests).await.is_ok()
            {
                drain(&mut stream).await;
            }
        }
    })
    .await;
}

/// Opens subscriptions and closes them.
pub(crate) async fn subscribe_and_close(crew: Arc<Crew>) {
    let frames = (0..5_000).flat_map(|n| {
        let name = format!("n{}", n % 50);
        [text(json!(["REQ", name, {"kinds": [n], "limit": 1}])), text(json!(["CLOSE", name]))]
    });
    flood(Arc::clone(&crew), Some("/"), pieces(frames), Rounds::Endless).await;
}
