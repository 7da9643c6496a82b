//! Questions about somebody with many private messages, and about nobody: how long do the answers take?

use std::sync::Arc;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};
use tokio_tungstenite::tungstenite::Message;

use crate::crew::Crew;
use crate::harness::sha256_hex;
use crate::line::websocket;

/// Between two questions, so that the budget of an address is not what is measured.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks about both in turn, in the same words, without having proved to be anybody.
pub(crate) async fn questions(crew: Arc<Crew>) {
    let (victim, since) = (crew.files.victim(), crew.files.newest() - 6_000);
    let question = |verb: &str, filter: Value| (verb.to_owned(), filter);
    let about = |key: &str| {
        [
            question("COUNT", json!({"#p": [key]})),
            question("COUNT", json!({"#p": [key], "kinds": [1059]})),
            question("COUNT", json!({"#p": [key], "since": since})),
            question("REQ", json!({"#p": [key], "limit": 10})),
            question("REQ", json!({"#p": [key], "kinds": [1059, 4], "limit": 10})),
            question("REQ", json!({"#p": [key], "until": since, "limit": 500})),
        ]
    };
    crew.go().await;
    let (port, address) = (crew.relay.port(), crew.address(0));
    let Some(mut socket) = websocket(port, address, "/").await else { return };
    for round in 0_u64.. {
        // Nobody is somebody else each time, as an answer may be remembered.
        let nobody = about(&sha256_hex(round.to_be_bytes()));
        for ((verb, victim), (_, nobody)) in about(&victim).iter().zip(&nobody) {
            for (whom, filter) in [("victim", victim), ("nobody", nobody)] {
                let began = Instant::now();
                let message = json!([verb, "q", filter]).to_string();
                if socket.send(Message::text(message)).await.is_err() {
                    return;
                }
                loop {
                    match socket.next().await {
                        Some(Ok(Message::Text(text))) if is_end(&text) => break,
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return,
                    }
                }
                let took = began.elapsed().as_micros() as u64;
                let shape = format!("{verb} {}", shape(filter));
                crew.stats.times.lock().unwrap().push((format!("{shape}|{whom}"), took));
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_end(answer: &str) -> bool {
    ["[\"EOSE\"", "[\"COUNT\"", "[\"CLOSED\""].iter().any(|verb| answer.starts_with(verb))
}

/// The names of the members of a filter.
fn shape(filter: &Value) -> String {
    filter.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
}
