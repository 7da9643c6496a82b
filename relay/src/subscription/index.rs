//! From an event to the few filters that could match it.
//!
//! Each filter stands in one list: under its ids, else its authors, else the values of one of its tags, else its kinds,
//! else among the rest. An event looks into the lists of its own id, author, tags and kind only, so the cost follows the
//! matches and not the number of subscriptions.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::event::{Event, Id, PublicKey};
use crate::filter::Filter;

/// Names an entry. Not reused while it lives; a stale key finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    slot: u32,
    generation: u32,
}

/// A filter of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    slot: u32,
    filter: u32,
}

type Places = SmallVec<[Place; 2]>;

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
    by_id: HashMap<Id, Places>,
    by_author: HashMap<PublicKey, Places>,
    by_tag: HashMap<(u8, Box<str>), Places>,
    by_kind: HashMap<u16, Places>,
    rest: Places,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            len: 0,
            mark: 0,
            by_id: HashMap::new(),
            by_author: HashMap::new(),
            by_tag: HashMap::new(),
            by_kind: HashMap::new(),
            rest: Places::new(),
        }
    }
}

/// So that a tag can be looked up without making a `Box<str>`.
#[derive(Hash)]
struct TagRef<'a>(u8, &'a str);

impl hashbrown::Equivalent<(u8, Box<str>)> for TagRef<'_> {
    fn equivalent(&self, key: &(u8, Box<str>)) -> bool {
        self.0 == key.0 && *self.1 == *key.1
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
            self.lists(filter, |places| places.push(place));
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
            self.lists(filter, |places| places.retain(|other| *other != place));
        }
        self.forget_empty(&entry.filters);
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
        let mut visit = |places: &Places| {
            for place in places {
                let Some((_, Some(entry))) = slots.get_mut(place.slot as usize) else { continue };
                if entry.mark == mark || !entry.filters.get(place.filter as usize).is_some_and(|f| matches(f, event)) {
                    continue;
                }
                entry.mark = mark;
                give(&mut entry.value);
            }
        };
        if let Some(places) = self.by_id.get(&event.id) {
            visit(places);
        }
        if let Some(places) = self.by_author.get(&event.pubkey) {
            visit(places);
        }
        if !self.by_tag.is_empty() {
            for (letter, value) in event.tags.indexed() {
                if let Some(places) = self.by_tag.get(&TagRef(letter, value)) {
                    visit(places);
                }
            }
        }
        if let Some(places) = self.by_kind.get(&event.kind) {
            visit(places);
        }
        visit(&self.rest);
    }

    /// Every list in which `filter` stands.
    fn lists(&mut self, filter: &Filter, mut each: impl FnMut(&mut Places)) {
        fn under<K: Hash + Eq + Clone>(map: &mut HashMap<K, Places>, keys: &[K], each: &mut impl FnMut(&mut Places)) {
            for key in keys {
                each(map.entry(key.clone()).or_default());
            }
        }
        match Home::of(filter) {
            Home::Nowhere => {}
            Home::Ids(ids) => under(&mut self.by_id, ids, &mut each),
            Home::Authors(authors) => under(&mut self.by_author, authors, &mut each),
            Home::Tag(letter, values) => {
                for value in values {
                    each(self.by_tag.entry((letter, value.as_str().into())).or_default());
                }
            }
            Home::Kinds(kinds) => under(&mut self.by_kind, kinds, &mut each),
            Home::Rest => each(&mut self.rest),
        }
    }

    fn forget_empty(&mut self, filters: &[Filter]) {
        fn under<K: Hash + Eq>(map: &mut HashMap<K, Places>, keys: &[K]) {
            for key in keys {
                if map.get(key).is_some_and(|places| places.is_empty()) {
                    map.remove(key);
                }
            }
        }
        for filter in filters {
            match Home::of(filter) {
                Home::Ids(ids) => under(&mut self.by_id, ids),
                Home::Authors(authors) => under(&mut self.by_author, authors),
                Home::Kinds(kinds) => under(&mut self.by_kind, kinds),
                Home::Tag(letter, values) => {
                    for value in values {
                        let key = TagRef(letter, value);
                        if self.by_tag.get(&key).is_some_and(|places| places.is_empty()) {
                            self.by_tag.remove(&key);
                        }
                    }
                }
                Home::Nowhere | Home::Rest => {}
            }
        }
    }
}

/// Under which of its conditions a filter stands.
enum Home<'a> {
    /// It can match nothing.
    Nowhere,
    Ids(&'a [Id]),
    Authors(&'a [PublicKey]),
    Tag(u8, &'a [String]),
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
        filter.kinds.as_deref().map_or(Self::Rest, Self::Kinds)
    }
}

fn places(slot: u32, filters: &[Filter]) -> impl Iterator<Item = (Place, &Filter)> {
    (0..).zip(filters).map(move |(filter, of)| (Place { slot, filter }, of))
}

/// Live, a search (NIP-50) is for events that hold all its words.
fn matches(filter: &Filter, event: &Event) -> bool {
    filter.matches(event)
        && filter.search.as_ref().is_none_or(|search| {
            let content = event.content().to_lowercase();
            search
                .to_lowercase()
                .split_whitespace()
                .filter(|word| !word.contains(':'))
                .all(|word| content.contains(word))
        })
}
