//! Peers that come by WebSocket.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::{SinkExt, StreamExt, future};

use super::gossip::Direction;
use super::room::Room;
use super::socket::{Heard, Said, converse};
use crate::app::{Admission, App};
use crate::dial::is_too_long;
use crate::unfinished::Meter;

/// Bytes that a read asks the socket for, and that an idle connection therefore costs.
const READ_BYTES: usize = 4096;

/// Bytes of frames that are gathered into one write.
const WRITE_BYTES: usize = 16 * 1024;

/// Turns an upgrade request into a peer.
pub fn upgrade(
    upgrade: WebSocketUpgrade,
    app: Arc<App>,
    room: Arc<Room>,
    admission: Admission,
    meter: Arc<Meter>,
) -> Response {
    let bytes = app.rooms.config.message_bytes_max;
    upgrade
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(bytes)
        .max_frame_size(bytes)
        .on_upgrade(move |socket| async move {
            serve(socket, &app, &room, meter).await;
            app.rooms.close_if_empty(&room);
            drop(room);
            drop(admission);
        })
}

async fn serve(socket: WebSocket, app: &App, room: &Arc<Room>, meter: Arc<Meter>) {
    let (sink, stream) = socket.split();
    let reader = meter.messages(stream).map(|message| match message {
        Ok(Message::Binary(frame)) => Heard::Frame(frame),
        Ok(Message::Text(_)) => Heard::Text,
        Ok(Message::Ping(_) | Message::Pong(_)) => Heard::Alive,
        Ok(Message::Close(_)) => Heard::Closed,
        Err(error) if is_too_long(&error.to_string()) => Heard::TooLong,
        Err(_) => Heard::Closed,
    });
    let writer = sink.sink_map_err(drop).with(|said| {
        future::ok::<Message, ()>(match said {
            Said::Frame(frame) => Message::Binary(frame),
            Said::Ping => Message::Ping(bytes::Bytes::new()),
            Said::Close(code, reason) => {
                Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }))
            }
        })
    });
    Box::pin(converse(&app.rooms, room, Direction::In, reader, writer)).await;
}
