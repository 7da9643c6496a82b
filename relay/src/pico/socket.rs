//! What a peer's connection does, whatever carries it: frames in, frames out, pings, the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};

use super::gossip::Direction;
use super::outbox::Closing;
use super::peer::Peer;
use super::room::Room;
use super::rooms::Rooms;
use crate::http::metrics::{PICO_CLOSES, PICO_FRAMES};

/// What comes from the other end.
#[derive(Debug)]
pub enum Heard {
    /// A frame.
    Frame(Bytes),
    /// Text, which piconet does not have.
    Text,
    /// A sign of life.
    Alive,
    /// A message longer than `pico.message_bytes_max`.
    TooLong,
    /// The end.
    Closed,
}

/// What goes to the other end.
#[derive(Debug)]
pub enum Said {
    /// A frame.
    Frame(Bytes),
    /// A question for a sign of life.
    Ping,
    /// The end: a WebSocket close code and a reason.
    Close(u16, &'static str),
}

/// Bytes handed to the carrier before other work of the connection has a turn.
const SEND_BURST: usize = 1 << 20;

/// How often what waits is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Converses until the connection ends.
pub async fn converse<R, W>(rooms: &Rooms, room: &Arc<Room>, direction: Direction, mut reader: R, writer: W)
where
    R: Stream<Item = Heard> + Unpin + Send,
    W: Sink<Said, Error = ()> + Unpin + Send,
{
    let mut carrier = Carrier { writer, is_dirty: false };
    let Ok(mut peer) = Peer::new(Arc::clone(room), rooms.next_peer(), direction, &rooms.config) else {
        carrier.close(1013, "the room is full").await;
        return count("room_full");
    };
    let ping = Duration::from_secs(rooms.config.ping_seconds);
    let began = Instant::now();
    let mut heard = began;
    let mut asked = false;
    let mut slowed: Option<tokio::time::Instant> = None;
    let mut timer = tokio::time::interval(TICK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stopping = rooms.stop.cancelled();
    tokio::pin!(stopping);
    let end = loop {
        let may_read = peer.may_read();
        let wake_up = slowed.unwrap_or_else(tokio::time::Instant::now);
        tokio::select! {
            biased;
            wake = std::future::poll_fn(|context| carrier.poll(context, &mut peer, may_read, began.elapsed())) => {
                match wake {
                    Wake::Again => heard = Instant::now(),
                    Wake::Gone => break End::Gone,
                    Wake::Close(why) => break End::Closing(why),
                }
            }
            () = &mut stopping => {
                carrier.drain(&mut peer, DRAIN).await;
                break End::Closing(Closing::ShuttingDown);
            }
            () = tokio::time::sleep_until(wake_up), if slowed.is_some() => slowed = None,
            item = reader.next(), if may_read && slowed.is_none() => {
                heard = Instant::now();
                asked = false;
                match item.unwrap_or(Heard::Closed) {
                    Heard::Frame(frame) => match peer.receive(&frame, began.elapsed()) {
                        Ok(wait) => slowed = wait.map(|wait| tokio::time::Instant::now() + wait),
                        Err(fault) => break End::Fault(fault),
                    },
                    Heard::Alive => {}
                    Heard::Text => break End::Text,
                    Heard::TooLong => break End::TooLong,
                    Heard::Closed => break End::Gone,
                }
            }
            _ = timer.tick() => {
                if let Err(fault) = peer.tick(began.elapsed()) {
                    break End::Fault(fault);
                }
                if peer.is_idle() && heard.elapsed() >= ping * 2 {
                    break End::Silent;
                }
                if heard.elapsed() >= ping && !asked {
                    asked = true;
                    carrier.ping().await;
                }
            }
        }
    };
    // What was read is merged, however the connection ended.
    let merged = std::future::poll_fn(|context| {
        while !peer.is_idle() {
            std::task::ready!(peer.poll_work(context, began.elapsed()));
        }
        Poll::Ready(())
    });
    let _ = tokio::time::timeout(DRAIN, merged).await;
    drop(peer);
    carrier.end(end).await;
}

/// How long the end of a connection waits for what the peer has sent to be merged.
const DRAIN: Duration = Duration::from_secs(5);

/// Why a connection ended.
enum End {
    Gone,
    Silent,
    Text,
    TooLong,
    Closing(Closing),
    Fault(super::rpc::Fault),
}

struct Carrier<W> {
    writer: W,
    /// Something is in the write buffer.
    is_dirty: bool,
}

/// Why the sending half wants attention.
enum Wake {
    /// Something was finished: look at everything again.
    Again,
    /// The carrier is dead.
    Gone,
    /// The relay wants to end the connection.
    Close(Closing),
}

impl<W: Sink<Said, Error = ()> + Unpin> Carrier<W> {
    /// Goes on with the peer's work, sends what is queued, and stays pending while there is nothing else to do.
    fn poll(&mut self, context: &mut Context<'_>, peer: &mut Peer, may_read: bool, now: Duration) -> Poll<Wake> {
        peer.outbox().register(context);
        if peer.poll_work(context, now).is_ready() {
            return Poll::Ready(Wake::Again);
        }
        let mut sent = 0;
        loop {
            if let Some(why) = peer.outbox().closing() {
                return Poll::Ready(Wake::Close(why));
            }
            if !may_read && peer.may_read() {
                return Poll::Ready(Wake::Again);
            }
            match Pin::new(&mut self.writer).poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(())) => return Poll::Ready(Wake::Gone),
                Poll::Pending => return Poll::Pending,
            }
            if sent >= SEND_BURST {
                context.waker().wake_by_ref();
                return self.poll_flush(context);
            }
            let Some(frame) = peer.outbox().take() else { return self.poll_flush(context) };
            sent += frame.len();
            self.is_dirty = true;
            if Pin::new(&mut self.writer).start_send(Said::Frame(frame)).is_err() {
                return Poll::Ready(Wake::Gone);
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        if self.is_dirty {
            match Pin::new(&mut self.writer).poll_flush(context) {
                Poll::Ready(Ok(())) => self.is_dirty = false,
                Poll::Ready(Err(())) => return Poll::Ready(Wake::Gone),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// The relay stops: what was read is merged and answered.
    async fn drain(&mut self, peer: &mut Peer, patience: Duration) {
        let began = Instant::now();
        let answered = std::future::poll_fn(|context| match self.poll(context, peer, true, began.elapsed()) {
            Poll::Ready(Wake::Again) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending if peer.is_idle() && !self.is_dirty => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        });
        let _ = tokio::time::timeout(patience, answered).await;
    }

    async fn ping(&mut self) {
        let _ = tokio::time::timeout(TICK, self.writer.send(Said::Ping)).await;
    }

    async fn close(&mut self, code: u16, reason: &'static str) {
        // A peer that reads nothing must not keep its connection by that.
        let _ = tokio::time::timeout(TICK, self.writer.send(Said::Close(code, reason))).await;
    }

    async fn end(&mut self, end: End) {
        use super::rpc::Fault;
        let (reason, said) = match end {
            End::Gone => ("gone", None),
            End::Silent => ("silent", Some((1008, "no sign of life"))),
            End::Text => {
                metrics::counter!(PICO_FRAMES, "outcome" => "text").increment(1);
                ("text", Some((1003, "piconet frames are binary")))
            }
            End::TooLong => ("too_long", Some((1009, "message is too large"))),
            End::Fault(Fault::NoFrame(_)) => {
                metrics::counter!(PICO_FRAMES, "outcome" => "malformed").increment(1);
                ("malformed", Some((1002, "not a piconet frame")))
            }
            End::Fault(Fault::Silent) => ("no_reply", Some((1008, "no answer to NODE_ID"))),
            End::Fault(Fault::Refused) => ("refused", Some((1000, "refused"))),
            End::Fault(Fault::Itself) => ("itself", Some((1008, "connected to itself"))),
            End::Closing(Closing::TooSlow) => ("too_slow", Some(Closing::TooSlow.code_and_reason())),
            End::Closing(Closing::Replaced) => ("replaced", Some(Closing::Replaced.code_and_reason())),
            End::Closing(Closing::ShuttingDown) => ("shutdown", Some(Closing::ShuttingDown.code_and_reason())),
        };
        count(reason);
        if let Some((code, text)) = said {
            self.close(code, text).await;
        }
    }
}

fn count(reason: &'static str) {
    metrics::counter!(PICO_CLOSES, "reason" => reason).increment(1);
}
