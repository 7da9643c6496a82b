//! The table of contents: which path is answered by what.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router, middleware};
use tower::ServiceExt;

use super::exporter::Metrics;
use super::listen::ConnectedTo;
use super::pace::paced;
use super::prefix::{self, Prefix};
use super::{health, host, landing, nip11, room, state};
use crate::address;
use crate::app::App;
use crate::connection;
use crate::door::Full;
use crate::message::upstream::EOSE_HINTS;
use crate::pico::rooms::NoRoom;
use crate::pico::socket::FULL_ROOM;
use crate::pico::websocket;
use crate::session::Greeting;
use crate::unfinished::Meter;
use crate::websocket::Asked;

/// What handlers share.
#[derive(Clone)]
pub struct Shared {
    /// The relay.
    pub app: Arc<App>,
    /// Absent when another recorder was installed, or metrics are off.
    pub metrics: Option<Metrics>,
}

/// Every path of the one port, also below the paths of `server.public_url`. Only `/` takes a nostr WebSocket (NIP-01: one
/// endpoint).
pub fn router(shared: Shared) -> Router {
    let prefixes = prefix::prefixes(&shared.app.config.server.public_url);
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
        .route("/pico", get(pico_main))
        .route("/pico/{room}", get(pico_room))
        .route("/pico/{room}/state/{slice}", get(pico_state).options(preflight))
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
    let app = shared.app;
    match asked {
        Asked::WebSocket(handshake) => {
            let address = address::of_request(socket.ip(), &headers, &app.config.server.trusted_proxies);
            let host = local_host(&app, &headers, address, here);
            for scheme in ["ws", "wss"] {
                host.iter().for_each(|host| app.urls.learn(&format!("{scheme}://{host}")));
            }
            let greeting = Greeting { host, hints: headers.contains_key(EOSE_HINTS) };
            match app.admit(address) {
                Ok(admission) => connection::upgrade(handshake, app, admission, meter, greeting),
                Err(full) => no_place(full),
            }
        }
        Asked::Wrong(why) => why.into_response(),
        Asked::No if accepts(&headers) => {
            let document = nip11::document(&app.config, Some(&app.relay_key)).to_string();
            let headers = [(header::CONTENT_TYPE, "application/nostr+json"), (header::VARY, "accept, upgrade")];
            (nip11::CORS_HEADERS, headers, document).into_response()
        }
        Asked::No => {
            let address = address::of_request(socket.ip(), &headers, &app.config.server.trusted_proxies);
            let is_known = !app.config.server.public_url.is_empty()
                || host_of(&headers).is_none()
                || local_host(&app, &headers, address, here).is_some();
            let url = landing::url(&app.config.server, app.listening, host_of(&headers));
            let page = landing::page(&app.config, &url, is_known, Some(&app.relay_key));
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
                (header::CONTENT_SECURITY_POLICY, landing::content_security_policy(&app.config)),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
                (header::VARY, "accept, upgrade".to_owned()),
            ];
            (headers, page).into_response()
        }
    }
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

/// The name by which a client in the local network has found a relay that was given none.
fn local_host(app: &App, headers: &HeaderMap, client: std::net::IpAddr, here: ConnectedTo) -> Option<String> {
    if !app.config.server.public_url.is_empty() {
        return None;
    }
    host::local_name(host_of(headers)?, client, here.0.map(|here| here.ip())).map(str::to_owned)
}

async fn pico_main(
    state: State<Shared>,
    socket: ConnectInfo<SocketAddr>,
    meter: Extension<Arc<Meter>>,
    query: RawQuery,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    pico_room(state, Path("main".to_owned()), socket, meter, query, headers, asked).await
}

/// `/pico/<room>`: a WebSocket for pico nodes, or a page for people.
async fn pico_room(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    ConnectInfo(socket): ConnectInfo<SocketAddr>,
    meter: Extension<Arc<Meter>>,
    query: RawQuery,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    let app = shared.app;
    let name = match app.rooms.name(&name) {
        Ok(name) => name,
        Err(none) => return (none.status(), format!("{none}\n")).into_response(),
    };
    let handshake = match asked {
        Asked::WebSocket(handshake) => handshake,
        Asked::Wrong(why) => return why.into_response(),
        Asked::No => {
            let url = landing::url(&app.config.server, app.listening, host_of(&headers));
            return room::answer(&app, &name, query.0.as_deref(), &url).await;
        }
    };
    let admission = match app.admit(address::of_request(socket.ip(), &headers, &app.config.server.trusted_proxies)) {
        Ok(admission) => admission,
        Err(full) => return no_place(full),
    };
    // Who finds no place hears it inside: no browser shows a page what a handshake was refused for.
    let room = match app.rooms.visit(&name, admission.client()) {
        Ok(room) if room.hub().is_full() => Err(FULL_ROOM),
        room => room.map_err(NoRoom::reason),
    };
    if let Err(why) = &room {
        admission.log().refused("room", why);
    }
    websocket::upgrade(handshake, app, room, admission, meter.0)
}

/// `/pico/<room>/state/<slice>`: what a slice has computed, once or as it changes.
async fn pico_state(
    State(shared): State<Shared>,
    Path((room, slice)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    ConnectInfo(socket): ConnectInfo<SocketAddr>,
    prefix: Option<Extension<Prefix>>,
    headers: HeaderMap,
) -> Response {
    let app = shared.app;
    let name = match app.rooms.name(&room) {
        Ok(name) => name,
        Err(none) => return (none.status(), nip11::CORS_HEADERS, format!("{none}\n")).into_response(),
    };
    let config = &app.config.engine;
    let page = state::Page { objects_max: config.page_objects_max, bytes_max: config.page_bytes_max };
    let engine = app.rooms.engine(&name);
    let stream = state::wants_stream(&headers);
    let question = state::Question { query: query.as_deref().unwrap_or_default(), stream };
    let client = address::of_request(socket.ip(), &headers, &app.config.server.trusted_proxies);
    let readers = app.readers_of(client);
    let asked = match state::Asked::find(readers, (name.clone(), engine), &slice, &question, page) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    let Some(engine) = engine.filter(|_| stream) else {
        let prefix = prefix.map(|prefix| prefix.0.0).unwrap_or_default();
        return asked.once(&format!("{prefix}/pico/{room}/state/{slice}")).await;
    };
    // Before the value is read, so that nothing falls between it and the changes.
    let updates = engine.watch();
    match app.admit(client) {
        Ok(admission) => asked.stream(updates, &app.watchers, admission, app.stop.clone()),
        Err(full) => no_place(full),
    }
}

fn no_place(full: Full) -> Response {
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

async fn preflight() -> Response {
    (StatusCode::NO_CONTENT, nip11::CORS_HEADERS).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let state = match () {
        () if shared.app.stop.is_cancelled() => health::State::Draining,
        () if shared.app.saves.failed() => health::State::ReadOnly,
        () => health::State::Serving,
    };
    health::ready(state).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.metrics.filter(|_| shared.app.config.server.metrics) {
        Some(metrics) => {
            metrics::gauge!(crate::metrics::SUBSCRIPTIONS).set(shared.app.subscriptions.len() as f64);
            if let Ok(Ok(events)) = shared.app.readers.run_long(|reader| reader.len_estimate()).await {
                metrics::gauge!(crate::metrics::STORE_EVENTS).set(events as f64);
            }
            let file = shared.app.config.server.data.join(crate::store::sqlite::FILE);
            if let Ok(Ok(file)) = shared.app.readers.run(move |_| std::fs::metadata(file)).await {
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
