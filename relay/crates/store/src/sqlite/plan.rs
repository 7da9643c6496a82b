//! Which index answers a filter. Chosen here, never by SQLite's planner: given many authors that have no events it would
//! scan all of time.
//!
//! Private events (kinds that the viewer may see only if the event names them) are not looked for by what the filter asks,
//! but among those that name the viewer: so an answer takes as long whether or not there are private events of others that
//! match, and nobody learns from the time how many there are.

use rusqlite::{Connection, params};

use super::apart::Apart;
use super::cursor::{Along, Cursor, DRY, NOT_BEGUN, Span};
use super::key::{self, TagHash};
use super::rows::Rows;
use super::source::{Covers, Source, Walks};
use super::words::{self, Terms};
use crate::Turn;
use crate::event::{Class, PublicKey};
use crate::filter::{Filter, TagFilter};
use crate::guard::{self, Viewer};
use crate::{After, StoreError};

/// Entries of an index that are looked at to guess how many there are.
const PROBE: i64 = 64;

/// Walks by author and kind above which only the authors are walked. For all filters of a query together.
const PAIRS_MAX: usize = 20_000;

/// Indexes of one more way that are worth walking to see what it has in common with the first.
const MEET_MAX: usize = 16;

/// Positions fetched first from a way that is only compared with.
const MEET_CHUNK: i64 = 8;

/// The positions that `filter` and the place where the last slice ended leave.
pub(super) fn span(filter: &Filter, after: Option<&After>) -> Span {
    // Others can push an event down from its home between two slices, never up past it.
    let before = after.map_or(i64::MAX, |after| key::home(after.created_at, &after.id).saturating_add(1));
    Span {
        low: filter.since.map_or(i64::MIN, key::lowest),
        high: filter.until.map_or(i64::MAX, |until| key::highest(until).saturating_add(1)).min(before),
    }
}

/// What is known of the database and of who asks.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) hash: TagHash,
    pub(super) apart: &'a Apart,
    pub(super) viewer: &'a Viewer,
    /// Filters of the query.
    pub(super) filters: usize,
}

/// How far an earlier slice came with a filter.
#[derive(Clone)]
pub(super) enum Kept {
    /// So many of what was listed are looked up, and were found at these positions.
    Looked { next: usize, found: Vec<i64> },
    /// All of that is looked up; these positions are left, lowest first.
    List(Vec<i64>),
    /// Which way was chosen, the bounds of its walks, and whether others were to be met on it.
    Walks { covers: Covers, bounds: Vec<i64>, meets: bool },
}

/// Where the positions of a filter come from, or how far looking them up came before the slice was over.
pub(super) enum Opened {
    Source(Source),
    Halfway(Kept),
}

/// A filter, where to look for it, and how many events it may still give.
pub(super) struct Wanted<'f> {
    pub(super) filter: &'f Filter,
    pub(super) span: Span,
    pub(super) left: u64,
    /// Whether bodies will be read.
    pub(super) bodies: bool,
}

/// Where the positions that can match come from, all in the span.
pub(super) fn source(
    plan: Plan<'_>,
    rows: &Rows<'_>,
    wanted: &Wanted<'_>,
    kept: Option<Kept>,
    turn: &mut Turn<'_>,
) -> Result<Opened, StoreError> {
    let Wanted { filter, span, left, bodies } = *wanted;
    let kept = match kept {
        Some(Kept::List(mut list)) => {
            let end = list.partition_point(|pos| *pos < span.high);
            list.truncate(end);
            return Ok(Opened::Source(Source::List(list)));
        }
        kept => kept,
    };
    let listed = match &filter.ids {
        Some(ids) => Some(ids.len()),
        None => plan.addresses(filter),
    };
    if let Some(len) = listed {
        let (mut next, mut found) = match kept {
            Some(Kept::Looked { next, found }) => (next, found),
            _ => (0, Vec::with_capacity(len)),
        };
        while next < len {
            if turn.is_over() {
                return Ok(Opened::Halfway(Kept::Looked { next, found }));
            }
            turn.examine(1);
            turn.advance();
            match &filter.ids {
                Some(ids) => {
                    let Some(id) = ids.get(next) else { break };
                    found.extend(rows.find(id, bodies, plan.viewer)?.filter(|pos| *pos < span.high));
                }
                None => plan.address(rows.db, filter, next, span, &mut found)?,
            }
            next += 1;
        }
        found.sort_unstable();
        found.dedup();
        return Ok(Opened::Source(Source::List(found)));
    }
    let limit = i64::try_from(left.saturating_add(1)).unwrap_or(i64::MAX);
    let chunk = |cursors: usize| {
        let share = limit.saturating_mul(2) / i64::try_from(cursors.max(1)).unwrap_or(i64::MAX);
        if cursors == 1 { limit } else { share.saturating_add(2) }
    };
    let (way, bounds, meets) = match kept {
        Some(Kept::Walks { covers, bounds, meets }) => (plan.way(filter, span, covers, &bounds, chunk), bounds, meets),
        _ => (plan.choose(rows.db, filter, span, chunk, turn)?, Vec::new(), false),
    };
    let Way { mut cursors, covers } = way;
    if covers.is_of_index() && !plan.viewer.keys.is_empty() {
        cursors.extend(plan.own(filter, span));
    }
    for (cursor, bound) in cursors.iter_mut().zip(bounds) {
        cursor.resume(bound);
    }
    let mut source = Source::Walks(Walks::new(cursors), covers);
    if meets {
        plan.meet(rows.db, filter, span, &mut source, turn)?;
    }
    Ok(Opened::Source(source))
}

