//! Filters with several conditions that many events fulfil, and few or none fulfil together.

use super::Make;
use super::bench::{ALL, Bench};
use crate::event::Id;
use crate::filter::Filter;
use crate::testing::{Draft, key};
use crate::vanish::RelayUrls;
use crate::verify::Verified;
use crate::{End, Query, Scan, Slice, Step};

/// Every mix of conditions gives what an event by itself says, in slices of every size and with every limit.
pub(super) fn run(make: Make<'_>) {
    let mut events: Vec<_> = (0..1_500_u32).map(mixed).collect();
    let mut bench = Bench::new(make, "meeting");
    bench.save_events(&events);
    events.sort_by_key(|event| (u64::MAX - event.created_at, event.id));
    let (author, other) = (key(1).to_hex(), key(3).to_hex());
    let filters = [
        r##"{"kinds":[30],"#t":["2"]}"##.to_owned(),
        r##"{"kinds":[7],"#t":["2"]}"##.to_owned(),
        r##"{"kinds":[7,31],"#t":["1","2"],"since":105,"until":190}"##.to_owned(),
        r##"{"#t":["1"],"#x":["4"]}"##.to_owned(),
        r##"{"#t":["0","1"],"#x":["4","5"],"#y":["rare"]}"##.to_owned(),
        r##"{"#t":["1"],"#x":["nobody"]}"##.to_owned(),
        r##"{"#t":["2"],"kinds":[9]}"##.to_owned(),
        format!(r##"{{"authors":["{author}"],"#t":["2"]}}"##),
        format!(r##"{{"authors":["{author}","{other}"],"kinds":[1,7],"#t":["2"],"#x":["4"]}}"##),
        format!(r##"{{"authors":["{other}"],"kinds":[30],"#x":["6","7"],"until":160}}"##),
    ];
    for text in filters {
        for limit in [None, Some(1), Some(20)] {
            let filter = Filter { limit, ..Filter::parse(&text).unwrap() };
            let all: Vec<Id> = events.iter().filter(|event| filter.matches(event)).map(|event| event.id).collect();
            let wanted = limit.map_or(&all[..], |limit| &all[..all.len().min(usize::try_from(limit).unwrap())]);
            let query = Query::everything(vec![filter], 1_000);
            for slice in [ALL, Slice { rows: 3, ..ALL }, Slice { examined: 1, ..ALL }, Slice { examined: 40, ..ALL }] {
                let (found, end) = bench.answer(&query, slice);
                assert_eq!(found, wanted, "{text} {limit:?} {slice:?}");
                let is_all = wanted.len() == all.len();
                assert!(end != if is_all { End::More } else { End::Finish }, "{text} {limit:?} {slice:?}: {end:?}");
            }
        }
    }
}

/// What two conditions have in common is found without a look at all that fulfils one of them.
pub(super) fn leaps(make: Make<'_>) {
    let event = |kind, tag: &str, created_at| {
        let tags = vec![vec!["t".to_owned(), tag.to_owned()]];
        Draft { author: 1, kind, created_at, tags, ..Draft::default() }.sign()
    };
    // Long stretches of one and of the other, and one event of both at the bottom.
    let events: Vec<_> = (100..2_100)
        .map(|at| if at / 500 % 2 == 0 { event(1, "much", at) } else { event(7, "else", at) })
        .chain([event(7, "much", 50)])
        .collect();
    let backend = make(RelayUrls::default());
    let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
    for batch in events.chunks(500) {
        writer.save(batch, 1_000).unwrap();
    }
    let filter = Filter::parse(r##"{"kinds":[7],"#t":["much"]}"##).unwrap();
    let mut scan = Scan::new(Query::everything(vec![filter], 10_000));
    let (mut rows, mut slices) = (Vec::new(), 1);
    while reader.scan(&mut scan, Slice { examined: 100, ..ALL }, &mut rows).unwrap() == Step::Again {
        slices += 1;
    }
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [events.last().unwrap().id]);
    assert!(slices <= 12, "{slices} slices of 100 for 2,000 events");
}

fn mixed(n: u32) -> Verified {
    // A fixed shuffle, so that no condition goes along with another.
    let of =
        |salt: u32, below: u32| (n.wrapping_mul(2_654_435_761) ^ salt.wrapping_mul(40_503)).rotate_left(salt) % below;
    let kind = [1, 1, 1, 7, 7, 31, 30][usize::try_from(of(3, 7)).unwrap()];
    let mut tags = vec![vec!["t".to_owned(), of(5, 3).to_string()], vec!["x".to_owned(), of(7, 8).to_string()]];
    if n.is_multiple_of(97) {
        tags.push(vec!["y".to_owned(), "rare".to_owned()]);
    }
    let author = u8::try_from(1 + of(11, 4)).unwrap();
    Draft { author, kind, created_at: u64::from(100 + of(13, 100)), tags, content: n.to_string() }.sign()
}
