//! Events whose signatures are those of other events: each has to be checked, and none counts.

use std::sync::Arc;

use crate::crew::Crew;
use crate::line::{Rounds, flood, pieces, text};

/// One connection each, for as long as the relay lets them.
pub(crate) async fn steady(crew: Arc<Crew>) {
    forge(crew, Rounds::Endless).await;
}

/// Each sends 5,600, leaves, and comes again.
pub(crate) async fn reconnecting(crew: Arc<Crew>) {
    forge(crew, Rounds::One).await;
}

async fn forge(crew: Arc<Crew>, rounds: Rounds) {
    let frames = crew.files.falsely_signed().into_iter().map(|event| text(format!(r#"["EVENT",{event}]"#)));
    flood(Arc::clone(&crew), Some("/"), pieces(frames), rounds).await;
}
