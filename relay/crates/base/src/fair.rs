//! Turns between neighbours: a queue from which threads take work, by address first, within an address by key, within a
//! key by connection. What one of them has queued never makes another wait for more than a turn of each.
//!
//! Turns are counted in cost, not in items: whoever brings what is expensive has fewer of them. New keys and connections of
//! an address only divide what the address has. Items of one connection are worked on one after the other, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::threads::has_slept;

mod level;
mod pool;
#[cfg(test)]
mod tests;

pub use pool::give_way;
pub use pool::{Pool, PoolStopped, PoolThreads};

use level::{Level, Node};

/// Whose work it is. `account` is an address, or another origin; `key` whom the connection has proved to be, 0 for nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// Shares evenly with other accounts.
    pub account: u64,
    /// Shares evenly with other keys of that account.
    pub key: u64,
    /// Shares evenly with other connections of that key; its items stay in order. The name is known within the account.
    pub connection: u64,
}

/// Something that can be queued.
pub trait Item: Sized {
    /// What it costs to work on it, about, in any unit that all items of a queue share. At least 1.
    fn cost(&self) -> u64;

    /// What it takes of memory.
    fn bytes(&self) -> usize;

    /// Takes off what is more than `cost`, if it can be divided. What is left is worked on first.
    fn split_off(&mut self, cost: u64) -> Option<Self> {
        let _ = cost;
        None
    }
}

/// What a queue may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Items of all accounts.
    pub items: usize,
    /// Bytes of all accounts.
    pub bytes: usize,
    /// Items of one account.
    pub account_items: usize,
    /// Bytes of one account.
    pub account_bytes: usize,
    /// The most that a turn costs while others wait, where items can be divided.
    pub turn_cost: u64,
}

/// There is no room. Who waits for it gets the item back.
#[derive(Debug)]
pub struct Full<T> {
    /// What was to be queued.
    pub item: T,
    /// None: the queue is closed. Otherwise wakes one who waits whenever there may be room.
    pub room: Option<Arc<Notify>>,
}

/// The queue as those see it who take from it.
#[derive(Debug)]
pub struct FairQueue<T> {
    bounds: Bounds,
    state: Mutex<State<T>>,
    work: Condvar,
    /// For threads that wait for room.
    room_blocking: Condvar,
}

/// The queue as those see it who put something in; clones share it. When the last one is gone, the queue is closed: what is
/// in it is still worked on.
#[derive(Debug)]
pub struct FairSender<T: Item>(Arc<Closer<T>>);

#[derive(Debug)]
struct Closer<T: Item>(Arc<FairQueue<T>>);

#[derive(Debug)]
struct State<T> {
    accounts: Level<Account<T>>,
    items: usize,
    bytes: usize,
    is_closed: bool,
    /// Threads that wait for work.
    idle: usize,
    /// Threads that wait for room.
    waiting: usize,
    room: Room,
}

/// Wakes those who wait for room, one for each item that leaves. Shared with them, so that it is known whether there are any.
type Room = Option<Arc<Notify>>;

#[derive(Debug)]
struct Account<T> {
    keys: Level<Key>,
    lines: hashbrown::HashMap<u64, Line<T>>,
    items: usize,
    bytes: usize,
    room: Room,
}

type Key = Level<Waiting>;

/// A connection as its key sees it: there is nothing to know but that it waits.
#[derive(Default, Debug)]
struct Waiting;

/// What one connection has queued.
#[derive(Debug)]
struct Line<T> {
    items: VecDeque<T>,
    key: u64,
    /// One of its items is being worked on.
    is_busy: bool,
}

impl Node for Waiting {
    fn is_idle(&self) -> bool {
        true
    }
}

impl<T> Node for Account<T> {
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.room.as_ref().is_none_or(|room| Arc::strong_count(room) == 1)
    }
}

impl<T> Default for Account<T> {
    fn default() -> Self {
        Self { keys: Level::default(), lines: hashbrown::HashMap::new(), items: 0, bytes: 0, room: None }
    }
}

/// An item that is to be worked on.
#[derive(Debug)]
pub struct Turn<T: Item> {
    /// The item.
    pub item: T,
    /// To be kept until it is done.
    pub claim: Claim<T>,
}

/// The connection's place while its item is worked on: its next item waits until this is dropped.
#[derive(Debug)]
pub struct Claim<T: Item> {
    queue: Arc<FairQueue<T>>,
    owner: Owner,
    charged: u64,
}

impl<T: Item> Claim<T> {
    /// Whose turn it is.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Says what the turn has cost, if that is more than was expected.
    pub fn spent(&mut self, cost: u64) {
        let more = cost.saturating_sub(self.charged);
        if more > 0 {
            self.charged = cost;
            self.queue.state.lock().charge(self.owner, more);
        }
    }
}

impl<T: Item> Drop for Claim<T> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        let is_ready = state.release(self.owner);
        let wakes = is_ready && state.idle > 0;
        drop(state);
        if wakes {
            self.queue.work.notify_one();
        }
    }
}

