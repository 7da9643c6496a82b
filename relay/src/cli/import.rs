//! `picorelay import`.

use super::{ImportArgs, Outcome};
use crate::config::Config;

/// Takes in events from files or stdin.
pub(super) async fn run(_args: ImportArgs, _config: Config) -> Outcome {
    Err("import is not built yet".into())
}
