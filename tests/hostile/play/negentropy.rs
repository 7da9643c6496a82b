//! Reconciliations (NIP-77): each holds what it is about in memory.

use std::sync::Arc;

use futures_util::SinkExt;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::crew::{Crew, Stats};
use crate::line::{Rounds, drain, flood, pieces, text, upgraded, websocket};

/// A version and nothing else.
const HELLO: &str = "61";

fn open(name: usize) -> Vec<u8> {
    text(json!(["NEG-OPEN", format!("n{name}"), {}, HELLO]))
}

/// Opens sessions about everything, one after the other.
pub(crate) async fn open_flood(crew: Arc<Crew>) {
    flood(Arc::clone(&crew), Some("/"), pieces((0..1_000).map(|n| open(n % 4))), Rounds::Endless).await;
}

/// The first message of somebody who has other events: the relay has to sum up all of its own to answer.
fn first_message(newest: u64) -> String {
    let mut storage = NegentropyStorageVector::new();
    for n in 0..1_000_u64 {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        storage.insert(newest - n * 40, Id::from_byte_array(id)).unwrap();
    }
    storage.seal().unwrap();
    let message = Negentropy::owned(storage, 0).unwrap().initiate().unwrap();
    data_encoding::HEXLOWER.encode(&message)
}

/// Opens four sessions a connection, and says the same in them again and again.
pub(crate) async fn message_flood(crew: Arc<Crew>) {
    let message = first_message(crew.files.newest());
    let opens = (0..4).map(open);
    let says = (0..5_000).map(|n| text(json!(["NEG-MSG", format!("n{}", n % 4), message])));
    flood(Arc::clone(&crew), Some("/"), pieces(opens.chain(says)), Rounds::Endless).await;
}

/// Opens as many sessions as it can, and keeps them.
pub(crate) async fn hold(crew: Arc<Crew>) {
    crew.go().await;
    let mut held = Vec::new();
    for number in 0..crew.connections {
        let Ok(mut stream) = upgraded(&crew, number, "/", None).await else { continue };
        for name in 0..100 {
            let frame = open(name);
            crew.send(frame.len()).await;
            let _ = stream.write_all(&frame).await;
        }
        held.push(tokio::spawn(async move { drain(&mut stream).await }));
    }
    std::future::pending::<()>().await;
}

/// Opens sessions as fast as they are answered, from few connections, and keeps them.
pub(crate) async fn hoard(crew: Arc<Crew>) {
    crew.go().await;
    let mut held = Vec::new();
    for number in 0..crew.connections {
        let (port, address) = (crew.relay.port(), crew.address(number));
        let Some(mut socket) = websocket(port, address, "/").await else { continue };
        Stats::add(&crew.stats.opened, 1);
        for name in 0..25 {
            let message = json!(["NEG-OPEN", format!("n{name}"), {}, HELLO]);
            let _ = socket.send(Message::text(message.to_string())).await;
        }
        held.push(socket);
    }
    std::future::pending::<()>().await;
}
