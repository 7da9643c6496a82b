//! Swarms without sockets.
