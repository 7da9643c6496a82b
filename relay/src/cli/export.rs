//! `picorelay export`.

use super::{ExportArgs, Outcome};
use crate::config::Config;

/// Writes out events.
pub(super) async fn run(_args: ExportArgs, _config: Config) -> Outcome {
    Err("export is not built yet".into())
}
