//! A request to delete the copy of an earlier block of the same author: kind 5 (NIP-09).

use super::{Subject, hex};
use crate::{Draft, event::tag};

/// A record in a collection of deletions that names a block, or one with a field that says which block to delete. Only
/// who wrote a block can have its copy deleted. The wrapped block stays: a chain with a hole proves nothing.
pub(super) fn draft(subject: &Subject<'_>) -> Option<Draft> {
    let record = subject.record()?;
    let fields = if COLLECTIONS.contains(&record.collection.as_str()) { TARGETS } else { VERBS };
    let copy = subject.copy_named(fields)?;
    if copy.author != subject.block.author() {
        return None;
    }
    let tags = vec![tag(["e", &hex(&copy.event)]), tag(["k", &copy.kind.to_string()])];
    Some(subject.copy(DELETION, None, tags, String::new(), "Deletion from a pico feed"))
}

pub(super) const DELETION: u16 = 5;
const COLLECTIONS: &[&str] = &["delete", "deleted", "deletion", "deletions", "remove", "tombstone"];
const VERBS: &[&str] = &["delete", "deletes", "remove", "removes"];
const TARGETS: &[&str] = &["target", "block", "id", "ref", "delete", "deletes", "remove", "removes"];
