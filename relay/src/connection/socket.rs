//! The socket of a nostr client: frames in, messages out, pings, the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream, StreamExt};
use futures_util::{FutureExt, Sink, SinkExt};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::door::Admission;
use crate::message::reply;
use crate::outbox::Closing;
use crate::rounds::Part;
use crate::seldom::Seldom;
use crate::session::{Greeting, Relay, Session};
use crate::unfinished::Meter;
use crate::websocket::{Alive, End, Handshake, Look, Socket, fault_of};

/// Bytes that a read asks the socket for, and that an idle connection therefore costs.
const READ_BYTES: usize = 4096;

/// Bytes of messages that are gathered into one write. The buffer stays as long as it once was, so it is smaller for clients
/// that come when there are many.
const WRITE_BYTES: usize = 64 * 1024;
const WRITE_BYTES_OF_MANY: usize = 32 * 1024;

/// From so many clients on there are many.
const MANY: usize = 2_000;

/// A message of up to this many times the limit is read and refused politely; above that the connection ends.
const OVERSIZE_FACTOR: usize = 4;

/// Messages read in a row before the events among them go to ingest, and other connections have a turn: of all busy
/// connections together, and at most of one.
const READ_ROUND: usize = 128;
const READ_BURST: usize = 16;

/// Bytes of messages after which that happens, too.
const READ_BURST_BYTES: usize = 64 << 10;

/// Bytes put on the socket before others have a turn: of all busy connections together, at most of one, and at least.
const SEND_ROUND: usize = 1 << 20;
const SEND_BURST: usize = 256 << 10;
const SEND_LEAST: usize = 8 << 10;

/// Messages put on the socket before the connection looks again at what else there is.
const LOOK_EVERY: usize = 16;

/// How long a client has to take what is in the write buffer and the close frame behind it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Turns a handshake into a session.
pub fn upgrade(
    handshake: Handshake,
    relay: Arc<Relay>,
    admission: Admission,
    meter: Arc<Meter>,
    greeting: Greeting,
) -> Response {
    let bytes = relay.config.limits.message_bytes_max.saturating_mul(OVERSIZE_FACTOR);
    let write_bytes = if admission.present() < MANY { WRITE_BYTES } else { WRITE_BYTES_OF_MANY };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(write_bytes)
        .max_message_size(Some(bytes))
        .max_frame_size(Some(bytes));
    handshake.accept(config, move |socket| async move {
        let (cut, parked) = (relay.cut.clone(), Arc::clone(&relay.parked));
        let served = async {
            let (socket, end) = Box::pin(serve(socket, relay, &admission, greeting, &meter)).await;
            end.of(socket, &parked).await;
        };
        let cut = std::pin::pin!(cut.cancelled());
        tokio::select! {
            biased;
            () = served => {}
            () = Seldom::new(cut) => {}
        }
        drop(admission);
    })
}

/// Serves one connection until it ends.
async fn serve(
    socket: Socket,
    relay: Arc<Relay>,
    admission: &Admission,
    greeting: Greeting,
    meter: &Arc<Meter>,
) -> (Option<Socket>, End) {
    let number = relay.next_connection();
    let ping = Duration::from_secs(relay.config.limits.ping_seconds.max(1));
    let session = Session::new(Arc::clone(&relay), number, admission, greeting);
    let (sink, mut stream) = socket.split();
    let alive = Alive::new(ping, Instant::now());
    let (reads, sends) = (Part::new(&relay.rounds), Part::new(&relay.rounds));
    let mut connection =
        Connection { session, sink, alive, reads, sends, dirty: false, blocked: false, ping_due: false, paused: false };
    let end = connection.run(&mut stream, &relay, admission, meter).await;
    (connection.sink.reunite(stream).ok(), end)
}

struct Connection {
    session: Session,
    sink: SplitSink<Socket, Message>,
    alive: Alive,
    reads: Part,
    sends: Part,
    /// Something is in the write buffer.
    dirty: bool,
    /// The client has not taken what is there.
    blocked: bool,
    /// The client is to be asked for a sign of life.
    ping_due: bool,
    /// Reading waits until the client has taken or got enough answers.
    paused: bool,
}

