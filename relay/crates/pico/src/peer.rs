//! One peer in a room: its conversation, and the work that follows from it. Knows no sockets; time is an argument.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;

use super::account::Account;
use super::config;
use super::gossip::{Direction, PeerNumber, RoomFull};
use super::outbox::{Closing, Outbox};
use super::repo::{Repo, RepoError};
use super::room::Room;
use super::rpc::{Act, Conversation, Fault, Received, Rules, UploadNumber};
use super::upload::Upload;
use super::verdict::Verdict;
use super::wire::Elapsed;
use crate::metrics::{PICO_FEEDS_SENT, PICO_FRAMES};
use crate::rarely::rarely;

/// How often a peer is asked for everything again when it sends blocks whose parents are missing.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The longest time for which nothing is read from a peer that sends too much.
const WAIT_MAX: Duration = Duration::from_secs(5);

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What came of reading out a part of the room.
type PartRead = Result<Option<Bytes>, RepoError>;

/// One peer.
pub struct Peer {
    room: Arc<Room>,
    number: PeerNumber,
    talk: Conversation,
    outbox: Arc<Outbox>,
    /// Feeds that are being verified and merged.
    dispatch: Option<Work<Vec<(Received, Verdict)>>>,
    /// Those that wait behind them, in order. They are taken together, so that many small ones cost one commit.
    waiting: Vec<Received>,
    /// Feeds of both, and their bytes.
    taken: (usize, usize),
    taken_max: (usize, usize),
    /// The part of an upload that is being read.
    part: Option<Work<(UploadNumber, Upload, PartRead)>>,
    /// The upload at hand, between two parts.
    upload: Option<(UploadNumber, Upload)>,
    asked_again: Option<Elapsed>,
    frames: Budget,
    queries: Budget,
    false_feeds: Budget,
    /// The account of its address, if it is a stranger.
    account: Option<Arc<dyn Account>>,
    /// The last feeds that were verified were true.
    is_proven: bool,
    /// Blocks of no use since the last frame: each counts as a frame.
    useless: usize,
}

/// A false feed counts as one false event, and as one more for each so many bytes: it costs about as much as them.
const FALSE_BYTES: usize = 64 << 10;

impl Peer {
    /// Puts a peer into a room and begins the conversation. `account` is that of the address of a stranger.
    ///
    /// # Errors
    ///
    /// The room is full.
    pub fn new(
        room: Arc<Room>,
        number: PeerNumber,
        (direction, account): (Direction, Option<Arc<dyn Account>>),
        limits: &config::Pico,
    ) -> Result<Self, RoomFull> {
        let outbox = Arc::new(Outbox::new(limits.outbox_bytes_max));
        room.hub().join(number, Arc::clone(&outbox), direction)?;
        let rules = Rules {
            ports_max: limits.ports_max,
            patience: Duration::from_secs(limits.reply_seconds),
            both: direction == Direction::Out,
        };
        let talk = Conversation::new(room.node_id(), rules, Duration::ZERO);
        let mut peer = Self {
            room,
            number,
            talk,
            outbox,
            dispatch: None,
            waiting: Vec::new(),
            taken: (0, 0),
            taken_max: (limits.peer_feeds_max, limits.peer_feeds_bytes_max),
            part: None,
            upload: None,
            asked_again: None,
            frames: Budget::new(limits.frames_per_minute),
            queries: Budget::new(limits.queries_per_minute),
            false_feeds: Budget::new(limits.false_feeds_per_minute),
            account,
            is_proven: false,
            useless: 0,
        };
        peer.carry_out();
        Ok(peer)
    }

    /// What is to be sent.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Whether more may be read from the peer: it has taken what it was sent, and little of what it sent is still to be
    /// merged.
    pub fn may_read(&self) -> bool {
        let ((feeds, bytes), (feeds_max, bytes_max)) = (self.taken, self.taken_max);
        feeds < feeds_max && bytes < bytes_max && self.outbox.has_room()
    }

    /// Whether everything it sent is merged.
    pub fn is_idle(&self) -> bool {
        self.dispatch.is_none()
    }

