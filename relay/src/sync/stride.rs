//! How many events are asked for at a time: fewer after a connection that ended inside a page.

/// The fewest that are asked for, unless `sync.page_events_max` is less.
const EVENTS_MIN: usize = 10;

/// Full pages after which twice as many are asked for again. After each cut it takes twice as many pages: a relay that
/// gives only so much at a time is not tried again and again.
const PAGES: u32 = 8;

/// The most that it takes.
const PAGES_MAX: u32 = 256;

/// Events of a page.
#[derive(Debug)]
pub struct Stride {
    events: usize,
    events_max: usize,
    full: u32,
    pages: u32,
    /// It asked for more again and was not cut since.
    grew: bool,
}

impl Stride {
    /// With pages of so many events at most.
    pub fn new(events_max: usize) -> Self {
        Self { events: events_max, events_max, full: 0, pages: PAGES, grew: false }
    }

    /// How many to ask for.
    pub fn events(&self) -> usize {
        self.events
    }

    /// The connection ended inside a page.
    pub fn cut(&mut self) {
        self.events = (self.events / 2).max(EVENTS_MIN.min(self.events_max));
        self.pages = (self.pages * 2).min(PAGES_MAX);
        self.full = 0;
        self.grew = false;
    }

    /// So many at a time are too many for the other relay, whatever it does with fewer.
    pub fn give_up(&mut self) {
        self.events = 0;
    }

    /// A page came that has all that was asked for.
    pub fn filled(&mut self) {
        self.full += 1;
        if self.full < self.pages {
            return;
        }
        self.full = 0;
        // What went well twice becomes quicker.
        if std::mem::replace(&mut self.grew, true) || self.events == self.events_max {
            self.pages = (self.pages / 2).max(PAGES);
        }
        self.events = (self.events * 2).min(self.events_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads so many events from a relay that cuts the connection behind `most` of a page. Gives the cuts.
    fn read(stride: &mut Stride, events: usize, most: usize) -> u32 {
        let (mut left, mut cuts) = (events, 0);
        while left > 0 {
            if stride.events() > most {
                cuts += 1;
                stride.cut();
            } else {
                left = left.saturating_sub(stride.events());
                stride.filled();
            }
        }
        cuts
    }

    #[test]
    fn pages_shrink_and_grow() {
        let mut stride = Stride::new(500);
        assert_eq!(read(&mut stride, 1_000, 500), 0);
        assert_eq!(read(&mut stride, 500, 100), 3, "500, 250, 125");
        let more = read(&mut stride, 1_000_000, 100);
        assert!((1..100).contains(&more), "{more} cuts in a million");
        // A relay that got over it is asked for as many as before.
        assert_eq!(read(&mut stride, 2_000_000, 500), 0);
        assert_eq!((stride.events(), stride.pages), (500, PAGES));
        for _ in 0..40 {
            stride.cut();
        }
        assert_eq!((stride.events(), stride.pages), (EVENTS_MIN, PAGES_MAX));
        let mut small = Stride::new(3);
        small.cut();
        assert_eq!(small.events(), 3);
    }
}
