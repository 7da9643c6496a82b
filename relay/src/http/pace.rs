//! How often one address may ask by HTTP: pages have their share of the async threads, and no more.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::shared::Shared;
use crate::{address, metrics};

/// The longest that a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Paths that probes ask for.
const PROBES: [&str; 2] = ["/health", "/ready"];

/// Whether a WebSocket can be opened there: elsewhere one that asks for it gets a page.
fn takes_websockets(path: &str) -> bool {
    matches!(path, "/" | "/pico") || path.strip_prefix("/pico/").is_some_and(|room| !room.contains('/'))
}

/// Lets a request through when it is the address's turn. WebSockets are counted by their messages.
pub(super) async fn paced(
    State(shared): State<Shared>,
    ConnectInfo(socket): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let is_websocket =
        request.headers().get(header::UPGRADE).is_some_and(|what| what.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let path = request.uri().path();
    if (is_websocket && takes_websockets(path)) || PROBES.contains(&path) {
        return next.run(request).await;
    }
    let address = address::of_request(socket.ip(), request.headers(), &shared.relay.config.server.trusted_proxies);
    let account = shared.relay.accounts.of(address);
    let take = || account.requests().lock().take(1, Instant::now());
    if let Err(wait) = take() {
        tokio::time::sleep(wait.min(PATIENCE)).await;
        if let Err(wait) = take() {
            shared.doorkeeper.clients.turned_away(address, "requests");
            metrics::refused("requests");
            let seconds = [(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())];
            return (StatusCode::TOO_MANY_REQUESTS, seconds, "too many requests from your address\n").into_response();
        }
    }
    next.run(request).await
}
