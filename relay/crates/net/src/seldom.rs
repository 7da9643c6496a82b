//! Waiting for what hardly ever happens, beside what happens all the time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// A future that is looked at only when it asked for that, and not whenever the task is woken for other reasons.
///
/// A look at a `Notify` or a `CancellationToken` takes locks that many connections share; this one reads a flag.
pub struct Seldom<F> {
    future: F,
    bell: Arc<Bell>,
    waker: Waker,
    /// The task that the bell wakes.
    task: Option<Waker>,
}

struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        if let Some(task) = self.task.lock().clone() {
            task.wake();
        }
    }
}

impl<F> Seldom<F> {
    /// Not looked at yet.
    pub fn new(future: F) -> Self {
        let bell = Arc::new(Bell { has_rung: AtomicBool::new(true), task: Mutex::default() });
        let waker = Waker::from(Arc::clone(&bell));
        Self { future, bell, waker, task: None }
    }
}

impl<F: Future + Unpin> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, bell, waker, task } = self.get_mut();
        // First the task, then the flag: a bell that rings in between wakes the task once more.
        if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
            bell.task.lock().clone_from(task);
        }
        if !bell.has_rung.load(Ordering::Acquire) || !bell.has_rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(future).poll(&mut Context::from_waker(waker))
    }
}

impl<F> std::fmt::Debug for Seldom<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seldom").field("has_rung", &self.bell.has_rung).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn is_looked_at_when_it_asks_for_it() {
        let (token, looks) = (CancellationToken::new(), AtomicUsize::new(0));
        let mut cancelled = Box::pin(token.cancelled());
        let future = std::future::poll_fn(|context| {
            looks.fetch_add(1, Ordering::Relaxed);
            cancelled.as_mut().poll(context)
        });
        let mut seldom = Seldom::new(future);
        let (first, second) = (Arc::<Task>::default(), Arc::<Task>::default());
        for task in [&first, &first, &first, &second, &second] {
            let waker = Waker::from(Arc::clone(task));
            assert_eq!(Pin::new(&mut seldom).poll(&mut Context::from_waker(&waker)), Poll::Pending);
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        token.cancel();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1), "who asked last");
        let waker = Waker::from(second);
        assert_eq!(Pin::new(&mut seldom).poll(&mut Context::from_waker(&waker)), Poll::Ready(()));
        assert_eq!(looks.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_happens_beside_it_does_not_hide_it() {
        let token = CancellationToken::new();
        let cancelled = std::pin::pin!(token.cancelled());
        let mut seldom = Seldom::new(cancelled);
        for round in 0..20 {
            tokio::select! {
                biased;
                () = &mut seldom => panic!("in round {round}"),
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        let other = token.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            other.cancel();
        });
        tokio::time::timeout(Duration::from_secs(10), seldom).await.unwrap();
    }
}
