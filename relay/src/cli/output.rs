//! Files that hold what is private: readable only by their owner, and there as a whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// A file that is being written.
pub(super) enum Output {
    /// Beside its place, which it takes when it is whole. What was there before is kept until then.
    Beside(NamedTempFile, PathBuf),
    /// A device or a pipe.
    Direct(File),
}

impl Output {
    /// Begins a file. On Unix its mode is 0600, whatever that of the one before was.
    pub(super) fn create(path: &Path) -> Result<Self, String> {
        let named = |error: io::Error| format!("{}: {error}", path.display());
        let target = match fs::metadata(path) {
            Ok(about) if about.is_dir() => return Err(format!("{} is a folder", path.display())),
            Ok(about) if !about.is_file() => {
                return File::options().write(true).open(path).map(Self::Direct).map_err(named);
            }
            // Not the link to it, which would no longer be one.
            Ok(_) => fs::canonicalize(path).map_err(named)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(named(error)),
        };
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(target.file_name().unwrap_or_default());
        prefix.push(".");
        let beside = Builder::new().prefix(&prefix).suffix(".part").tempfile_in(folder);
        let beside = beside.map_err(|error| format!("{}: cannot write into the folder: {error}", folder.display()))?;
        Ok(Self::Beside(beside, target))
    }

    /// Where to write.
    pub(super) fn file(&mut self) -> &mut File {
        match self {
            Self::Beside(beside, _) => beside.as_file_mut(),
            Self::Direct(file) => file,
        }
    }

    /// It is whole: it goes to the disk, and then to its place.
    pub(super) fn finish(self) -> Result<(), String> {
        match self {
            Self::Beside(beside, target) => {
                let named = |error: io::Error| format!("{}: {error}", target.display());
                beside.as_file().sync_all().map_err(named)?;
                beside.persist(&target).map_err(|error| named(error.error))?;
                #[cfg(unix)]
                if let Some(folder) = target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                    let _ = File::open(folder).and_then(|folder| folder.sync_all());
                }
                Ok(())
            }
            Self::Direct(_) => Ok(()),
        }
    }

    /// It will not become whole: it goes beside its place, under the name with `.part` behind it, which is given. What was at
    /// its place before stays.
    pub(super) fn keep_part(self) -> Result<Option<PathBuf>, String> {
        match self {
            Self::Beside(beside, target) => {
                let mut name = target.into_os_string();
                name.push(".part");
                Self::Beside(beside, PathBuf::from(&name)).finish()?;
                Ok(Some(name.into()))
            }
            Self::Direct(_) => Ok(None),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_old_one_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.jsonl"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        symlink("a.jsonl", &link).unwrap();
        let mut output = Output::create(&link).unwrap();
        output.file().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(output);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "what was not finished is gone");
        let mut output = Output::create(&link).unwrap();
        output.file().write_all(b"new").unwrap();
        output.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(mode(&path), 0o600);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let fresh = folder.path().join("fresh");
        Output::create(&fresh).unwrap().finish().unwrap();
        assert_eq!(mode(&fresh), 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    }

    #[test]
    fn devices_stay_what_they_are() {
        let mut output = Output::create(Path::new("/dev/null")).unwrap();
        output.file().write_all(b"x").unwrap();
        output.finish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(Output::create(Path::new("/")).is_err());
        assert!(Output::create(Path::new("/nowhere/at/all")).is_err());
    }
}
