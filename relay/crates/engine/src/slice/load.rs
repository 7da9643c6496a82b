//! Where slices come from: those that come with the relay, and files.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Archive, Owners, Pace, Rate, Slice, Tasks};
use crate::pulse::Pulse;

/// The slices that come with the relay, by the names under which `slices` of a room has them. Each is a file beside this
/// one, and small, to be read by those who write their own.
pub const NATIVE: &[&str] = &["archive", "owners", "rate", "tasks"];

/// A slice that comes with the relay.
pub fn native(name: &str, rate: Pace) -> Option<Box<dyn Slice>> {
    match name {
        "archive" => Some(Box::new(Archive)),
        "owners" => Some(Box::new(Owners)),
        "rate" => Some(Box::new(Rate::new(rate))),
        "tasks" => Some(Box::new(Tasks)),
        _ => None,
    }
}

/// Makes slices of files. Called on the thread that is going to run them, at the start and whenever they changed; they
/// tell its pulse of each call.
pub trait Loader: Send + Sync {
    /// All slices of the room `room` that are files, in the order of the files, and in each file in the order of registration. Files
    /// that were read are added to `read`, also those that others import.
    ///
    /// # Errors
    ///
    /// A file cannot be read or run, or registers nothing usable. Those that ran before go on.
    fn load(
        &self,
        room: &str,
        files: &[PathBuf],
        pulse: &Arc<Pulse>,
        read: &mut Vec<PathBuf>,
    ) -> Result<Vec<Box<dyn Slice>>, LoadError>;
}

/// Slices could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}: {message}")]
pub struct LoadError {
    /// Which file.
    pub file: String,
    /// What is wrong with it, with the line if it is known.
    pub message: String,
}
