use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::Query;
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::memory::Memory;
use crate::vanish::RelayUrls;

fn start(crew: Crew) -> Readers {
    Readers::start(&Memory::new(RelayUrls::default()), crew).unwrap()
}

/// As the clients of one address have them.
fn address(readers: &Readers, number: u64) -> Readers {
    readers.of(&Party::new(Party::ADDRESS + number), 0)
}

/// Keeps a core busy, as a reader does.
fn toil(time: Duration) {
    let watch = Stopwatch::start();
    while watch.cost() < time {
        std::hint::spin_loop();
    }
}

/// Asks long questions, again and again, so many at a time, each of another connection.
fn flood(readers: &Readers, at_once: u64, tasks: &mut JoinSet<()>) {
    for connection in 0..at_once {
        let readers = readers.of(&readers.party, connection);
        tasks.spawn(async move {
            while readers.run(|_| toil(Duration::from_millis(5))).await.is_ok() {
                for _ in 0..5 {
                    let _ = readers.run_long(|_| toil(Duration::from_millis(10))).await;
                }
            }
        });
    }
}

/// How long a small question usually takes, and the slow ones.
async fn small_questions(readers: &Readers) -> (Duration, Duration) {
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        readers.run(|_| toil(Duration::from_micros(100))).await.unwrap();
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    times.sort_unstable();
    (times[25], times[47])
}

/// In order, each question of a round of these floods would wait for six seconds.
async fn is_quick_beside(addresses: u64) {
    let readers = start(Crew { party_queue_max: 5_000, queue_max: 5_000, ..Crew::for_tests() });
    let healthy = address(&readers, 999);
    let (usual_before, _) = small_questions(&healthy).await;
    let mut tasks = JoinSet::new();
    (0..addresses).for_each(|number| flood(&address(&readers, number + 1), 100 / addresses, &mut tasks));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (usual, slow) = small_questions(&healthy).await;
    let told = format!("usual {usual:?}, slow {slow:?}, before {usual_before:?}");
    assert!(usual < usual_before + Duration::from_millis(40) && slow < Duration::from_millis(400), "{told}");
    tasks.abort_all();
}

#[tokio::test]
async fn a_small_question_is_answered_beside_a_flood_of_one_address() {
    is_quick_beside(1).await;
}

#[tokio::test]
async fn and_of_twenty() {
    is_quick_beside(20).await;
}

