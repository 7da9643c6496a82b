//! Ways along the terms of a search, and which of them is shortest.

use rusqlite::Connection;

use super::bound;
use super::cursor::{Along, Cursor, Span};
use super::plan::Way;
use super::source::Covers;
use crate::StoreError;
use crate::Turn;
use crate::search::Search;

/// Positions fetched at once along a term: to find the place takes as long as fetching many.
const CHUNK: i64 = 512;
const CHUNK_IN_TESTS: i64 = 3;

/// Of each way so many positions are looked at to see how thick it is.
const SAMPLE: i64 = 64;
const SAMPLE_IN_TESTS: i64 = 2;

/// Terms of a search that are looked at, the longest. Matches are checked by what events say, so any will do. There is a bit
/// for each in [`Terms`].
const TERMS_MAX: usize = 8;

/// Walks of a way beyond which it is not looked at.
const CURSORS_MAX: usize = 64;

/// A term that is so many times thicker than the way at hand excludes too little to be worth walking beside it.
const THICKER_MAX: f64 = 16.0;

/// How many positions a way has, as far as was looked: all of a short one, else as many in each stretch of time.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
enum Thickness {
    Few(usize),
    Rate(f64),
}

/// What is known of the terms of a search. They are numbered: see [`by_term`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Terms {
    /// The term that is walked along, if it is one.
    pub(super) walked: Option<usize>,
    /// How many positions the way that is walked has in a stretch of time, if it is not a short one.
    rate: f64,
    /// Which terms exclude enough to be walked beside it, a bit for each. None: nobody has looked yet.
    beside: Option<u8>,
}

/// Of the ways along each term and the `others`, which have every event of the filter, too, the thinnest.
pub(super) fn thinnest(
    db: &Connection,
    search: &Search,
    span: Span,
    others: impl Iterator<Item = Way>,
    turn: &mut Turn<'_>,
) -> Result<Way, StoreError> {
    let by_term = by_term(search, span).enumerate().map(|(number, cursors)| {
        let terms = Terms { walked: Some(number), rate: 0.0, beside: None };
        Way { cursors, covers: Covers { terms: Some(terms), ..Covers::default() } }
    });
    let others = others.filter(|way| way.cursors.len() <= CURSORS_MAX).map(|mut way| {
        way.covers.terms = Some(Terms { walked: None, rate: 0.0, beside: None });
        way
    });
    let mut ways: Vec<Way> = by_term.chain(others).collect();
    if ways.len() > 1 {
        let thickness = measure(db, ways.iter().map(|way| way.cursors.as_slice()), turn)?;
        let mut best = (Thickness::Rate(f64::INFINITY), 0);
        for (number, thickness) in thickness.iter().enumerate() {
            if *thickness < best.0 {
                best = (*thickness, number);
            }
        }
        let mut way = ways.swap_remove(best.1);
        if let (Some(terms), Thickness::Rate(rate)) = (&mut way.covers.terms, best.0) {
            terms.rate = rate;
        }
        return Ok(way);
    }
    // A search that has no term finds nothing.
    Ok(ways.pop().unwrap_or_else(|| Way { cursors: Vec::new(), covers: Covers::default() }))
}

/// The way along the term of this number.
pub(super) fn along(search: &Search, number: usize, span: Span) -> Vec<Cursor> {
    by_term(search, span).nth(number).unwrap_or_default()
}

/// The terms that exclude enough to be walked beside the way at hand, and remembers which they are.
pub(super) fn others(
    db: &Connection,
    search: &Search,
    span: Span,
    terms: &mut Terms,
    turn: &mut Turn<'_>,
) -> Result<Vec<Vec<Cursor>>, StoreError> {
    let (walked, rate) = (terms.walked, terms.rate);
    let mut ways: Vec<(usize, Vec<Cursor>)> =
        by_term(search, span).enumerate().filter(|(number, _)| walked != Some(*number)).collect();
    let beside = if let Some(beside) = terms.beside {
        beside
    } else {
        let thickness = measure(db, ways.iter().map(|(_, cursors)| cursors.as_slice()), turn)?;
        let is_thin = |thickness: &Thickness| match thickness {
            Thickness::Few(_) => true,
            Thickness::Rate(other) => *other <= rate * THICKER_MAX,
        };
        let thin = ways.iter().zip(&thickness).filter(|(_, thickness)| is_thin(thickness));
        thin.fold(0, |beside, ((number, _), _)| beside | bit(*number))
    };
    terms.beside = Some(beside);
    ways.retain(|(number, _)| beside & bit(*number) != 0);
    Ok(ways.into_iter().map(|(_, cursors)| cursors).collect())
}

fn bit(number: usize) -> u8 {
    u32::try_from(number).ok().and_then(|number| 1_u8.checked_shl(number)).unwrap_or(0)
}

/// A way along each term.
fn by_term(search: &Search, span: Span) -> impl Iterator<Item = Vec<Cursor>> {
    let terms = search.terms().into_iter().take(TERMS_MAX);
    terms.map(move |term| vec![Cursor::new(Along::term(term), span, bound(CHUNK, CHUNK_IN_TESTS))])
}

/// How thick each way is, all measured from the newest position that any of them has.
fn measure<'w>(
    db: &Connection,
    ways: impl Iterator<Item = &'w [Cursor]>,
    turn: &mut Turn<'_>,
) -> Result<Vec<Thickness>, StoreError> {
    let sample = bound(SAMPLE, SAMPLE_IN_TESTS);
    let mut samples = Vec::new();
    for cursors in ways {
        let mut of_way = Vec::with_capacity(cursors.len());
        for cursor in cursors {
            of_way.extend(cursor.probe(sample).sample(db, turn)?);
        }
        samples.push(of_way);
    }
    let newest = samples.iter().flatten().map(|(_, newest, _)| *newest).max().unwrap_or(i64::MAX);
    let full = usize::try_from(sample).unwrap_or(usize::MAX);
    let thickness = |of_way: &Vec<(usize, i64, i64)>| {
        let few = of_way.iter().map(|(len, ..)| *len).sum();
        let rates = of_way.iter().filter(|(len, ..)| *len >= full);
        let rate: f64 = rates.map(|(_, _, oldest)| 1.0 / (newest - oldest).max(1) as f64).sum();
        if rate > 0.0 { Thickness::Rate(rate) } else { Thickness::Few(few) }
    };
    Ok(samples.iter().map(thickness).collect())
}
