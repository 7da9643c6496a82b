//! Slices of pico rooms written in JavaScript: `store.register('notes', Notes)` with a class that extends `Memory`
//! (picostore 3), `store.register({ name, initialValue, filter, reducer, .. })` (picostore 2).
//!
//! What a script reads while it computes (`lookup`, `latch`, `mutate`, `readState`) are promises: they are put in a list, and
//! served from what the engine shows of the state when nothing else is left to do.

mod script;
mod slice;
mod values;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use self::script::Script;
use self::slice::{Root, ScriptSlice};
use crate::pulse::Pulse;
use crate::script::error::ScriptError;
use crate::script::health::Health;
use crate::script::limits::Limits;
use crate::script::modules::Sources;
use crate::slice::{LoadError, Loader, Slice};

/// Loads slices from files.
#[derive(Clone, Copy, Debug)]
pub struct Scripts {
    limits: Limits,
}

impl Scripts {
    /// With these limits for each file.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Slices of some scripts, of a room without a name.
    ///
    /// # Errors
    ///
    /// It does not run, or registers nothing usable.
    pub fn load_sources(&self, sources: Vec<Sources>, pulse: &Arc<Pulse>) -> Result<Vec<Box<dyn Slice>>, LoadError> {
        self.load_all("", sources, pulse, &mut Vec::new())
    }

    fn load_all(
        &self,
        room: &str,
        sources: Vec<Sources>,
        pulse: &Arc<Pulse>,
        read: &mut Vec<PathBuf>,
    ) -> Result<Vec<Box<dyn Slice>>, LoadError> {
        let mut slices: Vec<ScriptSlice> = Vec::new();
        for mut sources in sources {
            let file = sources.main().to_owned();
            let refused = |error: ScriptError| LoadError { file: error.place.clone(), message: error.message };
            let loaded = Script::load(room, &mut sources, &self.limits, pulse);
            read.extend(sources.paths());
            let (script, found) = loaded.map_err(refused)?;
            for (index, is) in found.into_iter().enumerate() {
                if slices.iter().any(|other| other.name() == is.name) {
                    let message = format!("another file of the room registers `{}`", is.name);
                    return Err(LoadError { file, message });
                }
                let health = Health::new(room, &is.name, &self.limits);
                slices.push(ScriptSlice::new(&script, index, is, health));
            }
        }
        let roots: Rc<[Root]> = slices.iter().filter_map(ScriptSlice::root).collect();
        for slice in &mut slices {
            slice.see(&roots);
        }
        Ok(slices.into_iter().map(|slice| Box::new(slice) as Box<dyn Slice>).collect())
    }
}

impl Loader for Scripts {
    fn load(
        &self,
        room: &str,
        files: &[PathBuf],
        pulse: &Arc<Pulse>,
        read: &mut Vec<PathBuf>,
    ) -> Result<Vec<Box<dyn Slice>>, LoadError> {
        let sources = files.iter().map(|file| Sources::file(file, self.limits.source_bytes));
        self.load_all(room, sources.collect(), pulse, read)
    }
}

#[cfg(test)]
mod tests;