#[tokio::test]
async fn keys_of_one_address_get_no_more_than_the_address() {
    let readers = start(Crew { party_queue_max: 5_000, queue_max: 5_000, ..Crew::for_tests() });
    let (many, one) = (address(&readers, 1), address(&readers, 2));
    let mut tasks = JoinSet::new();
    let (done_by_many, done_by_one) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut ask = |readers: Readers, done: &Arc<AtomicUsize>| {
        let done = Arc::clone(done);
        tasks.spawn(async move {
            while readers.run_long(|_| toil(Duration::from_millis(2))).await.is_ok() {
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    };
    (0..50).for_each(|key| ask(many.of(&many.party, key), &done_by_many));
    (0..4).for_each(|_| ask(one.clone(), &done_by_one));
    while done_by_many.load(Ordering::Relaxed) + done_by_one.load(Ordering::Relaxed) < 120 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (many, one) = (done_by_many.load(Ordering::Relaxed), done_by_one.load(Ordering::Relaxed));
    assert!(one > 20 && many < one * 3 / 2 && one < many * 3 / 2, "{many} for fifty keys, {one} for one");
    tasks.abort_all();
}

#[tokio::test]
async fn with_nobody_else_there_a_flood_has_all_threads() {
    let readers = address(&start(Crew { long: 4, ..Crew::for_tests() }), 1);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..12 {
        let (readers, now, most) = (readers.clone(), Arc::clone(&now), Arc::clone(&most));
        tasks.spawn(async move {
            let work = move |_: &mut dyn Reader| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                now.fetch_sub(1, Ordering::SeqCst);
            };
            readers.run_long(work).await.unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(most.load(Ordering::SeqCst), 4);
}

/// Keeps the thread for long work busy until the sender is dropped.
async fn block(readers: &Readers) -> (std::sync::mpsc::Sender<()>, JoinHandle<Result<(), Stopped>>) {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (begun, is_begun) = oneshot::channel();
    let readers = readers.clone();
    let work = move |_: &mut dyn Reader| {
        begun.send(()).unwrap();
        let _ = released.recv();
    };
    let blocked = tokio::spawn(async move { readers.run_long(work).await });
    is_begun.await.unwrap();
    (release, blocked)
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_done_and_gives_its_place_back() {
    let readers = address(&start(Crew { party_queue_max: 3, ..Crew::for_tests() }), 1);
    let (release, blocked) = block(&readers).await;
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let counted = Arc::clone(&done);
        let asked = readers.run_long(move |_| counted.fetch_add(1, Ordering::Relaxed));
        assert!(tokio::time::timeout(Duration::from_millis(2), asked).await.is_err(), "the only thread is busy");
    }
    drop(release);
    blocked.await.unwrap().unwrap();
    for _ in 0..6 {
        readers.run_long(|_| ()).await.unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn who_finds_the_queue_full_waits_and_others_do_not() {
    let readers = start(Crew { party_queue_max: 2, ..Crew::for_tests() });
    let (full, other) = (address(&readers, 1), address(&readers, 2));
    let (release, blocked) = block(&full).await;
    let done = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (full, done) = (full.clone(), Arc::clone(&done));
        tasks.spawn(async move { full.run_long(move |_| done.fetch_add(1, Ordering::SeqCst)).await });
    }
    tokio::task::yield_now().await;
    let at = Arc::clone(&done);
    let others = tokio::spawn(async move { other.run_long(move |_| at.load(Ordering::SeqCst)).await });
    tokio::task::yield_now().await;
    drop(release);
    blocked.await.unwrap().unwrap();
    let before = others.await.unwrap().unwrap();
    assert!(before <= 2, "it waited for {before} of the eight");
    assert!(tasks.join_all().await.iter().all(Result::is_ok), "those who wait are served in the end");
}

#[tokio::test]
async fn searches_of_one_address_are_few_at_a_time() {
    let readers = address(&start(Crew { party_searches_max: 1, ..Crew::for_tests() }), 1);
    let search = || {
        let filter = Filter { search: Some(crate::search::Search::parse("word")), ..Filter::default() };
        let query = Query { viewer: Viewer::default(), ..Query::everything(vec![filter], 0) };
        readers.slice(Scan::new(query))
    };
    let permit = readers.party.searches(1).acquire().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), search()).await.is_err());
    readers.run(|_| ()).await.unwrap();
    drop(permit);
    search().await.unwrap().2.unwrap();
}

#[tokio::test]
async fn work_of_a_busy_address_goes_to_the_long_readers_even_if_it_is_in_the_queue() {
    let readers = start(Crew::for_tests());
    let busy = address(&readers, 1);
    let (release, blocked) = block(&readers).await;
    let name = || busy.run(|_| std::thread::current().name().map(str::to_owned));
    assert!(name().await.unwrap().unwrap().starts_with("reader"));
    busy.party.charge(Duration::from_secs(30), true, Instant::now());
    assert!(name().await.unwrap().unwrap().starts_with("reader"), "nobody else is there");
    address(&readers, 2).run(|_| ()).await.unwrap();
    let waiting = busy.run(|_| std::thread::current().name().map(str::to_owned));
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    // As if it had been put in before.
    let (answer, mut result) = oneshot::channel();
    let work = |_: &mut dyn Reader, _: &Stopwatch| ();
    readers
        .pool
        .quick
        .put(busy.waiting(false, Instant::now(), Asked { work, answer, _places: Places::new() }))
        .unwrap();
    readers.run(|_| ()).await.unwrap();
    assert!(result.try_recv().is_err());
    drop(release);
    blocked.await.unwrap().unwrap();
    assert!(waiting.await.unwrap().unwrap().starts_with("long-reader"));
    result.await.unwrap();
}

#[tokio::test]
async fn what_is_in_the_queue_at_the_end_is_done() {
    let readers = start(Crew::for_tests());
    let (release, blocked) = block(&readers).await;
    let waiting = tokio::spawn(async move { readers.run_long(|_| 5).await.unwrap() });
    tokio::task::yield_now().await;
    drop(release);
    blocked.await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap(), 5);
}

/// Those who put something in wake a thread only if none is about to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stays_in_the_queue_while_a_thread_sleeps() {
    let readers = start(Crew { quick: 3, ..Crew::for_tests() });
    for round in 0..2_000 {
        let mut tasks = JoinSet::new();
        for number in 0..round % 5 + 1 {
            let readers = address(&readers, number % 2);
            tasks.spawn(async move { readers.run(|_| ()).await.unwrap() });
        }
        let answered = tokio::time::timeout(Duration::from_secs(10), tasks.join_all()).await;
        assert!(answered.is_ok(), "in round {round}");
        if round % 8 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_panic_costs_one_answer() {
    let readers = start(Crew::for_tests());
    assert!(readers.run::<()>(|_| std::panic::panic_any("as a test")).await.is_err());
    readers.run(|_| ()).await.unwrap();
    let for_thread = readers.clone();
    tokio::task::spawn_blocking(move || for_thread.run_blocking(|_| ())).await.unwrap().unwrap();
}
