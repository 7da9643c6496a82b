//! The events of a reconciliation, as they are gathered and as they are compared.

use negentropy::{Bound, Error, Id as ItemId, Item, NegentropyStorageBase};

use crate::bound::{Full, Held};
use crate::clock::Timestamp;
use crate::event::Id;

/// Items of one part. Parts are not copied when there are more.
const PART: usize = 4_096;
/// Items for which there is room at first.
const FIRST: usize = 64;
/// Bytes of one.
pub(super) const ITEM_BYTES: usize = size_of::<Item>();

/// Time and id of events, in the order of an answer: newest first, equal times by lowest id. Negentropy counts them from
/// the other end, where equal times must come by lowest id, too, so events of one time are turned round.
pub(super) struct Items {
    /// All but the last are full.
    parts: Vec<Vec<Item>>,
    len: usize,
    /// Where the events of the last time begin. They are turned round when they are all there.
    second: usize,
    held: Held,
}

impl Items {
    /// None yet; their bytes will be counted in `held`.
    pub(super) fn new(held: Held) -> Self {
        Self { parts: vec![Vec::new()], len: 0, second: 0, held }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds the next one of the answer. The error: so much must not be held.
    pub(super) fn push(&mut self, created_at: Timestamp, id: Id) -> Result<(), Full> {
        if self.last().is_some_and(|last| last.timestamp != created_at) {
            self.turn_second();
        }
        let room = match self.parts.last_mut() {
            Some(part) if part.len() < part.capacity() => part,
            Some(part) if part.len() < PART => {
                let more = (part.len() * 3).clamp(FIRST, PART - part.len());
                self.held.grow(more * ITEM_BYTES)?;
                part.reserve_exact(more);
                part
            }
            _ => {
                self.held.grow(PART * ITEM_BYTES)?;
                self.parts.push_mut(Vec::with_capacity(PART))
            }
        };
        room.push(Item::with_timestamp_and_id(created_at, ItemId::from_byte_array(id.0)));
        self.len += 1;
        Ok(())
    }

    /// The answer is complete.
    pub(super) fn finish(mut self) -> Self {
        self.turn_second();
        self
    }

    fn turn_second(&mut self) {
        let (mut low, mut high) = (self.second, self.len);
        while low + 1 < high {
            high -= 1;
            if let (Some(a), Some(b)) = (self.at(low), self.at(high)) {
                self.put(low, b);
                self.put(high, a);
            }
            low += 1;
        }
        self.second = self.len;
    }

    fn last(&self) -> Option<Item> {
        self.at(self.len.checked_sub(1)?)
    }

    fn at(&self, place: usize) -> Option<Item> {
        self.parts.get(place / PART)?.get(place % PART).copied()
    }

    fn put(&mut self, place: usize, item: Item) {
        if let Some(there) = self.parts.get_mut(place / PART).and_then(|part| part.get_mut(place % PART)) {
            *there = item;
        }
    }

    /// The one with this number, oldest first.
    fn counted_from_oldest(&self, number: usize) -> Option<Item> {
        self.at(self.len.checked_sub(number + 1)?)
    }
}

impl NegentropyStorageBase for Items {
    fn size(&self) -> Result<usize, Error> {
        Ok(self.len)
    }

    fn get_item(&self, number: usize) -> Result<Option<Item>, Error> {
        Ok(self.counted_from_oldest(number))
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        if begin > end || end > self.len {
            return Err(Error::BadRange);
        }
        for number in begin..end {
            let Some(item) = self.counted_from_oldest(number) else { return Err(Error::BadRange) };
            if !each(item, number)? {
                break;
            }
        }
        Ok(())
    }

    fn find_lower_bound(&self, first: usize, last: usize, bound: &Bound) -> usize {
        let (mut low, mut high) = (first, last);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.counted_from_oldest(middle).is_some_and(|item| item < bound.item) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "test data")]
mod tests {
    use std::sync::Arc;

    use negentropy::NegentropyStorageVector;
    use proptest::prelude::*;

    use super::*;
    use crate::bound;

    fn all(storage: &impl NegentropyStorageBase) -> Vec<Item> {
        let mut items = Vec::new();
        let size = storage.size().unwrap();
        storage
            .iterate(0, size, &mut |item, number| {
                assert_eq!(storage.get_item(number).unwrap(), Some(item));
                items.push(item);
                Ok(true)
            })
            .unwrap();
        items
    }

    /// Both ways to hold the same events, the second in the order of an answer.
    fn both(events: &[(u64, u8)]) -> (NegentropyStorageVector, Items) {
        let mut events: Vec<(u64, Id)> = events
            .iter()
            .enumerate()
            .map(|(n, (at, byte))| {
                let mut id = [*byte; 32];
                id[24..].copy_from_slice(&(n as u64).to_be_bytes());
                (*at, Id(id))
            })
            .collect();
        events.sort_unstable_by_key(|(at, id)| (std::cmp::Reverse(*at), *id));
        let mut vector = NegentropyStorageVector::new();
        let mut items = Items::new(bound::Bound::new(1 << 30, 1 << 30).take(&Arc::default(), 0).unwrap());
        for (at, id) in events {
            vector.insert(at, ItemId::from_byte_array(id.0)).unwrap();
            items.push(at, id).unwrap();
        }
        vector.seal().unwrap();
        (vector, items.finish())
    }

    proptest! {
        #[test]
        fn are_as_in_the_library(events in prop::collection::vec((0_u64..6, any::<u8>()), 0..300), at in 0_u64..7) {
            let (vector, items) = both(&events);
            prop_assert_eq!(all(&vector), all(&items));
            let bounds = [Bound::with_timestamp(at), Bound::with_timestamp_and_id(at, [99_u8, 1]).unwrap()];
            for bound in bounds {
                let size = items.len();
                prop_assert_eq!(vector.find_lower_bound(0, size, &bound), items.find_lower_bound(0, size, &bound));
            }
        }
    }

    #[test]
    fn many_of_one_second_and_many_parts() {
        let events: Vec<(u64, u8)> = (0..3 * PART + 17).map(|n| (u64::from(n > PART / 2), (n % 251) as u8)).collect();
        let (vector, items) = both(&events);
        assert_eq!(all(&vector), all(&items));
        assert_eq!(items.parts.len(), 4);
    }

    #[test]
    fn bytes_are_counted_as_they_are_taken() {
        let bound = bound::Bound::new(1 << 30, PART * ITEM_BYTES * 2);
        let mut items = Items::new(bound.take(&Arc::default(), 0).unwrap());
        let id = |n: usize| Id([(n % 251) as u8; 32]);
        items.push(9, id(0)).unwrap();
        assert_eq!(items.held.amount(), FIRST * ITEM_BYTES);
        let fits = (1..).take_while(|n| items.push(9, id(*n)).is_ok()).count();
        assert_eq!(fits + 1, 2 * PART);
        assert_eq!(items.held.amount(), 2 * PART * ITEM_BYTES);
        assert_eq!(items.push(9, id(0)), Err(Full::Holder));
    }
}
