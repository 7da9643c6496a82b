//! The socket under a [`Client`]: frames in, frames out, pings, time.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Heard, Signer};
use super::fault::Fault;
use crate::config;
use crate::dial::{Socket, dial, is_too_long};
use crate::message::upstream::EOSE_HINTS;

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Frames without text in a minute: pings, and answers to ours.
const IDLE_FRAMES_MAX: u32 = 1_000;

/// The minute.
const IDLE_WINDOW: Duration = Duration::from_secs(60);

/// A connection to another relay.
pub struct Link {
    /// The protocol on it.
    pub client: Client,
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    stop: CancellationToken,
    began: Instant,
    /// Time in which we did not listen. It does not count against the other relay.
    stalled: Duration,
    ping: Duration,
    heard: Duration,
    ping_sent: bool,
    ping_due: bool,
    is_dirty: bool,
    idle_frames: u32,
    idle_since: Duration,
}

impl Link {
    /// Connects.
    pub async fn connect(
        url: &str,
        config: &config::Sync,
        sign: Signer,
        stop: CancellationToken,
    ) -> Result<Self, Fault> {
        let patience = Duration::from_secs(config.connect_seconds);
        let socket = tokio::select! {
            socket = dial(url, &[(EOSE_HINTS, "1")], config.message_bytes_max, patience) => socket?,
            () = stop.cancelled() => return Err(Fault::Stopped),
        };
        let (sink, stream) = socket.split();
        Ok(Self {
            client: Client::new(config.clone(), sign),
            sink,
            stream,
            stop,
            began: Instant::now(),
            stalled: Duration::ZERO,
            ping: Duration::from_secs(config.ping_seconds),
            heard: Duration::ZERO,
            ping_sent: false,
            ping_due: false,
            is_dirty: false,
            idle_frames: 0,
            idle_since: Duration::ZERO,
        })
    }

    /// The time of this connection.
    pub fn now(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.stalled)
    }

    /// Waits for something of our own, during which nothing is read and the clock stands still.
    pub async fn stall<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Fault> {
        let began = Instant::now();
        let done = tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.stop.cancelled() => Err(Fault::Stopped),
        };
        self.stalled += began.elapsed();
        done
    }

    /// The next thing heard. Can be dropped at any time and called again.
    pub async fn next(&mut self) -> Result<Heard, Fault> {
        loop {
            let now = self.now();
            self.client.tick(now)?;
            if let Some(heard) = self.client.take_heard() {
                return Ok(heard);
            }
            let silent_at = self.heard + self.ping * if self.ping_sent { 2 } else { 1 };
            if silent_at <= now {
                if self.ping_sent {
                    return Err(Fault::Silent("a ping"));
                }
                self.ping_sent = true;
                self.ping_due = true;
                continue;
            }
            let wake = self.client.deadline().map_or(silent_at, |at| at.min(silent_at));
            let must_send = self.is_dirty || self.ping_due || self.client.has_out();
            let Self { sink, client, stream, stop, is_dirty, ping_due, .. } = self;
            let sending = std::future::poll_fn(|context| pump(sink, client, is_dirty, ping_due, context));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Fault::Stopped),
                sent = sending, if must_send => sent?,
                item = stream.next() => {
                    let now = self.now();
                    self.heard = now;
                    self.ping_sent = false;
                    self.read(item, now)?;
                }
                () = tokio::time::sleep(wake.saturating_sub(now)) => {}
            }
        }
    }

    fn read(
        &mut self,
        item: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
        now: Duration,
    ) -> Result<(), Fault> {
        match item {
            Some(Ok(Message::Text(text))) => self.client.hear(&text, now),
            Some(Ok(Message::Binary(_))) => self.client.fault(now),
            Some(Ok(Message::Ping(_))) => {
                // The answer is in the write buffer.
                self.is_dirty = true;
                self.idle_frame(now)
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => self.idle_frame(now),
            Some(Ok(Message::Close(_))) | None => Err(Fault::Gone),
            Some(Err(error)) if is_too_long(&error.to_string()) => Err(Fault::TooLong),
            Some(Err(_)) => Err(Fault::Gone),
        }
    }

    fn idle_frame(&mut self, now: Duration) -> Result<(), Fault> {
        if now > self.idle_since + IDLE_WINDOW {
            self.idle_since = now;
            self.idle_frames = 0;
        }
        self.idle_frames += 1;
        if self.idle_frames > IDLE_FRAMES_MAX { Err(Fault::Lies) } else { Ok(()) }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(FAREWELL, self.sink.send(Message::Close(None))).await;
    }
}

/// Hands what waits to the socket. What was taken from the client is in the socket's buffer at once, so nothing is lost
/// when this is dropped half-way.
fn pump(
    sink: &mut SplitSink<Socket, Message>,
    client: &mut Client,
    is_dirty: &mut bool,
    ping_due: &mut bool,
    context: &mut Context<'_>,
) -> Poll<Result<(), Fault>> {
    let mut sink = std::pin::Pin::new(sink);
    loop {
        if !*ping_due && !client.has_out() {
            break;
        }
        ready!(sink.as_mut().poll_ready(context)).map_err(|_| Fault::Gone)?;
        let message = if std::mem::take(ping_due) {
            Message::Ping(Bytes::new())
        } else {
            match client.take() {
                Some(text) => Message::text(text),
                None => break,
            }
        };
        sink.as_mut().start_send(message).map_err(|_| Fault::Gone)?;
        *is_dirty = true;
    }
    ready!(sink.poll_flush(context)).map_err(|_| Fault::Gone)?;
    *is_dirty = false;
    Poll::Ready(Ok(()))
}
