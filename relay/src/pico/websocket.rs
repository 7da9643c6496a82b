//! Peers that come by WebSocket.

use std::sync::Arc;

use axum::response::Response;
use futures_util::{SinkExt, StreamExt, future};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::account::Account;
use super::gossip::Direction;
use super::room::Room;
use super::socket::{Heard, Said, converse, turn_away};
use crate::app::App;
use crate::door::Admission;
use crate::unfinished::Meter;
use crate::websocket::{End, Handshake, Socket, fault_of};

/// Bytes that a read asks the socket for, and that an idle connection therefore costs.
const READ_BYTES: usize = 4096;

/// Bytes of frames that are gathered into one write.
const WRITE_BYTES: usize = 16 * 1024;

/// Turns a handshake into a peer, or says why there is no place for it.
pub fn upgrade(
    handshake: Handshake,
    app: Arc<App>,
    room: Result<Arc<Room>, &'static str>,
    admission: Admission,
    meter: Arc<Meter>,
) -> Response {
    let bytes = app.rooms.config.message_bytes_max;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(Some(bytes))
        .max_frame_size(Some(bytes));
    handshake.accept(config, move |socket| async move {
        let (cut, parked) = (app.cut.clone(), Arc::clone(&app.parked));
        let served = cut.run_until_cancelled(async {
            let (socket, end) = tokio::select! {
                ended = serve(socket, &app, &room, &admission, meter) => ended,
                () = admission.given_away() => return,
            };
            if let Ok(room) = &room {
                app.rooms.close_if_empty(room);
            }
            drop((room, app));
            end.of(socket, &parked).await;
        });
        served.await;
        drop(admission);
    })
}

async fn serve(
    socket: Socket,
    app: &App,
    room: &Result<Arc<Room>, &'static str>,
    admission: &Admission,
    meter: Arc<Meter>,
) -> (Option<Socket>, End) {
    let (mut sink, mut stream) = socket.split();
    let heard = (&mut stream).inspect(|_| admission.heard());
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
    let account: Arc<dyn Account> = Arc::clone(admission.account()) as _;
    let caller = (Direction::In, Some(account));
    let end = match room {
        Ok(room) => Box::pin(converse(&app.rooms, room, caller, reader, writer)).await,
        Err(why) => turn_away(reader, writer, why).await,
    };
    (sink.reunite(stream).ok(), end)
}