/// Why the sending half wants attention.
enum Wake {
    /// Reading may go on.
    Read,
    /// The socket is dead.
    Gone,
    /// The relay wants to end the connection.
    Close(Closing),
}

impl Connection {
    async fn run(
        &mut self,
        stream: &mut SplitStream<Socket>,
        relay: &Relay,
        admission: &Admission,
        meter: &Arc<Meter>,
    ) -> End {
        let given_away = std::pin::pin!(admission.given_away());
        let stopping = std::pin::pin!(relay.stop.cancelled());
        let (mut given_away, mut stopping) = (Seldom::new(given_away), Seldom::new(stopping));
        let timer = tokio::time::sleep_until(self.alive.next_look().into());
        tokio::pin!(timer);
        loop {
            self.paused = !self.session.may_read();
            if self.paused {
                self.reads.ends(false);
            }
            let wait = self.paused.then(|| self.session.wait());
            tokio::select! {
                biased;
                wake = std::future::poll_fn(|context| self.poll_send(context)) => match wake {
                    Wake::Read => {}
                    Wake::Gone => return End::Gone,
                    Wake::Close(why) => return self.say_goodbye(why).await,
                },
                () = &mut given_away => return self.say_goodbye(Closing::PlaceTaken).await,
                () = async { if let Some(wait) = wait { wait.over().await } }, if self.paused => {}
                () = &mut stopping => return self.drain(relay).await,
                frame = stream.next(), if !self.paused => {
                    let now = Instant::now();
                    self.alive.heard(now);
                    admission.heard_at(now);
                    if let Some(end) = self.read(frame, stream, meter).await {
                        return end;
                    }
                    meter.clear();
                }
                () = &mut timer => {
                    let now = Instant::now();
                    if self.paused || self.blocked {
                        // Not heard, since nobody listens to it; or it has other messages to take before a ping. How long
                        // it may take nothing is for the socket to say.
                        self.alive.heard(now);
                    }
                    match self.alive.look(now) {
                        Look::Fine => {}
                        Look::Ask => self.ping_due = true,
                        // Without a Close frame: one that was asleep comes back by itself.
                        Look::Over => {
                            self.session.log.closed("silent");
                            return End::Gone;
                        }
                    }
                    timer.as_mut().reset(self.alive.next_look().into());
                }
            }
        }
    }

