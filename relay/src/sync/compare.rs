//! Finding the difference in a range of time by negentropy (NIP-77).

use std::sync::Arc;

use hashbrown::HashSet;
use negentropy::{Id as ItemId, Negentropy, NegentropyStorageVector};

use super::client::Heard;
use super::fault::Fault;
use super::local::Window;
use super::session::Session;
use crate::event::Id;
use crate::filter::Filter;

/// What came of a comparison.
pub(super) enum Compared {
    /// What only we have, and what only they have.
    Difference { ours: Vec<Id>, theirs: Vec<Id> },
    /// They have too much in this range to compare it.
    TooBig,
    /// They have so much that we lack that it is better fetched without a list of it.
    TooMany,
    /// This cannot be done with them, or not here.
    Impossible,
}

type Items = Negentropy<'static, NegentropyStorageVector>;

/// Compares what we have in `window`.
pub(super) async fn compare(
    session: &mut Session<'_>,
    filter: &Filter,
    window: &Arc<Window>,
) -> Result<Compared, Fault> {
    let compared = converse(session, filter, window).await;
    session.link.client.neg_close();
    compared
}

async fn converse(session: &mut Session<'_>, filter: &Filter, window: &Arc<Window>) -> Result<Compared, Fault> {
    let (readers, frame_bytes) = (session.local.readers.clone(), session.config.frame_bytes_max);
    let for_reader = Arc::clone(window);
    let built = readers.run_long(move |_| begin(&for_reader, frame_bytes));
    let built = session.link.stall(built).await?.map_err(|_| Fault::Stopped)?;
    let (mut items, first) = built.map_err(|error| failed(&error))?;
    let filter = window.range.of(filter);
    let now = session.link.now();
    session.link.client.neg_open(&filter.json(), &first, now);

    let (mut ours, mut theirs) = (HashSet::new(), HashSet::new());
    for _ in 0..session.config.rounds_max {
        let message = match session.heard().await? {
            Heard::Neg(message) => message,
            Heard::NegErr(why) => return refused(session, &why),
            Heard::Closed(_, why) => return Err(Fault::Refused(why)),
            _ => continue,
        };
        let step = readers.run_long(move |_| {
            let (mut have, mut need) = (Vec::new(), Vec::new());
            let answer = items.reconcile_with_ids(&message, &mut have, &mut need);
            (items, answer, have, need)
        });
        let (back, answer, have, need) = session.link.stall(step).await?.map_err(|_| Fault::Stopped)?;
        items = back;
        ours.extend(have.iter().map(|id| Id(id.to_bytes())));
        theirs.extend(need.iter().map(|id| Id(id.to_bytes())));
        if theirs.len() > session.config.range_events_max {
            return Ok(Compared::TooMany);
        }
        match answer {
            Ok(Some(next)) => {
                let now = session.link.now();
                session.link.client.neg_say(&next, now);
            }
            Ok(None) => {
                let (ours, theirs) = (ours.into_iter().collect(), theirs.into_iter().collect());
                return Ok(Compared::Difference { ours, theirs });
            }
            Err(error) => {
                tracing::debug!(%error, "another relay speaks no proper negentropy");
                let now = session.link.now();
                session.link.client.fault(now)?;
                return Ok(Compared::Impossible);
            }
        }
    }
    tracing::debug!("comparing takes too many messages");
    Ok(Compared::Impossible)
}

fn begin(window: &Window, frame_bytes: u64) -> Result<(Items, Vec<u8>), negentropy::Error> {
    let mut storage = NegentropyStorageVector::new();
    for (created_at, id) in &window.items {
        storage.insert(*created_at, ItemId::from_byte_array(id.0))?;
    }
    storage.seal()?;
    let mut items = Negentropy::owned(storage, frame_bytes)?;
    let first = items.initiate()?;
    Ok((items, first))
}

fn failed(error: &negentropy::Error) -> Fault {
    tracing::error!(%error, "cannot prepare a comparison");
    Fault::Store
}

/// What a NEG-ERR means.
fn refused(session: &Session<'_>, why: &str) -> Result<Compared, Fault> {
    let (prefix, rest) = why.split_once(':').unwrap_or(("", why));
    match prefix {
        "unsupported" => {
            tracing::info!(why, "another relay has no negentropy: asking for its events page by page");
            session.memory.set_plain();
            Ok(Compared::Impossible)
        }
        "auth-required" | "restricted" => Err(Fault::Refused(why.to_owned())),
        "blocked" => Ok(Compared::TooBig),
        _ if rest.contains("too big") || rest.contains("too many") => Ok(Compared::TooBig),
        _ => {
            tracing::debug!(why, "a comparison was refused");
            Ok(Compared::Impossible)
        }
    }
}
