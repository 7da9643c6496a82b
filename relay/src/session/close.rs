//! CLOSE (NIP-01): ends a subscription. It has no answer.

use super::Session;

pub(super) fn handle(session: &mut Session, id: &str) {
    session.end_subscription(id);
}
