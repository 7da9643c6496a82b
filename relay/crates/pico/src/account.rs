//! Who connects to rooms, and from where, as the rest of the relay knows it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::store::Party;

/// The account of an address: whoever connects from there shares it, peers and others.
pub trait Account: Send + Sync + 'static {
    /// Tells accounts apart.
    fn number(&self) -> u64;

    /// The address; of IPv6 the first of its /64.
    fn address(&self) -> IpAddr;

    /// In whose turns the store is read for it.
    fn party(&self) -> &Arc<Party>;

    /// A peer at the address has sent a message of so many bytes, which counts as so many `frames`. If all of them send too
    /// much: how long to read nothing.
    fn spend(&self, frames: usize, bytes: usize, now: Instant) -> Option<Duration>;

    /// How long reading waits after a message of a peer that is not known to send true feeds.
    fn delay(&self, now: Instant) -> Duration;

    /// So many false feeds came. True if the address may not be connected any more, for a while.
    fn false_feeds(&self, count: u32, now: Instant) -> bool;
}

/// A stranger who was let in. Their place is given back when this is dropped.
pub trait Guest: Send + Sync + 'static {
    /// The address they connect from.
    fn client(&self) -> IpAddr;

    /// The account of that address.
    fn account(&self) -> Arc<dyn Account>;

    /// Something came from them.
    fn heard(&self);

    /// Waits until their place is given to somebody else: the connection must end.
    fn given_away(&self) -> impl Future<Output = ()> + Send;

    /// Something is refused to them, for the log. `what`: one word, such as `room`.
    fn refused(&self, what: &'static str, why: &str);
}

/// Lets strangers in.
pub trait Door: Send + Sync + 'static {
    /// Who was let in.
    type Guest: Guest;

    /// Lets somebody in, if there is room.
    fn admit(&self, client: IpAddr) -> Option<Self::Guest>;
}
