//! The end of a connection, so that what was said last arrives.

use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use super::Socket;

/// How long the other end has to close its half, once ours is closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the other end is to be told when reading failed: a close code and a reason (RFC 6455, 7.4.1). `None`: it is gone.
pub fn fault_of(error: &Error) -> Option<(u16, &'static str)> {
    use ProtocolError as P;
    Some(match error {
        Error::Utf8(_) => (1007, "text is not UTF-8"),
        Error::Capacity(_) => (1009, "message is too large"),
        Error::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            (1013, "too many unfinished messages of all connections")
        }
        Error::Protocol(P::ResetWithoutClosingHandshake | P::SendAfterClosing | P::ReceivedAfterClosing) => {
            return None;
        }
        Error::Protocol(P::UnmaskedFrameFromClient) => (1002, "frames of a client are masked"),
        Error::Protocol(P::NonZeroReservedBits) => (1002, "a reserved bit is set"),
        Error::Protocol(_) => (1002, "not a WebSocket frame that may come here"),
        _ => return None,
    })
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The other end is gone, or takes nothing any more.
    Gone,
    /// A Close frame was its last word.
    Told,
    /// The relay stops, and has said what there was to say.
    Stopped,
}

impl End {
    /// Ends a connection like this.
    pub async fn of(self, socket: Option<Socket>, parked: &Parked) {
        match (self, socket) {
            (Self::Told, Some(socket)) => finish(socket).await,
            (Self::Stopped, Some(socket)) => parked.park(socket),
            (Self::Gone, _) | (_, None) => {}
        }
    }
}

/// Ends a connection whose last word is written. Whatever else the other end has sent is read and dropped: were it left in
/// the socket, the kernel would send a reset, which may take the last word away with it.
async fn finish(socket: Socket) {
    let mut connection = socket.into_inner();
    let farewell = async {
        if connection.shutdown().await.is_err() {
            return;
        }
        let mut rest = [0; 1024];
        while matches!(connection.read(&mut rest).await, Ok(1..)) {}
    };
    let _ = timeout(FAREWELL, farewell).await;
}

/// Connections that have been told everything, while the relay stops.
///
/// They end when the process does, all at once and as late as can be, and without a Close frame. Clients come back by
/// themselves after an end like that; several libraries take a Close frame, whatever its code, for the wish to be left
/// alone, and others try only once, a second or two after the end, when the relay should be back.
#[derive(Default, Debug)]
pub struct Parked(Mutex<Vec<TokioIo<Upgraded>>>);

impl Parked {
    /// Keeps a connection to the end.
    fn park(&self, socket: Socket) {
        self.0.lock().push(socket.into_inner());
    }

    /// Ends them.
    pub fn end(&self) {
        let mut parked = std::mem::take(&mut *self.0.lock());
        for connection in &mut parked {
            // Closes our half, which never waits.
            let _ = connection.shutdown().now_or_never();
        }
    }
}
