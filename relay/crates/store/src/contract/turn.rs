//! How much of a scan is done before others have their turn.

use std::fmt;
use std::time::{Duration, Instant};

/// How much one slice of a scan may do before others have their turn. Whichever limit is met first ends it. A slice always
/// gets somewhere, however small it is, so that a scan comes to its end.
#[derive(Clone, Copy)]
pub struct Slice<'a> {
    /// Rows given.
    pub rows: usize,
    /// Bytes of bodies given.
    pub bytes: usize,
    /// Index entries and events looked at, whether they match or not.
    pub examined: usize,
    /// Time taken. The clock is looked at every few entries, so a slice takes a little longer than this.
    pub time: Duration,
    /// Asked every few entries once the slice has taken [`Slice::TIME_MIN`]: true when others wait, which ends it.
    pub others_wait: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl Slice<'_> {
    /// A slice of which only time and others are the limit.
    pub const WHOLE: Slice<'static> =
        Slice { rows: usize::MAX, bytes: usize::MAX, examined: usize::MAX, time: Duration::MAX, others_wait: None };

    /// What a slice takes at least, whoever waits: taking turns has its cost, too.
    pub const TIME_MIN: Duration = Duration::from_millis(1);
}

impl fmt::Debug for Slice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, bytes, examined, time, others_wait } = self;
        f.debug_struct("Slice")
            .field("rows", rows)
            .field("bytes", bytes)
            .field("examined", examined)
            .field("time", time)
            .field("may_yield", &others_wait.is_some())
            .finish()
    }
}

/// Entries after which the clock is looked at again.
const LOOK_EVERY: usize = 16;

/// Bytes of a body that cost as much as an entry.
const BYTES_AS_ENTRY: usize = 16_384;

/// What a slice has done so far.
pub(crate) struct Turn<'a> {
    slice: Slice<'a>,
    started: Instant,
    rows: usize,
    bytes: usize,
    examined: usize,
    /// When so much is examined, the clock is looked at.
    look_at: usize,
    is_late: bool,
    /// Whether the scan has got somewhere: the next slice will not do all of this again.
    has_advanced: bool,
    /// Whether only going past an event counts as that.
    must_pass: bool,
}

impl<'a> Turn<'a> {
    /// The slice begins now.
    pub(crate) fn new(slice: Slice<'a>) -> Self {
        let look_at = if slice.time.is_zero() { 0 } else { LOOK_EVERY };
        Self {
            slice,
            started: Instant::now(),
            rows: 0,
            bytes: 0,
            examined: 0,
            look_at,
            is_late: false,
            has_advanced: false,
            must_pass: false,
        }
    }

    /// So many entries were looked at.
    pub(crate) fn examine(&mut self, entries: usize) {
        self.examined += entries;
        if self.examined >= self.look_at {
            self.look();
        }
    }

    /// A body of so many bytes was looked at.
    pub(crate) fn examine_body(&mut self, bytes: usize) {
        self.examine(1 + bytes / BYTES_AS_ENTRY);
    }

    /// A row with a body of so many bytes was given.
    pub(crate) fn give(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes;
    }

    /// Something was found out that the next slice will know.
    pub(crate) fn advance(&mut self) {
        self.has_advanced |= !self.must_pass;
    }

    /// The scan is where the last slice was. What that took is not counted, unless it got further by it: else a scan of very
    /// many walks would do nothing but begin.
    pub(crate) fn is_open(&mut self) {
        if !self.has_advanced {
            (self.started, self.is_late) = (Instant::now(), false);
            self.look_at = if self.slice.time.is_zero() { 0 } else { self.examined + LOOK_EVERY };
        }
    }

    /// The scan went past an event.
    pub(crate) fn pass(&mut self) {
        self.has_advanced = true;
    }

    /// What earlier slices found out is lost: the slice goes on until it is past an event, or this might happen again.
    pub(crate) fn must_pass(&mut self) {
        self.must_pass = true;
    }

    /// Entries looked at so far.
    pub(crate) fn examined(&self) -> usize {
        self.examined
    }

    /// True when it is the turn of others. Never before the scan has got somewhere.
    pub(crate) fn is_over(&self) -> bool {
        self.has_advanced
            && (self.is_late
                || self.rows >= self.slice.rows
                || self.bytes >= self.slice.bytes
                || self.examined >= self.slice.examined)
    }

    fn look(&mut self) {
        self.look_at = self.examined + LOOK_EVERY;
        let taken = self.started.elapsed();
        self.is_late |= taken >= self.slice.time
            || (taken >= Slice::TIME_MIN && self.slice.others_wait.is_some_and(|others_wait| others_wait()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_limit_ends_a_slice() {
        let mut turn = Turn::new(Slice { rows: 2, bytes: 100, examined: 50, ..Slice::WHOLE });
        turn.give(10);
        turn.pass();
        turn.examine(49);
        assert!(!turn.is_over());
        turn.examine(1);
        assert!(turn.is_over());
        let mut turn = Turn::new(Slice { rows: 2, bytes: 100, ..Slice::WHOLE });
        turn.give(100);
        turn.pass();
        assert!(turn.is_over());
        let mut turn = Turn::new(Slice { rows: 1, ..Slice::WHOLE });
        turn.give(0);
        turn.pass();
        assert!(turn.is_over());
    }

    #[test]
    fn time_ends_a_slice() {
        let mut turn = Turn::new(Slice { time: Duration::ZERO, ..Slice::WHOLE });
        turn.examine(1);
        assert!(!turn.is_over(), "it must get somewhere");
        turn.advance();
        assert!(turn.is_over(), "no time is over at once");
        let mut turn = Turn::new(Slice { time: Duration::ZERO, ..Slice::WHOLE });
        turn.must_pass();
        turn.examine(1);
        turn.is_open();
        turn.examine(1);
        turn.advance();
        assert!(!turn.is_over(), "only an event counts");
        turn.pass();
        assert!(turn.is_over());
        let mut turn = Turn::new(Slice { time: Duration::from_secs(3600), ..Slice::WHOLE });
        turn.pass();
        turn.examine(1_000_000);
        assert!(!turn.is_over());
    }

    #[test]
    fn who_waits_ends_a_slice_when_it_got_somewhere() {
        let asked = AtomicUsize::new(0);
        let others_wait = || asked.fetch_add(1, Ordering::Relaxed) >= 2;
        let mut turn = Turn::new(Slice { others_wait: Some(&others_wait), ..Slice::WHOLE });
        let started = Instant::now();
        turn.pass();
        while !turn.is_over() {
            turn.examine(1);
        }
        assert!(started.elapsed() >= Slice::TIME_MIN);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
