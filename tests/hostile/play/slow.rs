//! Those who do not read, do not finish what they began, or only take a place.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::crew::{Crew, Stats};
use crate::line::{TEXT, drain, each, head, socket, text, upgraded};

/// What the kernel keeps for one who does not read: as little as it can.
const INBOX_BYTES: u32 = 4_096;

/// Asks for much, and never reads a byte.
pub(crate) async fn never_read(crew: Arc<Crew>) {
    ask_and(crew, |_, stream| async move {
        // Whether the relay has ended it cannot be seen from here without reading.
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
}

/// The same, but shows that it lives.
pub(crate) async fn never_read_but_live(crew: Arc<Crew>) {
    ask_and(crew, |crew, mut stream| async move {
        // An empty pong that nobody asked for.
        while stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.is_ok() {
            sleep(Duration::from_millis(500)).await;
        }
        Stats::add(&crew.stats.closed, 1);
    })
    .await;
}

async fn ask_and<P>(crew: Arc<Crew>, then: impl Fn(Arc<Crew>, TcpStream) -> P + Send + Sync + Clone + 'static)
where
    P: Future<Output = ()> + Send,
{
    let requests: Vec<u8> = (0..4).flat_map(|n| text(json!(["REQ", format!("n{n}"), {"limit": 5000}]))).collect();
    crew.go().await;
    each(&crew, move |crew, number| {
        let (requests, then) = (requests.clone(), then.clone());
        async move {
            let Ok(mut stream) = upgraded(&crew, number, "/", Some(INBOX_BYTES)).await else { return };
            if stream.write_all(&requests).await.is_ok() {
                then(crew, stream).await;
            }
            // One who was let go does not come again.
            std::future::pending::<()>().await;
        }
    })
    .await;
}

/// Connects, and takes the place.
pub(crate) async fn idle(crew: Arc<Crew>) {
    crew.go().await;
    each(&crew, |crew, number| async move {
        if let Ok(mut stream) = upgraded(&crew, number, "/", None).await {
            drain(&mut stream).await;
        }
    })
    .await;
}

/// Connects, and says nothing at all.
pub(crate) async fn half_open(crew: Arc<Crew>) {
    crew.go().await;
    each(&crew, |crew, number| async move {
        if let Ok(mut stream) = socket(&crew, number, None).await {
            drain(&mut stream).await;
        }
    })
    .await;
}

/// Sends the head of a request a byte at a time.
pub(crate) async fn slowloris(crew: Arc<Crew>) {
    crew.go().await;
    each(&crew, |crew, number| async move {
        let Ok(mut stream) = socket(&crew, number, None).await else { return };
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
}

/// Begins a message of 512 KiB, sends nearly all of it, and waits.
pub(crate) async fn unfinished(crew: Arc<Crew>) {
    let begun: Arc<[u8]> = [head(TEXT, true, 520_000), vec![b'['; 510_000]].concat().into();
    crew.go().await;
    each(&crew, move |crew, number| {
        let begun = Arc::clone(&begun);
        async move {
            if let Ok(mut stream) = upgraded(&crew, number, "/", None).await {
                crew.send(begun.len()).await;
                if stream.write_all(&begun).await.is_ok() {
                    drain(&mut stream).await;
                }
            }
        }
    })
    .await;
}
