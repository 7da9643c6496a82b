//! The one port: takes connections, and lets those go that do not say what they want.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer, ServiceExt};

use crate::descriptors::could_not_accept;
use crate::door::Door;
use crate::metrics::WAITING_CLOSES;
use crate::patience::Patient;
use crate::unfinished::{Budget, Meter, Metered};

/// How connections are served.
#[derive(Clone)]
pub struct Serving {
    /// What is answered.
    pub pages: Router,
    /// How long a request's head may take, and how long a connection may wait before the next one.
    pub request: Duration,
    /// How long what waits to be sent may wait while the client takes nothing.
    pub send: Duration,
    /// What unfinished messages may hold.
    pub unfinished: Arc<Budget>,
    /// Connections that have not said what they want.
    pub waiting: Arc<Door>,
    /// No more connections are taken, and those that are here end when their request is answered.
    pub stop: CancellationToken,
    /// They end, wherever they are.
    pub cut: CancellationToken,
}

/// The address of ours that a client connected to.
#[derive(Clone, Copy, Debug)]
pub struct ConnectedTo(pub Option<SocketAddr>);

/// Answers requests until it is told to stop, and then those that have begun.
pub async fn serve(listener: TcpListener, serving: Serving) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = serving.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let Ok(place) = Door::enter(&serving.waiting, address.ip()) else { continue };
                let answer = answer(stream, address, serving.clone());
                connections.spawn(async move {
                    // Somebody else needs the place of one that has said nothing, or nothing more, for longest.
                    tokio::select! {
                        () = answer => {}
                        () = place.given_away() => metrics::counter!(WAITING_CLOSES).increment(1),
                    }
                });
            }
            Err(error) => tokio::select! {
                () = could_not_accept(&error) => {}
                () = serving.stop.cancelled() => break,
            },
        }
    }
    connections.close();
    connections.wait().await;
}

async fn answer(stream: TcpStream, address: SocketAddr, serving: Serving) {
    let Serving { pages, request, send, unfinished, stop, cut, .. } = serving;
    // Before the first byte hyper does not count.
    let mut first = [0];
    let begins = tokio::select! {
        peeked = tokio::time::timeout(request, stream.peek(&mut first)) => matches!(peeked, Ok(Ok(1..))),
        () = stop.cancelled() => false,
    };
    if !begins {
        return;
    }
    let meter: Arc<Meter> = unfinished.meter();
    let here = ConnectedTo(stream.local_addr().ok());
    let stream = Metered::new(Patient::new(stream, send), Arc::clone(&meter));
    let pages = Extension(meter.clone()).layer(pages);
    let pages = Extension(ConnectInfo(address)).layer(Extension(here).layer(pages));
    // A request is done with when its head has come: there are no bodies.
    let service = TowerToHyperService::new(pages.map_request(move |request| {
        meter.clear();
        request
    }));
    // Said beforehand: it would wait without limit for the bytes by which it tells versions apart.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(request);
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = cut.cancelled() => {}
    }
}
