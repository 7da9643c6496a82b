//! Failures that would be told hundreds of times a second, such as those of a full disk, told once a minute.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two lines about the same failure.
const PERIOD: Duration = Duration::from_secs(60);

/// Logs a line of a level unless the same line of the source was logged in the last minute, and says how often it was not:
/// `rarely!(error, %error, "a query failed")`.
#[doc(hidden)]
#[macro_export]
macro_rules! __rarely {
    ($level:ident, $($line:tt)+) => {{
        static TOLD: $crate::rarely::Rarely = $crate::rarely::Rarely::new();
        if let Some(left_out) = TOLD.due() {
            $crate::__tracing::$level!(left_out, $($line)+);
        }
    }};
}

#[doc(inline)]
pub use crate::__rarely as rarely;

/// When one line of the source was logged: a `static` beside it, which `rarely!` makes.
#[derive(Debug, Default)]
pub struct Rarely(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    left_out: u64,
}

impl Rarely {
    /// Nothing was told yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Told { last: None, left_out: 0 }))
    }

    /// Whether to tell it now. The number is how often it happened since the last line without being told.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock();
        if told.last.is_some_and(|last| now.duration_since(last) < PERIOD) {
            told.left_out += 1;
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_with_the_number_of_the_others() {
        let (rarely, start) = (Rarely::new(), Instant::now());
        let due = |seconds| rarely.due_at(start + Duration::from_secs(seconds));
        assert_eq!(due(0), Some(0));
        for seconds in 1..60 {
            assert_eq!(due(seconds), None, "{seconds}");
        }
        assert_eq!(due(60), Some(59));
        assert_eq!(due(61), None);
        assert_eq!(due(600), Some(1));
    }
}