/// Walks that together have every event of a filter, but for private events unless they go along a term.
pub(super) struct Way {
    pub(super) cursors: Vec<Cursor>,
    pub(super) covers: Covers,
}

/// Which rows a walk is to find.
#[derive(Clone, Copy)]
enum Which {
    /// Those of kinds that the viewer sees all of.
    Open,
    /// All, for a way that another is compared with.
    All,
}

impl<'a> Plan<'a> {
    /// The shortest way, as far as can be seen cheaply.
    fn choose(
        &self,
        db: &Connection,
        filter: &Filter,
        span: Span,
        chunk: impl Fn(usize) -> i64 + Copy,
        turn: &mut Turn<'_>,
    ) -> Result<Way, StoreError> {
        let tags = filter.tags.iter().min_by_key(|tag| tag.values.len());
        let tags = tags.map(|tag| Covers { tag: Some(tag.letter), ..Covers::default() });
        let pairs = filter.kinds.as_deref().is_some_and(|kinds| self.is_paired(filter, kinds));
        let authors = filter.authors.as_ref().map(|_| Covers { authors: true, kinds: pairs, ..Covers::default() });
        if let Some(search) = &filter.search {
            let kinds = filter.kinds.as_ref().map(|_| Covers { kinds: true, ..Covers::default() });
            let others = [tags, authors, kinds].into_iter().flatten();
            return words::thinnest(db, search, span, others.map(|way| self.way(filter, span, way, &[], chunk)), turn);
        }
        let covers = match (tags, authors) {
            (Some(tags), Some(authors)) => {
                let (tags, authors) =
                    (self.way(filter, span, tags, &[], chunk), self.way(filter, span, authors, &[], chunk));
                return smaller(db, tags, authors, turn);
            }
            (Some(way), None) | (None, Some(way)) => way,
            (None, None) => Covers { kinds: filter.kinds.is_some(), ..Covers::default() },
        };
        Ok(self.way(filter, span, covers, &[], chunk))
    }

    /// The way that has this name: see [`Covers`]. Of walks that have run dry, as `bounds` say, there is not even a key.
    fn way(&self, filter: &Filter, span: Span, covers: Covers, bounds: &[i64], chunk: impl Fn(usize) -> i64) -> Way {
        let cursors = if let Some(letter) = covers.tag {
            let tag = filter.tags.iter().find(|tag| tag.letter == letter);
            tag.map(|tag| self.by_tag(filter, tag, span, Which::Open, bounds, chunk)).unwrap_or_default()
        } else if covers.authors {
            self.by_author(filter, span, covers.kinds, Which::Open, chunk)
        } else if covers.kinds {
            self.by_kind(filter, span, Which::Open, chunk)
        } else if let (Some(search), Some(Terms { walked: Some(term), .. })) = (&filter.search, covers.terms) {
            words::along(search, term, span)
        } else {
            // Whoever walks through everything meets the private events of everybody, and learns nothing about anyone.
            vec![Cursor::new(Along::Time, span, chunk(1))]
        };
        Way { cursors, covers }
    }

    /// From here on `source` gives only what the further ways have, too.
    pub(super) fn meet(
        &self,
        db: &Connection,
        filter: &Filter,
        span: Span,
        source: &mut Source,
        turn: &mut Turn<'_>,
    ) -> Result<(), StoreError> {
        let Source::Walks(_, covers) = source else { return Ok(()) };
        let mut others = self.others(filter, span, *covers);
        if let (Some(search), Some(terms)) = (&filter.search, &mut covers.terms) {
            others.extend(words::others(db, search, span, terms, turn)?);
        }
        for cursor in others.iter_mut().flatten() {
            // They do not count as getting somewhere: each slice opens them anew.
            cursor.resume(NOT_BEGUN - 1);
        }
        source.meet(others.into_iter().map(Walks::new).collect());
        Ok(())
    }

