//! `/health`: the process answers. `/ready`: it also takes events; a proxy sends clients elsewhere while it does not.

use axum::http::StatusCode;

/// What the relay can do at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Everything.
    Serving,
    /// It was told to stop and finishes what is under way.
    Draining,
    /// The last commit failed (disk full, database damaged): it answers queries, but saves nothing.
    ReadOnly,
}

/// The answer to `/health`.
pub fn health() -> (StatusCode, &'static str) {
    (StatusCode::OK, "ok\n")
}

/// The answer to `/ready`.
pub fn ready(state: State) -> (StatusCode, &'static str) {
    match state {
        State::Serving => (StatusCode::OK, "ready\n"),
        State::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        State::ReadOnly => (StatusCode::SERVICE_UNAVAILABLE, "the database takes no events\n"),
    }
}
