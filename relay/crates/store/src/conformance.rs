//! What must hold of any backend, as scripts that are run on a fresh one each.
//!
//! A script is a line for each step:
//!
//! | step | meaning |
//! |---|---|
//! | `event a alice 1 @10 [["t","x"]] text` | makes an event and names it; tags and content may be missing |
//! | `sort a b` | renames events so that their ids ascend |
//! | `save a b => new deleted - c` | saves a batch: the outcome of each, then what was removed |
//! | `ask {"kinds":[1]} => a b finish` | asks a filter, or an array of filters: the rows in order, then how it ended |
//! | `orders a b c => a` | saves them in every order on fresh backends, singly and in one batch: what is stored then |
//! | `now 100`, `viewer alice`, `seq_max 3`, `limits 5 10` | set the clock (it starts at 1000), who asks, `limit_default` and `limit_max` |
//! | `sweep 10 => a b` | sweeps expired events |
//! | `stored a b`, `gone a b` | asks for ids |
//!
//! `$a` and `$alice` stand for the id or key in hex. Answers end with `finish` or `more`; where exactly the limit was
//! given it is `limit`, since a backend need not look further, and `any` with
//! `search`. Every question is asked in slices of every size, too.

mod bench;
mod busy;
mod carry;
mod cases;
mod large;
mod meeting;
mod private;
mod rooms;
mod vanish;

use std::sync::Arc;

use self::bench::Bench;
use super::memory::Memory;
use super::{Backend, testing};
use crate::event::CREATED_AT_MAX;
use crate::vanish::RelayUrls;

/// Makes an empty backend.
pub(crate) type Make<'m> = &'m dyn Fn(RelayUrls) -> Arc<dyn Backend>;

/// Runs everything on the backends that `make` makes.
pub(crate) fn run(make: Make<'_>) {
    for (name, script) in cases::SAVING.iter().chain(cases::DELETING).chain(cases::READING) {
        Bench::new(make, name).run(script);
    }
    large::run(make);
    meeting::run(make);
    rooms::run(make);
    busy::replaced_while_asked(make);
    vanish::run(make);
}

/// Runs what is about NIP-50.
pub(crate) fn run_search(make: Make<'_>) {
    for (name, script) in cases::SEARCHING {
        Bench::new(make, name).run(script);
    }
}

/// Runs what is about filters with more values than a slice may look at.
pub(crate) fn run_long_lists(make: Make<'_>) {
    large::long_lists(make);
}

/// Runs what is about filters whose conditions hardly meet.
pub(crate) fn run_leaps(make: Make<'_>) {
    meeting::leaps(make);
}

/// Runs what is about ids that share their first bytes.
pub(crate) fn run_crowds(make: Make<'_>) {
    large::crowds(make, &[0, 10]);
}

/// Runs what is about the last second that there is.
pub(crate) fn run_last_second(make: Make<'_>) {
    large::crowds(make, &[CREATED_AT_MAX]);
}

/// Runs what is about such ids that expire.
pub(crate) fn run_expiring_crowds(make: Make<'_>) {
    large::crowd_expires(make);
}

/// Runs what is about such ids that come and go while a scan goes on.
pub(crate) fn run_moving_crowds(make: Make<'_>) {
    large::crowd_leaves_between_slices(make);
    large::crowd_between_slices(make);
}

/// Runs what is about the work that answers about private events take.
pub(crate) fn run_private(make: Make<'_>) {
    private::run(make);
}

/// Checks that numbers go on where they were when `open` opens the same data again.
pub(crate) fn run_persistent(open: Make<'_>) {
    let script = "event a alice 1 @10\nevent b alice 5 @11 [[\"e\",\"$a\"]]\nevent c bob 1 @12\nevent v bob 62 @13 \
        [[\"relay\",\"ALL_RELAYS\"]]\n";
    let mut before = Bench::new(open, "before reopening");
    before.run(&format!("{script}save a b c v => new new new new - a c"));
    assert_eq!(before.last_seq(), 4);
    drop(before);
    let mut after = Bench::new(open, "after reopening");
    assert_eq!(after.last_seq(), 4);
    after.run(&format!(
        "{script}event d bob 1 @14\nask {{}} => v b finish\nsave a b c v d => deleted dup vanished dup new"
    ));
    assert_eq!(after.last_seq(), 5);
    after.run("seq_max 4\nask {} => v b finish");
}

#[test]
fn memory_conforms() {
    run(&|urls| Arc::new(Memory::new(urls)));
    run_search(&|urls| Arc::new(Memory::with_search(urls, testing::search())));
    run_crowds(&|urls| Arc::new(Memory::new(urls)));
    run_last_second(&|urls| Arc::new(Memory::new(urls)));
    run_expiring_crowds(&|urls| Arc::new(Memory::new(urls)));
    run_moving_crowds(&|urls| Arc::new(Memory::new(urls)));
    run_long_lists(&|urls| Arc::new(Memory::new(urls)));
    let memory = Memory::new(RelayUrls::new(["wss://relay.example"]));
    run_persistent(&|_| Arc::new(memory.clone()));
}

#[test]
fn memory_remembers_what_is_to_be_carried() {
    let memory = Memory::new(RelayUrls::default()).with_interest(carry::interest());
    carry::run(&|| Arc::new(memory.clone()));
}

#[test]
fn sqlite_remembers_what_is_to_be_carried() {
    let folder = tempfile::tempdir().unwrap();
    carry::run(&|| {
        let options = super::sqlite::Options { interest: Some(carry::interest()), ..Default::default() };
        Arc::new(super::sqlite::Sqlite::open(folder.path(), options).unwrap())
    });
}

#[test]
fn sqlite_conforms() {
    run(&testing::sqlite);
}

#[test]
fn sqlite_conforms_in_search() {
    run_search(&testing::sqlite);
}

#[test]
fn sqlite_conforms_in_crowds() {
    run_crowds(&testing::sqlite);
}

#[test]
fn sqlite_conforms_in_the_last_second() {
    run_last_second(&testing::sqlite);
}

#[test]
fn sqlite_conforms_in_expiring_crowds() {
    run_expiring_crowds(&testing::sqlite);
}

#[test]
fn sqlite_conforms_in_moving_crowds() {
    run_moving_crowds(&testing::sqlite);
}

#[test]
fn sqlite_conforms_in_long_lists() {
    run_long_lists(&testing::sqlite);
}

#[test]
fn sqlite_conforms_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    run_persistent(&|urls| testing::sqlite_in(folder.path(), urls));
}

#[test]
fn sqlite_does_not_tell_by_its_work_what_is_private() {
    run_private(&|urls| testing::sqlite_private(urls));
}

#[test]
fn sqlite_leaps_over_what_cannot_match() {
    run_leaps(&testing::sqlite);
}
