//! What became of the events of an import, and what that means for the exit code.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::{Outcome, taken};
use crate::event::Id;
use crate::outcome;
use crate::store::Saved;

/// Refused events that are told one by one.
const TOLD: usize = 10;

/// Reasons that are told apart, and how long they may be: they can come from the file.
const REASONS_MAX: usize = 100;
const REASON_CHARS_MAX: usize = 100;

#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    duplicate: u64,
    superseded: u64,
    ephemeral: u64,
    /// What its author or its time has ended already.
    over: BTreeMap<&'static str, u64>,
    refused: BTreeMap<String, u64>,
    /// What went wrong, though nothing was wrong with the event.
    failed: BTreeMap<String, u64>,
    told: usize,
}

impl Tally {
    pub(super) fn add(&mut self, id: &Id, outcome: &outcome::Outcome) {
        match outcome {
            outcome::Outcome::Saved(Saved::New(_)) => self.accepted += 1,
            outcome::Outcome::Saved(Saved::Duplicate) => self.duplicate += 1,
            outcome::Outcome::Saved(Saved::Superseded) => self.superseded += 1,
            outcome::Outcome::Saved(Saved::Deleted(by)) => self.over(by.deleted()),
            outcome::Outcome::Saved(Saved::Vanished(by)) => self.over(by.vanished()),
            outcome::Outcome::Saved(Saved::Expired) => self.over("expired"),
            outcome::Outcome::Passed => self.ephemeral += 1,
            outcome::Outcome::Shadowed => self.refuse("kept away by the policy plugin", || id.to_string()),
            outcome::Outcome::Refused(why) if outcome.is_failure() => {
                let reason = bounded(&self.failed, &why.to_string());
                *self.failed.entry(reason).or_default() += 1;
            }
            outcome::Outcome::Refused(why) => self.refuse(&why.to_string(), || id.to_string()),
        }
    }

    fn over(&mut self, why: &'static str) {
        *self.over.entry(why).or_default() += 1;
    }

    /// Counts what is refused, and tells the first few. `what`: the event or the place.
    pub(super) fn refuse(&mut self, why: &str, what: impl FnOnce() -> String) {
        if self.told < TOLD {
            self.told += 1;
            tracing::warn!("{}: {why}", what());
        }
        let reason = bounded(&self.refused, why);
        *self.refused.entry(reason).or_default() += 1;
    }

    fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    fn total(&self) -> u64 {
        let over: u64 = self.over.values().sum();
        self.accepted + self.duplicate + self.superseded + self.ephemeral + over + self.refused() + self.failed()
    }

    /// The summary.
    pub(super) fn lines(&self, took: Duration) -> Vec<String> {
        let (total, refused) = (self.total(), self.refused());
        let rate = total as f64 / took.as_secs_f64().max(0.001);
        let mut lines = vec![
            format!("{total} events in {:.1} s ({rate:.0}/s)", took.as_secs_f64()),
            format!("{:>9} accepted", self.accepted),
            format!("{:>9} duplicate: already there", self.duplicate),
            format!("{:>9} superseded: a newer version is there", self.superseded),
            format!("{:>9} ephemeral: not kept by their kind", self.ephemeral),
        ];
        lines.extend(self.over.iter().map(|(why, count)| format!("{count:>9} over: {why}")));
        lines.push(format!("{refused:>9} refused"));
        lines.extend(self.refused.iter().map(|(why, count)| format!("{count:>17} {why}")));
        if self.failed() > 0 {
            lines.push(format!("{:>9} NOT SAVED", self.failed()));
            lines.extend(self.failed.iter().map(|(why, count)| format!("{count:>17} {why}")));
        }
        lines
    }

    /// Done, done but not for all, or failed. `unread`: what was wrong with files that could not be read to their end.
    pub(super) fn outcome(&self, unread: &[String]) -> Outcome {
        if self.failed() > 0 {
            let failed = "some events could not be saved; run the import again".to_owned();
            return Err(unread.iter().cloned().chain([failed]).collect::<Vec<_>>().join("\n").into());
        }
        taken::outcome(self.total(), self.refused(), unread)
    }

    /// True when there was nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.total() == 0
    }
}

/// A reason under which it is counted.
fn bounded(reasons: &BTreeMap<String, u64>, why: &str) -> String {
    let reason: String = why.chars().take(REASON_CHARS_MAX).collect();
    if reasons.len() >= REASONS_MAX && !reasons.contains_key(&reason) { "other reasons".to_owned() } else { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::NotAll;
    use crate::outcome::{Prefix, Refusal};
    use crate::store::By;

    #[test]
    fn reasons_are_bounded() {
        let mut tally = Tally::default();
        for number in 0..10_000 {
            tally.refuse(&format!("invalid: {number} {}", "x".repeat(10_000)), String::new);
        }
        assert_eq!(tally.refused(), 10_000);
        let lines = tally.lines(Duration::from_secs(1));
        assert!(lines.len() < REASONS_MAX + 10, "{}", lines.len());
        assert!(lines.iter().all(|line| line.len() < 200));
        assert!(lines.iter().any(|line| line.contains("other reasons")));
    }

    #[test]
    fn what_is_over_is_no_refusal() {
        let id = Id([0; 32]);
        let mut tally = Tally::default();
        assert!(tally.outcome(&[]).is_ok() && tally.is_empty());
        for saved in [
            Saved::Deleted(By::Author),
            Saved::Vanished(By::Recipient),
            Saved::Expired,
            Saved::Superseded,
            Saved::Duplicate,
        ] {
            tally.add(&id, &outcome::Outcome::Saved(saved));
        }
        assert!(tally.outcome(&[]).is_ok() && !tally.is_empty());
        tally.add(&id, &outcome::Outcome::Refused(Refusal::new(Prefix::Blocked, "test", "no")));
        assert!(tally.outcome(&[]).unwrap_err().is::<NotAll>());
        let mut none = Tally::default();
        none.refuse("invalid", String::new);
        assert!(!none.outcome(&[]).unwrap_err().is::<NotAll>());
    }
}
