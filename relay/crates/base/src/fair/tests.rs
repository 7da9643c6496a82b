use std::time::Duration;

use super::*;

/// Some work: whose, which, and what each unit of it costs.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Work {
    name: &'static str,
    number: usize,
    cost: u64,
}

impl Item for Work {
    fn cost(&self) -> u64 {
        self.cost
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.cost).unwrap() * 10
    }

    fn split_off(&mut self, cost: u64) -> Option<Self> {
        (self.cost > cost).then(|| {
            let rest = Self { cost: self.cost - cost, ..self.clone() };
            self.cost = cost;
            rest
        })
    }
}

const BOUNDS: Bounds =
    Bounds { items: 100_000, bytes: usize::MAX, account_items: 100_000, account_bytes: usize::MAX, turn_cost: 16 };

fn owner(account: u64, key: u64, connection: u64) -> Owner {
    Owner { account, key, connection }
}

fn work(name: &'static str, number: usize, cost: u64) -> Work {
    Work { name, number, cost }
}

/// Takes until `cost` is done, and says what each name had of it.
fn shares(queue: &Arc<FairQueue<Work>>, cost: u64) -> std::collections::BTreeMap<&'static str, u64> {
    let mut shares = std::collections::BTreeMap::new();
    let mut done = 0;
    while done < cost {
        let turn = queue.pop().unwrap();
        done += turn.item.cost;
        *shares.entry(turn.item.name).or_default() += turn.item.cost;
    }
    shares
}

#[test]
fn a_connection_is_served_in_order() {
    let (sender, queue) = fair_queue(BOUNDS);
    for number in 0..100 {
        // Whoever proves to be somebody else does not overtake what they sent before.
        sender.try_push(owner(1, u64::from(number > 50), 7), work("a", number, 1)).unwrap();
        sender.try_push(owner(1, 0, 8), work("b", number, 20)).unwrap();
    }
    let mut next = [0, 0];
    while !queue.is_empty() {
        let Turn { item, .. } = queue.pop().unwrap();
        let next = &mut next[usize::from(item.name == "b")];
        assert!(item.number == *next || item.number + 1 == *next, "{item:?}, not {next}");
        *next = item.number + 1;
    }
    assert_eq!(next, [100, 100]);
}

#[test]
fn only_one_at_a_time_works_for_a_connection() {
    let (sender, queue) = fair_queue(BOUNDS);
    let (one, two) = (owner(1, 0, 1), owner(1, 0, 2));
    for number in 0..2 {
        sender.try_push(one, work("one", number, 1)).unwrap();
    }
    let first = queue.pop().unwrap();
    sender.try_push(two, work("two", 0, 1)).unwrap();
    assert_eq!(queue.pop().unwrap().item.name, "two");
    let thread = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || queue.pop().unwrap().item
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!thread.is_finished());
    drop(first);
    assert_eq!(thread.join().unwrap(), work("one", 1, 1));
}

#[test]
fn shares_are_even_by_cost_whatever_one_has_queued() {
    let (sender, queue) = fair_queue(BOUNDS);
    // Three addresses: many connections, few large items, and one small client. One more has keys and strangers.
    for connection in 0..100 {
        for number in 0..100 {
            sender.try_push(owner(1, 0, connection), work("crowd", number, 1)).unwrap();
        }
    }
    for number in 0..20 {
        sender.try_push(owner(2, 0, 1), work("large", number, 1_000)).unwrap();
    }
    for number in 0..1_000 {
        sender.try_push(owner(3, 0, 1), work("plain", number, 1)).unwrap();
        sender.try_push(owner(4, 5, 1), work("known", number, 1)).unwrap();
    }
    for connection in 0..200 {
        sender.try_push(owner(4, 0, connection + 10), work("strangers", 0, 50)).unwrap();
    }
    let shares = shares(&queue, 4_000);
    for (name, about) in [("crowd", 1_000), ("large", 1_000), ("plain", 1_000), ("known", 500), ("strangers", 500)] {
        let share = shares[name];
        assert!(share.abs_diff(about) < 60, "{name} had {share} of 4000: {shares:?}");
    }
}

