//! Peers that come by WebSocket.

use std::sync::Arc;

use axum::response::Response;
use futures_util::{SinkExt, StreamExt, future};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::account::Guest;
use super::gossip::Direction;
use super::room::Room;
use super::rooms::Rooms;
use super::socket::{Heard, Said, converse, turn_away};
use crate::unfinished::Meter;
use picorelay_net::websocket::{End, Handshake, Parked, Socket, fault_of};

/// Bytes that a read asks the socket for, and that an idle connection therefore costs.
const READ_BYTES: usize = 4096;

/// Bytes of frames that are gathered into one write.
const WRITE_BYTES: usize = 16 * 1024;

/// Turns a handshake into a peer, or says why there is no place for it.
pub fn upgrade<G: Guest>(
    handshake: Handshake,
    (rooms, parked): (Arc<Rooms>, Arc<Parked>),
    room: Result<Arc<Room>, &'static str>,
    guest: G,
    meter: Arc<Meter>,
) -> Response {
    let bytes = rooms.config.message_bytes_max;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(Some(bytes))
        .max_frame_size(Some(bytes));
    handshake.accept(config, move |socket| async move {
        let cut = rooms.cut.clone();
        let served = cut.run_until_cancelled(async {
            let (socket, end) = tokio::select! {
                ended = serve(socket, &rooms, &room, &guest, meter) => ended,
                () = guest.given_away() => return,
            };
            if let Ok(room) = &room {
                rooms.close_if_empty(room);
            }
            drop((room, rooms));
            end.of(socket, &parked).await;
        });
        served.await;
        drop(guest);
    })
}

async fn serve(
    socket: Socket,
    rooms: &Rooms,
    room: &Result<Arc<Room>, &'static str>,
    guest: &impl Guest,
    meter: Arc<Meter>,
) -> (Option<Socket>, End) {
    let (mut sink, mut stream) = socket.split();
    let heard = (&mut stream).inspect(|_| guest.heard());
    let len = |message: &Result<Message, Error>| match message {
        Ok(Message::Binary(frame)) => frame.len(),
        Ok(Message::Text(text)) => text.len(),
        _ => 0,
    };
    let reader = meter.messages(heard, len).map(|message| match message {
        Ok(Message::Binary(frame)) => Heard::Frame(frame),
        Ok(Message::Text(_)) => Heard::Text,
        Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Heard::Alive,
        Ok(Message::Close(_)) => Heard::Closed,
        Err(error) => fault_of(&error).map_or(Heard::Gone, |(code, reason)| Heard::Wrong(code, reason)),
    });
    let writer = (&mut sink).sink_map_err(drop).with(|said| {
        future::ok::<Message, ()>(match said {
            Said::Frame(frame) => Message::Binary(frame),
            Said::Ping => Message::Ping(bytes::Bytes::new()),
            Said::Close(code, reason) => {
                Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from_static(reason) }))
            }
        })
    });
    let caller = (Direction::In, Some(guest.account()));
    let end = match room {
        Ok(room) => Box::pin(converse(rooms, room, caller, reader, writer)).await,
        Err(why) => turn_away(reader, writer, why).await,
    };
    (sink.reunite(stream).ok(), end)
}