/// Makes a queue.
pub fn fair_queue<T: Item>(bounds: Bounds) -> (FairSender<T>, Arc<FairQueue<T>>) {
    let queue = Arc::new(FairQueue {
        bounds,
        state: Mutex::new(State {
            accounts: Level::default(),
            items: 0,
            bytes: 0,
            is_closed: false,
            idle: 0,
            waiting: 0,
            room: None,
        }),
        work: Condvar::new(),
        room_blocking: Condvar::new(),
    });
    (FairSender(Arc::new(Closer(Arc::clone(&queue)))), queue)
}

impl<T: Item> Clone for FairSender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Item> Drop for Closer<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T: Item> FairSender<T> {
    /// Queues an item, if there is room.
    pub fn try_push(&self, owner: Owner, item: T) -> Result<(), Full<T>> {
        self.0.0.try_push(owner, item)
    }

    /// Queues an item when there is room. The error is the item: the queue is closed.
    pub async fn push(&self, owner: Owner, mut item: T) -> Result<(), T> {
        loop {
            match self.try_push(owner, item) {
                Ok(()) => return Ok(()),
                Err(Full { item, room: None }) => return Err(item),
                Err(Full { item: back, room: Some(room) }) => {
                    item = back;
                    room.notified().await;
                }
            }
        }
    }

    /// The same for threads that may wait.
    pub fn push_blocking(&self, owner: Owner, item: T) -> Result<(), T> {
        self.0.0.push_blocking(owner, item)
    }

    /// A connection is gone: what it has queued is taken out and comes back, but for what the first `keep` cost. What is
    /// being worked on is not touched.
    pub fn forget(&self, owner: Owner, keep: u64) -> Vec<T> {
        self.0.0.forget(owner, keep)
    }
}

impl<T: Item> FairQueue<T> {
    /// Waits for the next turn. None: the queue is closed, and nothing is left for this thread.
    pub fn pop(self: &Arc<Self>) -> Option<Turn<T>> {
        let mut state = self.state.lock();
        loop {
            if let Some((item, owner)) = state.take(&self.bounds) {
                let charged = item.cost();
                let rooms = state.rooms(owner);
                if state.waiting > 0 {
                    self.room_blocking.notify_all();
                }
                let more = state.accounts.is_ready() && state.idle > 0;
                let is_over = state.is_closed && state.items == 0;
                drop(state);
                rooms.into_iter().flatten().for_each(|room| room.notify_one());
                if is_over {
                    self.work.notify_all();
                } else if more {
                    self.work.notify_one();
                }
                return Some(Turn { item, claim: Claim { queue: Arc::clone(self), owner, charged } });
            }
            if state.is_closed && state.items == 0 {
                return None;
            }
            state.idle += 1;
            self.work.wait(&mut state);
            state.idle -= 1;
            has_slept();
        }
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.state.lock().items
    }

    /// True when none do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn try_push(&self, owner: Owner, item: T) -> Result<(), Full<T>> {
        let mut state = self.state.lock();
        match state.full(owner, &self.bounds) {
            None => {}
            Some(room) => return Err(Full { item, room }),
        }
        state.push(owner, item);
        self.wake(state);
        Ok(())
    }

    fn push_blocking(&self, owner: Owner, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        loop {
            match state.full(owner, &self.bounds) {
                None => break,
                Some(None) => return Err(item),
                Some(Some(_)) => {
                    state.waiting += 1;
                    self.room_blocking.wait(&mut state);
                    state.waiting -= 1;
                }
            }
        }
        state.push(owner, item);
        self.wake(state);
        Ok(())
    }

    fn wake(&self, state: parking_lot::MutexGuard<'_, State<T>>) {
        let wakes = state.idle > 0 && state.accounts.is_ready();
        drop(state);
        if wakes {
            self.work.notify_one();
        }
    }

    fn forget(&self, owner: Owner, keep: u64) -> Vec<T> {
        let mut state = self.state.lock();
        let gone = state.forget(owner, keep);
        if gone.is_empty() {
            return gone;
        }
        let rooms = state.rooms(owner);
        if state.waiting > 0 {
            self.room_blocking.notify_all();
        }
        let is_over = state.is_closed && state.items == 0;
        drop(state);
        if is_over {
            self.work.notify_all();
        }
        // There may be room for as many as have gone.
        for room in rooms.into_iter().flatten() {
            gone.iter().for_each(|_| room.notify_one());
        }
        gone
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        drop(state);
        self.work.notify_all();
        self.room_blocking.notify_all();
    }
}

impl<T: Item> State<T> {
    /// Why there is no room: `Some(None)`, the queue is closed; else whoever says when there may be.
    fn full(&mut self, owner: Owner, bounds: &Bounds) -> Option<Option<Arc<Notify>>> {
        if self.is_closed {
            return Some(None);
        }
        if self.items >= bounds.items || self.bytes >= bounds.bytes {
            return Some(Some(Arc::clone(self.room.get_or_insert_default())));
        }
        let account = self.accounts.find(owner.account)?;
        (account.items >= bounds.account_items || account.bytes >= bounds.account_bytes)
            .then(|| Some(Arc::clone(account.room.get_or_insert_default())))
    }