#[test]
fn fresh_keys_and_connections_of_an_address_win_nothing() {
    let (sender, queue) = fair_queue(BOUNDS);
    for sybil in 0..1_000 {
        sender.try_push(owner(1, sybil, sybil), work("sybils", 0, 16)).unwrap();
    }
    for number in 0..1_000 {
        sender.try_push(owner(2, 0, 1), work("honest", number, 1)).unwrap();
    }
    assert!(shares(&queue, 1_000)["honest"] >= 480);
    // New ones all the time, each with its first item.
    let mut honest = 0;
    for sybil in 2_000..2_100 {
        sender.try_push(owner(1, sybil, sybil), work("sybils", 0, 1)).unwrap();
        honest += shares(&queue, 4).get("honest").unwrap_or(&0);
    }
    assert!(honest >= 190, "{honest}");
}

#[test]
fn who_comes_seldom_is_next() {
    let (sender, queue) = fair_queue(BOUNDS);
    for account in 0..20 {
        for connection in 0..50 {
            sender.try_push(owner(account, 0, connection), work("flood", 0, 640)).unwrap();
        }
    }
    shares(&queue, 3_000);
    for number in 0..50 {
        sender.try_push(owner(99, 0, 1), work("healthy", number, 1)).unwrap();
        // At most a turn of each who stands at the same place.
        let waited = (0..).find(|_| queue.pop().unwrap().item.name == "healthy").unwrap();
        assert!(waited <= 21, "{waited} turns");
        shares(&queue, 200);
    }
}

#[test]
fn connections_that_come_one_after_the_other_are_served_so() {
    let (sender, queue) = fair_queue(BOUNDS);
    // As batches of an import, each of its own connection: a thread may wait for an earlier batch, never for a later one.
    let mut next = 0;
    for number in 0..1_000 {
        sender.try_push(owner(1, 0, number as u64), work("batch", number, 1 + number as u64 % 7)).unwrap();
        if number % 3 == 0 {
            assert_eq!(queue.pop().unwrap().item.number, next);
            next += 1;
        }
    }
    while !queue.is_empty() {
        assert_eq!(queue.pop().unwrap().item.number, next);
        next += 1;
    }
}

#[test]
fn nobody_saves_up_turns() {
    let (sender, queue) = fair_queue(BOUNDS);
    for number in 0..1_000 {
        sender.try_push(owner(1, 0, 1), work("steady", number, 1)).unwrap();
    }
    sender.try_push(owner(2, 0, 1), work("late", 0, 1)).unwrap();
    shares(&queue, 500);
    for number in 0..1_000 {
        sender.try_push(owner(2, 0, 1), work("late", number, 1)).unwrap();
    }
    let shares = shares(&queue, 400);
    assert!(shares["late"].abs_diff(200) < 20, "{shares:?}");
}

#[test]
fn what_a_turn_has_cost_in_truth_counts() {
    let (sender, queue) = fair_queue(BOUNDS);
    for number in 0..1_000 {
        sender.try_push(owner(1, 0, 1), work("slow", number, 1)).unwrap();
        sender.try_push(owner(2, 0, 1), work("fast", number, 1)).unwrap();
    }
    let mut turns = [0, 0];
    for _ in 0..550 {
        let Turn { item, mut claim } = queue.pop().unwrap();
        let is_slow = item.name == "slow";
        turns[usize::from(is_slow)] += 1;
        claim.spent(if is_slow { 10 } else { 1 });
    }
    assert!((45..=55).contains(&turns[1]), "{turns:?}");
}

#[test]
fn whole_while_nobody_else_waits() {
    let (sender, queue) = fair_queue(BOUNDS);
    sender.try_push(owner(1, 0, 1), work("a", 0, 100)).unwrap();
    assert_eq!(queue.pop().unwrap().item.cost, 100);
    sender.try_push(owner(1, 0, 1), work("a", 0, 100)).unwrap();
    sender.try_push(owner(2, 0, 1), work("b", 0, 100)).unwrap();
    let turns: Vec<_> = (0..12).map(|_| queue.pop().unwrap().item).map(|item| (item.name, item.cost)).collect();
    assert!(turns.iter().all(|(_, cost)| *cost <= 16), "{turns:?}");
    assert!(turns.windows(2).all(|two| two[0].0 != two[1].0), "{turns:?}");
    let state = &mut *queue.state.lock();
    let of = |state: &mut State<Work>, account| state.accounts.find(account).unwrap().bytes;
    assert_eq!((state.bytes, of(state, 1), of(state, 2)), (80, 40, 40));
}

