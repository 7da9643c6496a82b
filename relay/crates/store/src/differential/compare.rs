//! Does each step of a story on two backends, and compares.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Make;
use super::story::{Question, Step};
use crate::clock::Timestamp;
use crate::event::Id;
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::testing::key;
use crate::vanish::RelayUrls;
use crate::verify::Verified;
use crate::{Backend, Batch, End, Query, Reader, Scan, Seq, Slice, Step as Progress, Writer};

/// One backend.
struct Side {
    writer: Box<dyn Writer>,
    reader: Box<dyn Reader>,
    _backend: Arc<dyn Backend>,
}

/// Both, and the clock.
pub(super) struct Pair {
    left: Side,
    right: Side,
    now: Timestamp,
}

/// What one backend answered: its rows, and for each filter how many more it may give and how it ended.
struct Answer {
    rows: Vec<(Id, Timestamp, u16, String)>,
    streams: Vec<(u64, Option<End>)>,
}

impl Pair {
    pub(super) fn new(left: Make<'_>, right: Make<'_>) -> Self {
        let side = |make: Make<'_>| {
            let backend = make(RelayUrls::new(["wss://relay.example"]));
            Side { writer: backend.writer().unwrap(), reader: backend.reader().unwrap(), _backend: backend }
        };
        Self { left: side(left), right: side(right), now: 1_000 }
    }

    /// The first difference, if there is one.
    pub(super) fn run(mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            match step {
                Step::Save { events, split } => self.save(events, *split)?,
                Step::Clock(now) => self.now = *now,
                Step::Sweep(max) => {
                    let (left, right) = (self.left.sweep(self.now, *max), self.right.sweep(self.now, *max));
                    same("swept", &left, &right)?;
                }
                Step::Tend => self.tend(),
                Step::Ask(question) => self.ask(question)?,
            }
        }
        Ok(())
    }

    fn save(&mut self, events: &[Verified], split: usize) -> Result<(), String> {
        let (left, right) = (self.left.save(events, events.len(), self.now), self.right.save(events, split, self.now));
        same("saved", &left.saved, &right.saved)?;
        same("removed", &set(&left.removed), &set(&right.removed))?;
        same("last_seq", &self.left.writer.last_seq(), &self.right.writer.last_seq())?;
        for event in events {
            let (left, right) = (self.left.reader.contains(&event.id), self.right.reader.contains(&event.id));
            same("contains", &left.unwrap(), &right.unwrap())?;
        }
        Ok(())
    }

    fn tend(&mut self) {
        while self.left.writer.tend().unwrap() {}
        while self.right.writer.tend().unwrap() {}
    }

    fn ask(&mut self, question: &Question) -> Result<(), String> {
        let filters: Vec<_> = question.filters.iter().map(|filter| Filter::parse(filter).unwrap()).collect();
        let searches = filters.iter().any(|filter| filter.search.is_some());
        let viewer = match &question.viewer {
            Some(keys) => Viewer {
                keys: keys.iter().map(|author| key(*author)).collect(),
                restricted: [4, 1059].into(),
                sees_all: false,
            },
            None => Viewer::operator(),
        };
        let seq_max: Seq = match question.seq_back {
            Some(back) => self.left.writer.last_seq().saturating_sub(back),
            None => Seq::MAX,
        };
        let query = Query {
            filters: filters.into(),
            viewer,
            now: self.now,
            seq_max,
            limit_default: question.limits.0,
            limit_max: question.limits.1,
            oldest_second_max: question.oldest_second_max,
            bodies: question.bodies,
        };
        let (mut left, mut right) =
            (self.left.answer(&query, question.slices[0])?, self.right.answer(&query, question.slices[1])?);
        if searches && !question.bodies {
            // Then the order is each backend's own matter.
            left.rows.sort();
            right.rows.sort();
        }
        let ids = |answer: &Answer| answer.rows.iter().map(|row| row.0).collect::<Vec<_>>();
        same("rows", &ids(&left), &ids(&right))?;
        same("row contents", &left.rows, &right.rows)?;
        for ((filter, left), right) in query.filters.iter().zip(&left.streams).zip(&right.streams) {
            let may_not_know = left.0 == 0 || filter.search.is_some();
            if left.1 != right.1 && !(may_not_know && right.1 == Some(End::Unknown)) {
                return Err(format!("end of {filter:?}: {left:?}, {right:?}"));
            }
        }
        Ok(())
    }
}

impl Side {
    fn save(&mut self, events: &[Verified], split: usize, now: Timestamp) -> Batch {
        let mut all = Batch::default();
        for part in events.chunks(split.max(1)) {
            let batch = self.writer.save(part, now).unwrap();
            all.saved.extend(batch.saved);
            all.removed.extend(batch.removed);
        }
        all
    }

    /// Sweeps in parts until nothing is left: which ones go first is not fixed.
    fn sweep(&mut self, now: Timestamp, max: usize) -> BTreeSet<Id> {
        let mut all = BTreeSet::new();
        loop {
            let swept = self.writer.sweep_expired(now, max).unwrap();
            assert!(swept.len() <= max);
            if swept.is_empty() {
                return all;
            }
            all.extend(swept);
        }
    }

    fn answer(&mut self, query: &Query, slice: Slice<'_>) -> Result<Answer, String> {
        let mut scan = Scan::new(query.clone());
        let mut rows = Vec::new();
        for _ in 0..20_000 {
            if self.reader.scan(&mut scan, slice, &mut rows).unwrap() == Progress::Done {
                let row = |row: crate::Row| (row.id, row.created_at, row.kind, row.body.as_str().to_owned());
                let streams = scan.streams.iter().map(|stream| (stream.left, stream.end)).collect();
                return Ok(Answer { rows: rows.into_iter().map(row).collect(), streams });
            }
        }
        Err(format!("a scan in {slice:?} does not end"))
    }
}

fn set(ids: &[Id]) -> BTreeSet<Id> {
    ids.iter().copied().collect()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, left: &T, right: &T) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}\n left: {left:?}\nright: {right:?}")) }
}
