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

use super::account::Account;
use super::gossip::Direction;
use super::socket::{Heard, Said, converse, turn_away};
use crate::app::App;
use crate::descriptors::could_not_accept;
use crate::door::Admission;
use crate::patience::Patient;
use crate::unfinished::Metered;

/// How long a peer may take to name its room.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens on `pico.tcp_listen`, if that is not empty, and serves until the relay stops.
///
/// # Errors
///
/// It cannot listen there.
pub async fn listen(app: &Arc<App>) -> std::io::Result<Option<SocketAddr>> {
    let rooms = &app.rooms;
    if rooms.config.tcp_listen.is_empty() || !rooms.config.enabled {
        return Ok(None);
    }
    let listener = TcpListener::bind(&rooms.config.tcp_listen).await?;
    let address = listener.local_addr()?;
    let serving = Arc::clone(app);
    rooms.spawn(async move {
        tokio::select! {
            () = accept(&serving, &listener) => {}
            () = serving.stop.cancelled() => {}
        }
    });
    Ok(Some(address))
}

async fn accept(app: &Arc<App>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let Ok(admission) = app.admit(address.ip()) else { continue };
                let app = Arc::clone(app);
                app.rooms.clone().spawn(async move {
                    tokio::select! {
                        () = serve(stream, &app, &admission) => {}
                        () = admission.given_away() => {}
                    }
                });
            }
            Err(error) => could_not_accept(&error).await,
        }
    }
}

async fn serve(stream: TcpStream, app: &App, admission: &Admission) {
    let stream = Patient::new(stream, app.rooms.send);
    let codec = LengthDelimitedCodec::builder().max_frame_length(app.rooms.config.message_bytes_max).new_codec();
    let meter = app.unfinished.meter();
    let mut framed = Framed::new(Metered::new(stream, Arc::clone(&meter)), codec);
    let first = tokio::select! {
        first = tokio::time::timeout(PATIENCE, framed.next()) => first,
        () = app.stop.cancelled() => return,
    };
    let Ok(Some(Ok(name))) = first else { return };
    let Ok(name) = std::str::from_utf8(&name) else { return };
    let room = app.rooms.name(name).and_then(|name| app.rooms.visit(&name, admission.client()));
    let (sink, stream) = framed.split();
    let stream = stream.inspect(|_| admission.heard());
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
            admission.log().refused("room", &none.to_string());
            turn_away(reader, writer, none.reason()).await;
            return;
        }
    };
    let account: Arc<dyn Account> = Arc::clone(admission.account()) as _;
    let caller = (Direction::In, Some(account));
    Box::pin(converse(&app.rooms, &room, caller, reader, writer)).await;
    app.rooms.close_if_empty(&room);
}
