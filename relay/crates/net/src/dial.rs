//! Connections that the relay makes itself: the WebSocket handshake, and the pauses between attempts.

use std::time::Duration;

use nostr::types::url::Url;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// A WebSocket that this relay opened.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Bytes that a read asks the socket for.
const READ_BYTES: usize = 16 * 1024;

/// Why there is no connection; `Display` says it to the operator.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The other end is not there, or no WebSocket.
    #[error("cannot connect: {0}")]
    Refused(#[from] Box<tokio_tungstenite::tungstenite::Error>),
    /// It did not finish the handshake.
    #[error("cannot connect: no answer within {0:?}")]
    Late(Duration),
}

/// Connects to `url`, with these headers beside the usual ones. Messages of more than `message_bytes_max` bytes will be
/// errors.
///
/// # Errors
///
/// The handshake failed, or took longer than `patience`.
pub async fn dial(
    url: &str,
    headers: &[(&'static str, &'static str)],
    message_bytes_max: usize,
    patience: Duration,
) -> Result<Socket, DialError> {
    // The TLS library wants to be told once which cryptography to use; a second time is an error that changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let mut request = url.into_client_request().map_err(Box::new)?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    let handshake = Box::pin(connect_async_with_config(request, Some(limits), true));
    match tokio::time::timeout(patience, handshake).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(DialError::Refused(Box::new(error))),
        Err(_) => Err(DialError::Late(patience)),
    }
}

/// Whether this is what the WebSocket layer says of a message above the limit.
pub fn is_too_long(error: &str) -> bool {
    ["too long", "too large", "too big"].iter().any(|text| error.contains(text))
}

/// Pauses between attempts: each up to twice as long as the one before, and jittered, so that those that were cut off
/// together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// The first pause after a connection was lost or refused.
    const MIN: Duration = Duration::from_secs(1);

    /// A connection that lasted this long was a good one: the next pause is the first again.
    const GOOD: Duration = Duration::from_secs(30);

    /// With pauses of at most `max`.
    pub fn new(max: Duration) -> Self {
        Self { next: Self::MIN.min(max), max }
    }

    /// The pause after a connection that lasted so long. `random` is from 0 to 1.
    pub fn pause(&mut self, lasted: Duration, random: f64) -> Duration {
        if lasted >= Self::GOOD {
            self.next = Self::MIN.min(self.max);
        }
        let pause = self.next.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.next = (self.next * 2).min(self.max);
        pause
    }

    /// The longest pause, for somebody who did what they should not. The next ones are as long.
    pub fn longest(&mut self, random: f64) -> Duration {
        self.next = self.max;
        self.pause(Duration::ZERO, random)
    }
}

/// A URL to connect to.
pub fn is_websocket(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "ws" | "wss"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let seconds = |backoff: &mut Backoff, lasted| backoff.pause(Duration::from_secs(lasted), 1.0).as_secs();
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let pauses: Vec<u64> = (0..6).map(|_| seconds(&mut backoff, 0)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
        assert_eq!(seconds(&mut backoff, 29), 10);
        assert_eq!(seconds(&mut backoff, 30), 1);
        assert_eq!(backoff.longest(1.0).as_secs(), 10);
        assert_eq!(seconds(&mut backoff, 0), 10);
        assert_eq!(Backoff::new(Duration::from_secs(10)).pause(Duration::ZERO, 0.0), Duration::from_millis(500));
    }
}
