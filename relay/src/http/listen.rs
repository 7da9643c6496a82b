//! The one port: takes connections, and lets those go that do not say what they want.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer;

/// A pause after which connections are taken again when that failed, as when there are no file handles.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers requests until it is told to stop, and then those that have begun. `patience` is how long a request's head may
/// take, and how long a connection may wait before the next one.
pub async fn serve(listener: TcpListener, pages: Router, patience: Duration, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                // Replies are written whole, so waiting for more (Nagle) would only add 40 ms to each.
                let _ = stream.set_nodelay(true);
                connections.spawn(answer(stream, address, pages.clone(), patience, stop.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn answer(stream: TcpStream, address: SocketAddr, pages: Router, patience: Duration, stop: CancellationToken) {
    // Before the first byte hyper does not count.
    let mut first = [0];
    match tokio::time::timeout(patience, stream.peek(&mut first)).await {
        Ok(Ok(1..)) => {}
        _ => return,
    }
    let service = TowerToHyperService::new(Extension(ConnectInfo(address)).layer(pages));
    // Said beforehand: it would wait without limit for the bytes by which it tells versions apart.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience);
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
