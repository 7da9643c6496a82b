//! What the clients of one address hold and use together, and what those of all addresses may hold.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::bound::{Bound, Holder};
use crate::config::{Config, Limits};
use crate::store::Party;

/// Of one address.
#[derive(Debug)]
pub struct Holdings {
    /// What the readers know of it.
    pub party: Arc<Party>,
    /// COUNTs that may be answered at once.
    pub counts: Arc<Semaphore>,
    /// Bytes of filters.
    pub filters: Arc<Holder>,
    /// Negentropy sessions.
    pub reconciliations: Arc<Holder>,
    /// Bytes of these.
    pub reconciliation_bytes: Arc<Holder>,
}

impl Holdings {
    /// Of an address that has used nothing yet, with the number of its account.
    pub fn new(number: u64, limits: &Limits) -> Self {
        Self {
            party: Party::new(number),
            counts: Arc::new(Semaphore::new(limits.counts_at_once_max.clamp(1, Semaphore::MAX_PERMITS))),
            filters: Arc::default(),
            reconciliations: Arc::default(),
            reconciliation_bytes: Arc::default(),
        }
    }
}

/// Of all addresses.
#[derive(Debug)]
pub struct Bounds {
    /// Bytes of filters.
    pub filters: Arc<Bound>,
    /// Negentropy sessions.
    pub reconciliations: Arc<Bound>,
    /// Bytes of these.
    pub reconciliation_bytes: Arc<Bound>,
}

impl Bounds {
    /// What `config` says.
    pub fn new(config: &Config) -> Self {
        let Config { limits, negentropy, .. } = config;
        Self {
            filters: Bound::new(limits.filters_bytes_max, limits.filters_bytes_address_max),
            reconciliations: Bound::new(negentropy.sessions_max, negentropy.sessions_address_max),
            reconciliation_bytes: Bound::new(negentropy.bytes_max, negentropy.bytes_address_max),
        }
    }
}
