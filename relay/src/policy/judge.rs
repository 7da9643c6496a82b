//! Rules that the operator brings: slices for events, and a program that judges them. Asked after the policies, before an
//! event is saved or passed on. An import with `--trust` is not judged.

use std::sync::Arc;

use super::plugin::{Answer, Plugin};
use crate::clock::Timestamp;
use crate::outcome::Refusal;
use crate::policy::slices::{self, EventSlices};
use crate::pulse::Pulse;
use crate::source::Source;
use crate::verify::Verified;

/// Handle of all of them; clones share them.
#[derive(Clone)]
pub struct Judges {
    /// JavaScript.
    pub slices: EventSlices,
    /// A program.
    pub plugin: Option<Plugin>,
}

/// What they say of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sentence {
    /// Nobody minds.
    Accept,
    /// Refused.
    Refuse(Refusal),
    /// Not kept, and its author is told that it was.
    Shadow,
}

/// The judges as one thread asks them.
pub struct Bench {
    slices: slices::Judge,
    plugin: Option<Plugin>,
}

impl Judges {
    /// For one thread, which has this pulse.
    pub fn bench(&self, pulse: Arc<Pulse>) -> Bench {
        Bench { slices: self.slices.judge(pulse), plugin: self.plugin.clone() }
    }
}

impl Bench {
    /// True when there is nobody to ask about what comes from there: all is accepted.
    pub fn is_idle(&mut self, source: &Source) -> bool {
        source.is_trusted_import() || self.slices.is_idle() && self.plugin.is_none()
    }

    /// Judges events of one origin: one answer each.
    ///
    /// Slices without state come first, then the program, then slices with state: these see only what all others accepted.
    pub fn judge(&mut self, events: &[Verified], source: &Source, now: Timestamp) -> Vec<Sentence> {
        let auth = source.keys();
        let mut sentences = vec![Sentence::Accept; events.len()];
        let refusals = self.slices.stateless(&left(events, &sentences), auth, now);
        refuse(&mut sentences, refusals);
        if let Some(plugin) = &self.plugin {
            let answers = plugin.judge(left(events, &sentences), source, now);
            for (sentence, answer) in sentences.iter_mut().zip(answers) {
                match answer {
                    Answer::Accept => {}
                    Answer::Refuse(why) => *sentence = Sentence::Refuse(why),
                    Answer::Shadow => *sentence = Sentence::Shadow,
                }
            }
        }
        let refusals = self.slices.stateful(&left(events, &sentences), auth, now);
        refuse(&mut sentences, refusals);
        sentences
    }
}

/// What is still to be judged, in its place.
fn left(events: &[Verified], sentences: &[Sentence]) -> Vec<Option<Verified>> {
    let pairs = events.iter().zip(sentences);
    pairs.map(|(event, sentence)| (*sentence == Sentence::Accept).then(|| event.clone())).collect()
}

fn refuse(sentences: &mut [Sentence], refusals: Vec<Option<Refusal>>) {
    for (sentence, refusal) in sentences.iter_mut().zip(refusals) {
        if let Some(why) = refusal {
            *sentence = Sentence::Refuse(why);
        }
    }
}
