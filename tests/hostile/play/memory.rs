//! What each client may hold, times clients.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Bytes;

use crate::crew::{Crew, Stats};
use crate::harness::sha256_hex;
use crate::line::{Rounds, TEXT, drain, each, head, pieces, pour, text, upgraded};

/// A hundred subscriptions, each for 7,600 authors.
pub(crate) async fn subscriptions(crew: Arc<Crew>) {
    let authors = |from: u32| (from..from + 3_800).map(|n| sha256_hex(n.to_be_bytes())).collect::<Vec<_>>();
    let filter = |from: u32| json!({"authors": authors(from), "limit": 0});
    let rest: Bytes = format!(r#"",{},{}]"#, filter(0), filter(3_800)).into();
    crew.go().await;
    each(&crew, move |crew, number| {
        let rest = rest.clone();
        async move {
            let Ok(stream) = upgraded(&crew, number, "/", None).await else { return };
            let (mut reader, mut writer) = stream.into_split();
            let write = async {
                for n in 0..100 {
                    let begin = format!(r#"["REQ","n{n}"#);
                    let begin = [head(TEXT, true, begin.len() + rest.len()), begin.into_bytes()].concat();
                    crew.send(begin.len() + rest.len()).await;
                    if writer.write_all(&begin).await.is_err() || writer.write_all(&rest).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = write => {}
                () = drain(&mut reader) => {}
            }
            Stats::add(&crew.stats.closed, 1);
        }
    })
    .await;
}

/// 860 small events and then 139 of nearly 500 kB, all falsely signed: as many as may wait for their OK.
pub(crate) async fn events_in_flight(crew: Arc<Crew>) {
    let small: Vec<Vec<u8>> =
        crew.files.falsely_signed()[..860].iter().map(|event| text(format!(r#"["EVENT",{event}]"#))).collect();
    let large = |n: usize| {
        // Three bytes a character, to stay below what the content of an event may have.
        let mut event: Value =
            json!({"kind": 1, "created_at": 1_700_000_000, "tags": [], "content": "€".repeat(160_000)});
        event["id"] = sha256_hex(n.to_be_bytes()).into();
        event["pubkey"] = crew.files.author().into();
        event["sig"] = "ab".repeat(64).into();
        text(json!(["EVENT", event]))
    };
    let frames = pieces(small.into_iter().chain((0..139).map(large)));
    crew.go().await;
    each(&crew, move |crew, number| {
        let frames = Arc::clone(&frames);
        async move {
            if let Ok(stream) = upgraded(&crew, number, "/", None).await {
                // In this order: the small ones keep those busy who would be done with the large ones soon.
                pour(&crew, stream, &frames, 0, Rounds::Endless).await;
            }
        }
    })
    .await;
}
