//! What attackers do, one file for each family.

pub(crate) mod beside;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod memory;
pub(crate) mod negentropy;
pub(crate) mod queries;
pub(crate) mod rooms;
pub(crate) mod rubbish;
pub(crate) mod signatures;
pub(crate) mod slow;
pub(crate) mod timing;
pub(crate) mod traffic;
