//! The same room on other relays: we connect to them as a pico node does, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, future};
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};

use super::gossip::Direction;
use super::room::Room;
use super::rooms::Rooms;
use super::socket::{Heard, Said, converse};
use super::websocket::is_too_long;

/// The first pause after a connection was lost or refused. Each is up to twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A connection that lasted this long was a good one: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(30);

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Starts to follow what the configuration names.
pub fn follow_all(rooms: &Arc<Rooms>) {
    // The TLS library wants to be told once which cryptography to use; a second time is an error that changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    for declared in &rooms.config.room {
        let Ok(room) = rooms.name(&declared.name).and_then(|name| rooms.open(&name)) else { continue };
        for peer in &declared.peer {
            let (follower, room, url) = (Arc::clone(rooms), Arc::clone(&room), peer.url.clone());
            rooms.spawn(async move { follow(&follower, &room, &url).await });
        }
    }
}

/// Connects, converses, pauses, until the relay stops.
async fn follow(rooms: &Rooms, room: &Arc<Room>, url: &str) {
    let mut pause = PAUSE_MIN;
    loop {
        let began = Instant::now();
        if let Err(error) = connect(rooms, room, url).await {
            tracing::debug!(%error, room = %room.name(), "cannot follow a room");
        }
        if began.elapsed() >= GOOD {
            pause = PAUSE_MIN;
        }
        // Relays that were cut off together do not come back together.
        let pausing = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0)));
        pause = (pause * 2).min(PAUSE_MAX);
        tokio::select! {
            () = pausing => {}
            () = rooms.stop.cancelled() => return,
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One connection, from handshake to end.
async fn connect(rooms: &Rooms, room: &Arc<Room>, url: &str) -> Result<(), Failure> {
    let bytes = rooms.config.message_bytes_max;
    let limits = WebSocketConfig::default().max_message_size(Some(bytes)).max_frame_size(Some(bytes));
    let handshake = connect_async_with_config(url, Some(limits), true);
    let (socket, _) = tokio::select! {
        connected = tokio::time::timeout(HANDSHAKE, Box::pin(handshake)) => connected??,
        () = rooms.stop.cancelled() => return Ok(()),
    };
    tracing::info!(room = %room.name(), "following a room of another relay");
    let (sink, stream) = socket.split();
    let reader = stream.map(|message| match message {
        Ok(Message::Binary(frame)) => Heard::Frame(frame),
        Ok(Message::Text(_)) => Heard::Text,
        Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Heard::Alive,
        Ok(Message::Close(_)) => Heard::Closed,
        Err(error) if is_too_long(&error.to_string()) => Heard::TooLong,
        Err(_) => Heard::Closed,
    });
    let writer = sink.sink_map_err(drop).with(|said| {
        future::ok::<Message, ()>(match said {
            Said::Frame(frame) => Message::Binary(frame),
            Said::Ping => Message::Ping(bytes::Bytes::new()),
            Said::Close(code, reason) => {
                Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
            }
        })
    });
    Box::pin(converse(rooms, room, Direction::Out, reader, writer)).await;
    Ok(())
}
