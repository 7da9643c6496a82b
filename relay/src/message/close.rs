//! CLOSE (NIP-01): ends a subscription. It has no answer.

use crate::connection::Session;

pub(crate) fn handle(session: &mut Session, id: &str) {
    session.end_subscription(id);
}