    /// Further ways that have every event of `filter`, for the conditions that one way does not cover. A way of very many
    /// walks is left out: asking each of them costs more than looking at events.
    fn others(&self, filter: &Filter, span: Span, covers: Covers) -> Vec<Vec<Cursor>> {
        let chunk = |_| MEET_CHUNK;
        // A way to private events begins with those that name the viewer, and covers nothing.
        let covers = if self.own_kinds(filter).next().is_some() { Covers::default() } else { covers };
        let tags = filter.tags.iter().filter(|tag| covers.tag != Some(tag.letter));
        let tags = tags.map(|tag| self.by_tag(filter, tag, span, Which::All, &[], chunk));
        let pairs = filter.kinds.as_deref().is_some_and(|kinds| self.is_paired(filter, kinds));
        let authors = (!covers.authors && filter.authors.is_some())
            .then(|| self.by_author(filter, span, pairs, Which::All, chunk));
        let paired = pairs && authors.as_ref().is_some_and(|way| way.len() <= MEET_MAX);
        // What is indexed for searches is of few kinds anyway.
        let apart = !covers.kinds && !paired && filter.search.is_none() && filter.kinds.is_some();
        let kinds = apart.then(|| self.by_kind(filter, span, Which::All, chunk));
        tags.chain(authors).chain(kinds).filter(|cursors| cursors.len() <= MEET_MAX).collect()
    }

    /// Whether walks by author and kind are few enough.
    fn is_paired(&self, filter: &Filter, kinds: &[u16]) -> bool {
        let authors = filter.authors.as_ref().map_or(0, |authors| authors.len());
        authors.saturating_mul(kinds.len()) <= PAIRS_MAX / self.filters.max(1)
    }

    fn has(&self, which: Which, kind: u16) -> bool {
        matches!(which, Which::All) || !self.viewer.is_restricted(kind)
    }

