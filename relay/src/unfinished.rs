//! What messages that have not been answered for yet may hold, over all connections.
//!
//! Each connection's share is bounded by the longest message it may send. A thousand connections that each send nearly one
//! such message, and wait, would hold gigabytes; so all of them together are bounded, too.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What each connection may hold in any case.
const FREE_BYTES: usize = 64 << 10;

/// Of all connections.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    /// At most `max` bytes, beside what is free.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// What a new connection holds of it.
    pub fn meter(self: &Arc<Self>) -> Arc<Meter> {
        Arc::new(Meter { own: AtomicUsize::new(0), budget: Arc::clone(self) })
    }
}

/// Of one connection.
#[derive(Debug)]
pub struct Meter {
    own: AtomicUsize,
    budget: Arc<Budget>,
}

impl Meter {
    /// More has come. False if that is too much for all together.
    fn add(&self, bytes: usize) -> bool {
        let own = self.own.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let counted = own.saturating_sub(FREE_BYTES).min(bytes);
        counted == 0 || self.budget.used.fetch_add(counted, Ordering::Relaxed) + counted <= self.budget.max
    }

    /// What came is done with.
    pub fn clear(&self) {
        let counted = self.own.swap(0, Ordering::Relaxed).saturating_sub(FREE_BYTES);
        if counted > 0 {
            self.budget.used.fetch_sub(counted, Ordering::Relaxed);
        }
    }

    /// Messages from a connection. Whoever asks for the next one is done with the one before.
    pub fn messages<S: Stream + Unpin>(self: Arc<Self>, mut stream: S) -> impl Stream<Item = S::Item> + Unpin {
        let mut is_out = false;
        futures_util::stream::poll_fn(move |context| {
            if std::mem::take(&mut is_out) {
                self.clear();
            }
            let polled = stream.poll_next_unpin(context);
            is_out = polled.is_ready();
            polled
        })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A connection that counts what it reads. Reading fails when it is too much.
#[derive(Debug)]
pub struct Metered<T> {
    connection: T,
    meter: Arc<Meter>,
}

impl<T> Metered<T> {
    /// Counts from now on.
    pub fn new(connection: T, meter: Arc<Meter>) -> Self {
        Self { connection, meter }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.connection).poll_read(context, buffer))?;
        if self.meter.add(buffer.filled().len() - before) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, "too many unfinished messages of all connections")))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_sum_is_bounded_and_given_back() {
        let budget = Budget::new(100_000);
        let used = || budget.used.load(Ordering::Relaxed);
        let open = || {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let meter = budget.meter();
            (Metered::new(ours, Arc::clone(&meter)), theirs, meter)
        };
        let mut buffer = vec![0; FREE_BYTES + 60_000];
        let (mut one, mut sender, meter) = open();
        sender.write_all(&buffer).await.unwrap();
        one.read_exact(&mut buffer).await.unwrap();
        assert_eq!(used(), 60_000);

        // The second is over the sum of both; a third with little to say is not.
        let (mut two, mut sender, _) = open();
        sender.write_all(&buffer).await.unwrap();
        let error = two.read_exact(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        let (mut three, mut sender, _) = open();
        sender.write_all(&buffer[..FREE_BYTES]).await.unwrap();
        three.read_exact(&mut buffer[..FREE_BYTES]).await.unwrap();

        drop(two);
        assert_eq!(used(), 60_000);
        meter.clear();
        assert_eq!(used(), 0);
        drop((one, three));
        assert_eq!(used(), 0);
    }

    #[tokio::test]
    async fn a_message_counts_until_the_next_is_asked_for() {
        let budget = Budget::new(1 << 20);
        let meter = budget.meter();
        assert!(meter.add(FREE_BYTES + 5));
        let mut messages = Arc::clone(&meter).messages(futures_util::stream::iter([1, 2]));
        assert_eq!(messages.next().await, Some(1));
        assert_eq!(budget.used.load(Ordering::Relaxed), 5);
        assert_eq!(messages.next().await, Some(2));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
