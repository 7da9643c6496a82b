//! Whether the other relay keeps what it says it has taken: some of it is asked for again.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::Session;
use crate::bridge::lookup::by_ids;
use crate::event::{Class, Event, Id, PublicKey};
use crate::filter::{Filter, TagFilter};
use crate::store::Body;
use crate::sync::fault::Fault;
use crate::vanish::VANISH;

/// Deletion requests (NIP-09).
const DELETION: u16 = 5;

/// Some relays say OK before others can see it: what is missing is asked for once more after this time.
const PAUSE: Duration = Duration::from_secs(2);

/// Requests that may be refused before no more are made.
const REFUSALS_MAX: usize = 10;

impl Session<'_> {
    /// Asks for a sample of what was sent, and counts what is not there.
    pub async fn ask_back(&mut self) -> Result<(), Fault> {
        let sample = self.memory.sample.lock().ids().to_vec();
        if sample.is_empty() {
            return Ok(());
        }
        let local = self.local;
        // What is gone here need not be there.
        let stored = self.link.stall(local.bodies(&sample)).await??;
        let authors: HashMap<Id, PublicKey> =
            stored.iter().filter_map(|(id, body)| Some((*id, author_of_lasting(body)?))).collect();
        self.kept = Some(HashSet::new());
        let mut answer = self.look_for(authors.keys().copied().collect()).await?;
        if !answer.absent.is_empty() {
            self.link.stall(tokio::time::sleep(PAUSE)).await?;
            let again = self.look_for(answer.absent).await?;
            answer = Answer { absent: again.absent, unknown: answer.unknown + again.unknown };
        }
        let deleted = self.deleted(&answer.absent, &authors).await?;
        self.kept = None;
        let mut tally = self.memory.tally.lock();
        tally.asked_back = authors.len().saturating_sub(answer.unknown) as u64;
        tally.not_told = answer.unknown as u64;
        tally.not_kept = (answer.absent.len() - deleted) as u64;
        Ok(())
    }

    /// Which of these are not there.
    async fn look_for(&mut self, ids: Vec<Id>) -> Result<Answer, Fault> {
        let mut answer = Answer::default();
        let mut refusals = 0;
        let mut chunks: Vec<Vec<Id>> = ids.chunks(self.page_events()).map(<[Id]>::to_vec).collect();
        while let Some(chunk) = chunks.pop() {
            match self.ask(&by_ids(chunk.clone()), chunk.len()).await? {
                Ok(_) => {
                    let asked = chunk.len();
                    let came = self.kept.as_ref();
                    let rest: Vec<Id> =
                        chunk.into_iter().filter(|id| !came.is_some_and(|came| came.contains(id))).collect();
                    // Some relays give fewer than they are asked for.
                    if rest.len() == asked {
                        answer.absent.extend(rest);
                    } else if !rest.is_empty() {
                        chunks.push(rest);
                    }
                }
                // Some relays take fewer values in a filter.
                Err(_) if chunk.len() > 1 && refusals < REFUSALS_MAX => {
                    refusals += 1;
                    let (one, other) = chunk.split_at(chunk.len() / 2);
                    chunks.extend([one.to_vec(), other.to_vec()]);
                }
                Err(_) => {
                    refusals += 1;
                    answer.unknown += chunk.len();
                    if refusals > REFUSALS_MAX {
                        answer.unknown += chunks.drain(..).map(|chunk| chunk.len()).sum::<usize>();
                    }
                }
            }
        }
        Ok(answer)
    }

    /// How many of these their authors have deleted there, with deletions that may not be here.
    async fn deleted(&mut self, ids: &[Id], authors: &HashMap<Id, PublicKey>) -> Result<usize, Fault> {
        if ids.is_empty() || !self.has_deletion(ids, None).await? {
            return Ok(0);
        }
        let mut deleted = 0;
        for id in ids {
            deleted += usize::from(self.has_deletion(&[*id], authors.get(id)).await?);
        }
        Ok(deleted)
    }

    async fn has_deletion(&mut self, ids: &[Id], author: Option<&PublicKey>) -> Result<bool, Fault> {
        let mut values: Vec<String> = ids.iter().map(Id::to_hex).collect();
        values.sort_unstable();
        let filter = Filter {
            kinds: Some([DELETION].into()),
            authors: author.map(|author| [*author].into()),
            tags: vec![TagFilter { letter: b'e', values: values.into() }],
            ..Filter::default()
        };
        Ok(self.ask(&filter, 1).await?.is_ok_and(|page| !page.events.is_empty()))
    }
}

#[derive(Default)]
struct Answer {
    absent: Vec<Id>,
    /// The relay does not say.
    unknown: usize,
}

/// Who wrote it, if it is to stay: what expires, is replaced by newer ones or asks for something is not.
fn author_of_lasting(body: &Body) -> Option<PublicKey> {
    let lasting = |event: &Event| {
        let is_lasting = event.class() == Class::Regular && event.expires_at().is_none() && event.kind != VANISH;
        is_lasting.then_some(event.pubkey)
    };
    match body {
        Body::Event(event) => lasting(event),
        Body::Json(json) => Event::parse(json).ok().and_then(|event| lasting(&event)),
    }
}
