//! What a peer's connection does, whatever carries it: frames in, frames out, pings, the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};

use super::account::Account;
use super::gossip::Direction;
use super::outbox::Closing;
use super::peer::Peer;
use super::room::Room;
use super::rooms::Rooms;
use super::rpc;
use crate::metrics::{PICO_CLOSES, PICO_FRAMES};
use crate::rounds::Part;
use picorelay_net::websocket::{self, Alive, Look};

/// What comes from the other end.
#[derive(Debug)]
pub enum Heard {
    /// A frame.
    Frame(Bytes),
    /// Text, which piconet does not have.
    Text,
    /// A sign of life.
    Alive,
    /// Something that may not come, such as a message longer than `pico.message_bytes_max`: a WebSocket close code and a
    /// reason.
    Wrong(u16, &'static str),
    /// The end, said in the way of the carrier; what is written until then, and the answer, still arrive.
    Closed,
    /// The end, without a word.
    Gone,
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

/// Bytes handed to carriers before others have a turn: of all busy connections together, at least of one, and at most.
const SEND_ROUND_BYTES: usize = 1 << 20;
const SEND_TURN_BYTES: (usize, usize) = (8 << 10, 256 << 10);

/// How often what waits is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Converses with a peer, a stranger if the account of its address is given, until the connection ends, and says how.
pub async fn converse<R, W>(
    rooms: &Rooms,
    room: &Arc<Room>,
    caller: (Direction, Option<Arc<dyn Account>>),
    mut reader: R,
    writer: W,
) -> websocket::End
where
    R: Stream<Item = Heard> + Unpin + Send,
    W: Sink<Said, Error = ()> + Unpin + Send,
{
    let began = Instant::now();
    let ping = Duration::from_secs(rooms.config.ping_seconds);
    let mut carrier = Carrier {
        writer,
        sends: Part::new(&rooms.rounds),
        alive: Alive::new(ping, began),
        is_dirty: false,
        ping_due: false,
        blocked: None,
    };
    let Ok(mut peer) = Peer::new(Arc::clone(room), rooms.next_peer(), caller, &rooms.config) else {
        return turn_away(reader, carrier.writer, FULL_ROOM).await;
    };
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
                    Wake::Again => carrier.alive.heard(Instant::now()),
                    Wake::Gone => break End::Gone,
                    Wake::Close(why) => break End::Closing(why),
                }
            }
            () = &mut stopping => {
                carrier.drain(&mut peer, DRAIN).await;
                break End::Stopped;
            }
            () = tokio::time::sleep_until(wake_up), if slowed.is_some() => slowed = None,
            item = reader.next(), if may_read && slowed.is_none() => {
                carrier.alive.heard(Instant::now());
                match item.unwrap_or(Heard::Gone) {
                    Heard::Frame(frame) => match peer.receive(&frame, began.elapsed()) {
                        Ok(wait) => slowed = wait.map(|wait| tokio::time::Instant::now() + wait),
                        Err(fault) => break End::Fault(fault),
                    },
                    Heard::Alive => slowed = peer.alive(began.elapsed()).map(|wait| tokio::time::Instant::now() + wait),
                    Heard::Text => break End::Text,
                    Heard::Wrong(code, why) => break End::Wrong(code, why),
                    Heard::Closed => break End::Closed,
                    Heard::Gone => break End::Gone,
                }
            }
            _ = timer.tick() => {
                if let Err(fault) = peer.tick(began.elapsed()) {
                    break End::Fault(fault);
                }
                if carrier.blocked.is_some_and(|since| since.elapsed() >= rooms.send) {
                    break End::Stalled;
                }
                let now = Instant::now();
                if !may_read || slowed.is_some() || !peer.is_idle() || carrier.blocked.is_some() {
                    // Not heard, since nobody listens to it; or it has other things to take before a ping.
                    carrier.alive.heard(now);
                }
                match carrier.alive.look(now) {
                    Look::Fine => {}
                    Look::Ask => carrier.ping_due = true,
                    Look::Over => break End::Silent,
                }
            }
        }
    };
    if matches!(end, End::Closed) {
        // A WebSocket has its answer to the Close frame in the write buffer; it must not wait for what follows.
        let _ = tokio::time::timeout(TICK, carrier.writer.flush()).await;
    }
    // What was read is merged, however the connection ended.
    let merged = std::future::poll_fn(|context| {
        while !peer.is_idle() {
            std::task::ready!(peer.poll_work(context, began.elapsed()));
        }
        Poll::Ready(())
    });
    let _ = tokio::time::timeout(DRAIN, merged).await;
    drop(peer);
    carrier.end(end).await
}

/// Why a peer is not let into a room that has as many as it may.
pub const FULL_ROOM: &str = "the room is full";

