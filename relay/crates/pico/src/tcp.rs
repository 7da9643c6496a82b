//! Peers that come by plain TCP, without WebSocket.
//!
//! Upstream's `streamWire` takes each chunk of a stream for one frame, which holds for carriers that keep messages apart
//! and not for TCP. So here every frame is a record with its length before it:
//!
//! ```text
//! connection = room record*        room: a record with the name of the room
//! record     = length[u32, big endian] bytes[length]
//! ```
//!
//! A record of length 0 says nothing; the relay sends one when it has not heard of the peer for a while, and the peer may
//! do the same to stay connected. It must not reach a JavaScript node, which would die of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt, future};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::account::{Door, Guest};
use super::gossip::Direction;
use super::rooms::Rooms;
use super::socket::{Heard, Said, converse, turn_away};
use crate::descriptors::could_not_accept;
use crate::patience::Patient;
use crate::unfinished::{Budget, Metered};

/// How long a peer may take to name its room.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on `pico.tcp_listen`, if that is not empty, and serves until the relay stops.
///
/// # Errors
///
/// It cannot listen there.
pub async fn listen(
    rooms: &Arc<Rooms>,
    unfinished: Arc<Budget>,
    door: Arc<impl Door>,
) -> std::io::Result<Option<SocketAddr>> {
    if rooms.config.tcp_listen.is_empty() || !rooms.config.enabled {
        return Ok(None);
    }
    let listener = TcpListener::bind(&rooms.config.tcp_listen).await?;
    let address = listener.local_addr()?;
    let serving = Arc::clone(rooms);
    rooms.spawn(async move {
        tokio::select! {
            () = accept(&serving, &unfinished, &*door, &listener) => {}
            () = serving.stop.cancelled() => {}
        }
    });
    Ok(Some(address))
}

async fn accept(rooms: &Arc<Rooms>, unfinished: &Arc<Budget>, door: &impl Door, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let Some(guest) = door.admit(address.ip()) else { continue };
                let (rooms, unfinished) = (Arc::clone(rooms), Arc::clone(unfinished));
                rooms.clone().spawn(async move {
                    tokio::select! {
                        () = serve(stream, &rooms, &unfinished, &guest) => {}
                        () = guest.given_away() => {}
                    }
                });
            }
            Err(error) => could_not_accept(&error).await,
        }
    }
}

async fn serve(stream: TcpStream, rooms: &Rooms, unfinished: &Arc<Budget>, guest: &impl Guest) {
    let stream = Patient::new(stream, rooms.send);
    let codec = LengthDelimitedCodec::builder().max_frame_length(rooms.config.message_bytes_max).new_codec();
    let meter = unfinished.meter();
    let mut framed = Framed::new(Metered::new(stream, Arc::clone(&meter)), codec);
    let first = tokio::select! {
        first = tokio::time::timeout(PATIENCE, framed.next()) => first,
        () = rooms.stop.cancelled() => return,
    };
    let Ok(Some(Ok(name))) = first else { return };
    let Ok(name) = std::str::from_utf8(&name) else { return };
    let room = rooms.name(name).and_then(|name| rooms.visit(&name, guest.client()));
    let (sink, stream) = framed.split();
    let stream = stream.inspect(|_| guest.heard());
    let len = |record: &Result<BytesMut, _>| record.as_ref().map_or(0, BytesMut::len);
    let reader = meter.messages(stream, len).map(|record| match record {
        Ok(record) if record.is_empty() => Heard::Alive,
        Ok(record) => Heard::Frame(record.freeze()),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Heard::Wrong(1009, "record is too large"),
        Err(_) => Heard::Gone,
    });
    let writer = sink.sink_map_err(drop).with(|said| match said {
        Said::Frame(frame) => future::ok(frame),
        Said::Ping => future::ok(Bytes::new()),
        Said::Close(..) => future::err(()),
    });
    let room = match room {
        Ok(room) => room,
        Err(none) => {
            guest.refused("room", &none.to_string());
            turn_away(reader, writer, none.reason()).await;
            return;
        }
    };
    let caller = (Direction::In, Some(guest.account()));
    Box::pin(converse(rooms, &room, caller, reader, writer)).await;
    rooms.close_if_empty(&room);
}
