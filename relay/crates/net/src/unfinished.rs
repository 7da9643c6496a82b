//! What messages that have not been answered for yet may hold, over all connections.
//!
//! Each connection's share is bounded by the longest message it may send. A thousand connections that each send nearly one
//! such message, and wait, would hold gigabytes; so all of them together are bounded, too.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::rounds::{Part, Rounds};

/// What each connection may hold in any case.
const FREE_BYTES: usize = 64 << 10;

/// Of all connections.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    max: usize,
    /// Connections that keep the buffer of a large message.
    keepers: Mutex<Vec<Weak<Meter>>>,
    /// Turns of connections from which much is read.
    rounds: Arc<Rounds>,
}

impl Budget {
    /// At most `max` bytes, beside what is free.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max, keepers: Mutex::default(), rounds: Arc::default() })
    }

    /// What a new connection holds of it.
    pub fn meter(self: &Arc<Self>) -> Arc<Meter> {
        Arc::new(Meter { held: Mutex::default(), task: AtomicWaker::new(), budget: Arc::clone(self) })
    }

    /// Ends connections that keep large buffers and use them for nothing, the largest first, until there is place again.
    /// False if there are not enough of them.
    fn make_place(&self, but: &Meter) -> bool {
        let mut keepers = self.keepers.lock();
        keepers.retain(|keeper| keeper.strong_count() > 0);
        let mut idle: Vec<(usize, Arc<Meter>)> = keepers
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|keeper| !std::ptr::eq(keeper.as_ref(), but))
            .filter_map(|keeper| keeper.kept_idle().map(|bytes| (bytes, keeper)))
            .collect();
        drop(keepers);
        idle.sort_by_key(|(bytes, _)| *bytes);
        while self.used.load(Ordering::Relaxed) > self.max {
            let Some((_, keeper)) = idle.pop() else { return false };
            keeper.give_up();
        }
        true
    }
}

/// Of one connection.
#[derive(Debug)]
pub struct Meter {
    held: Mutex<Held>,
    /// The task that reads the connection.
    task: AtomicWaker,
    budget: Arc<Budget>,
}

/// What one connection holds.
#[derive(Clone, Copy, Default, Debug)]
struct Held {
    /// Bytes that have come and are not done with.
    own: usize,
    /// Bytes of the largest message so far: the WebSocket library keeps its buffer as long as the connection is open.
    kept: usize,
    /// The connection is to end, and nothing of it is counted any more.
    is_over: bool,
}

impl Held {
    /// The bytes that count in the budget.
    fn counted(self) -> usize {
        if self.is_over { 0 } else { self.own.max(self.kept).saturating_sub(FREE_BYTES) }
    }
}

impl Meter {
    /// More has come. False if that is too much for all together, or the connection is to end.
    fn add(&self, bytes: usize) -> bool {
        let mut held = self.held.lock();
        let before = held.counted();
        held.own += bytes;
        let more = held.counted() - before;
        let is_over = held.is_over;
        drop(held);
        if more == 0 {
            return !is_over;
        }
        let used = self.budget.used.fetch_add(more, Ordering::Relaxed) + more;
        used <= self.budget.max || self.budget.make_place(self)
    }

    /// A message of so many bytes has come: as long as the connection is open, the WebSocket library keeps a buffer of its
    /// size, however small the next ones are.
    pub fn keep(self: &Arc<Self>, message_bytes: usize) {
        if message_bytes <= FREE_BYTES {
            return;
        }
        let mut held = self.held.lock();
        if held.is_over || message_bytes <= held.kept {
            return;
        }
        let (before, is_first) = (held.counted(), held.kept == 0);
        held.kept = message_bytes;
        let more = held.counted() - before;
        drop(held);
        self.budget.used.fetch_add(more, Ordering::Relaxed);
        if is_first {
            self.budget.keepers.lock().push(Arc::downgrade(self));
        }
    }

    /// What came is done with.
    pub fn clear(&self) {
        let mut held = self.held.lock();
        let before = held.counted();
        held.own = 0;
        let less = before - held.counted();
        drop(held);
        if less > 0 {
            self.budget.used.fetch_sub(less, Ordering::Relaxed);
        }
    }

    /// Bytes that it keeps for nothing.
    fn kept_idle(&self) -> Option<usize> {
        let held = self.held.lock();
        (held.own <= FREE_BYTES && held.kept > 0 && !held.is_over).then_some(held.kept)
    }

    /// Ends the connection. What it holds counts no more.
    fn give_up(&self) {
        self.let_go();
        self.task.wake();
    }

    fn let_go(&self) {
        let mut held = self.held.lock();
        let counted = held.counted();
        held.is_over = true;
        drop(held);
        self.budget.used.fetch_sub(counted, Ordering::Relaxed);
    }

