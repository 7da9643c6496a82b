//! One connection of a swarm: one frame is one message of the secret stream.
//!
//! The streams of peeroxide 1.7 have two habits that are made up for here. They take in whatever comes, without limit and
//! without slowing the sender down: so all is read at once, into a queue of a limited number of bytes, and a peer that
//! sends more than the room can take is closed. And an empty message, which says nothing and asks for nothing, is not shown
//! to the reader: so a sign of life is that the other side confirmed one of ours.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, stream};
use peeroxide::SwarmConnection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::PollSender;

use super::super::gossip::Direction;
use super::super::room::Room;
use super::super::rooms::Rooms;
use super::super::socket::{Heard, Said, converse};

/// Messages of one peer that wait to be read, however short.
const INBOX_FRAMES_MAX: usize = 4096;

/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Converses until the connection ends, or is to be `closed`.
pub(super) async fn carry(
    connection: SwarmConnection,
    rooms: &Rooms,
    room: &Arc<Room>,
    closed: impl Future<Output = ()> + Send,
) {
    let (frame_bytes_max, inbox_bytes_max) = (rooms.config.message_bytes_max, rooms.config.hyperswarm_inbox_bytes_max);
    // The rest of the connection, its socket, lives until the end of this function.
    let (mut read, mut write) = connection.peer.stream.into_split();
    let (heard, mut inbox) = mpsc::channel::<Heard>(INBOX_FRAMES_MAX);
    let (said, mut outbox) = mpsc::channel::<Said>(1);
    let waiting = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();

    let (alive, bytes) = (heard.clone(), Arc::clone(&waiting));
    let reading = tasks.spawn(async move {
        while let Ok(Some(frame)) = read.read().await {
            let is_too_long = frame.len() > frame_bytes_max;
            let is_too_much = bytes.fetch_add(frame.len(), Ordering::Relaxed) + frame.len() > inbox_bytes_max;
            if is_too_much && !is_too_long {
                tracing::debug!("a peer on hyperswarm sends more than the room can take");
                break;
            }
            let item =
                if is_too_long { Heard::Wrong(1009, "message is too large") } else { Heard::Frame(Bytes::from(frame)) };
            if heard.try_send(item).is_err() || is_too_long {
                break;
            }
        }
        let _ = heard.send(Heard::Gone).await;
    });
    tasks.spawn(async move {
        while let Some(said) = outbox.recv().await {
            let written = match said {
                Said::Frame(frame) => write.write(&frame).await,
                Said::Ping => write.write(&[]).await,
                Said::Close(..) => break,
            };
            if written.is_err() {
                return;
            }
            // All that is written is confirmed by the other side before the next.
            let _ = alive.try_send(Heard::Alive);
        }
        let _ = tokio::time::timeout(PATIENCE, write.shutdown()).await;
    });

    let reader = stream::poll_fn(|context| {
        inbox.poll_recv(context).map(|heard| {
            if let Some(Heard::Frame(frame)) = &heard {
                waiting.fetch_sub(frame.len(), Ordering::Relaxed);
            }
            heard
        })
    });
    let writer = PollSender::new(said).sink_map_err(drop);
    tokio::select! {
        // Whoever dialled: nodes of one generation meet here, and would not understand the question for the other.
        _ = Box::pin(converse(rooms, room, (Direction::In, None), reader, writer)) => {}
        () = closed => {}
    }
    // The writer ends by itself, as nobody has anything to say any more.
    reading.abort();
    let ended = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(PATIENCE * 2, ended).await;
}

/// Ends a connection for which there is no place.
pub(super) async fn refuse(connection: SwarmConnection) {
    let mut stream = connection.peer.stream;
    let _ = tokio::time::timeout(PATIENCE, stream.shutdown()).await;
}