/// Tells a peer why there is no place for it: ERR as the answer to its first question, then the end.
pub async fn turn_away<R, W>(mut reader: R, mut writer: W, why: &'static str) -> websocket::End
where
    R: Stream<Item = Heard> + Unpin + Send,
    W: Sink<Said, Error = ()> + Unpin + Send,
{
    count("no_place");
    // Every node introduces itself at once, and wants a reply.
    let answered = tokio::time::timeout(DRAIN, async {
        while let Some(heard) = reader.next().await {
            match heard {
                Heard::Frame(frame) => {
                    if let Some(error) = rpc::error_to(&frame, why) {
                        return writer.feed(Said::Frame(error)).await;
                    }
                }
                Heard::Alive => {}
                Heard::Text | Heard::Wrong(..) => return Ok(()),
                Heard::Closed | Heard::Gone => return Err(()),
            }
        }
        Err(())
    });
    if matches!(answered.await, Ok(Err(()))) {
        return websocket::End::Gone;
    }
    match tokio::time::timeout(TICK, writer.send(Said::Close(1013, why))).await {
        Ok(Ok(())) => websocket::End::Told,
        _ => websocket::End::Gone,
    }
}

/// How long the end of a connection waits for what the peer has sent to be merged.
const DRAIN: Duration = Duration::from_secs(5);

/// Why a connection ended.
#[derive(Clone, Copy)]
enum End {
    Gone,
    Closed,
    Silent,
    /// It takes nothing of what waits for it.
    Stalled,
    Stopped,
    Text,
    Wrong(u16, &'static str),
    Closing(Closing),
    Fault(super::rpc::Fault),
}

struct Carrier<W> {
    writer: W,
    sends: Part,
    alive: Alive,
    /// Something is in the write buffer.
    is_dirty: bool,
    /// The peer is to be asked for a sign of life.
    ping_due: bool,
    /// Since when the peer has taken nothing of what is there.
    blocked: Option<Instant>,
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
        let (least, most) = SEND_TURN_BYTES;
        let burst = self.sends.share(SEND_ROUND_BYTES, least, most);
        let mut sent = 0;
        loop {
            if let Some(why) = peer.outbox().closing() {
                return Poll::Ready(Wake::Close(why));
            }
            if !may_read && peer.may_read() {
                return Poll::Ready(Wake::Again);
            }
            match Pin::new(&mut self.writer).poll_ready(context) {
                Poll::Ready(Ok(())) => self.taken(),
                Poll::Ready(Err(())) => return Poll::Ready(Wake::Gone),
                Poll::Pending => {
                    self.sends.ends(false);
                    self.blocked.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
            if std::mem::take(&mut self.ping_due) {
                self.is_dirty = true;
                if Pin::new(&mut self.writer).start_send(Said::Ping).is_err() {
                    return Poll::Ready(Wake::Gone);
                }
                continue;
            }
            if sent >= burst {
                self.sends.ends(true);
                context.waker().wake_by_ref();
                return self.poll_flush(context);
            }
            let Some(frame) = peer.outbox().take() else {
                self.sends.ends(false);
                return self.poll_flush(context);
            };
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
                Poll::Ready(Ok(())) => {
                    self.is_dirty = false;
                    self.alive.said(Instant::now());
                    self.taken();
                }
                Poll::Ready(Err(())) => return Poll::Ready(Wake::Gone),
                Poll::Pending => {
                    self.blocked.get_or_insert_with(Instant::now);
                }
            }
        }
        Poll::Pending
    }

    /// The carrier takes more: where it did not before, the peer has taken something, which is a sign of life.
    fn taken(&mut self) {
        if self.blocked.take().is_some() {
            self.alive.heard(Instant::now());
        }
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

    async fn close(&mut self, code: u16, reason: &'static str) -> websocket::End {
        // A peer that reads nothing must not keep its connection by that.
        match tokio::time::timeout(TICK, self.writer.send(Said::Close(code, reason))).await {
            Ok(Ok(())) => websocket::End::Told,
            _ => websocket::End::Gone,
        }
    }

    async fn end(&mut self, end: End) -> websocket::End {
        use super::rpc::Fault;
        let (reason, said) = match end {
            End::Gone | End::Closed => ("gone", None),
            End::Stalled => ("stalled", None),
            End::Stopped => ("shutdown", None),
            End::Silent => ("silent", Some((1008, "no sign of life"))),
            End::Text => {
                metrics::counter!(PICO_FRAMES, "outcome" => "text").increment(1);
                ("text", Some((1003, "piconet frames are binary")))
            }
            End::Wrong(1009, why) => ("too_long", Some((1009, why))),
            End::Wrong(code, why) => ("wrong", Some((code, why))),
            End::Fault(Fault::NoFrame(_)) => {
                metrics::counter!(PICO_FRAMES, "outcome" => "malformed").increment(1);
                ("malformed", Some((1002, "not a piconet frame")))
            }
            End::Fault(Fault::Silent) => ("no_reply", Some((1008, "no answer to NODE_ID"))),
            End::Fault(Fault::Refused) => ("refused", Some((1000, "refused"))),
            End::Fault(Fault::Itself) => ("itself", Some((1008, "connected to itself"))),
            End::Closing(Closing::TooSlow) => ("too_slow", Some(Closing::TooSlow.code_and_reason())),
            End::Closing(Closing::Replaced) => ("replaced", Some(Closing::Replaced.code_and_reason())),
            End::Closing(Closing::GivesWay) => ("gives_way", Some(Closing::GivesWay.code_and_reason())),
            End::Closing(Closing::NewRooms) => ("new_rooms", Some(Closing::NewRooms.code_and_reason())),
            End::Closing(Closing::FalseFeeds) => ("false_feeds", Some(Closing::FalseFeeds.code_and_reason())),
        };
        count(reason);
        match (end, said) {
            (_, Some((code, text))) => self.close(code, text).await,
            (End::Closed, None) => websocket::End::Told,
            (End::Stopped, None) => websocket::End::Stopped,
            (_, None) => websocket::End::Gone,
        }
    }
}

fn count(reason: &'static str) {
    metrics::counter!(PICO_CLOSES, "reason" => reason).increment(1);
}
