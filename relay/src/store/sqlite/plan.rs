//! Which index answers a filter. Chosen here, never by SQLite's planner: given many authors that have no events it would
//! scan all of time.

use rusqlite::{Connection, params};

use super::cursor::{Along, Cursor, Span};
use super::key::{self, TagHash};
use super::rows::Rows;
use super::source::{Covers, Source, Walks};
use crate::event::Class;
use crate::filter::{Filter, TagFilter};
use crate::store::{After, StoreError};

/// Entries of an index that are looked at to guess how many there are.
const PROBE: i64 = 64;

/// Author and kind pairs above which only the authors are walked.
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

/// Where the positions that can match `filter` come from, all in `span`. `bodies`: whether they will be read.
pub(super) fn source(
    rows: &Rows<'_>,
    hash: TagHash,
    filter: &Filter,
    span: Span,
    left: u64,
    bodies: bool,
    examined: &mut usize,
) -> Result<Source, StoreError> {
    let db = rows.db;
    if let Some(ids) = &filter.ids {
        let mut list = Vec::with_capacity(ids.len());
        for id in ids {
            *examined += 1;
            list.extend(rows.find(id, bodies)?.filter(|pos| *pos < span.high));
        }
        list.sort_unstable();
        return Ok(Source::List(list));
    }
    if let Some(list) = addresses(db, hash, filter, span, examined)? {
        return Ok(Source::List(list));
    }
    let limit = i64::try_from(left.saturating_add(1)).unwrap_or(i64::MAX);
    let chunk = |cursors: usize| {
        let share = limit.saturating_mul(2) / i64::try_from(cursors.max(1)).unwrap_or(i64::MAX);
        if cursors == 1 { limit } else { share.saturating_add(2) }
    };
    let tags = filter.tags.iter().min_by_key(|tag| tag.values.len());
    let tags =
        tags.map(|tag| Way::new(by_tag(hash, tag, span, chunk), Covers { tag: Some(tag.letter), ..Covers::default() }));
    let authors = by_author(filter, span, chunk);
    let way = match (tags, authors) {
        (Some(tags), Some(authors)) => smaller(db, tags, authors, examined)?,
        (Some(way), None) | (None, Some(way)) => way,
        (None, None) => match &filter.kinds {
            Some(kinds) => by_kind(kinds, span, chunk),
            None => Way::new(vec![Cursor::new(Along::Time, span, chunk(1))], Covers::default()),
        },
    };
    Ok(Source::Walks(Walks::new(way.cursors), way.covers))
}

/// Further ways that have every event of `filter`, for the conditions that one way does not cover. A way of very many
/// walks is left out: asking each of them costs more than looking at events.
pub(super) fn others(hash: TagHash, filter: &Filter, span: Span, covers: Covers) -> Vec<Walks> {
    let chunk = |_| MEET_CHUNK;
    let tags =
        filter.tags.iter().filter(|tag| covers.tag != Some(tag.letter)).map(|tag| by_tag(hash, tag, span, chunk));
    let authors = (!covers.authors).then(|| by_author(filter, span, chunk)).flatten();
    let paired = authors.as_ref().is_some_and(|way| way.covers.kinds && way.cursors.len() <= MEET_MAX);
    let kinds = filter.kinds.as_deref().filter(|_| !covers.kinds && !paired).map(|kinds| by_kind(kinds, span, chunk));
    tags.chain(authors.into_iter().chain(kinds).map(|way| way.cursors))
        .filter(|cursors| cursors.len() <= MEET_MAX)
        .map(Walks::new)
        .collect()
}

/// Walks that together have every event of a filter.
struct Way {
    cursors: Vec<Cursor>,
    covers: Covers,
}

impl Way {
    fn new(cursors: Vec<Cursor>, covers: Covers) -> Self {
        Self { cursors, covers }
    }
}

fn by_kind(kinds: &[u16], span: Span, chunk: impl Fn(usize) -> i64) -> Way {
    let chunk = chunk(kinds.len());
    let cursors = kinds.iter().map(|kind| Cursor::new(Along::Kind(*kind), span, chunk)).collect();
    Way::new(cursors, Covers { kinds: true, ..Covers::default() })
}

fn by_tag(hash: TagHash, tag: &TagFilter, span: Span, chunk: impl Fn(usize) -> i64) -> Vec<Cursor> {
    let chunk = chunk(tag.values.len());
    tag.values.iter().map(|value| Cursor::new(Along::Tag(hash.of(tag.letter, value)), span, chunk)).collect()
}

fn by_author(filter: &Filter, span: Span, chunk: impl Fn(usize) -> i64) -> Option<Way> {
    let authors = filter.authors.as_deref()?;
    let mut keys: Vec<i64> = authors.iter().map(|author| author.prefix()).collect();
    keys.dedup();
    Some(match filter.kinds.as_deref() {
        Some(kinds) if keys.len().saturating_mul(kinds.len()) <= PAIRS_MAX => {
            let chunk = chunk(keys.len() * kinds.len());
            let pairs = keys.iter().flat_map(|author| kinds.iter().map(move |kind| (*author, *kind)));
            let cursors =
                pairs.map(|(author, kind)| Cursor::new(Along::AuthorKind(author, kind), span, chunk)).collect();
            Way::new(cursors, Covers { authors: true, kinds: true, tag: None })
        }
        _ => {
            let chunk = chunk(keys.len());
            let cursors = keys.iter().map(|author| Cursor::new(Along::Author(*author), span, chunk)).collect();
            Way::new(cursors, Covers { authors: true, ..Covers::default() })
        }
    })
}

/// Of two ways to the same events the one that seems shorter: the first that ends within its first chunks, else tags.
fn smaller(db: &Connection, tags: Way, authors: Way, examined: &mut usize) -> Result<Way, StoreError> {
    let mut is_short = |way: &Way| -> Result<bool, StoreError> {
        if i64::try_from(way.cursors.len()).unwrap_or(i64::MAX) > PROBE {
            return Ok(false);
        }
        for cursor in &way.cursors {
            if !cursor.probe(PROBE).is_short(db, examined)? {
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

/// The positions of `authors` x addressable `kinds` x `#d`, each of which is one event at most.
fn addresses(
    db: &Connection,
    hash: TagHash,
    filter: &Filter,
    span: Span,
    examined: &mut usize,
) -> Result<Option<Vec<i64>>, StoreError> {
    let (Some(authors), Some(kinds)) = (&filter.authors, &filter.kinds) else { return Ok(None) };
    let Some(d) = filter.tags.iter().find(|tag| tag.letter == b'd') else { return Ok(None) };
    let lookups = authors.len().saturating_mul(kinds.len()).saturating_mul(d.values.len());
    if lookups > PAIRS_MAX || kinds.iter().any(|kind| Class::of(*kind) != Class::Addressable) {
        return Ok(None);
    }
    *examined += lookups;
    let mut list = Vec::new();
    let mut find = db.prepare_cached("SELECT pos FROM event_address WHERE author = ?1 AND kind = ?2 AND d = ?3")?;
    for author in authors {
        for kind in kinds {
            for value in &d.values {
                let mut rows = find.query(params![author.prefix(), kind, hash.of(b'd', value)])?;
                while let Some(row) = rows.next()? {
                    let pos = row.get(0)?;
                    if span.low <= pos && pos < span.high {
                        list.push(pos);
                    }
                }
            }
        }
    }
    list.sort_unstable();
    list.dedup();
    Ok(Some(list))
}
