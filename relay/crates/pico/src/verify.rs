//! From bytes that somebody sent to blocks that can be trusted, on worker threads.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashSet;
use parking_lot::Mutex;
use picofeed::{Block, Defect, Feed, Format, Id, Limits};

use crate::fair::{Owner, Pool};

/// Feeds of up to this many bytes together are looked at in place, to see whether they say anything new.
const GLANCE_BYTES_MAX: usize = 16 << 10;

/// The name of no defect: the worker thread failed.
pub const FAILED: &str = "failed";

/// What a message was worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// Blocks with good signatures, in order.
    pub blocks: Vec<Block>,
    /// Why the rest, or all of it, is refused.
    pub refused: Option<&'static str>,
}

/// Reads a feed strictly and checks every signature. Costs CPU: not for async threads.
///
/// A v3 feed with a defect is worth the blocks before it, as for picofeed 3.4; a v8 feed is refused as a whole, as by
/// picofeed 8. POP-02 is not spoken on the network.
pub fn check(bytes: Bytes, limits: &Limits) -> Checked {
    let refuse = |defect| Checked { blocks: Vec::new(), refused: Some(reason(defect)) };
    match Format::detect(&bytes) {
        Some(Format::V3) => {
            let (feed, malformed) = Feed::decode_prefix(Format::V3, bytes, limits);
            let (feed, unproven) = feed.verify_prefix(limits);
            let defect = unproven.or(malformed).map(|invalid| invalid.defect);
            Checked { blocks: feed.into_blocks(), refused: defect.map(reason) }
        }
        Some(Format::Pop02) => Checked { blocks: Vec::new(), refused: Some("format") },
        Some(Format::V8) | None => match Feed::decode(Format::V8, bytes, limits).and_then(|feed| feed.verify(limits)) {
            Ok(feed) => Checked { blocks: feed.into_blocks(), refused: None },
            Err(invalid) => refuse(invalid.defect),
        },
    }
}

/// The name of a defect, for metrics.
fn reason(defect: Defect) -> &'static str {
    match defect {
        Defect::Signature => "signature",
        Defect::KeyInvalid => "key",
        Defect::AuthorMissing | Defect::AuthorMismatch => "author",
        Defect::ParentMismatch | Defect::ParentZero => "parent",
        Defect::HeaderUnknown(_) | Defect::HeaderRepeated(_) => "header",
        Defect::BodyEmpty => "body_empty",
        Defect::Size => "size",
        Defect::Truncated | Defect::Trailing => "truncated",
        Defect::FeedTooLong | Defect::BodyTooLong | Defect::BlocksTooMany => "too_long",
        Defect::KeysTooMany | Defect::TrialsTooMany => "too_costly",
        _ => "malformed",
    }
}

/// Bytes of feeds that take about a microsecond to be verified, at least.
const CHECKED_PER_COST: usize = 256;

/// Bytes of feeds that take about a microsecond to be read.
const DECODED_PER_COST: usize = 2048;

/// Of a feed of so many bytes the relay looks in the room whether it has the last block, before it verifies all of them:
/// that costs as much as verifying a few.
const LONG_BYTES_MIN: usize = 2 << 10;

/// The worker threads, which take the feeds of all peers in turns.
#[derive(Clone)]
pub struct Checker {
    threads: Pool,
    limits: Arc<Limits>,
}

impl Checker {
    /// Checks on these threads.
    pub fn new(threads: Pool, limits: Limits) -> Self {
        Self { threads, limits: Arc::new(limits) }
    }

    /// The last block of each feed of more than a few blocks, as it says itself; none of others, and of what is no feed.
    pub async fn ends(&self, owner: Owner, feeds: &[Bytes]) -> Vec<Option<Id>> {
        let is_long = |feed: &Bytes| feed.len() >= LONG_BYTES_MIN;
        if !feeds.iter().any(is_long) {
            return Vec::new();
        }
        let (feeds, limits) = (feeds.to_vec(), Arc::clone(&self.limits));
        let cost = (feeds.iter().map(Bytes::len).sum::<usize>() / DECODED_PER_COST) as u64;
        let ends = self.threads.run(owner, cost.max(1), move || {
            let end = |feed: Bytes| Feed::decode_any(feed, &limits).ok()?.last().map(Block::id);
            feeds.into_iter().map(|feed| if is_long(&feed) { end(feed) } else { None }).collect()
        });
        ends.await.unwrap_or_default()
    }

    /// [`check`] of each, elsewhere, when `owner` has a turn. Feeds all of whose blocks are `recent` are worth nothing, and
    /// cost next to nothing.
    pub async fn check(&self, owner: Owner, feeds: Vec<Bytes>, recent: &Arc<Recent>) -> Vec<Checked> {
        let len = feeds.len();
        let bytes = feeds.iter().map(Bytes::len).sum::<usize>();
        let is_known = |feed: &Bytes| recent.knows_all(feed.clone(), &self.limits);
        if bytes <= GLANCE_BYTES_MAX && feeds.iter().all(is_known) {
            return vec![Checked::default(); len];
        }
        let (limits, recent) = (Arc::clone(&self.limits), Arc::clone(recent));
        let cost = (len + bytes / CHECKED_PER_COST) as u64;
        let checked = self.threads.run(owner, cost, move || {
            let one = |feed: Bytes| {
                if recent.knows_all(feed.clone(), &limits) { Checked::default() } else { check(feed, &limits) }
            };
            feeds.into_iter().map(one).collect()
        });
        checked.await.unwrap_or_else(|_| vec![Checked { blocks: Vec::new(), refused: Some(FAILED) }; len])
    }
}

/// Ids of blocks that were stored, or found to be stored, lately. JavaScript nodes send back everything they are sent,
/// twice.
///
/// Nothing is trusted because of its id: what is known is dropped, never passed on.
#[derive(Debug)]
pub struct Recent {
    max: usize,
    /// The newer and the older half.
    halves: Mutex<(HashSet<Id>, HashSet<Id>)>,
}

impl Recent {
    /// Remembers between `max / 2` and `max` ids.
    pub fn new(max: usize) -> Self {
        Self { max, halves: Mutex::default() }
    }

    /// Remembers these.
    pub fn add(&self, ids: impl IntoIterator<Item = Id>) {
        let mut halves = self.halves.lock();
        for id in ids {
            if halves.0.len() >= self.max / 2 {
                halves.1 = std::mem::take(&mut halves.0);
            }
            halves.0.insert(id);
        }
    }

    /// Forgets everything: blocks were removed.
    pub fn clear(&self) {
        *self.halves.lock() = Default::default();
    }

    fn knows_all(&self, bytes: Bytes, limits: &Limits) -> bool {
        let Ok(feed) = Feed::decode_any(bytes, limits) else { return false };
        let halves = self.halves.lock();
        feed.iter().all(|block| {
            let id = block.id();
            halves.0.contains(&id) || halves.1.contains(&id)
        })
    }
}
