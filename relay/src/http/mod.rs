//! What is answered over HTTP. Functions from the configuration and numbers to text; the router calls them.

pub mod client_addr;
pub mod health;
pub mod landing;
pub mod metrics;
pub mod nip11;
pub mod room;
pub mod router;
