//! What to do when the database file is damaged, said with its name.

use std::path::Path;

use crate::StoreError;

/// The error, with the file and the way out if the file is damaged.
pub(super) fn named(error: StoreError, file: &Path) -> StoreError {
    let what = match &error {
        StoreError::Database(error) => error.to_string(),
        StoreError::Damaged(what) => (*what).to_owned(),
        _ => return error,
    };
    if error.is_damage() { StoreError::Corrupt { file: file.display().to_string(), what } } else { error }
}

/// Does something with the file, and names it if it turns out to be damaged.
pub(super) fn look<T>(file: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    work().map_err(|error| named(error, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_named_and_nothing_else() {
        let failure = |code| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            named(StoreError::Database(error), Path::new("/data/x.db")).to_string()
        };
        for code in [rusqlite::ffi::SQLITE_CORRUPT, rusqlite::ffi::SQLITE_NOTADB] {
            let text = failure(code);
            assert!(text.contains("/data/x.db") && text.contains("picorelay export"), "{text}");
        }
        assert!(!failure(rusqlite::ffi::SQLITE_FULL).contains("/data/x.db"));
    }
}