    /// The kinds of `filter` that a walk finds.
    fn kinds<'f>(&self, filter: &'f Filter, which: Which) -> Option<impl Iterator<Item = u16> + Clone + use<'a, 'f>> {
        let plan = *self;
        Some(filter.kinds.as_deref()?.iter().copied().filter(move |kind| plan.has(which, *kind)))
    }

    /// The kinds whose rows are filed apart and that a walk finds. And whether it needs the rows that are not.
    fn filed(&self, filter: &Filter, which: Which) -> (Vec<u16>, bool) {
        let is_wanted = |kind: &u16| filter.kinds.as_ref().is_none_or(|kinds| kinds.binary_search(kind).is_ok());
        let apart = self.apart.kinds().iter().copied();
        let apart = apart.filter(is_wanted).filter(|kind| self.has(which, *kind)).collect();
        let needs_rest = self.apart.is_filing()
            || self.kinds(filter, which).is_none_or(|mut kinds| kinds.any(|kind| !self.apart.has(kind)));
        (apart, needs_rest)
    }

    fn by_kind(&self, filter: &Filter, span: Span, which: Which, chunk: impl Fn(usize) -> i64) -> Vec<Cursor> {
        let Some(kinds) = self.kinds(filter, which) else { return Vec::new() };
        let chunk = chunk(kinds.clone().count());
        kinds.map(|kind| Cursor::new(Along::Kind(kind), span, chunk)).collect()
    }

    fn by_tag(
        &self,
        filter: &Filter,
        tag: &TagFilter,
        span: Span,
        which: Which,
        bounds: &[i64],
        chunk: impl Fn(usize) -> i64,
    ) -> Vec<Cursor> {
        let (apart, needs_rest) = self.filed(filter, which);
        let len = tag.values.len() * (apart.len() + usize::from(needs_rest));
        let (chunk, mut cursors) = (chunk(len), Vec::with_capacity(len));
        let mut walk = |key: &dyn Fn() -> i64| {
            let is_dry = bounds.get(cursors.len()) == Some(&DRY);
            cursors.push(if is_dry { Cursor::dry() } else { Cursor::new(Along::Tag(key()), span, chunk) });
        };
        for value in &tag.values {
            if needs_rest {
                walk(&|| self.hash.of(tag.letter, value));
            }
            apart.iter().for_each(|kind| walk(&|| self.hash.of_kind(tag.letter, value, *kind)));
        }
        cursors
    }

    fn by_author(
        &self,
        filter: &Filter,
        span: Span,
        pairs: bool,
        which: Which,
        chunk: impl Fn(usize) -> i64,
    ) -> Vec<Cursor> {
        let mut keys: Vec<i64> = filter.authors.iter().flatten().map(PublicKey::prefix).collect();
        keys.dedup();
        let (kinds, needs_rest) = match self.kinds(filter, which) {
            Some(kinds) if pairs => (kinds.collect(), false),
            _ => self.filed(filter, which),
        };
        let len = keys.len() * (kinds.len() + usize::from(needs_rest));
        let (chunk, mut cursors) = (chunk(len), Vec::with_capacity(len));
        for author in keys {
            let walk = |along| Cursor::new(along, span, chunk);
            cursors.extend(needs_rest.then(|| walk(Along::Author(author))));
            cursors.extend(kinds.iter().map(|kind| walk(Along::AuthorKind(author, *kind))));
        }
        cursors
    }

    /// The kinds of `filter` of which the viewer sees only what names them.
    fn own_kinds<'f>(&'f self, filter: &'f Filter) -> impl Iterator<Item = u16> + 'f {
        let restricted: &[u16] =
            if self.viewer.sees_all || self.viewer.keys.is_empty() { &[] } else { &self.viewer.restricted };
        let is_wanted = |kind: &u16| filter.kinds.as_ref().is_none_or(|kinds| kinds.binary_search(kind).is_ok());
        restricted.iter().copied().filter(|kind| Class::of(*kind) != Class::Ephemeral).filter(is_wanted)
    }

    /// Walks of the private events that the viewer may see.
    fn own(&self, filter: &Filter, span: Span) -> Vec<Cursor> {
        let mut cursors = Vec::new();
        let mut walk = |along| cursors.push(Cursor::new(along, span, PROBE));
        for key in &self.viewer.keys {
            let hex = key.to_hex();
            let mut is_rest_walked = false;
            for kind in self.own_kinds(filter) {
                if !guard::is_signed_by_nobody(kind) {
                    walk(Along::AuthorKind(key.prefix(), kind));
                }
                if self.apart.has(kind) {
                    walk(Along::Tag(self.hash.of_kind(b'p', &hex, kind)));
                }
                if (self.apart.is_filing() || !self.apart.has(kind)) && !std::mem::replace(&mut is_rest_walked, true) {
                    walk(Along::Tag(self.hash.of(b'p', &hex)));
                }
            }
        }
        cursors
    }

    /// How many addresses `authors` x addressable `kinds` x `#d` are, each of which is one event at most. `None` if that is
    /// no way to answer.
    fn addresses(&self, filter: &Filter) -> Option<usize> {
        let (authors, kinds) = (filter.authors.as_ref()?, filter.kinds.as_ref()?);
        let d = filter.tags.iter().find(|tag| tag.letter == b'd')?;
        let lookups = authors.len().saturating_mul(kinds.len()).saturating_mul(d.values.len());
        let is_way = lookups <= PAIRS_MAX
            && kinds.iter().all(|kind| Class::of(*kind) == Class::Addressable && self.has(Which::Open, *kind));
        is_way.then_some(lookups)
    }

    /// Looks up one of these addresses.
    fn address(
        &self,
        db: &Connection,
        filter: &Filter,
        number: usize,
        span: Span,
        found: &mut Vec<i64>,
    ) -> Result<(), StoreError> {
        let (Some(authors), Some(kinds)) = (&filter.authors, &filter.kinds) else { return Ok(()) };
        let Some(d) = filter.tags.iter().find(|tag| tag.letter == b'd') else { return Ok(()) };
        let (rest, value) = (number / d.values.len().max(1), number % d.values.len().max(1));
        let (author, kind) = (rest / kinds.len().max(1), rest % kinds.len().max(1));
        let (Some(author), Some(kind), Some(value)) = (authors.get(author), kinds.get(kind), d.values.get(value))
        else {
            return Ok(());
        };
        let mut find = db.prepare_cached("SELECT pos FROM event_address WHERE author = ?1 AND kind = ?2 AND d = ?3")?;
        let mut rows = find.query(params![author.prefix(), kind, self.hash.of(b'd', value)])?;
        while let Some(row) = rows.next()? {
            let pos = row.get(0)?;
            if span.low <= pos && pos < span.high {
                found.push(pos);
            }
        }
        Ok(())
    }
}

/// Of two ways to the same events the one that seems shorter: the first that ends within its first chunks, else tags.
fn smaller(db: &Connection, tags: Way, authors: Way, turn: &mut Turn<'_>) -> Result<Way, StoreError> {
    let mut is_short = |way: &Way| -> Result<bool, StoreError> {
        if i64::try_from(way.cursors.len()).unwrap_or(i64::MAX) > PROBE {
            return Ok(false);
        }
        for cursor in &way.cursors {
            if !cursor.probe(PROBE).is_short(db, turn)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if is_short(&tags)? {
        return Ok(tags);
    }
    if is_short(&authors)? {
        return Ok(authors);
    }
    Ok(if tags.cursors.len() <= authors.cursors.len().saturating_mul(4) { tags } else { authors })
}