    /// Messages from a connection, whose bytes are told by `len`. Whoever asks for the next one is done with the one before.
    pub fn messages<S: Stream + Unpin>(
        self: Arc<Self>,
        mut stream: S,
        len: impl Fn(&S::Item) -> usize + Unpin,
    ) -> impl Stream<Item = S::Item> + Unpin {
        let mut is_out = false;
        futures_util::stream::poll_fn(move |context| {
            if std::mem::take(&mut is_out) {
                self.clear();
            }
            let polled = stream.poll_next_unpin(context);
            is_out = polled.is_ready();
            if let Poll::Ready(Some(message)) = &polled {
                self.keep(len(message));
            }
            polled
        })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Bytes that are read from all busy connections before the first of them has its next turn; and what is read from one in
/// a turn, at least and at most. A message of megabytes comes in many turns, between which others have theirs.
const READ_ROUND_BYTES: usize = 1 << 20;
const READ_TURN_BYTES: (usize, usize) = (8 << 10, 128 << 10);

/// A connection that counts what it reads. Reading fails when it is too much, and pauses when its turn is over.
#[derive(Debug)]
pub struct Metered<T> {
    connection: T,
    meter: Arc<Meter>,
    part: Part,
    /// Bytes read in this turn.
    in_turn: usize,
}

impl<T> Metered<T> {
    /// Counts from now on.
    pub fn new(connection: T, meter: Arc<Meter>) -> Self {
        let part = Part::new(&meter.budget.rounds);
        Self { connection, meter, part, in_turn: 0 }
    }
}

/// The memory for messages is used up. A client is told so where it can still be told anything.
fn too_much() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "too many large messages of all connections")
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.meter.task.register(context.waker());
        if self.meter.held.lock().is_over {
            return Poll::Ready(Err(too_much()));
        }
        let (least, most) = READ_TURN_BYTES;
        if self.in_turn >= least && self.in_turn >= self.part.share(READ_ROUND_BYTES, least, most) {
            self.in_turn = 0;
            self.part.ends(true);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.connection).poll_read(context, buffer);
        if polled.is_pending() {
            self.in_turn = 0;
            self.part.ends(false);
        }
        std::task::ready!(polled)?;
        let read = buffer.filled().len() - before;
        self.in_turn += read;
        if self.meter.add(read) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(too_much()))
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
    use futures_util::FutureExt;
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

    /// A message of megabytes comes in turns, which are the shorter the more connections have much to say.
    #[test]
    fn reading_pauses_after_each_turn() {
        let budget = Budget::new(64 << 20);
        let mut connections: Vec<_> = (0..64)
            .map(|_| {
                let (ours, theirs) = tokio::io::duplex(1 << 19);
                (Metered::new(ours, budget.meter()), theirs)
            })
            .collect();
        for (_, theirs) in &mut connections {
            theirs.write_all(&vec![0; 1 << 19]).now_or_never().unwrap().unwrap();
        }
        let mut turn = |n: usize| {
            let (ours, _) = &mut connections[n];
            let (mut sum, mut bytes) = (0, [0; 4096]);
            loop {
                let mut buffer = ReadBuf::new(&mut bytes);
                let polled =
                    Pin::new(&mut *ours).poll_read(&mut Context::from_waker(std::task::Waker::noop()), &mut buffer);
                if polled.is_pending() {
                    return sum;
                }
                sum += buffer.filled().len();
            }
        };
        let (least, most) = READ_TURN_BYTES;
        assert_eq!(turn(0), most);
        for n in 1..64 {
            turn(n);
        }
        assert_eq!(turn(0), READ_ROUND_BYTES / 64);
        assert!(READ_ROUND_BYTES / 64 > least);
        // Those that have nothing more to say make place.
        (1..64).for_each(|n| while turn(n) > 0 {});
        assert_eq!(turn(0), most);
    }

    #[tokio::test]
    async fn a_message_counts_until_the_next_is_asked_for() {
        let budget = Budget::new(1 << 20);
        let meter = budget.meter();
        assert!(meter.add(FREE_BYTES + 5));
        let mut messages = Arc::clone(&meter).messages(futures_util::stream::iter([1, 2]), |_| 0);
        assert_eq!(messages.next().await, Some(1));
        assert_eq!(budget.used.load(Ordering::Relaxed), 5);
        assert_eq!(messages.next().await, Some(2));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    /// A connection that keeps a large buffer and does not use it gives way to one that has a message to send.
    #[tokio::test]
    async fn idle_buffers_give_way() {
        let budget = Budget::new(1_000_000);
        let used = || budget.used.load(Ordering::Relaxed);
        let large = FREE_BYTES + 600_000;
        let (ours, _theirs) = tokio::io::duplex(1 << 20);
        let idle = budget.meter();
        let mut idle_reader = Metered::new(ours, Arc::clone(&idle));
        assert!(idle.add(large));
        idle.keep(large);
        idle.clear();
        assert_eq!(used(), 600_000, "the buffer stays");
        assert!(idle.add(large), "and is used again");
        idle.clear();
        assert_eq!(used(), 600_000);

        let other = budget.meter();
        assert!(other.add(large));
        assert_eq!(used(), 600_000);
        let error = idle_reader.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "the idle connection ends");
        assert!(!budget.meter().add(large), "one that is at work does not give way");
    }
}
