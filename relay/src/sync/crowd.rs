//! A second in which the other relay has more events than it gives at a time: read in pieces.
//!
//! Pages go by time, so what lies behind the end of a page in the same second cannot be asked for that way. It is asked for
//! by author and kind, of those that were seen, in groups that are halved until they fit; and blocks of pico feeds by
//! their chain: what follows each block that was seen, and what is before it. A feed that came to a room all at once has
//! the same second for all its events: from any few of them the rest is found. What is unlike everything that was seen is
//! not found, so such a second is never known to be complete.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use hashbrown::HashSet;
use pico_bridge::kind;
use picofeed::Id as BlockId;

use super::done::Range;
use super::fault::Fault;
use super::session::Session;
use crate::clock::Timestamp;
use crate::event::{Event, Id, PublicKey};
use crate::filter::{Filter, TagFilter};

/// Blocks asked for at a time, by their ids: relays take only so many values in a filter.
const LINKS: usize = 100;

/// What was seen of such a second.
#[derive(Debug)]
pub struct Crowd {
    filter: Filter,
    events_max: usize,
    events: HashSet<Id>,
    authors: BTreeSet<PublicKey>,
    kinds: BTreeSet<u16>,
    blocks: HashSet<BlockId>,
    /// Blocks that a seen one follows.
    parents: HashSet<BlockId>,
    links: VecDeque<Link>,
}

/// A neighbour of a block, to be asked for.
#[derive(Clone, Copy, Debug)]
enum Link {
    /// What follows this one.
    After(BlockId),
    /// This one, which another follows.
    At(BlockId),
}

impl Crowd {
    fn new(filter: Filter, events_max: usize) -> Self {
        Self {
            filter,
            events_max,
            events: HashSet::new(),
            authors: BTreeSet::new(),
            kinds: BTreeSet::new(),
            blocks: HashSet::new(),
            parents: HashSet::new(),
            links: VecDeque::new(),
        }
    }

    /// Takes note of an event. False when it does not belong here, or is one too many.
    pub fn note(&mut self, event: &Event) -> bool {
        if !self.filter.matches(event) || (self.is_full() && !self.events.contains(&event.id)) {
            return false;
        }
        if !self.events.insert(event.id) {
            return true;
        }
        self.authors.insert(event.pubkey);
        self.kinds.insert(event.kind);
        if event.kind == kind::BLOCK {
            self.note_block(event);
        }
        true
    }

    fn note_block(&mut self, event: &Event) {
        let named =
            |what: &str| event.tags.values("i").find_map(|value| value.strip_prefix("pico:")?.strip_prefix(what));
        let id = |what: &str| named(what).and_then(|id| id.parse::<BlockId>().ok());
        let Some(block) = id("block:") else { return };
        if self.blocks.insert(block) {
            self.links.push_back(Link::After(block));
        }
        if let Some(parent) = id("parent:")
            && self.parents.insert(parent)
        {
            self.links.push_back(Link::At(parent));
        }
    }

    fn is_full(&self) -> bool {
        self.events.len() >= self.events_max
    }

    /// The next neighbours that were not seen, as values of `i` tags.
    fn next_links(&mut self) -> Vec<String> {
        let mut values = Vec::new();
        while values.len() < LINKS
            && let Some(link) = self.links.pop_front()
        {
            match link {
                Link::After(block) if !self.parents.contains(&block) => values.push(format!("pico:parent:{block}")),
                Link::At(block) if !self.blocks.contains(&block) => values.push(format!("pico:block:{block}")),
                Link::After(_) | Link::At(_) => {}
            }
        }
        values
    }
}

/// What came of it.
pub struct Read {
    /// Everything that was found in the second.
    pub events: HashSet<Id>,
    /// More was found than one page had.
    pub is_more: bool,
}

/// Reads one second of what `filter` asks for, as far as that can be done.
///
/// # Errors
///
/// The connection ended.
pub async fn read(session: &mut Session<'_>, filter: &Filter, second: Timestamp) -> Result<Read, Fault> {
    let filter = Range { since: second, until: second }.of(filter);
    session.crowd = Some(Crowd::new(filter.clone(), session.config.second_events_max));
    let mut reader = Reader { session, filter, page_events: 0 };
    let read = reader.read().await;
    let crowd = session.crowd.take();
    let first = read?;
    let events = crowd.map(|crowd| crowd.events).unwrap_or_default();
    Ok(Read { is_more: events.len() > first, events })
}

struct Reader<'r, 's> {
    session: &'r mut Session<'s>,
    filter: Filter,
    /// The most events that came at a time.
    page_events: usize,
}

impl Reader<'_, '_> {
    /// Gives how many events the first page had.
    async fn read(&mut self) -> Result<usize, Fault> {
        let filter = self.filter.clone();
        let first = self.ask(&filter).await?.unwrap_or(0);
        self.page_events = first;
        let authors: Vec<PublicKey> = self.seen(|crowd| crowd.authors.iter().copied().collect());
        if authors.len() > 1 {
            self.by_author(authors).await?;
        } else {
            self.by_kind(&filter).await?;
        }
        self.by_link().await?;
        Ok(first)
    }

