//! The table of contents: which path is answered by what.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router, middleware};
use tower::ServiceExt;

use super::listen::ConnectedTo;
use super::pace::paced;
use super::shared::Shared;
use super::{health, host, landing, nip11, pico, prefix};
use crate::address;
use crate::config::Config;
use crate::connection;
use crate::door::Full;
use crate::message::upstream::EOSE_HINTS;
use crate::session::Greeting;
use crate::unfinished::Meter;
use crate::websocket::{Asked, NoHandshake};

/// Every path of the one port, also below the paths of `server.public_url`. Only `/` takes a nostr WebSocket (NIP-01: one
/// endpoint).
pub fn router(shared: Shared) -> Router {
    let prefixes = prefix::prefixes(&shared.relay.config.server.public_url);
    let paths = paths(shared);
    if prefixes.is_empty() {
        return paths;
    }
    // Around the router, which has chosen the handler by the time its own layers run.
    Router::new().fallback_service(paths.map_request(move |request: Request| prefix::strip(request, &prefixes)))
}

fn paths(shared: Shared) -> Router {
    Router::new()
        .route("/", get(root).options(preflight))
        .merge(pico::routes())
        .route("/health", get(async || health::health()))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .layer(middleware::from_fn_with_state(shared.clone(), paced))
        .with_state(shared)
}

/// `/`: a WebSocket, the information document (NIP-11), or the page for people.
async fn root(
    State(shared): State<Shared>,
    ConnectInfo(socket): ConnectInfo<SocketAddr>,
    Extension(here): Extension<ConnectedTo>,
    Extension(meter): Extension<Arc<Meter>>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    let Shared { relay, doorkeeper, relay_key, listening, .. } = shared;
    match asked {
        Asked::WebSocket(handshake) => {
            let address = address::of_request(socket.ip(), &headers, &relay.config.server.trusted_proxies);
            let host = local_host(&relay.config, &headers, address, here);
            for scheme in ["ws", "wss"] {
                host.iter().for_each(|host| relay.urls.learn(&format!("{scheme}://{host}")));
            }
            let greeting = Greeting { host, hints: headers.contains_key(EOSE_HINTS) };
            match doorkeeper.admit(address) {
                Ok(admission) => connection::upgrade(handshake, relay, admission, meter, greeting),
                Err(full) => no_place(full),
            }
        }
        Asked::Wrong(why) => no_handshake(why),
        Asked::No if accepts(&headers) => {
            let document = nip11::document(&relay.config, Some(&relay_key)).to_string();
            let headers = [(header::CONTENT_TYPE, "application/nostr+json"), (header::VARY, "accept, upgrade")];
            (nip11::CORS_HEADERS, headers, document).into_response()
        }
        Asked::No => {
            let address = address::of_request(socket.ip(), &headers, &relay.config.server.trusted_proxies);
            let is_known = !relay.config.server.public_url.is_empty()
                || host_of(&headers).is_none()
                || local_host(&relay.config, &headers, address, here).is_some();
            let url = landing::url(&relay.config.server, listening, host_of(&headers));
            let page = landing::page(&relay.config, &url, is_known, Some(&relay_key));
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
                (header::CONTENT_SECURITY_POLICY, landing::content_security_policy(&relay.config)),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
                (header::VARY, "accept, upgrade".to_owned()),
            ];
            (headers, page).into_response()
        }
    }
}

pub(super) fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

/// The name by which a client in the local network has found a relay that was given none.
fn local_host(config: &Config, headers: &HeaderMap, client: std::net::IpAddr, here: ConnectedTo) -> Option<String> {
    if !config.server.public_url.is_empty() {
        return None;
    }
    host::local_name(host_of(headers)?, client, here.0.map(|here| here.ip())).map(str::to_owned)
}

pub(super) fn no_place(full: Full) -> Response {
    match full {
        Full::Relay => (StatusCode::SERVICE_UNAVAILABLE, "the relay is full\n").into_response(),
        Full::Address => (StatusCode::TOO_MANY_REQUESTS, "too many connections from your address\n").into_response(),
        Full::FalseEvents(wait) => {
            let seconds = wait.as_secs() + 1;
            let why =
                format!("too many events with a wrong id or signature came from your address: wait {seconds} s\n");
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())], why).into_response()
        }
    }
}

pub(super) fn no_handshake(why: NoHandshake) -> Response {
    crate::metrics::refused("handshake");
    why.into_response()
}

pub(super) async fn preflight() -> Response {
    (StatusCode::NO_CONTENT, nip11::CORS_HEADERS).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let state = match () {
        () if shared.relay.stop.is_cancelled() => health::State::Draining,
        () if shared.saves.failed() => health::State::ReadOnly,
        () => health::State::Serving,
    };
    health::ready(state).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.metrics.filter(|_| shared.relay.config.server.metrics) {
        Some(metrics) => {
            metrics::gauge!(crate::metrics::SUBSCRIPTIONS).set(shared.relay.subscriptions.len() as f64);
            if let Ok(Ok(events)) = shared.relay.readers.run_long(|reader| reader.len_estimate()).await {
                metrics::gauge!(crate::metrics::STORE_EVENTS).set(events as f64);
            }
            let file = shared.relay.config.server.data.join(crate::store::sqlite::FILE);
            if let Ok(Ok(file)) = shared.relay.readers.run(move |_| std::fs::metadata(file)).await {
                metrics::gauge!(crate::metrics::STORE_BYTES).set(file.len() as f64);
            }
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "metrics are switched off\n").into_response(),
    }
}

fn accepts(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| value.to_str().is_ok_and(nip11::is_asked_for))
}
