//! Why a connection to another relay ends.

use crate::dial::DialError;

/// Why it ended, said to the operator.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It never began.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// `sync.faults_max` false or unasked messages.
    #[error("the other relay sends what is false or was not asked for")]
    Lies,
    /// A message above `sync.message_bytes_max`.
    #[error("the other relay sent a message longer than sync.message_bytes_max")]
    TooLong,
    /// No answer in time.
    #[error("the other relay did not answer {0} in time")]
    Silent(&'static str),
    /// `rate-limited:`, again and again.
    #[error("the other relay says rate-limited, however long the pause")]
    RateLimited,
    /// What we ask is refused.
    #[error("the other relay refuses: {0}")]
    Refused(String),
    /// The connection was closed.
    #[error("the other relay closed the connection")]
    Gone,
    /// We stop.
    #[error("stopped")]
    Stopped,
    /// Our own database could not take an event or answer a query.
    #[error("the database failed, see the log")]
    Store,
    /// What was done could not be written down.
    #[error("cannot remember what was done: {0}")]
    Io(#[from] std::io::Error),
}

impl Fault {
    /// True when coming back soon would serve nobody.
    pub fn is_hostile(&self) -> bool {
        matches!(self, Self::Lies | Self::TooLong | Self::RateLimited)
    }

    /// A word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Dial(_) => "unreachable",
            Self::Lies => "lies",
            Self::TooLong => "too_long",
            Self::Silent(_) => "silent",
            Self::RateLimited => "rate_limited",
            Self::Refused(_) => "refused",
            Self::Gone => "gone",
            Self::Stopped => "stopped",
            Self::Store | Self::Io(_) => "failed",
        }
    }
}