    /// Whom to tell that something has left: those who wait for all, and those who wait for the account.
    fn rooms(&mut self, owner: Owner) -> [Room; 2] {
        let take = |room: &mut Room| {
            if room.as_ref().is_some_and(|room| Arc::strong_count(room) == 1) {
                *room = None;
            }
            room.clone()
        };
        let all = take(&mut self.room);
        [all, self.accounts.find(owner.account).and_then(|account| take(&mut account.room))]
    }

    fn push(&mut self, owner: Owner, item: T) {
        let bytes = item.bytes();
        self.items += 1;
        self.bytes += bytes;
        let account = self.accounts.child(owner.account);
        account.items += 1;
        account.bytes += bytes;
        let line = account.lines.entry(owner.connection).or_insert_with(|| Line {
            items: VecDeque::new(),
            key: owner.key,
            is_busy: false,
        });
        // Who proves to be somebody else while items wait is served as before until those are done.
        if line.items.is_empty() && !line.is_busy {
            line.key = owner.key;
        }
        line.items.push_back(item);
        if line.items.len() == 1 && !line.is_busy {
            let key = line.key;
            self.wake(owner.account, key, owner.connection);
        }
    }

    /// The connection has something to do.
    fn wake(&mut self, account_name: u64, key_name: u64, connection: u64) {
        let Some(account) = self.accounts.find(account_name) else { return };
        let key = account.keys.child(key_name);
        key.child(connection);
        key.set_ready(connection, true);
        account.keys.set_ready(key_name, true);
        self.accounts.set_ready(account_name, true);
    }

    /// The connection has nothing to do, or is busy.
    fn sleep(&mut self, account_name: u64, key_name: u64, connection: u64) {
        let Some(account) = self.accounts.find(account_name) else { return };
        if let Some(key) = account.keys.find(key_name) {
            key.set_ready(connection, false);
            if !key.is_ready() {
                account.keys.set_ready(key_name, false);
            }
        }
        if !account.keys.is_ready() {
            self.accounts.set_ready(account_name, false);
        }
    }

    /// Takes the next item, and makes its connection busy.
    fn take(&mut self, bounds: &Bounds) -> Option<(T, Owner)> {
        let account_name = self.accounts.next()?;
        let mut others = self.accounts.has_others();
        let account = self.accounts.find(account_name)?;
        let key_name = account.keys.next()?;
        others |= account.keys.has_others();
        let key = account.keys.find(key_name)?;
        let connection = key.next()?;
        others |= key.has_others();
        let line = account.lines.get_mut(&connection)?;
        line.is_busy = true;
        let mut item = line.items.pop_front()?;
        let before = item.bytes();
        if others && let Some(rest) = item.split_off(bounds.turn_cost) {
            self.items += 1;
            account.items += 1;
            let after = rest.bytes() + item.bytes();
            self.bytes = (self.bytes + after).saturating_sub(before);
            account.bytes = (account.bytes + after).saturating_sub(before);
            line.items.push_front(rest);
        }
        let (cost, bytes) = (item.cost().max(1), item.bytes());
        account.items -= 1;
        account.bytes = account.bytes.saturating_sub(bytes);
        key.turn(connection, cost);
        account.keys.turn(key_name, cost);
        self.accounts.turn(account_name, cost);
        self.items -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.sleep(account_name, key_name, connection);
        Some((item, Owner { account: account_name, key: key_name, connection }))
    }

    fn charge(&mut self, owner: Owner, cost: u64) {
        if let Some(account) = self.accounts.find(owner.account) {
            if let Some(key) = account.keys.find(owner.key) {
                key.charge(owner.connection, cost);
            }
            account.keys.charge(owner.key, cost);
        }
        self.accounts.charge(owner.account, cost);
    }

    /// The connection's item is done. True if another waits.
    fn release(&mut self, owner: Owner) -> bool {
        let Some(account) = self.accounts.find(owner.account) else { return false };
        let Some(line) = account.lines.get_mut(&owner.connection) else { return false };
        line.is_busy = false;
        if line.items.is_empty() {
            account.lines.remove(&owner.connection);
            return false;
        }
        let key = line.key;
        self.wake(owner.account, key, owner.connection);
        true
    }

    fn forget(&mut self, owner: Owner, keep: u64) -> Vec<T> {
        let Some(account) = self.accounts.find(owner.account) else { return Vec::new() };
        let Some(line) = account.lines.get_mut(&owner.connection) else { return Vec::new() };
        let mut kept = 0;
        let mut stays = 0;
        for item in &line.items {
            kept += item.cost().max(1);
            if kept > keep {
                break;
            }
            stays += 1;
        }
        let gone: Vec<T> = line.items.drain(stays..).collect();
        let bytes: usize = gone.iter().map(Item::bytes).sum();
        let (key, is_over) = (line.key, line.items.is_empty() && !line.is_busy);
        account.items -= gone.len();
        account.bytes = account.bytes.saturating_sub(bytes);
        if is_over {
            account.lines.remove(&owner.connection);
        }
        self.items -= gone.len();
        self.bytes = self.bytes.saturating_sub(bytes);
        if is_over {
            self.sleep(owner.account, key, owner.connection);
        }
        gone
    }
}
