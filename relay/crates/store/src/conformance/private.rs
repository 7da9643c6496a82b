//! Private events of others: nobody learns from the work that an answer takes how many there are.

use super::Make;
use super::bench::ALL;
use crate::filter::Filter;
use crate::guard::Viewer;
use crate::testing::{Draft, key};
use crate::vanish::RelayUrls;
use crate::verify::Verified;
use crate::{Query, Scan, Step};

const VICTIM: u8 = 1;
const NOBODY: u8 = 2;
const STRANGER: u8 = 3;
const OTHER: u8 = 4;

/// Gift wraps to the victim and messages by them, in the same seconds as notes of others.
fn events() -> Vec<Verified> {
    let draft = |author, kind, at: u64, tags: &[[&str; 2]]| {
        let tags = tags.iter().map(|tag| tag.iter().map(ToString::to_string).collect()).collect();
        Draft { author, kind, created_at: at, tags, content: at.to_string() }.sign()
    };
    let victim = key(VICTIM).to_hex();
    let other = key(OTHER).to_hex();
    let mut events = Vec::new();
    for n in 0..300 {
        events.push(draft(OTHER, 1059, 1_000 + n, &[["p", &victim], ["t", "x"]]));
        events.push(draft(VICTIM, 4, 1_000 + n, &[["p", &other]]));
        if n % 10 == 0 {
            events.push(draft(OTHER, 1, 1_000 + n, &[["t", "x"]]));
        }
    }
    // The stranger has private events, too.
    events.push(draft(OTHER, 1059, 1_050, &[["p", &key(STRANGER).to_hex()], ["t", "x"]]));
    events.push(draft(STRANGER, 4, 1_060, &[["p", &victim]]));
    events
}

/// An answer about the victim takes no more than one about a key that nobody knows.
pub(super) fn run(make: Make<'_>) {
    let backend = make(RelayUrls::default());
    let (mut writer, mut reader) = (backend.writer().unwrap(), backend.reader().unwrap());
    for batch in events().chunks(100) {
        writer.save(batch, 10_000).unwrap();
    }
    while writer.tend().unwrap() {}
    let mut ask = |filter: &str, viewer: &[u8], bodies| {
        let viewer = Viewer {
            keys: viewer.iter().map(|author| key(*author)).collect(),
            restricted: [4, 1059].into(),
            sees_all: false,
        };
        let everything = Query::everything(vec![Filter::parse(filter).unwrap()], 10_000);
        let mut scan = Scan::new(Query { viewer, bodies, ..everything });
        let mut rows = Vec::new();
        assert_eq!(reader.scan(&mut scan, ALL, &mut rows).unwrap(), Step::Done);
        (scan.examined, rows.len())
    };
    let fifteen: String = (10..25).map(|n| format!(r#","{}""#, key(n).to_hex())).collect();
    for filter in [
        r##"{"#p":["WHO"]}"##,
        r##"{"#p":["WHO"],"limit":10}"##,
        r##"{"#p":["WHO"],"since":1100,"until":1110}"##,
        r##"{"#p":["WHO"],"kinds":[1059]}"##,
        r##"{"#p":["WHO"],"kinds":[1,4,1059]}"##,
        r##"{"#p":["WHO"],"#t":["x"]}"##,
        r#"{"authors":["WHO"]}"#,
        r#"{"authors":["WHO"],"kinds":[4]}"#,
        r#"{"authors":["WHO"],"kinds":[1,4]}"#,
        r#"{"authors":["WHO"],"since":1100,"until":1101}"#,
        r#"{"authors":["WHO"MORE]}"#,
        r#"{"authors":["WHO"MORE],"kinds":[1,4]}"#,
        r#"{"authors":["WHO"MORE],"kinds":[4]}"#,
        r##"{"authors":["WHO"],"#p":["OTHER"]}"##,
        r##"{"authors":["OTHER"],"kinds":[1059],"#p":["WHO"]}"##,
    ] {
        for viewer in [&[][..], &[STRANGER]] {
            for bodies in [true, false] {
                let of = |who: u8| {
                    filter
                        .replace("WHO", &key(who).to_hex())
                        .replace("OTHER", &key(OTHER).to_hex())
                        .replace("MORE", &fifteen)
                };
                let (victim, nobody) = (ask(&of(VICTIM), viewer, bodies), ask(&of(NOBODY), viewer, bodies));
                // The stranger wrote to the victim, and may see that.
                let own = if viewer.is_empty() { 0 } else { 4 };
                assert!(
                    victim.0 <= nobody.0 + own,
                    "{filter} asked by {viewer:?}: {} entries about the victim, {} about nobody",
                    victim.0,
                    nobody.0
                );
            }
        }
    }
    // Who may see them finds them all.
    let victim = key(VICTIM).to_hex();
    for (filter, viewer, expected) in [
        (format!(r##"{{"#p":["{victim}"]}}"##), VICTIM, 301),
        (format!(r##"{{"#p":["{victim}"],"kinds":[1059]}}"##), VICTIM, 300),
        (format!(r#"{{"authors":["{victim}"]}}"#), VICTIM, 300),
        (format!(r#"{{"authors":["{victim}"],"kinds":[1,4]}}"#), OTHER, 300),
        (format!(r##"{{"#p":["{victim}"]}}"##), STRANGER, 1),
        (r##"{"#t":["x"]}"##.to_owned(), STRANGER, 31),
        (r##"{"#t":["x"]}"##.to_owned(), VICTIM, 330),
        (r#"{"kinds":[1059]}"#.to_owned(), STRANGER, 1),
        ("{}".to_owned(), STRANGER, 32),
    ] {
        assert_eq!(ask(&filter, &[viewer], true).1, expected, "{filter} asked by {viewer}");
    }
}
