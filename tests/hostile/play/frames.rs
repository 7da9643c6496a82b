//! WebSocket frames as nobody needs them.

use std::sync::Arc;

use crate::crew::Crew;
use crate::line::{CONTINUATION, PING, Rounds, TEXT, flood, frame, pieces};

/// Pings, each of which is to be answered.
pub(crate) async fn pings(crew: Arc<Crew>) {
    let frames = (0..4_000).map(|n| frame(PING, true, &[b'x'; 125][..n % 126]));
    flood(Arc::clone(&crew), Some("/"), pieces(frames), Rounds::Endless).await;
}

/// Messages that come a byte at a time.
pub(crate) async fn one_byte(crew: Arc<Crew>) {
    fragments(crew, b"x").await;
}

/// Messages of fragments in which is nothing.
pub(crate) async fn empty(crew: Arc<Crew>) {
    fragments(crew, b"").await;
}

async fn fragments(crew: Arc<Crew>, part: &[u8]) {
    let begin = frame(TEXT, false, b"[");
    let end = frame(CONTINUATION, true, b"]");
    let middle = (0..20_000).map(|_| frame(CONTINUATION, false, part));
    let frames = std::iter::once(begin).chain(middle).chain([end]);
    flood(Arc::clone(&crew), Some("/"), pieces(frames), Rounds::Endless).await;
}
