//! How slices fail.

use super::Unavailable;

/// A slice did not do what it was asked. The block is rejected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Fault {
    /// For metrics.
    pub kind: FaultKind,
    /// For people.
    pub message: String,
}

/// How a slice failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FaultKind {
    /// It threw an exception.
    #[error("threw")]
    Threw,
    /// It ran longer than it may.
    #[error("took too long")]
    Time,
    /// It needed more memory or stack than it may.
    #[error("needed too much memory")]
    Memory,
    /// It returned something that has no meaning here, or a promise that nobody resolves.
    #[error("returned something unusable")]
    Result,
    /// What it did brought a fault of the relay to light.
    #[error("made the relay fail")]
    Panic,
    /// It does not run any more.
    #[error("is disabled")]
    Disabled,
    /// The view could not answer.
    #[error("could not read the state")]
    Unavailable,
}

impl From<Unavailable> for Fault {
    fn from(why: Unavailable) -> Self {
        Self { kind: FaultKind::Unavailable, message: why.to_string() }
    }
}
