//! File descriptors: each connection is one, and shells and service managers start programs with as few as 1,024.

use std::io;
use std::time::Duration;

use crate::rarely::rarely;

/// What the relay needs beside its clients at most: database, log, slices, connections to other relays and from those
/// who have not said yet what they want.
const OTHERS_MAX: u64 = 256;

/// A pause after which connections are taken again when that failed, as when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Raises the soft limit to the hard one, and says how many descriptors there may be then. None: no limit, or it is not
/// known.
#[cfg(unix)]
pub fn raise() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the soft limit of file descriptors could not be raised to the hard one");
            limit.current
        }
    }
}

/// There is no such limit.
#[cfg(not(unix))]
pub fn raise() -> Option<u64> {
    None
}

/// How many clients there is room for when there may be so many descriptors.
pub fn clients_max(descriptors: u64) -> usize {
    usize::try_from(descriptors - OTHERS_MAX.min(descriptors / 4)).unwrap_or(usize::MAX)
}

/// What to do when a connection could not be taken: a client that is gone already costs nobody anything, but without
/// descriptors everybody waits.
pub async fn could_not_accept(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        tracing::debug!(%error, "a connection was gone before it was taken");
        return;
    }
    if is_exhausted(error) {
        rarely!(
            warn, %error,
            "connections cannot be taken: there are no file descriptors left; raise the limit (ulimit -n, LimitNOFILE) or \
             lower limits.connections_max"
        );
    } else {
        rarely!(warn, %error, "connections cannot be taken");
    }
    tokio::time::sleep(PAUSE).await;
}

#[cfg(unix)]
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

#[cfg(not(unix))]
fn is_exhausted(_: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_the_relay_itself() {
        for (descriptors, clients) in [(1024, 768), (1_048_576, 1_048_320), (64, 48), (0, 0)] {
            assert_eq!(clients_max(descriptors), clients);
        }
    }
}