#[test]
fn what_a_connection_that_is_gone_had_queued_comes_back() {
    let (sender, queue) = fair_queue(BOUNDS);
    for number in 0..100 {
        sender.try_push(owner(1, 0, 1), work("gone", number, 2)).unwrap();
        sender.try_push(owner(1, 0, 2), work("stays", number, 2)).unwrap();
    }
    let running = queue.pop().unwrap();
    assert_eq!(running.item.name, "gone");
    assert_eq!(sender.forget(owner(1, 0, 1), 16).len(), 91);
    drop(running);
    let shares = shares(&queue, 208 + 8);
    assert_eq!((shares["gone"], shares["stays"]), (16, 200));
    assert!(queue.is_empty() && queue.state.lock().bytes == 0);
    assert_eq!(sender.forget(owner(1, 0, 1), 16), []);
}

#[tokio::test]
async fn an_account_waits_for_itself_and_all_for_all() {
    let (sender, queue) = fair_queue(Bounds { items: 6, account_items: 4, ..BOUNDS });
    for connection in 0..4 {
        sender.try_push(owner(1, 0, connection), work("a", 0, 1)).unwrap();
    }
    assert!(sender.try_push(owner(1, 0, 9), work("a", 0, 1)).is_err());
    for connection in 0..2 {
        sender.try_push(owner(2, 0, connection), work("b", 0, 1)).unwrap();
    }
    assert!(sender.try_push(owner(3, 0, 1), work("c", 0, 1)).is_err());
    // A hundred that wait, of which some give up; the others all get in.
    let mut waiting = Vec::new();
    for connection in 0..100 {
        let sender = sender.clone();
        let owner = owner(connection % 2, 0, 100 + connection);
        waiting.push(tokio::spawn(async move { sender.push(owner, work("late", 0, 1)).await }));
    }
    tokio::task::yield_now().await;
    waiting.iter().step_by(10).for_each(tokio::task::JoinHandle::abort);
    let taking = tokio::task::spawn_blocking(move || {
        let mut taken = 0;
        while queue.pop().is_some() {
            taken += 1;
        }
        taken
    });
    let mut got_in = 0;
    for one in waiting {
        got_in += usize::from(tokio::time::timeout(Duration::from_secs(10), one).await.unwrap().is_ok());
    }
    assert!(got_in >= 90, "{got_in}");
    drop(sender);
    assert!(taking.await.unwrap() >= 96);
}

#[test]
fn what_is_queued_is_done_after_the_last_sender_is_gone() {
    let (sender, queue) = fair_queue(BOUNDS);
    for number in 0..10 {
        sender.try_push(owner(1, 0, 1), work("a", number, 1)).unwrap();
    }
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let mut taken = 0;
                while let Some(turn) = queue.pop() {
                    taken += 1;
                    drop(turn);
                }
                taken
            })
        })
        .collect();
    drop(sender);
    assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>(), 10);
}

#[test]
fn forgets_who_has_nothing_to_do() {
    let (sender, queue) = fair_queue(BOUNDS);
    for account in 0..10_000 {
        sender.try_push(owner(account, account, account), work("a", 0, 1)).unwrap();
        drop(queue.pop().unwrap());
    }
    assert!(queue.state.lock().accounts.len() < 200);
    for connection in 0..10_000 {
        sender.try_push(owner(1, connection, connection), work("a", 0, 1)).unwrap();
        drop(queue.pop().unwrap());
    }
    assert!(queue.state.lock().accounts.find(1).unwrap().keys.len() < 200);
    assert!(queue.state.lock().accounts.find(1).unwrap().lines.is_empty());
}

#[tokio::test]
async fn a_pool_computes_in_turns() {
    let (pool, threads) = Pool::start("try", 2, 0, 100).unwrap();
    let sums = (0..50_u64).map(|n| {
        let pool = pool.clone();
        async move { pool.run(owner(n % 3, 0, n), 1, move || n * 2).await.unwrap() }
    });
    let sums = futures_util::future::join_all(sums).await;
    assert_eq!(sums.iter().sum::<u64>(), 49 * 50);
    drop(pool);
    threads.join();
}
