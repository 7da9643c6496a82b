//! The socket of a nostr client: frames in, messages out, pings, the end.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::stream::{SplitSink, StreamExt};
use futures_util::{FutureExt, Sink, SinkExt};

use super::{Closing, Session};
use crate::account::Account;
use crate::app::App;
use crate::message::reply;
use crate::unfinished::Meter;

/// Bytes that a read asks the socket for, and that an idle connection therefore costs.
const READ_BYTES: usize = 4096;

/// Bytes of messages that are gathered into one write.
const WRITE_BYTES: usize = 64 * 1024;

/// A message of up to this many times the limit is read and refused politely; above that the connection ends.
const OVERSIZE_FACTOR: usize = 4;

/// Messages read in a row before the events among them go to ingest.
const READ_BURST: usize = 64;

/// Bytes put on the socket before other work of the connection has a turn.
const SEND_BURST: usize = 1 << 20;

/// How long a client has to take what is in the write buffer and the close frame behind it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Turns an upgrade request into a session.
pub fn upgrade(upgrade: WebSocketUpgrade, app: Arc<App>, guard: crate::app::Admission, meter: Arc<Meter>) -> Response {
    let bytes = app.config.limits.message_bytes_max.saturating_mul(OVERSIZE_FACTOR);
    upgrade
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(bytes)
        .max_frame_size(bytes)
        .on_upgrade(move |socket| async move {
            serve(socket, app, (guard.client(), Arc::clone(guard.account())), &meter).await;
            drop(guard);
        })
}

/// Serves one connection, of a client at an address with an account, until it ends.
pub async fn serve(socket: WebSocket, app: Arc<App>, client: (IpAddr, Arc<Account>), meter: &Meter) {
    let number = app.next_connection();
    let ping = Duration::from_secs(app.config.limits.ping_seconds.max(1));
    let session = Session::new(Arc::clone(&app), number, client);
    let (sink, mut stream) = socket.split();
    let mut connection = Connection { session, sink, dirty: false, paused: false };
    let mut heard = Instant::now();
    let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + ping, ping);
    let stopping = app.stop.clone().cancelled_owned();
    tokio::pin!(stopping);
    loop {
        connection.paused = !connection.session.may_read();
        tokio::select! {
            biased;
            wake = std::future::poll_fn(|context| connection.poll_send(context)) => match wake {
                Wake::Read => {}
                Wake::Gone => break,
                Wake::Close(why) => {
                    connection.say_goodbye(why).await;
                    break;
                }
            },
            () = &mut stopping => {
                connection.drain(&app).await;
                break;
            }
            frame = stream.next(), if !connection.paused => {
                heard = Instant::now();
                if !connection.read(frame, &mut stream).await {
                    break;
                }
                meter.clear();
            }
            _ = timer.tick() => {
                if heard.elapsed() >= ping * 2 {
                    break;
                }
                if heard.elapsed() >= ping / 2 && connection.sink.send(Message::Ping(Default::default())).await.is_err() {
                    break;
                }
            }
        }
    }
}

struct Connection {
    session: Session,
    sink: SplitSink<WebSocket, Message>,
    /// Something is in the write buffer.
    dirty: bool,
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
    /// Sends what is queued, runs scans that fill the queue, and stays pending while there is nothing else to say.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        self.session.outbox.register(context);
        let mut sent = 0;
        loop {
            // Scans and counts end here; what they found is in the outbox.
            while let Poll::Ready(Some(_)) = self.session.work.poll_next_unpin(context) {}
            if let Some(why) = self.session.outbox.closing() {
                return Poll::Ready(Wake::Close(why));
            }
            if self.paused && self.session.may_read() {
                return Poll::Ready(Wake::Read);
            }
            match Pin::new(&mut self.sink).poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Wake::Gone),
                Poll::Pending => return Poll::Pending,
            }
            match self.session.outbox.take() {
                Some(text) if sent < SEND_BURST => {
                    sent += text.len();
                    self.dirty = true;
                    if Pin::new(&mut self.sink).start_send(Message::Text(Utf8Bytes::from(text))).is_err() {
                        return Poll::Ready(Wake::Gone);
                    }
                }
                Some(text) => {
                    self.dirty = true;
                    if Pin::new(&mut self.sink).start_send(Message::Text(Utf8Bytes::from(text))).is_err() {
                        return Poll::Ready(Wake::Gone);
                    }
                    context.waker().wake_by_ref();
                    return self.poll_flush(context);
                }
                None => return self.poll_flush(context),
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        if self.dirty {
            match Pin::new(&mut self.sink).poll_flush(context) {
                Poll::Ready(Ok(())) => self.dirty = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Wake::Gone),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Takes in a frame and those that wait behind it. False when the connection is over.
    async fn read(
        &mut self,
        first: Option<Result<Message, axum::Error>>,
        stream: &mut (impl StreamExt<Item = Result<Message, axum::Error>> + Unpin),
    ) -> bool {
        let mut frame = first;
        for left in (0..READ_BURST).rev() {
            match frame {
                Some(Ok(Message::Text(text))) => self.session.text(&text).await,
                Some(Ok(Message::Binary(_))) => {
                    self.session.outbox.text(reply::notice("unsupported: binary messages; nostr messages are text"));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => {
                    self.session.flush_events().await;
                    return false;
                }
                Some(Err(error)) => {
                    self.session.flush_events().await;
                    self.fail(&error).await;
                    return false;
                }
            }
            // A frame that is taken from the socket must be read in the next turn, so there must be one.
            if left == 0 || !self.session.may_read() {
                break;
            }
            match stream.next().now_or_never() {
                Some(next) => frame = next,
                None => break,
            }
        }
        self.session.flush_events().await;
        true
    }

    /// Tells the client what was wrong with its frame, if it can still be told (RFC 6455, 7.4.1).
    async fn fail(&mut self, error: &axum::Error) {
        let text = error.to_string();
        let (code, reason) = if text.contains("UTF-8") {
            (1007, "text is not UTF-8")
        } else if text.contains("too long") || text.contains("too large") || text.contains("too big") {
            (1009, "message is too large")
        } else {
            return;
        };
        self.close(code, reason).await;
    }

    async fn say_goodbye(&mut self, why: Closing) {
        let (code, reason) = why.code_and_reason();
        if why == Closing::TooSlow {
            metrics::counter!(crate::http::metrics::OUTBOX_CLOSES).increment(1);
        }
        self.close(code, reason).await;
    }

    async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
        // A client that reads nothing must not keep its connection by that; one that reads again learns why it ends.
        let _ = tokio::time::timeout(CLOSE_PATIENCE, self.sink.send(frame)).await;
    }

    /// The relay stops: what the client has sent is answered, then it is told.
    async fn drain(&mut self, app: &App) {
        let patience = Duration::from_secs(app.config.server.drain_seconds);
        self.session.flush_events().await;
        let answered = std::future::poll_fn(|context| match self.poll_send(context) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending if self.session.in_flight() == 0 && !self.dirty => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        });
        let _ = tokio::time::timeout(patience, answered).await;
        self.say_goodbye(Closing::ShuttingDown).await;
    }
}
