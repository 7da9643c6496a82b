//! What is answered below `/pico`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use super::prefix::Prefix;
use super::router::{host_of, no_handshake, no_place, preflight};
use super::shared::Shared;
use super::{landing, nip11, room, state};
use crate::address;
use crate::pico::rooms::NoRoom;
use crate::pico::socket::FULL_ROOM;
use crate::pico::websocket;
use crate::unfinished::Meter;
use crate::websocket::Asked;

/// The paths of rooms.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/pico", get(pico_main))
        .route("/pico/{room}", get(pico_room))
        .route("/pico/{room}/state/{slice}", get(pico_state).options(preflight))
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
    let (config, rooms) = (&shared.relay.config, &shared.pico.rooms);
    let name = match rooms.name(&name) {
        Ok(name) => name,
        Err(none) => {
            if !matches!(asked, Asked::No) {
                crate::metrics::refused("room");
            }
            return (none.status(), format!("{none}\n")).into_response();
        }
    };
    let handshake = match asked {
        Asked::WebSocket(handshake) => handshake,
        Asked::Wrong(why) => return no_handshake(why),
        Asked::No => {
            let url = landing::url(&config.server, shared.listening, host_of(&headers));
            return room::answer(&shared, &name, query.0.as_deref(), &url).await;
        }
    };
    let admission =
        match shared.doorkeeper.admit(address::of_request(socket.ip(), &headers, &config.server.trusted_proxies)) {
            Ok(admission) => admission,
            Err(full) => return no_place(full),
        };
    // Who finds no place hears it inside: no browser shows a page what a handshake was refused for.
    let room = match rooms.visit(&name, admission.client()) {
        Ok(room) if room.hub().is_full() => Err(FULL_ROOM),
        room => room.map_err(NoRoom::reason),
    };
    if let Err(why) = &room {
        admission.log().refused("room", why);
    }
    let shared = (Arc::clone(rooms), Arc::clone(&shared.relay.parked));
    websocket::upgrade(handshake, shared, room, admission, meter.0)
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
    let (config, rooms) = (&shared.relay.config, &shared.pico.rooms);
    let name = match rooms.name(&room) {
        Ok(name) => name,
        Err(none) => return (none.status(), nip11::CORS_HEADERS, format!("{none}\n")).into_response(),
    };
    let (objects_max, bytes_max) = (config.engine.page_objects_max, config.engine.page_bytes_max);
    let page = state::Page { objects_max, bytes_max };
    let engine = rooms.engine(&name);
    let stream = state::wants_stream(&headers);
    let question = state::Question { query: query.as_deref().unwrap_or_default(), stream };
    let client = address::of_request(socket.ip(), &headers, &config.server.trusted_proxies);
    let readers = shared.relay.readers_of(client);
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
    match shared.doorkeeper.admit(client) {
        Ok(admission) => asked.stream(updates, &shared.pico.watchers, admission, shared.relay.stop.clone()),
        Err(full) => no_place(full),
    }
}
