//! Questions of the bridge to the store.

use crate::clock::Timestamp;
use crate::event::{Id, PublicKey};
use crate::filter::{Filter, TagFilter};
use crate::store::{Query, Readers, Row, Scan, Step, Stopped, StoreError};
use crate::verify::Verified;

/// The newest events that a filter matches, newest first, at most `max`.
///
/// # Errors
///
/// The database failed, or the relay stops.
pub async fn events(
    readers: &Readers,
    filter: Filter,
    max: u64,
    now: Timestamp,
) -> Result<Result<Vec<Verified>, StoreError>, Stopped> {
    let mut found = Vec::new();
    let read = each(readers, filter, max, now, |event| found.push(event)).await?;
    Ok(read.map(|()| found))
}

/// The same for who need not keep them: each is given as it is read.
///
/// # Errors
///
/// The database failed, or the relay stops.
pub async fn each(
    readers: &Readers,
    filter: Filter,
    max: u64,
    now: Timestamp,
    mut take: impl FnMut(Verified),
) -> Result<Result<(), StoreError>, Stopped> {
    let query = Query { limit_default: max, limit_max: max, ..Query::everything(vec![filter], now) };
    let mut scan = Scan::new(query);
    loop {
        let (next, rows, step) = readers.slice(scan).await?;
        rows.into_iter().filter_map(Row::verified).for_each(&mut take);
        match step {
            Ok(Step::Again) => scan = next,
            Ok(Step::Done) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Events of these ids.
pub fn by_ids(mut ids: Vec<Id>) -> Filter {
    ids.sort_unstable();
    ids.dedup();
    Filter { ids: Some(ids.into()), ..Filter::default() }
}

/// Events of these kinds, by these authors, with one of these values in tags of this letter.
pub fn tagged(kinds: &[u16], authors: Option<Vec<PublicKey>>, letter: u8, mut values: Vec<String>) -> Filter {
    let mut kinds = kinds.to_vec();
    kinds.sort_unstable();
    values.sort_unstable();
    values.dedup();
    let authors = authors.map(|mut authors| {
        authors.sort_unstable();
        authors.dedup();
        authors.into_boxed_slice()
    });
    Filter {
        kinds: Some(kinds.into()),
        authors,
        tags: vec![TagFilter { letter, values: values.into() }],
        ..Filter::default()
    }
}
