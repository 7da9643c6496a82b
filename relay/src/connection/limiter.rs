//! How much one connection may ask in a minute.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::Limits;

/// What a message costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Budget {
    /// Any message.
    Message,
    /// One that makes the store work.
    Query,
}

/// The budgets of one connection: a minute's worth may be used at once, and refills evenly.
pub struct Limiter {
    messages: Option<DefaultDirectRateLimiter>,
    queries: Option<DefaultDirectRateLimiter>,
}

impl Limiter {
    /// From `limits`; 0 is no limit.
    pub fn new(limits: &Limits) -> Self {
        let of = |per_minute| NonZeroU32::new(per_minute).map(|n| RateLimiter::direct(Quota::per_minute(n)));
        Self { messages: of(limits.messages_per_minute), queries: of(limits.queries_per_minute) }
    }

    /// Takes one from a budget. False when it is used up.
    pub fn take(&self, budget: Budget) -> bool {
        let limiter = match budget {
            Budget::Message => &self.messages,
            Budget::Query => &self.queries,
        };
        limiter.as_ref().is_none_or(|limiter| limiter.check().is_ok())
    }
}
