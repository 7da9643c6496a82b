//! What sockets need, whoever speaks on them: WebSockets ([`websocket`]), connections to others ([`dial`]), patience with those
//! who do not read ([`patience`]), bounds of what came in part ([`unfinished`]), turns ([`rounds`]).

pub mod address;
pub mod descriptors;
pub mod dial;
pub mod patience;
pub mod rounds;
pub mod seldom;
pub mod unfinished;
pub mod websocket;

use picorelay_base::{metrics, rarely};
