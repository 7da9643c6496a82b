//! `picorelay serve`.

use super::Outcome;
use crate::config::Config;

/// Serves until it is told to stop.
pub(super) async fn run(_config: Config) -> Outcome {
    Err("serving is not built yet".into())
}
