//! What became of events, of both directions.

use std::collections::BTreeMap;

use crate::outcome::Outcome;
use crate::store::Saved;

/// Different reasons that are told apart; the others are counted together.
const REASONS_MAX: usize = 30;

/// What became of events, of both directions.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Came and were new.
    pub received: u64,
    /// Came and were there already, in this or a newer version.
    pub known: u64,
    /// Came and were refused here, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Id or signature were wrong; counted as refused, too.
    pub invalid: u64,
    /// Came and are gone for good, as their author wants it: deleted, vanished or expired. Counted as refused, too.
    pub gone: u64,
    /// Messages that were false or not asked for.
    pub unasked: u64,
    /// Pauses, as the other relay said `rate-limited:`.
    pub pauses: u64,
    /// Could not be saved.
    pub failed: u64,
    /// Sent and taken by the other relay.
    pub sent: u64,
    /// Of these, as many as were asked for again afterwards.
    pub asked_back: u64,
    /// Of these, as many as were not there.
    pub not_kept: u64,
    /// As many as the other relay does not say of.
    pub not_told: u64,
    /// Sent and refused by the other relay, by reason.
    pub sent_refused: BTreeMap<String, u64>,
    /// Of these, as many as are gone there for good, as their author wants it.
    pub sent_gone: u64,
    /// Offered by the other relay and not given when asked for.
    pub missing: u64,
    /// Seconds in which the other relay has more events than it gives at a time: some of them may be missed.
    pub crowded: u64,
}

impl Tally {
    pub(super) fn came(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Saved(Saved::New(_)) | Outcome::Passed => self.received += 1,
            Outcome::Saved(Saved::Duplicate | Saved::Superseded) => self.known += 1,
            Outcome::Saved(Saved::Deleted(by)) => self.is_gone(by.deleted()),
            Outcome::Saved(Saved::Vanished(by)) => self.is_gone(by.vanished()),
            Outcome::Saved(Saved::Expired) => self.is_gone("expired"),
            Outcome::Shadowed => count(&mut self.refused, "rejected by a rule of the operator"),
            Outcome::Refused(_) if outcome.is_failure() => self.failed += 1,
            Outcome::Refused(why) => {
                self.invalid += u64::from(outcome.is_forged());
                count(&mut self.refused, &why.to_string());
            }
        }
    }

    fn is_gone(&mut self, why: &str) {
        self.gone += 1;
        count(&mut self.refused, why);
    }

    /// What became of an event that was sent.
    pub fn went(&mut self, answer: &Result<(), String>) {
        match answer {
            Ok(()) => self.sent += 1,
            Err(why) => {
                // There is no prefix for that; relays say it in words, this one with "forget".
                let is_gone =
                    ["deleted", "expired", "vanish", "forget"].iter().any(|word| why.to_lowercase().contains(word));
                self.sent_gone += u64::from(is_gone);
                count(&mut self.sent_refused, why);
            }
        }
    }

    /// What was done since `before`, by the word that metrics have for it.
    pub fn words(&self, before: &Self) -> [(&'static str, u64); 7] {
        let sum = |tally: &Self| tally.refused.values().sum::<u64>();
        let sum_sent = |tally: &Self| tally.sent_refused.values().sum::<u64>();
        [
            ("received", self.received - before.received),
            ("known", self.known - before.known),
            ("refused", sum(self) - sum(before)),
            ("failed", self.failed - before.failed),
            ("missing", self.missing - before.missing),
            ("sent", self.sent - before.sent),
            ("sent_refused", sum_sent(self) - sum_sent(before)),
        ]
    }

    /// What stands between this and both sides having the same, in words; nothing if they have. What is gone for good is
    /// nobody's loss.
    pub fn shortfalls(&self) -> Vec<String> {
        let refused = self.refused.values().sum::<u64>() - self.gone;
        let counts = [
            (refused, "refused here"),
            (self.sent_refused.values().sum::<u64>() - self.sent_gone, "refused there"),
            (self.not_kept, "taken there and not kept"),
            (self.not_told, "taken there, of which it does not say whether they are kept"),
            (self.missing, "promised and not given"),
            (self.unasked, "false or not asked for"),
            (self.failed, "not saved"),
            (self.crowded, "seconds of which some may be missed"),
        ];
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }

    /// Everything that was done so far, of any kind: it grows as long as there is progress.
    pub fn total(&self) -> u64 {
        let refused = |reasons: &BTreeMap<String, u64>| reasons.values().sum::<u64>();
        self.received + self.known + self.sent + refused(&self.refused) + refused(&self.sent_refused)
    }
}

fn count(reasons: &mut BTreeMap<String, u64>, why: &str) {
    let why = if reasons.len() < REASONS_MAX || reasons.contains_key(why) { why } else { "other reasons" };
    *reasons.entry(why.to_owned()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Id;
    use crate::message::reply;
    use crate::store::By;

    /// What is gone on both sides is no difference between them.
    #[test]
    fn what_a_picorelay_says_is_gone_is_known_as_that() {
        let mut tally = Tally::default();
        let outcomes = [
            Saved::Deleted(By::Author),
            Saved::Deleted(By::Recipient),
            Saved::Vanished(By::Author),
            Saved::Vanished(By::Recipient),
            Saved::Expired,
        ];
        for (number, saved) in (1..).zip(outcomes) {
            let text: serde_json::Value = serde_json::from_str(&reply::saved(&Id([0; 32]), saved)).unwrap();
            tally.went(&Err(text[3].as_str().unwrap().to_owned()));
            tally.came(&Outcome::Saved(saved));
            assert_eq!((tally.sent_gone, tally.gone), (number, number), "{text}");
        }
        tally.went(&Err("blocked: not on the list".to_owned()));
        assert_eq!(tally.sent_gone, 5);
    }
}
