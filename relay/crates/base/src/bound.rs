//! What all connections together may hold of something, in bytes or in number, and how much of it one address.
//!
//! Of what nobody else holds, an address gets a certain part. The fuller it is, the less is that for those who come new, but
//! something is always left: one address cannot take all, nor can many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all may hold together.
#[derive(Debug)]
pub struct Bound {
    max: usize,
    holder_max: usize,
    used: AtomicUsize,
}

/// What one address holds of it.
#[derive(Debug, Default)]
pub struct Holder(AtomicUsize);

/// A part of a [`Bound`] that is held; given back when dropped.
#[derive(Debug)]
pub struct Held {
    bound: Arc<Bound>,
    holder: Arc<Holder>,
    amount: usize,
}

/// Why no more can be held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// The address has what it may have.
    Holder,
    /// The address may have more, but others have too much for that.
    All,
}

impl Bound {
    /// At most `max` in all. One address gets `holder_max` while nobody else holds anything, and the same part of what is
    /// left when others do.
    pub fn new(max: usize, holder_max: usize) -> Arc<Self> {
        Arc::new(Self { max, holder_max, used: AtomicUsize::new(0) })
    }

    /// Whether an address may have `own` of it when `all` are gone, those included.
    fn leaves_enough(&self, own: usize, all: usize) -> bool {
        let (free, max) = ((self.max + own).saturating_sub(all) as u128, self.max as u128);
        // Rounded up: `own <= (holder_max * free).div_ceil(max)`, without the division.
        let is_part = own == 0 || (own as u128 - 1) * max < self.holder_max.min(self.max) as u128 * free;
        all <= self.max && is_part
    }

    /// Takes some for an address, unless that is too much.
    pub fn take(self: &Arc<Self>, holder: &Arc<Holder>, amount: usize) -> Result<Held, Full> {
        let mut held = Held { bound: Arc::clone(self), holder: Arc::clone(holder), amount: 0 };
        held.grow(amount)?;
        Ok(held)
    }
}

impl Held {
    /// Takes more, unless that is too much.
    pub fn grow(&mut self, more: usize) -> Result<(), Full> {
        let Self { bound, holder, .. } = self;
        let own = holder.0.fetch_add(more, Ordering::AcqRel) + more;
        let all = bound.used.fetch_add(more, Ordering::AcqRel) + more;
        self.amount += more;
        let full = match () {
            () if own > bound.holder_max => Full::Holder,
            () if more > 0 && !bound.leaves_enough(own, all) => Full::All,
            () => return Ok(()),
        };
        self.give_back(more);
        Err(full)
    }

    /// How much it is.
    #[inline]
    pub fn amount(&self) -> usize {
        self.amount
    }

    fn give_back(&mut self, amount: usize) {
        self.amount -= amount;
        self.holder.0.fetch_sub(amount, Ordering::AcqRel);
        self.bound.used.fetch_sub(amount, Ordering::AcqRel);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_limit_and_gives_back() {
        let (bound, one, other) = (Bound::new(1_000, 100), Arc::default(), Arc::default());
        let mut held = bound.take(&one, 60).unwrap();
        assert_eq!(held.grow(41), Err(Full::Holder));
        held.grow(40).unwrap();
        assert_eq!(bound.take(&one, 1).unwrap_err(), Full::Holder);
        assert_eq!(bound.take(&other, 91).unwrap_err(), Full::All, "a tenth of what is left is 90");
        bound.take(&other, 90).unwrap();
        drop(held);
        bound.take(&one, 100).unwrap();
        assert_eq!(bound.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn however_many_take_what_they_can_one_more_gets_something() {
        let bound = Bound::new(100_000, 12_500);
        let mut held = Vec::new();
        for taken in 1..=40 {
            let address = Arc::default();
            let before = held.len();
            while let Ok(more) = bound.take(&address, 1) {
                held.push(more);
            }
            let got = held.len() - before;
            assert_eq!(got, (100_000 - before).div_ceil(8), "address {taken}");
            assert!(got > 40, "address {taken} got {got} when {before} were gone");
        }
    }

    #[test]
    fn one_address_may_be_let_have_all() {
        let bound = Bound::new(100, 1_000);
        let address = Arc::default();
        let mut held = bound.take(&address, 100).unwrap();
        assert_eq!(held.grow(1), Err(Full::All));
    }
}
