//! One nostr client: its socket, its outbox, its session.

mod limiter;
mod outbox;
mod session;
mod socket;

pub use limiter::{Budget, Limiter};
pub use outbox::{Closing, Outbox};
pub use session::{Open, Session, Work};
pub use socket::{serve, upgrade};