    /// Takes in a frame, and says how long to wait before the next one is read: a peer that sends too much is slowed
    /// down, and so are all of an address that sends too much, or false feeds.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub fn receive(&mut self, frame: &Bytes, now: Elapsed) -> Result<Option<Duration>, Fault> {
        metrics::counter!(PICO_FRAMES, "outcome" => "read").increment(1);
        if Conversation::is_query(frame) && self.queries.take(now).is_some() {
            metrics::counter!(PICO_FRAMES, "outcome" => "too_many_queries").increment(1);
            self.talk.refuse(frame)?;
        } else {
            self.talk.receive(frame, now)?;
        }
        self.carry_out();
        Ok(self.spend(frame.len(), now))
    }

    /// Counts something that came and is no frame, such as a ping. As for [`Peer::receive`].
    pub fn alive(&mut self, now: Elapsed) -> Option<Duration> {
        // Others than strangers come by carriers that report signs of life themselves.
        self.account.is_some().then(|| self.spend(0, now)).flatten()
    }

    /// The room's blocks, read in the turns of the peer's address.
    fn repo(&self) -> Repo {
        let repo = self.room.repo();
        self.account.as_ref().map_or_else(|| repo.clone(), |account| repo.of(account.party()))
    }

    fn spend(&mut self, bytes: usize, now: Elapsed) -> Option<Duration> {
        let amount = 1 + std::mem::take(&mut self.useless);
        let own = self.frames.spend(amount, now);
        let of_address = self.account.as_ref().and_then(|account| {
            let at = Instant::now();
            let spent = account.spend(amount, bytes, at);
            let delay = if self.is_proven { Duration::ZERO } else { account.delay(at) };
            spent.max((!delay.is_zero()).then_some(delay))
        });
        let wait = own.max(of_address).map(|wait| wait.min(WAIT_MAX));
        if wait.is_some() {
            metrics::counter!(PICO_FRAMES, "outcome" => "slowed").increment(1);
        }
        wait
    }

    /// What became of a feed. Too many false ones end the connection: too many of its own, or of its address.
    fn judge(&mut self, feed_bytes: usize, verdict: &Verdict, now: Elapsed) {
        self.is_proven = !verdict.is_false && (self.is_proven || verdict.refused.is_none());
        if !verdict.is_false {
            return;
        }
        let count = u32::try_from(1 + feed_bytes / FALSE_BYTES).unwrap_or(u32::MAX);
        let is_refused = self.account.as_ref().is_some_and(|account| account.false_feeds(count, Instant::now()));
        if self.false_feeds.take(now).is_some() || is_refused {
            self.outbox.close(Closing::FalseFeeds);
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub fn tick(&mut self, now: Elapsed) -> Result<(), Fault> {
        self.talk.tick(now)?;
        self.carry_out();
        Ok(())
    }

    /// Goes on with what is under way. Ready when something was finished.
    pub fn poll_work(&mut self, context: &mut Context<'_>, now: Elapsed) -> Poll<()> {
        let mut is_ready = false;
        if self.outbox.take_ask() {
            self.talk.ask_for_all(now);
            self.carry_out();
            is_ready = true;
        }
        if let Some(Poll::Ready(done)) = self.dispatch.as_mut().map(|dispatch| dispatch.poll_unpin(context)) {
            self.dispatch = None;
            self.dispatched(&done, now);
            is_ready = true;
        }
        if let Some(Poll::Ready((number, upload, read))) = self.part.as_mut().map(|part| part.poll_unpin(context)) {
            self.part = None;
            self.part_read(number, upload, read, now);
            is_ready = true;
        }
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Verifies and merges what waits, if nothing is being merged.
    fn dispatch(&mut self) {
        if self.dispatch.is_some() || self.waiting.is_empty() {
            return;
        }
        let (room, batch) = (Arc::clone(&self.room), std::mem::take(&mut self.waiting));
        let (number, account) = (self.number, self.account.clone());
        self.dispatch = Some(Box::pin(async move {
            let feeds = batch.iter().map(|received| received.feed.clone()).collect();
            let verdicts = room.offer(number, account.as_deref(), feeds).await;
            batch.into_iter().zip(verdicts).collect()
        }));
    }

    fn dispatched(&mut self, done: &[(Received, Verdict)], now: Elapsed) {
        let mut orphans = 0;
        for (received, verdict) in done {
            self.taken = (self.taken.0 - 1, self.taken.1 - received.feed.len());
            self.talk.dispatched(received, verdict.refused.as_deref(), now);
            orphans += verdict.orphans;
            if verdict.begins_too_many && received.reply.is_none() {
                // A feed in the answer to QUERY was acknowledged when it came.
                self.outbox.close(Closing::NewRooms);
            }
            self.useless += verdict.useless;
            self.judge(received.feed.len(), verdict, now);
        }
        let is_due = self.asked_again.is_none_or(|last| now.saturating_sub(last) >= ASK_AGAIN);
        if orphans > 0 && is_due {
            self.asked_again = Some(now);
            self.talk.ask_again(now);
        }
        self.carry_out();
    }

    fn part_read(&mut self, number: UploadNumber, upload: Upload, read: PartRead, now: Elapsed) {
        let read = read.unwrap_or_else(|error| {
            rarely!(error, %error, room = %self.room.name(), "a room could not be read");
            None
        });
        // The last part asks for a reply, too: it comes when the peer has the part in its store.
        let part = read.as_ref().map(|feed| (feed.as_ref(), true));
        let sent = u64::from(part.is_some());
        self.talk.part(number, part, now);
        self.upload = part.is_some().then_some((number, upload));
        metrics::counter!(PICO_FEEDS_SENT, "phase" => "stored").increment(sent);
        self.carry_out();
    }

    /// Does what the conversation says.
    fn carry_out(&mut self) {
        while let Some(act) = self.talk.act() {
            match act {
                Act::Send(frame) => self.outbox.push(frame),
                Act::Introduced(id) => self.room.hub().introduce(self.number, id),
                Act::Hears(format) => self.room.hub().hears(self.number, format),
                Act::Upload(number, format) => self.read_part(number, Upload::new(self.repo(), format)),
                Act::Part(number) => {
                    if let Some((_, upload)) = self.upload.take_if(|(at_hand, _)| *at_hand == number) {
                        self.read_part(number, upload);
                    }
                }
                Act::Uploaded => self.outbox.release(),
                Act::Dispatch(received) => {
                    self.taken = (self.taken.0 + 1, self.taken.1 + received.feed.len());
                    self.waiting.push(received);
                }
                Act::Downloaded => tracing::trace!(room = %self.room.name(), "a peer has told all it had"),
                Act::Ignored(reason) => metrics::counter!(PICO_FRAMES, "outcome" => reason).increment(1),
            }
        }
        self.dispatch();
    }

    /// New blocks wait until the peer has the whole room in its store. One that hears of a block before the one it
    /// follows has to keep it: those of generation 1 do not, and those of generation 2 (picostore 3.0.4) then refuse the
    /// chain for ever when they are given all of it.
    fn read_part(&mut self, number: UploadNumber, mut upload: Upload) {
        self.outbox.hold();
        let room = Arc::clone(&self.room);
        self.part = Some(Box::pin(async move {
            let read = upload.next(&room).await;
            (number, upload, read)
        }));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.room.hub().leave(self.number);
    }
}

/// So much a minute; what is not used is kept for one.
struct Budget {
    per_minute: u32,
    left: f64,
    at: Elapsed,
}

impl Budget {
    fn new(per_minute: u32) -> Self {
        Self { per_minute, left: f64::from(per_minute), at: Duration::ZERO }
    }

    /// Takes so many, whether they are there or not, and says how long it is until the next is.
    fn spend(&mut self, amount: usize, now: Elapsed) -> Option<Duration> {
        let wait = self.take(now);
        if self.per_minute > 0 {
            self.left -= amount.saturating_sub(1) as f64;
        }
        wait
    }

    /// Takes one. If there is none left, how long until there is.
    fn take(&mut self, now: Elapsed) -> Option<Duration> {
        if self.per_minute == 0 {
            return None;
        }
        let (most, rate) = (f64::from(self.per_minute), f64::from(self.per_minute) / 60.0);
        self.left = (self.left + rate * now.saturating_sub(self.at).as_secs_f64()).min(most);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - self.left) / rate))
    }
}
