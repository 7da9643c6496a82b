//! What a feed of a peer was worth.

use std::borrow::Cow;

use super::repo::{Merged, Quota};
use super::verify;
use crate::engine::Decision;

/// What a feed was worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it was not a feed that the room takes, wholly or from some block on: the first reason, for people.
    pub refused: Option<Cow<'static, str>>,
    /// It was malformed or falsely signed: no honest peer has such a feed.
    pub is_false: bool,
    /// Blocks of it whose parents are missing.
    pub orphans: usize,
    /// The address has begun too many rooms: nothing of the feed was looked at.
    pub begins_too_many: bool,
    /// Blocks of it that were of no use: known, or refused.
    pub useless: usize,
}

impl Verdict {
    /// Refused, for this reason.
    pub(super) fn refuse(why: impl Into<Cow<'static, str>>) -> Self {
        Self { refused: Some(why.into()), ..Self::default() }
    }

    /// Of a feed with a defect of this name.
    pub(super) fn of_defect(defect: &'static str) -> Self {
        Self { is_false: defect != verify::FAILED, ..Self::refuse(format!("invalid: {defect}")) }
    }

    /// Of a block of which this was decided.
    pub(super) fn of(decision: &Decision) -> Self {
        let is_useful = matches!(decision, Decision::Merged(Merged::New | Merged::Orphan) | Decision::Postponed(_));
        Self { useless: usize::from(!is_useful), ..reason(decision) }
    }

    /// Of the next block of the same feed.
    pub(super) fn add(&mut self, other: Self) {
        if self.refused.is_none() {
            self.refused = other.refused;
        }
        self.is_false |= other.is_false;
        self.orphans += other.orphans;
        self.useless += other.useless;
        self.begins_too_many |= other.begins_too_many;
    }
}

fn reason(decision: &Decision) -> Verdict {
    match decision {
        Decision::Merged(Merged::New | Merged::Known) | Decision::Postponed(_) => Verdict::default(),
        Decision::Merged(Merged::Orphan) => Verdict { orphans: 1, ..Verdict::default() },
        Decision::Merged(Merged::Fork) => Verdict::refuse("blocked: another block follows the same block already"),
        Decision::Merged(Merged::SecondGenesis) => {
            Verdict::refuse("blocked: the author has another chain in this room")
        }
        Decision::Merged(Merged::OverQuota(quota)) => Verdict::refuse(match quota {
            Quota::Rooms => "blocked: the relay has no place for another room, all are in use",
            Quota::TotalBytes => "blocked: the rooms of the relay are full",
            Quota::Chains => "blocked: the room has as many chains as it may have",
            Quota::Blocks => "blocked: the room has as many blocks as it may have",
            Quota::Bytes => "blocked: the room is full",
        }),
        Decision::Rejected(rejection) => Verdict::refuse(format!("blocked: {}", rejection.reason)),
        Decision::Evicted => Verdict::refuse("blocked: the chain has expired"),
        Decision::NotLoaded => Verdict::refuse("error: the rules of the room are not loaded, try again later"),
    }
}
