//! When to ask the other end for a sign of life, and when to give it up. Time is an argument.

use std::time::{Duration, Instant};

/// The signs of life of a connection, in both directions.
///
/// The other end is asked as soon as it has said nothing for a while, and also when nothing was said *to* it for so long:
/// many proxies close a connection on which one direction is silent for 60 seconds.
#[derive(Debug)]
pub struct Alive {
    ping: Duration,
    heard: Instant,
    said: Instant,
    asked: Option<Instant>,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// Nothing.
    Fine,
    /// The other end is to be asked for a sign of life.
    Ask,
    /// It has given none.
    Over,
}

impl Alive {
    /// A connection that begins now. It is asked after `ping` of silence, and given up after twice that.
    pub fn new(ping: Duration, now: Instant) -> Self {
        Self { ping, heard: now, said: now, asked: None }
    }

    /// The other end gave a sign of life.
    #[inline]
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The other end was sent something.
    #[inline]
    pub fn said(&mut self, now: Instant) {
        self.said = now;
    }

    /// Looks at the time. Who is told to ask does so, and is not told again for a while.
    #[inline]
    pub fn look(&mut self, now: Instant) -> Look {
        if now >= self.over() {
            return Look::Over;
        }
        if now < self.ask() {
            return Look::Fine;
        }
        self.asked = Some(now);
        Look::Ask
    }

    /// When to look again.
    #[inline]
    pub fn next_look(&self) -> Instant {
        self.over().min(self.ask())
    }

    fn over(&self) -> Instant {
        self.heard + self.ping * 2
    }

    fn ask(&self) -> Instant {
        self.asked.map_or(self.heard.min(self.said), |asked| asked.max(self.heard.min(self.said))) + self.ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked, and when it is over, if these things are heard and said at these seconds.
    fn story(heard: &[u64], said: &[u64]) -> (Vec<u64>, Option<u64>) {
        let began = Instant::now();
        let at = |second: u64| began + Duration::from_secs(second);
        let mut alive = Alive::new(Duration::from_secs(25), began);
        let mut asked = Vec::new();
        for second in 1..200 {
            if heard.contains(&second) {
                alive.heard(at(second));
            }
            if said.contains(&second) {
                alive.said(at(second));
            }
            let is_due = alive.next_look() <= at(second);
            match alive.look(at(second)) {
                Look::Fine => assert!(!is_due, "looked in vain at {second}"),
                Look::Ask => asked.push(second),
                Look::Over => return (asked, Some(second)),
            }
        }
        (asked, None)
    }

    #[test]
    fn who_is_silent_is_asked_in_time_and_then_given_up() {
        assert_eq!(story(&[], &[]), (vec![25], Some(50)));
        assert_eq!(story(&[13], &[13]), (vec![38], Some(63)), "not a whole period later");
        let every_second: Vec<u64> = (0..200).collect();
        assert_eq!(story(&[], &every_second), (vec![25], Some(50)));
    }

    #[test]
    fn no_direction_is_silent_for_longer_than_that() {
        let every_second: Vec<u64> = (0..200).collect();
        assert_eq!(story(&every_second, &[]), ((1..8).map(|n| n * 25).collect(), None));
        assert_eq!(story(&every_second, &every_second), (vec![], None));
        // Answers to pings are signs of life, and no reason to ask sooner.
        let answers: Vec<u64> = (1..8).map(|n| n * 25).collect();
        assert_eq!(story(&answers, &[]), (answers.clone(), None));
    }
}
