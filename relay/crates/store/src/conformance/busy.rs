//! Reading while another writes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Make;
use super::bench::ALL;
use crate::filter::Filter;
use crate::testing::Draft;
use crate::vanish::RelayUrls;
use crate::verify::Verified;
use crate::{Query, Saved, Scan, Step};

/// A profile that is replaced all the time is found by everyone who asks, in one version.
pub(super) fn replaced_while_asked(make: Make<'_>) {
    let backend = make(RelayUrls::default());
    let profile = |n: u64| Draft { author: 1, created_at: 100 + n, content: n.to_string(), ..Draft::default() }.sign();
    let note = |n: u64| Draft { author: 2, kind: 1, created_at: n, ..Draft::default() }.sign();
    let profiles: Vec<Verified> = (0..3_000).map(profile).collect();
    let mut writer = backend.writer().unwrap();
    writer.save(&(0..50).map(note).collect::<Vec<_>>(), 10_000).unwrap();
    writer.save(&profiles[..1], 10_000).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for batch in profiles[1..].chunks(3) {
                let saved = writer.save(batch, 10_000).unwrap().saved;
                assert!(saved.iter().any(|saved| matches!(saved, Saved::New(_))), "{saved:?}");
            }
            done.store(true, Ordering::Release);
        });
        let mut reader = backend.reader().unwrap();
        for filter in [r#"{"kinds":[0]}"#, "{}"].iter().cycle() {
            let query = Query::everything(vec![Filter::parse(filter).unwrap()], 10_000);
            let (mut scan, mut rows) = (Scan::new(query), Vec::new());
            while reader.scan(&mut scan, ALL, &mut rows).unwrap() != Step::Done {}
            let versions = rows.iter().filter(|row| row.kind == 0).count();
            assert_eq!(versions, 1, "{filter}");
            if done.load(Ordering::Acquire) {
                break;
            }
        }
    });
}
