//! Plain HTTP requests.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use crate::crew::{Crew, Stats};
use crate::line::{Rounds, drain, each, flood, pieces, socket};

async fn ask(crew: Arc<Crew>, requests: Vec<Vec<u8>>) {
    flood(Arc::clone(&crew), None, pieces(requests), Rounds::Endless).await;
}

fn get(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n").into_bytes()
}

/// Heads of 100 kB.
pub(crate) async fn huge_headers(crew: Arc<Crew>) {
    let more = format!("X: {}\r\n", "x".repeat(100_000));
    ask(crew, vec![get("/", &more)]).await;
}

/// Bodies of 1 MiB where none is wanted.
pub(crate) async fn large_posts(crew: Arc<Crew>) {
    let post = |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1048576\r\n\r\n");
        [head.into_bytes(), vec![b'x'; 1_048_576]].concat()
    };
    ask(crew, vec![post("/"), post("/what")]).await;
}

/// The landing page, the document of NIP-11 and what is not there.
pub(crate) async fn pages(crew: Arc<Crew>) {
    ask(crew, vec![get("/", ""), get("/", "Accept: application/nostr+json\r\n"), get("/what", "")]).await;
}

/// The metrics.
pub(crate) async fn metrics(crew: Arc<Crew>) {
    ask(crew, vec![get("/metrics", "")]).await;
}

/// Pages of rooms that are not there.
pub(crate) async fn room_pages(crew: Arc<Crew>) {
    ask(crew, (0..500).map(|n| get(&format!("/pico/room{n}"), "")).collect()).await;
}

/// Streams of the state of a room (server-sent events).
pub(crate) async fn streams(crew: Arc<Crew>) {
    crew.go().await;
    each(&crew, |crew, number| async move {
        let Ok(mut stream) = socket(&crew, number, None).await else { return };
        let request = get("/pico/board/state/tasks", "Accept: text/event-stream\r\n");
        if stream.write_all(&request).await.is_ok() {
            Stats::add(&crew.stats.opened, 1);
            drain(&mut stream).await;
        }
    })
    .await;
}
