//! What of a large message is read beforehand, off the threads that serve sockets.

use crate::event::Event;
use crate::filter::Filter;
use crate::message::{ClientMessage, Refusal};

/// The parts of a message that take long to be read.
#[derive(Default, Debug)]
pub(super) struct Prepared {
    pub(super) event: Option<Result<Event, String>>,
    pub(super) filters: Option<Result<Vec<Filter>, String>>,
}

impl Prepared {
    /// Reads what is in a message. The error is the answer to one that cannot be read.
    pub(super) fn of(text: &str, filters_max: usize) -> Result<Self, Refusal> {
        let mut prepared = Self::default();
        match ClientMessage::parse(text)? {
            ClientMessage::Event(json) | ClientMessage::Auth(json) => prepared.event = Some(Event::parse(json)),
            // More are refused before they are read.
            ClientMessage::Req(_, filters) | ClientMessage::Count(_, filters) if filters.len() <= filters_max => {
                prepared.filters = Some(parse_filters(&filters));
            }
            ClientMessage::NegOpen(_, filter, _) => prepared.filters = Some(parse_filters(&[filter])),
            ClientMessage::Req(..)
            | ClientMessage::Count(..)
            | ClientMessage::Close(_)
            | ClientMessage::NegMsg(..)
            | ClientMessage::NegClose(_) => {}
        }
        Ok(prepared)
    }
}

/// Reads filters. The error is the text of the CLOSED.
pub(super) fn parse_filters(filters: &[&str]) -> Result<Vec<Filter>, String> {
    filters.iter().map(|json| Filter::parse(json).map_err(|error| error.to_string())).collect()
}
