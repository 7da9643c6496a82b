//! The same room on other relays: we connect to them as a pico node does, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, future};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use super::gossip::Direction;
use super::room::Room;
use super::rooms::Rooms;
use super::socket::{Heard, Said, converse};
use crate::dial::{Backoff, DialError, dial};
use picorelay_net::websocket::fault_of;

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Starts to follow what the configuration names.
pub fn follow_all(rooms: &Arc<Rooms>) {
    for declared in &rooms.config.room {
        let Ok(room) = rooms.name(&declared.name).and_then(|name| rooms.open(&name)) else { continue };
        for peer in &declared.peer {
            let (follower, room, url) = (Arc::clone(rooms), Arc::clone(&room), peer.url.clone());
            rooms.spawn_needed("follow", async move { follow(&follower, &room, &url).await });
        }
    }
}

/// Connects, converses, pauses, until the relay stops.
async fn follow(rooms: &Rooms, room: &Arc<Room>, url: &str) {
    let mut backoff = Backoff::new(PAUSE_MAX);
    loop {
        let began = Instant::now();
        if let Err(error) = connect(rooms, room, url).await {
            tracing::debug!(%error, room = %room.name(), "cannot follow a room");
        }
        let pause = backoff.pause(began.elapsed(), rand::random_range(0.0..1.0));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = rooms.stop.cancelled() => return,
        }
    }
}

/// One connection, from handshake to end.
async fn connect(rooms: &Rooms, room: &Arc<Room>, url: &str) -> Result<(), DialError> {
    let socket = tokio::select! {
        socket = dial(url, &[], rooms.config.message_bytes_max, HANDSHAKE) => socket?,
        () = rooms.stop.cancelled() => return Ok(()),
    };
    tracing::info!(room = %room.name(), "following a room of another relay");
    let (sink, stream) = socket.split();
    let reader = stream.map(|message| match message {
        Ok(Message::Binary(frame)) => Heard::Frame(frame),
        Ok(Message::Text(_)) => Heard::Text,
        Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Heard::Alive,
        Ok(Message::Close(_)) => Heard::Closed,
        Err(error) => fault_of(&error).map_or(Heard::Gone, |(code, reason)| Heard::Wrong(code, reason)),
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
    Box::pin(converse(rooms, room, (Direction::Out, None), reader, writer)).await;
    Ok(())
}
