//! The handshake (RFC 6455, 4.2).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// A WebSocket that somebody opened to this relay.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether a request asks for a WebSocket. Offers of other protocols (`Upgrade: h2c`) are ignored (RFC 9110, 7.8).
pub enum Asked {
    /// It does not.
    No,
    /// It does.
    WebSocket(Handshake),
    /// It does, but not as it must.
    Wrong(NoHandshake),
}

/// A handshake that can be accepted.
pub struct Handshake {
    accept: HeaderValue,
    connection: OnUpgrade,
}

/// Why it cannot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHandshake {
    /// No `Connection: Upgrade`.
    Connection,
    /// No `Sec-WebSocket-Key`.
    Key,
    /// Not version 13.
    Version,
}

/// The version of the protocol.
const VERSION: &str = "13";

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if parts.method != Method::GET || !has(&parts.headers, &header::UPGRADE, "websocket") {
            return Ok(Self::No);
        }
        Ok(match accept(&parts.headers) {
            Err(wrong) => Self::Wrong(wrong),
            Ok(accept) => match parts.extensions.remove::<OnUpgrade>() {
                Some(connection) => Self::WebSocket(Handshake { accept, connection }),
                None => Self::No,
            },
        })
    }
}

fn accept(headers: &HeaderMap) -> Result<HeaderValue, NoHandshake> {
    if !has(headers, &header::CONNECTION, "upgrade") {
        return Err(NoHandshake::Connection);
    }
    if !has(headers, &header::SEC_WEBSOCKET_VERSION, VERSION) {
        return Err(NoHandshake::Version);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(NoHandshake::Key)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| NoHandshake::Key)
}

/// Whether a list in a header, which may come in several lines, has this entry.
fn has(headers: &HeaderMap, name: &HeaderName, entry: &str) -> bool {
    let entries = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    entries.into_iter().any(|found| found.trim_ascii().eq_ignore_ascii_case(entry.as_bytes()))
}

impl Handshake {
    /// Answers, and then serves the connection on a task of its own.
    pub fn accept<F>(self, config: WebSocketConfig, serve: impl FnOnce(Socket) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let connection = self.connection;
        tokio::spawn(async move {
            // An error: the client has gone before the answer was out.
            let Ok(connection) = connection.await else { return };
            serve(WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await).await;
        });
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

impl IntoResponse for NoHandshake {
    fn into_response(self) -> Response {
        match self {
            Self::Connection => (StatusCode::BAD_REQUEST, "a handshake has Connection: Upgrade\n").into_response(),
            Self::Key => (StatusCode::BAD_REQUEST, "a handshake has a Sec-WebSocket-Key\n").into_response(),
            Self::Version => {
                let version = [(header::SEC_WEBSOCKET_VERSION, VERSION)];
                (StatusCode::UPGRADE_REQUIRED, version, "this relay speaks version 13 of WebSocket\n").into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn lists_in_headers() {
        let found = |lines: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers(lines) {
                map.append(name.unwrap(), value);
            }
            has(&map, &header::UPGRADE, "websocket")
        };
        assert!(found(&[("upgrade", "websocket")]));
        assert!(found(&[("upgrade", "h2c, WebSocket")]));
        assert!(!found(&[("upgrade", "h2c")]));
        assert!(!found(&[("upgrade", "websocket2")]));
        assert!(!found(&[]));
        let mut two = headers(&[("upgrade", "h2c")]);
        two.append(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert!(has(&two, &header::UPGRADE, "websocket"), "in two lines");
    }

    #[test]
    fn the_example_of_the_rfc() {
        let mut lines = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        assert_eq!(accept(&lines).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        lines.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
        assert_eq!(accept(&lines), Err(NoHandshake::Version));
        lines.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        lines.remove(header::SEC_WEBSOCKET_KEY);
        assert_eq!(accept(&lines), Err(NoHandshake::Key));
        lines.remove(header::CONNECTION);
        assert_eq!(accept(&lines), Err(NoHandshake::Connection));
    }
}
