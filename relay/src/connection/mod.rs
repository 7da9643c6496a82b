//! One nostr client: its socket, its outbox, its session.

mod answers;
mod challenge;
mod limiter;
mod outbox;
mod outboxes;
mod prepared;
mod session;
mod socket;

pub use challenge::Challenge;
pub use limiter::Limiter;
pub use outbox::{Closing, Outbox};
pub use outboxes::Outboxes;
pub use session::{Greeting, Open, Session, Wait, Work};
pub use socket::upgrade;