    /// Sends what is queued, runs scans that fill the queue, and stays pending while there is nothing else to say.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        self.session.outbox.register(context);
        let burst = self.sends.share(SEND_ROUND, SEND_LEAST, SEND_BURST);
        let (mut sent, mut messages) = (0, 0);
        loop {
            if messages % LOOK_EVERY == 0 {
                // Scans and counts end here; what they found is in the outbox.
                while let Poll::Ready(Some(_)) = self.session.work.poll_next_unpin(context) {}
                if let Some(why) = self.session.outbox.closing() {
                    return Poll::Ready(Wake::Close(why));
                }
                if self.paused && self.session.may_read() {
                    return Poll::Ready(Wake::Read);
                }
            }
            match Pin::new(&mut self.sink).poll_ready(context) {
                Poll::Ready(Ok(())) => self.taken(),
                Poll::Ready(Err(_)) => return Poll::Ready(Wake::Gone),
                Poll::Pending => {
                    self.blocked = true;
                    self.sends.ends(false);
                    return Poll::Pending;
                }
            }
            if std::mem::take(&mut self.ping_due) {
                self.dirty = true;
                if Pin::new(&mut self.sink).start_send(Message::Ping(bytes::Bytes::new())).is_err() {
                    return Poll::Ready(Wake::Gone);
                }
                continue;
            }
            let Some(text) = self.session.outbox.take() else {
                if messages % LOOK_EVERY == 0 {
                    self.sends.ends(false);
                    return self.poll_flush(context);
                }
                messages = 0;
                continue;
            };
            sent += text.len();
            messages += 1;
            self.dirty = true;
            if Pin::new(&mut self.sink).start_send(Message::Text(Utf8Bytes::from(text))).is_err() {
                return Poll::Ready(Wake::Gone);
            }
            if sent >= burst {
                self.sends.ends(true);
                context.waker().wake_by_ref();
                return self.poll_flush(context);
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        if self.dirty {
            match Pin::new(&mut self.sink).poll_flush(context) {
                Poll::Ready(Ok(())) => {
                    self.dirty = false;
                    self.alive.said(Instant::now());
                    self.taken();
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Wake::Gone),
                Poll::Pending => self.blocked = true,
            }
        }
        Poll::Pending
    }

    /// The socket takes more: where it did not before, the client has taken something, which is a sign of life.
    fn taken(&mut self) {
        if std::mem::take(&mut self.blocked) {
            self.alive.heard(Instant::now());
        }
    }

    /// Takes in a frame and those that wait behind it, and says how the connection ends if it does.
    async fn read(
        &mut self,
        first: Option<Result<Message, Error>>,
        stream: &mut SplitStream<Socket>,
        meter: &Arc<Meter>,
    ) -> Option<End> {
        let mut frame = first;
        let mut bytes = 0;
        let mut is_busy = false;
        for left in (0..self.reads.share(READ_ROUND, 1, READ_BURST)).rev() {
            match frame {
                Some(Ok(Message::Text(text))) => {
                    bytes += text.len();
                    meter.keep(text.len());
                    self.session.text(&text).await;
                }
                Some(Ok(Message::Binary(data))) => {
                    bytes += data.len();
                    if self.session.takes(data.len()) {
                        let why = "unsupported: binary messages; nostr messages are text";
                        self.session.outbox.text(reply::notice(why));
                    }
                }
                Some(Ok(Message::Ping(data) | Message::Pong(data))) => {
                    bytes += data.len();
                    self.session.takes(data.len());
                }
                Some(Ok(Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) => {
                    self.session.flush_events().await;
                    // The answer is in the write buffer (RFC 6455, 5.5.1).
                    let _ = tokio::time::timeout(CLOSE_PATIENCE, self.sink.flush()).await;
                    self.session.linger().await;
                    return Some(End::Told);
                }
                None => {
                    self.session.flush_events().await;
                    return Some(End::Gone);
                }
                Some(Err(error)) => {
                    self.session.flush_events().await;
                    return Some(match fault_of(&error) {
                        Some((code, reason)) => {
                            self.session.log.closed(reason);
                            self.close(code, reason).await
                        }
                        None => End::Gone,
                    });
                }
            }
            // A frame that is taken from the socket must be read in the next turn, so there must be one.
            is_busy = self.session.may_read();
            if left == 0 || bytes >= READ_BURST_BYTES || !is_busy {
                break;
            }
            match stream.next().now_or_never() {
                Some(next) => frame = next,
                None => {
                    is_busy = false;
                    break;
                }
            }
        }
        self.reads.ends(is_busy);
        self.session.flush_events().await;
        None
    }

    async fn say_goodbye(&mut self, why: Closing) -> End {
        let (code, reason) = why.code_and_reason();
        self.session.log.closed(why.word());
        if why == Closing::TooSlow {
            metrics::counter!(crate::metrics::OUTBOX_CLOSES).increment(1);
        }
        self.close(code, reason).await
    }

    async fn close(&mut self, code: u16, reason: &'static str) -> End {
        let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from_static(reason) };
        // A client that reads nothing must not keep its connection by that; one that reads again learns why it ends.
        match tokio::time::timeout(CLOSE_PATIENCE, self.sink.send(Message::Close(Some(frame)))).await {
            Ok(Ok(())) => End::Told,
            _ => End::Gone,
        }
    }

    /// The relay stops: what the client has sent is answered.
    async fn drain(&mut self, relay: &Relay) -> End {
        let patience = Duration::from_secs(relay.config.server.drain_seconds);
        self.session.flush_events().await;
        self.paused = false;
        let answered = std::future::poll_fn(|context| match self.poll_send(context) {
            Poll::Ready(Wake::Close(_) | Wake::Gone) => Poll::Ready(End::Gone),
            Poll::Ready(Wake::Read) => Poll::Pending,
            Poll::Pending if self.session.in_flight() == 0 && !self.dirty => Poll::Ready(End::Stopped),
            Poll::Pending => Poll::Pending,
        });
        tokio::time::timeout(patience, answered).await.unwrap_or(End::Gone)
    }
}
