//! From an event to the few filters that could match it.
//!
//! Each filter stands in one list: under its ids, else its authors, else the values of one of its tags, else a term that
//! it searches for, else its kinds, else among the rest. An event looks into the lists of its own id, author, tags, terms
//! and kind only, so the cost follows the matches and not the number of subscriptions.

use std::cell::OnceCell;
use std::hash::Hash;
use std::sync::Arc;

use super::lists::{Crowd, Lists, Place};
use crate::event::{Event, Id, PublicKey};
use crate::filter::Filter;
use crate::search::Text;

/// Names an entry. Not reused while it lives; a stale key finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    slot: u32,
    generation: u32,
}

struct Entry<T> {
    filters: Arc<[Filter]>,
    value: T,
    /// The event that this entry was last given, so that it gets each once.
    mark: u64,
}

/// Entries and their filters.
pub(super) struct Index<T> {
    slots: Vec<(u32, Option<Entry<T>>)>,
    free: Vec<u32>,
    len: usize,
    mark: u64,
    by_id: Lists,
    by_author: Lists,
    by_tag: Lists,
    by_term: Lists,
    by_kind: Lists,
    rest: Crowd,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            len: 0,
            mark: 0,
            by_id: Lists::default(),
            by_author: Lists::default(),
            by_tag: Lists::default(),
            by_term: Lists::default(),
            by_kind: Lists::default(),
            rest: Crowd::default(),
        }
    }
}

impl<T> Index<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, filters: Arc<[Filter]>, value: T) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        for (place, filter) in places(slot, &filters) {
            self.stand(filter, place, true);
        }
        self.len += 1;
        let mut generation = 0;
        if let Some((counter, entry)) = self.slots.get_mut(slot as usize) {
            *counter = counter.wrapping_add(1);
            generation = *counter;
            *entry = Some(Entry { filters, value, mark: 0 });
        }
        Key { slot, generation }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, entry) = self.slots.get_mut(key.slot as usize)?;
        entry.as_mut().filter(|_| *generation == key.generation).map(|entry| &mut entry.value)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, entry) = self.slots.get_mut(key.slot as usize)?;
        if *generation != key.generation {
            return None;
        }
        let entry = entry.take()?;
        for (place, filter) in places(key.slot, &entry.filters) {
            self.stand(filter, place, false);
        }
        self.free.push(key.slot);
        self.len -= 1;
        Some(entry.value)
    }

    /// Calls `give` once for each entry with a filter that matches.
    pub(super) fn matching(&mut self, event: &Event, mut give: impl FnMut(&mut T)) {
        if self.len == 0 {
            return;
        }
        self.mark += 1;
        let mark = self.mark;
        let slots = &mut self.slots;
        // Read once at most, and only if a search is left to be looked at.
        let text = OnceCell::new();
        let text = || text.get_or_init(|| Text::of_event(event.json(), event.kind));
        let mut visit = |places: &[Place]| {
            for place in places {
                let Some((_, Some(entry))) = slots.get_mut(place.slot as usize) else { continue };
                let Some(filter) = entry.filters.get(place.filter as usize) else { continue };
                let searches = |filter: &Filter| filter.search.as_ref().is_none_or(|s| s.score(text()).is_some());
                if entry.mark == mark || !filter.matches_all_but_search(event) || !searches(filter) {
                    continue;
                }
                entry.mark = mark;
                give(&mut entry.value);
            }
        };
        visit(self.by_id.of(&event.id));
        visit(self.by_author.of(&event.pubkey));
        if !self.by_tag.is_empty() {
            for (letter, value) in event.tags.indexed() {
                visit(self.by_tag.of(&(letter, value)));
            }
        }
        if !self.by_term.is_empty() {
            for term in text().terms() {
                visit(self.by_term.of(&term));
            }
        }
        visit(self.by_kind.of(&event.kind));
        visit(self.rest.all());
    }

    /// Puts a filter into every list in which it stands, or takes it out.
    fn stand(&mut self, filter: &Filter, place: Place, is_in: bool) {
        fn under<V: Hash>(lists: &mut Lists, values: impl IntoIterator<Item = V>, place: Place, is_in: bool) {
            for value in values {
                if is_in {
                    lists.add(&value, place);
                } else {
                    lists.remove(&value, place);
                }
            }
        }
        match Home::of(filter) {
            Home::Nowhere => {}
            Home::Ids(ids) => under(&mut self.by_id, ids, place, is_in),
            Home::Authors(authors) => under(&mut self.by_author, authors, place, is_in),
            Home::Tag(letter, values) => {
                under(&mut self.by_tag, values.iter().map(|value| (letter, value.as_str())), place, is_in);
            }
            Home::Term(term) => under(&mut self.by_term, [term], place, is_in),
            Home::Kinds(kinds) => under(&mut self.by_kind, kinds, place, is_in),
            Home::Rest if is_in => self.rest.add(place),
            Home::Rest => self.rest.remove(place),
        }
    }
}

/// Bytes of memory that an entry takes beside its filters.
const ENTRY_BYTES: usize = 512;
/// Bytes of a filter in its list beside the values.
const FILTER_BYTES: usize = size_of::<Filter>();
/// Bytes of a value in the lists of the index: 24 for each place of a table that is half full.
const VALUE_BYTES: usize = 64;

/// Bytes of memory that an entry with these filters takes, about.
pub(super) fn bytes_of(filters: &[Filter]) -> usize {
    let of = |filter: &Filter| {
        let values = match Home::of(filter) {
            Home::Nowhere | Home::Rest => 0,
            Home::Ids(ids) => ids.len(),
            Home::Authors(authors) => authors.len(),
            Home::Tag(_, values) => values.len(),
            Home::Term(_) => 1,
            Home::Kinds(kinds) => kinds.len(),
        };
        FILTER_BYTES + filter.heap_bytes() + values * VALUE_BYTES
    };
    ENTRY_BYTES + filters.iter().map(of).sum::<usize>()
}

/// Under which of its conditions a filter stands.
enum Home<'a> {
    /// It can match nothing.
    Nowhere,
    Ids(&'a [Id]),
    Authors(&'a [PublicKey]),
    Tag(u8, &'a [String]),
    Term(&'a str),
    Kinds(&'a [u16]),
    Rest,
}

impl<'a> Home<'a> {
    fn of(filter: &'a Filter) -> Self {
        if filter.is_never() {
            return Self::Nowhere;
        }
        if let Some(ids) = &filter.ids {
            return Self::Ids(ids);
        }
        if let Some(authors) = &filter.authors {
            return Self::Authors(authors);
        }
        if let Some(tag) = filter.tags.iter().min_by_key(|tag| tag.values.len()) {
            return Self::Tag(tag.letter, &tag.values);
        }
        if let Some(term) = filter.search.as_ref().and_then(|search| search.terms().first().copied()) {
            return Self::Term(term);
        }
        filter.kinds.as_deref().map_or(Self::Rest, Self::Kinds)
    }
}

fn places(slot: u32, filters: &[Filter]) -> impl Iterator<Item = (Place, &Filter)> {
    (0..).zip(filters).map(move |(filter, of)| (Place { slot, filter }, of))
}
