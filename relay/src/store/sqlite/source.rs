//! Where the positions come from that may match a filter: a list, walks merged, or what several ways have in common.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use rusqlite::Connection;

use super::cursor::Cursor;

/// Leaps after which a place is given that not all ways have, so that a search that finds nothing can be interrupted there.
const LEAPS_MAX: usize = if cfg!(test) { 3 } else { 512 };

/// Where the positions of one filter come from, newest first, each once.
pub(super) enum Source {
    /// A few known ones, lowest first.
    List(Vec<i64>),
    /// One way, and which conditions it fulfils.
    Walks(Walks, Covers),
    /// What several ways have in common.
    Meet(Meet),
}

/// The conditions of a filter that everything on a way fulfils.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Covers {
    /// The values of this tag.
    pub(super) tag: Option<u8>,
    pub(super) authors: bool,
    pub(super) kinds: bool,
}

/// Walks along indexes, merged.
pub(super) struct Walks {
    cursors: Vec<Cursor>,
    heap: BinaryHeap<(i64, usize)>,
    started: bool,
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
    pub(super) fn peek(&mut self, db: &Connection, examined: &mut usize) -> rusqlite::Result<Option<i64>> {
        match self {
            Self::List(list) => Ok(list.last().copied()),
            Self::Walks(walks, _) => walks.peek(db, examined),
            Self::Meet(meet) => meet.peek(db, examined),
        }
    }

    /// Goes past `pos`, which was the newest.
    pub(super) fn pass(&mut self, pos: i64, db: &Connection, examined: &mut usize) -> rusqlite::Result<()> {
        match self {
            Self::List(list) => {
                while list.pop_if(|last| *last >= pos).is_some() {}
                Ok(())
            }
            Self::Walks(walks, _) => walks.pass(pos, db, examined),
            Self::Meet(meet) => {
                meet.at = None;
                meet.first.pass(pos, db, examined)
            }
        }
    }

    /// From here on only what `others` have, too.
    pub(super) fn meet(&mut self, others: Vec<Walks>) {
        let before = std::mem::replace(self, Self::List(Vec::new()));
        *self = match before {
            Self::Walks(first, _) if !others.is_empty() => Self::Meet(Meet { first, others, at: None }),
            before => before,
        };
    }
}

impl Walks {
    pub(super) fn new(cursors: Vec<Cursor>) -> Self {
        Self { heap: BinaryHeap::with_capacity(cursors.len()), cursors, started: false }
    }

    fn peek(&mut self, db: &Connection, examined: &mut usize) -> rusqlite::Result<Option<i64>> {
        if !self.started {
            self.started = true;
            for (number, cursor) in self.cursors.iter_mut().enumerate() {
                self.heap.extend(cursor.peek(db, examined)?.map(|pos| (pos, number)));
            }
        }
        Ok(self.heap.peek().map(|(pos, _)| *pos))
    }

    fn pass(&mut self, pos: i64, db: &Connection, examined: &mut usize) -> rusqlite::Result<()> {
        self.forward(db, examined, |top| top >= pos, Cursor::take)
    }

    /// The newest position that is not above `pos`, straight away.
    fn leap(&mut self, pos: i64, db: &Connection, examined: &mut usize) -> rusqlite::Result<Option<i64>> {
        if !self.started {
            self.cursors.iter_mut().for_each(|cursor| cursor.skip_to(pos));
        }
        self.peek(db, examined)?;
        self.forward(db, examined, |top| top > pos, |cursor| cursor.skip_to(pos))?;
        self.peek(db, examined)
    }

    /// Moves every walk on by `step` while it is where `is_before` says.
    fn forward(
        &mut self,
        db: &Connection,
        examined: &mut usize,
        is_before: impl Fn(i64) -> bool,
        step: impl Fn(&mut Cursor),
    ) -> rusqlite::Result<()> {
        while let Some(mut top) = self.heap.peek_mut()
            && is_before(top.0)
        {
            let Some(cursor) = self.cursors.get_mut(top.1) else { break };
            step(cursor);
            match cursor.peek(db, examined)? {
                Some(next) => top.0 = next,
                None => {
                    PeekMut::pop(top);
                }
            }
        }
        Ok(())
    }
}

impl Meet {
    fn peek(&mut self, db: &Connection, examined: &mut usize) -> rusqlite::Result<Option<i64>> {
        if self.at.is_none() {
            self.at = self.find(db, examined)?;
        }
        Ok(self.at)
    }

    /// The newest position that all ways have, or, after many leaps, one that is no newer than what is looked for.
    fn find(&mut self, db: &Connection, examined: &mut usize) -> rusqlite::Result<Option<i64>> {
        let Some(mut pos) = self.first.peek(db, examined)? else { return Ok(None) };
        let mut leaps = 0;
        'lower: loop {
            for way in &mut self.others {
                let Some(at) = way.leap(pos, db, examined)? else { return Ok(None) };
                if at < pos {
                    let Some(next) = self.first.leap(at, db, examined)? else { return Ok(None) };
                    pos = next;
                    leaps += 1;
                    if leaps >= LEAPS_MAX {
                        break 'lower;
                    }
                    continue 'lower;
                }
            }
            break;
        }
        Ok(Some(pos))
    }
}
