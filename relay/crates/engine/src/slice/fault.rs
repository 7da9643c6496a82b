//! How slices fail.

use super::Unavailable;
pub use crate::script::FaultKind;
use crate::script::error::ScriptError;

/// A slice did not do what it was asked. The block is rejected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Fault {
    /// For metrics.
    pub kind: FaultKind,
    /// For people.
    pub message: String,
}

impl From<Unavailable> for Fault {
    fn from(why: Unavailable) -> Self {
        Self { kind: FaultKind::Unavailable, message: why.to_string() }
    }
}

impl From<ScriptError> for Fault {
    fn from(error: ScriptError) -> Self {
        Self { kind: error.kind, message: error.to_string() }
    }
}
