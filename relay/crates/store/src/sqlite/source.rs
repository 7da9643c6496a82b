//! Where the positions come from that may match a filter: a list, walks merged, or what several ways have in common.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use rusqlite::Connection;

use super::cursor::Cursor;
use super::words::Terms;
use crate::Turn;

/// Where the positions of one filter come from, newest first, each once.
pub(super) enum Source {
    /// A few known ones, lowest first.
    List(Vec<i64>),
    /// One way, and which conditions it fulfils.
    Walks(Walks, Covers),
    /// What several ways have in common.
    Meet(Meet, Covers),
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    At(i64),
    /// Nothing.
    Dry,
    /// The slice is over before that is known.
    Later,
}

/// The conditions of a filter that everything on a way fulfils. They name the way, too.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(super) struct Covers {
    /// The values of this tag.
    pub(super) tag: Option<u8>,
    pub(super) authors: bool,
    pub(super) kinds: bool,
    /// What is known of the terms of a search.
    pub(super) terms: Option<Terms>,
}

impl Covers {
    /// Whether it is a way along an index of which private events are left out.
    pub(super) fn is_of_index(&self) -> bool {
        self.tag.is_some() || self.authors || self.kinds
    }
}

/// Walks along indexes, merged.
pub(super) struct Walks {
    cursors: Vec<Cursor>,
    /// Those before this one are in the heap, unless they are dry.
    ranked: usize,
    /// The newest position of each cursor, or, where none is fetched, one that is not below it. And its number.
    heap: BinaryHeap<(i64, usize)>,
}

/// Ways of which each has every event that matches.
pub(super) struct Meet {
    first: Walks,
    others: Vec<Walks>,
    /// Where it is, once it was looked for.
    at: Option<i64>,
}

impl Source {
    /// The newest position not yet passed.
    pub(super) fn peek(&mut self, db: &Connection, turn: &mut Turn<'_>) -> rusqlite::Result<Next> {
        match self {
            Self::List(list) => Ok(list.last().map_or(Next::Dry, |pos| Next::At(*pos))),
            Self::Walks(walks, _) => walks.peek(db, turn),
            Self::Meet(meet, _) => meet.peek(db, turn),
        }
    }

    /// Goes past `pos`, which was the newest.
    pub(super) fn pass(&mut self, pos: i64) {
        match self {
            Self::List(list) => while list.pop_if(|last| *last >= pos).is_some() {},
            Self::Walks(walks, _) => walks.pass(pos),
            Self::Meet(meet, _) => {
                meet.at = None;
                meet.first.pass(pos);
            }
        }
    }

    /// From here on only what `others` have, too.
    pub(super) fn meet(&mut self, others: Vec<Walks>) {
        let before = std::mem::replace(self, Self::List(Vec::new()));
        *self = match before {
            Self::Walks(first, covers) if !others.is_empty() => Self::Meet(Meet { first, others, at: None }, covers),
            before => before,
        };
    }

    /// How far the walks of the first way are, and which way that is. Nothing of a list.
    pub(super) fn bounds(&self) -> Option<(Covers, Vec<i64>)> {
        match self {
            Self::List(_) => None,
            Self::Walks(walks, covers) | Self::Meet(Meet { first: walks, .. }, covers) => {
                Some((*covers, walks.cursors.iter().map(Cursor::bound).collect()))
            }
        }
    }
}

impl Walks {
    pub(super) fn new(cursors: Vec<Cursor>) -> Self {
        Self { heap: BinaryHeap::with_capacity(cursors.len()), cursors, ranked: 0 }
    }

    fn peek(&mut self, db: &Connection, turn: &mut Turn<'_>) -> rusqlite::Result<Next> {
        while let Some(cursor) = self.cursors.get_mut(self.ranked) {
            if !cursor.is_begun() {
                if turn.is_over() {
                    return Ok(Next::Later);
                }
                cursor.peek(db, turn)?;
            }
            self.heap.extend(cursor.rank().map(|rank| (rank, self.ranked)));
            self.ranked += 1;
        }
        while let Some(mut top) = self.heap.peek_mut() {
            let Some(cursor) = self.cursors.get_mut(top.1) else { break };
            if let Some(pos) = cursor.ready() {
                return Ok(Next::At(pos));
            }
            if turn.is_over() {
                return Ok(Next::Later);
            }
            match cursor.peek(db, turn)? {
                Some(pos) => top.0 = pos,
                None => {
                    PeekMut::pop(top);
                }
            }
        }
        Ok(Next::Dry)
    }

    fn pass(&mut self, pos: i64) {
        self.forward(|rank| rank >= pos, |cursor| cursor.pass(pos));
    }

    /// The newest position that is not above `pos`, straight away.
    fn leap(&mut self, pos: i64, db: &Connection, turn: &mut Turn<'_>) -> rusqlite::Result<Next> {
        self.cursors.iter_mut().skip(self.ranked).for_each(|cursor| cursor.skip_to(pos));
        self.forward(|rank| rank > pos, |cursor| cursor.skip_to(pos));
        self.peek(db, turn)
    }

    /// Moves every walk on by `step` while it is where `is_before` says. Fetches nothing.
    fn forward(&mut self, is_before: impl Fn(i64) -> bool, step: impl Fn(&mut Cursor)) {
        while let Some(mut top) = self.heap.peek_mut()
            && is_before(top.0)
        {
            let Some(cursor) = self.cursors.get_mut(top.1) else { break };
            step(cursor);
            match cursor.rank() {
                Some(rank) => top.0 = rank,
                None => {
                    PeekMut::pop(top);
                }
            }
        }
    }
}

impl Meet {
    /// The newest position that all ways have.
    fn peek(&mut self, db: &Connection, turn: &mut Turn<'_>) -> rusqlite::Result<Next> {
        if let Some(at) = self.at {
            return Ok(Next::At(at));
        }
        let mut pos = match self.first.peek(db, turn)? {
            Next::At(pos) => pos,
            other => return Ok(other),
        };
        'lower: loop {
            for way in &mut self.others {
                let at = match way.leap(pos, db, turn)? {
                    Next::At(at) => at,
                    other => return Ok(other),
                };
                if at < pos {
                    pos = match self.first.leap(at, db, turn)? {
                        Next::At(pos) => pos,
                        other => return Ok(other),
                    };
                    // The next slice begins here.
                    turn.examine(1);
                    turn.advance();
                    continue 'lower;
                }
            }
            self.at = Some(pos);
            return Ok(Next::At(pos));
        }
    }
}
