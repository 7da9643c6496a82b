//! How a call of a slice can fail.

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
