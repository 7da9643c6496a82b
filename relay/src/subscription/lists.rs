//! Filters by a value that they name.

use std::hash::{BuildHasher, Hash};

use hashbrown::hash_table::{Entry, HashTable};
use hashbrown::{DefaultHashBuilder, HashMap};

/// A filter of an entry of the index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) filter: u32,
}

/// The filters that stand under each value. Of a value only a keyed hash is kept: 24 bytes for one that a single filter
/// names. Two values of one hash share a list, so whoever reads it looks at the filters themselves.
pub(super) struct Lists {
    table: HashTable<(u64, Places)>,
    hasher: DefaultHashBuilder,
}

enum Places {
    One(Place),
    /// More, or none.
    Many(Box<Crowd>),
}

/// Places in no order, each of which is taken out in the same time however many there are.
#[derive(Default)]
pub(super) struct Crowd {
    places: Vec<Place>,
    /// Where each place is, once there are many.
    found_at: HashMap<Place, u32>,
}

/// Places that are looked through one by one.
const FEW: usize = 32;

impl Crowd {
    pub(super) fn all(&self) -> &[Place] {
        &self.places
    }

    pub(super) fn add(&mut self, place: Place) {
        self.places.push(place);
        if self.places.len() > FEW {
            let known = self.found_at.len();
            let new = (0..).zip(&self.places).skip(known).map(|(at, place)| (*place, at));
            self.found_at.extend(new);
        }
    }

    pub(super) fn remove(&mut self, place: Place) {
        let at = if self.found_at.is_empty() {
            self.places.iter().position(|other| *other == place)
        } else {
            self.found_at.remove(&place).map(|at| at as usize)
        };
        let Some(at) = at else { return };
        self.places.swap_remove(at);
        if self.places.len() <= FEW {
            self.found_at = HashMap::new();
        } else if let (Some(moved), Ok(at)) = (self.places.get(at), u32::try_from(at)) {
            self.found_at.insert(*moved, at);
        }
        if self.places.len() < self.places.capacity() / 4 {
            self.places.shrink_to(self.places.len() * 2);
            self.found_at.shrink_to(self.places.len() * 2);
        }
    }
}

/// Values for which a table is kept, though there are less than a quarter as many in it.
const SMALL: usize = 1_024;

impl Default for Lists {
    fn default() -> Self {
        Self { table: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl Lists {
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The filters under `value`.
    pub(super) fn of(&self, value: &(impl Hash + ?Sized)) -> &[Place] {
        let hash = self.hasher.hash_one(value);
        match self.table.find(hash, |(other, _)| *other == hash) {
            Some((_, Places::One(place))) => std::slice::from_ref(place),
            Some((_, Places::Many(places))) => places.all(),
            None => &[],
        }
    }

    pub(super) fn add(&mut self, value: &(impl Hash + ?Sized), place: Place) {
        let hash = self.hasher.hash_one(value);
        match self.table.entry(hash, |(other, _)| *other == hash, |(hash, _)| *hash) {
            Entry::Vacant(entry) => {
                entry.insert((hash, Places::One(place)));
            }
            Entry::Occupied(mut entry) => match &mut entry.get_mut().1 {
                Places::Many(places) => places.add(place),
                one @ Places::One(_) => {
                    let Places::One(first) = *one else { return };
                    let mut crowd = Crowd::default();
                    crowd.add(first);
                    crowd.add(place);
                    *one = Places::Many(Box::new(crowd));
                }
            },
        }
    }

    pub(super) fn remove(&mut self, value: &(impl Hash + ?Sized), place: Place) {
        let hash = self.hasher.hash_one(value);
        let Ok(mut entry) = self.table.find_entry(hash, |(other, _)| *other == hash) else { return };
        let is_empty = match &mut entry.get_mut().1 {
            Places::One(only) => *only == place,
            Places::Many(places) => {
                places.remove(place);
                places.all().is_empty()
            }
        };
        if is_empty {
            entry.remove();
        }
        let (len, room) = (self.table.len(), self.table.capacity());
        if room > SMALL && len < room / 4 {
            self.table.shrink_to(len * 2, |(hash, _)| *hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_found_until_it_is_removed() {
        let place = |slot| Place { slot, filter: 0 };
        let mut lists = Lists::default();
        assert_eq!(size_of::<(u64, Places)>(), 24);
        for slot in 0..10 {
            lists.add("a", place(slot));
        }
        lists.add("b", place(3));
        assert_eq!((lists.of("a").len(), lists.of("b"), lists.of("c")), (10, &[place(3)][..], &[][..]));
        lists.remove("b", place(4));
        for slot in (0..10).filter(|slot| *slot != 7) {
            lists.remove("a", place(slot));
        }
        assert_eq!((lists.of("a"), lists.of("b")), (&[place(7)][..], &[place(3)][..]));
        lists.remove("a", place(7));
        lists.remove("b", place(3));
        assert!(lists.is_empty());
    }

    #[test]
    fn a_crowd_keeps_what_is_not_removed() {
        let mut crowd = Crowd::default();
        let place = |slot| Place { slot, filter: 1 };
        (0..1_000).for_each(|slot| crowd.add(place(slot)));
        crowd.remove(place(5_000));
        for slot in (0..1_000).filter(|slot| slot % 7 != 0).rev() {
            crowd.remove(place(slot));
        }
        let mut left: Vec<u32> = crowd.all().iter().map(|place| place.slot).collect();
        left.sort_unstable();
        assert_eq!(left, (0..1_000).step_by(7).collect::<Vec<_>>());
        (0..1_000).step_by(7).for_each(|slot| crowd.remove(place(slot)));
        assert!(crowd.all().is_empty() && crowd.found_at.is_empty());
        crowd.add(place(1));
        assert_eq!(crowd.all(), [place(1)]);
    }

    #[test]
    fn room_is_given_back() {
        let mut lists = Lists::default();
        let place = Place { slot: 1, filter: 1 };
        for value in 0..100_000_u32 {
            lists.add(&value, place);
        }
        for value in 0..99_000_u32 {
            lists.remove(&value, place);
        }
        assert!(lists.table.capacity() < 10_000, "{}", lists.table.capacity());
        assert_eq!(lists.of(&99_500_u32), [place]);
    }
}
