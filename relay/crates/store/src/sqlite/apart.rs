//! Kinds whose rows are filed apart, so that who may see none of them need not walk past them: in the index of tags under
//! keys of their own, in that of authors not at all (the one of authors and kinds has them).
//!
//! Those are the private ones, and gift wraps in any case. A kind that was filed apart stays so; one that is made private is
//! filed anew in the background, and until that is done readers look in both places.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::erase;
use super::key::TagHash;
use super::tables::tag_keys;
use crate::StoreError;
use crate::guard::GIFT_WRAP;

/// The kinds, and whether all their rows are where they belong.
pub(super) struct Apart {
    /// Sorted.
    kinds: Box<[u16]>,
    is_filing: AtomicBool,
}

impl Apart {
    pub(super) fn kinds(&self) -> &[u16] {
        &self.kinds
    }

    /// True when rows of this kind are filed apart.
    pub(super) fn has(&self, kind: u16) -> bool {
        self.kinds.binary_search(&kind).is_ok()
    }

    /// True while some rows are still where those of other kinds are.
    pub(super) fn is_filing(&self) -> bool {
        self.is_filing.load(Ordering::Acquire)
    }

    /// As the database says, for one who reads it while another process may write.
    pub(super) fn read(db: &Connection) -> Result<Self, StoreError> {
        let kinds = numbers(db, "apart")?.into_iter().filter_map(|kind| u16::try_from(kind).ok()).collect();
        Ok(Self { kinds, is_filing: AtomicBool::new(true) })
    }

    /// The same, and `private` kinds from now on.
    pub(super) fn open(db: &mut Connection, private: &[u16]) -> Result<Self, StoreError> {
        let step = db.transaction()?;
        let mut kinds = numbers(&step, "apart")?;
        let mut to_do = numbers(&step, "apart_to_do")?;
        for kind in private.iter().copied().chain([GIFT_WRAP]).map(i64::from) {
            if kinds.contains(&kind) {
                continue;
            }
            kinds.push(kind);
            let has_any = step.prepare("SELECT 1 FROM event_kind WHERE kind = ?1 LIMIT 1")?.exists([kind])?;
            if has_any {
                to_do.push(kind);
            }
        }
        kinds.sort_unstable();
        write(&step, "apart", &kinds)?;
        write(&step, "apart_to_do", &to_do)?;
        step.commit()?;
        let is_filing = AtomicBool::new(!to_do.is_empty());
        Ok(Self { kinds: kinds.into_iter().filter_map(|kind| u16::try_from(kind).ok()).collect(), is_filing })
    }

    /// Files some events of a kind anew. True when there are more.
    pub(super) fn file_some(
        &self,
        filing: &mut Filing,
        step: &Transaction<'_>,
        hash: TagHash,
    ) -> Result<bool, StoreError> {
        let mut to_do = numbers(step, "apart_to_do")?;
        let Some(kind) = to_do.first().copied() else { return Ok(false) };
        let below = if filing.kind == Some(kind) { filing.below } else { i64::MAX };
        let places: Vec<i64> = step
            .prepare_cached("SELECT pos FROM event_kind WHERE kind = ?1 AND pos < ?2 ORDER BY pos DESC LIMIT ?3")?
            .query_map(params![kind, below, FILED_AT_ONCE], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for pos in &places {
            let Some(held) = erase::at(step, *pos)? else { continue };
            step.prepare_cached("DELETE FROM event_author WHERE author = ?1 AND pos = ?2")?
                .execute(params![held.event.pubkey.prefix(), pos])?;
            for key in tag_keys(hash, &held.event, false) {
                step.prepare_cached("DELETE FROM event_tag WHERE tag = ?1 AND pos = ?2")?.execute(params![key, pos])?;
            }
            for key in tag_keys(hash, &held.event, true) {
                step.prepare_cached("INSERT OR IGNORE INTO event_tag VALUES (?1, ?2)")?.execute(params![key, pos])?;
            }
        }
        match places.last() {
            Some(last) => (filing.kind, filing.below) = (Some(kind), *last),
            None => {
                to_do.remove(0);
                write(step, "apart_to_do", &to_do)?;
            }
        }
        Ok(!to_do.is_empty())
    }

    /// All rows are where they belong.
    pub(super) fn is_filed(&self) {
        self.is_filing.store(false, Ordering::Release);
    }
}

/// Events that are filed anew in one transaction.
const FILED_AT_ONCE: i64 = 100;

/// How far filing came since the start.
#[derive(Default)]
pub(super) struct Filing {
    kind: Option<i64>,
    below: i64,
}

fn numbers(db: &Connection, name: &str) -> Result<Vec<i64>, StoreError> {
    let list: Option<String> =
        db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()?;
    Ok(list.unwrap_or_default().split(',').filter_map(|number| number.parse().ok()).collect())
}

fn write(db: &Connection, name: &str, numbers: &[i64]) -> Result<(), StoreError> {
    let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    db.execute(
        "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
        params![name, list.join(",")],
    )?;
    Ok(())
}
