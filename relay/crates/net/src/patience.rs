//! Whoever takes nothing of what waits for them is let go, whatever they were sent: WebSocket messages, a stream, a page.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::metrics::STALLED_CLOSES;

/// Bytes that the kernel holds of what was not sent yet. The less there are, the sooner it shows that a slow client takes
/// something: one that reads at all is never taken for one that does not.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;

/// A TCP connection on which a write fails when the other end has taken nothing for a while.
#[derive(Debug)]
pub struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// When it is over. Counts while a write waits.
    end: Option<Pin<Box<Sleep>>>,
    waits: bool,
    is_over: bool,
}

impl Patient {
    /// A connection whose writes wait so long at most.
    pub fn new(stream: TcpStream, patience: Duration) -> Self {
        tune(&stream, patience);
        Self { stream, patience, end: None, waits: false, is_over: false }
    }

    /// Passes on what came of a write, or fails when this one and those before it have waited too long.
    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        if !self.waits {
            self.waits = true;
            let at = Instant::now() + self.patience;
            match &mut self.end {
                Some(end) => end.as_mut().reset(at),
                None => self.end = Some(Box::pin(tokio::time::sleep_until(at))),
            }
        }
        if !self.is_over {
            let Some(end) = &mut self.end else { return Poll::Pending };
            std::task::ready!(end.as_mut().poll(context));
            self.is_over = true;
            metrics::counter!(STALLED_CLOSES).increment(1);
            // What is in the kernel's buffers will not be taken either: it goes with the connection.
            let _ = self.stream.set_zero_linger();
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end takes nothing")))
    }
}

/// What the kernel is told: replies are written whole, so waiting for more (Nagle) would only add 40 ms to each; and what
/// was given to it before the connection was closed is kept no longer than the rest.
fn tune(stream: &TcpStream, patience: Duration) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let socket = socket2::SockRef::from(stream);
        let _ = socket.set_tcp_user_timeout(Some(patience));
        let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = patience;
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    async fn pair() -> (Patient, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (theirs, ours) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Patient::new(ours.unwrap().0, PATIENCE), theirs.unwrap())
    }

    #[tokio::test]
    async fn who_takes_nothing_is_let_go() {
        let (mut ours, mut theirs) = pair().await;
        let began = Instant::now();
        let error = ours.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 20, "{:?}", began.elapsed());
        assert!(ours.write(&[0]).await.is_err(), "once over, it is over");
        drop(ours);
        // What was in the kernel is gone with it.
        let mut buffer = vec![0; 1 << 20];
        while matches!(theirs.read(&mut buffer).await, Ok(1..)) {}
    }

    #[tokio::test]
    async fn who_takes_little_stays() {
        let (mut ours, mut theirs) = pair().await;
        let (bytes, pauses) = (6 << 20, 24);
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; bytes / pauses];
            for _ in 0..pauses {
                tokio::time::sleep(PATIENCE / 4).await;
                theirs.read_exact(&mut buffer).await.unwrap();
            }
        });
        ours.write_all(&vec![0; bytes]).await.unwrap();
        reading.await.unwrap();
    }
}