    /// In groups, each halved until it fits into a page.
    async fn by_author(&mut self, authors: Vec<PublicKey>) -> Result<(), Fault> {
        let mut groups = vec![authors];
        while let Some(group) = groups.pop() {
            if self.is_full() {
                return Ok(());
            }
            let filter = Filter { authors: Some(group.clone().into()), ..self.filter.clone() };
            if self.fits(&filter).await? {
                continue;
            }
            match group.split_at_checked(group.len() / 2) {
                Some((one, other)) if !one.is_empty() => groups.extend([one.to_vec(), other.to_vec()]),
                _ => self.by_kind(&filter).await?,
            }
        }
        Ok(())
    }

    async fn by_kind(&mut self, filter: &Filter) -> Result<(), Fault> {
        let kinds: Vec<u16> = self.seen(|crowd| crowd.kinds.iter().copied().collect());
        if kinds.len() < 2 {
            return Ok(());
        }
        for kind in kinds {
            if self.is_full() {
                return Ok(());
            }
            self.ask(&Filter { kinds: Some([kind].into()), ..filter.clone() }).await?;
        }
        Ok(())
    }

    /// Along the chains, until nothing new is found.
    async fn by_link(&mut self) -> Result<(), Fault> {
        while !self.is_full() {
            let values = self.session.crowd.as_mut().map(Crowd::next_links).unwrap_or_default();
            if values.is_empty() {
                return Ok(());
            }
            let mut groups = vec![values];
            while let Some(mut group) = groups.pop() {
                group.sort_unstable();
                // In place of the rooms: what is of others is left aside.
                let mut filter = self.filter.clone();
                filter.tags.retain(|tag| tag.letter != b'i');
                filter.tags.push(TagFilter { letter: b'i', values: group.clone().into() });
                if !self.fits(&filter).await?
                    && let Some((one, other)) = group.split_at_checked(group.len() / 2)
                    && !one.is_empty()
                {
                    groups.extend([one.to_vec(), other.to_vec()]);
                }
            }
        }
        Ok(())
    }

    /// Asks for a piece. False when it may not have come whole.
    async fn fits(&mut self, filter: &Filter) -> Result<bool, Fault> {
        let came = self.ask(filter).await?;
        Ok(came.is_some_and(|came| came < self.page_events))
    }

    /// Asks for a piece, and gives how many events came. `None` when it was refused.
    async fn ask(&mut self, filter: &Filter) -> Result<Option<usize>, Fault> {
        let page = self.session.large_page(filter).await?;
        Ok(page.map(|page| page.events.len()))
    }

    fn seen<T: Default>(&self, what: impl FnOnce(&Crowd) -> T) -> T {
        self.session.crowd.as_ref().map(what).unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        self.session.crowd.as_ref().is_none_or(Crowd::is_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(n: u8, parent: Option<u8>, room: &str) -> Event {
        let name = |n: u8| format!("{n:02x}").repeat(64);
        let parent = parent.map_or(String::new(), |n| format!(r#"["i","pico:parent:{}"],"#, name(n)));
        let json = format!(
            r#"{{"id":"{}","pubkey":"{}","created_at":7,"kind":7420,"tags":[["i","pico:block:{}"],{parent}["i","pico:room:{room}"]],"content":"","sig":"{}"}}"#,
            format!("{n:02x}").repeat(32),
            "0".repeat(64),
            name(n),
            "0".repeat(128)
        );
        Event::parse(&json).unwrap()
    }

    #[test]
    fn asks_for_the_neighbours_that_are_missing() {
        let value = |what: &str, n: u8| format!("pico:{what}:{}", format!("{n:02x}").repeat(64));
        let tags = vec![TagFilter { letter: b'i', values: ["pico:room:r".to_owned()].into() }];
        let mut crowd = Crowd::new(Filter { tags, ..Filter::default() }, 4);
        assert!(crowd.note(&block(2, Some(1), "r")));
        assert!(crowd.note(&block(3, Some(2), "r")));
        assert!(crowd.note(&block(9, None, "r")));
        assert!(!crowd.note(&block(4, Some(3), "other")), "of another room");
        assert_eq!(crowd.next_links(), [value("block", 1), value("parent", 3), value("parent", 9)]);
        assert_eq!(crowd.next_links(), Vec::<String>::new());
        assert!(crowd.note(&block(4, Some(3), "r")) && crowd.is_full());
        assert!(!crowd.note(&block(5, Some(4), "r")), "too many");
        assert!(crowd.note(&block(4, Some(3), "r")), "seen before");
        assert_eq!(crowd.next_links(), [value("parent", 4)]);
        for n in 100..=250 {
            Crowd::note_block(&mut crowd, &block(n, Some(50), "r"));
        }
        assert_eq!(crowd.next_links().len(), LINKS, "at a time");
    }
}
