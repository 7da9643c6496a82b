//! Which slices a room has: those of the configuration, and files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::slice::{self, LoadError, Loader, Pace, Slice};
use crate::pulse::Pulse;
use crate::store::repo::RoomName;

/// The rules of a room, as they are configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Slices that come with the relay, and files, in the order in which they are asked.
    pub listed: Vec<PathBuf>,
    /// The folder of the room's own scripts, which come after those. Its name is that of the room.
    pub folder: PathBuf,
}

impl Rules {
    /// The rules of all rooms that have any but to keep everything. `folder`: has a folder of files for each room that has some;
    /// `declared`: the rooms of the configuration, with the slices that are listed there.
    pub fn all(folder: &Path, declared: &[(RoomName, Vec<PathBuf>)]) -> Vec<(RoomName, Self)> {
        let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let found = found.filter_map(|entry| entry.file_name().to_str()?.parse::<RoomName>().ok());
        let names: BTreeSet<RoomName> = declared.iter().map(|(name, _)| name.clone()).chain(found).collect();
        let rules = names.into_iter().map(|name| {
            let listed = declared.iter().find(|(declared, _)| *declared == name);
            let listed = listed.map(|(_, slices)| slices.clone()).unwrap_or_default();
            let folder = folder.join(name.as_str());
            (name, Self { listed, folder })
        });
        rules.filter(|(_, rules)| !rules.are_those_of_an_archive()).collect()
    }

    fn are_those_of_an_archive(&self) -> bool {
        self.listed.iter().all(|slice| slice == Path::new("archive")) && self.files().is_empty()
    }

    /// The files, in the order of their names those that are in the folder.
    pub fn files(&self) -> Vec<PathBuf> {
        let listed = self.listed.iter().filter(|slice| !is_native(slice)).cloned();
        let found = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_script = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "js" || ending == "mjs");
        let found: BTreeSet<PathBuf> = found.filter(is_script).collect();
        listed.chain(found).collect()
    }

    /// Makes the slices. Files that were read are added to `read`.
    ///
    /// # Errors
    ///
    /// A file cannot be loaded, names are not unique, or there is nothing to load.
    pub fn load(
        &self,
        pace: Pace,
        loader: &dyn Loader,
        pulse: &Arc<Pulse>,
        read: &mut Vec<PathBuf>,
    ) -> Result<Vec<Box<dyn Slice>>, LoadError> {
        let wrong = |file: String, message: &str| LoadError { file, message: message.into() };
        let native = self.listed.iter().filter_map(|name| slice::native(name.to_str()?, pace));
        let mut slices: Vec<Box<dyn Slice>> = native.collect();
        let files = self.files();
        if !files.is_empty() {
            let room = self.folder.file_name().unwrap_or_default().to_string_lossy();
            slices.extend(loader.load(&room, &files, pulse, read)?);
        }
        let mut names = BTreeSet::new();
        for slice in &slices {
            let name = slice.name();
            if name.is_empty() || name.len() > 64 {
                return Err(wrong(name.to_owned(), "the name of a slice has 1 to 64 bytes"));
            }
            if !names.insert(name) {
                return Err(wrong(name.to_owned(), "two slices have this name"));
            }
        }
        if slices.is_empty() {
            return Err(wrong(self.folder.display().to_string(), "there are no slices any more"));
        }
        Ok(slices)
    }
}

/// Whether a slice of the configuration is one that comes with the relay, and not a file.
pub fn is_native(name: &Path) -> bool {
    name.to_str().is_some_and(|name| slice::NATIVE.contains(&name))
}
