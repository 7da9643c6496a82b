//! The relay's own keys: one file in the data folder, made on first use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nostr::key::{Keys, SecretKey};
use nostr::nips::nip19::ToBech32;

/// Name of the file in the data folder.
pub const FILE: &str = "relay.key";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file or the folder cannot be read or written.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{}: holds no secret key; expected one line with nsec1.. or 64 hex digits", .0.display())]
    Malformed(PathBuf),
}

/// The keys in `<data>/relay.key`, or `None` if there is no such file. Writes nothing.
pub fn load(data: &Path) -> Result<Option<Keys>, KeyError> {
    let path = data.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Keys::parse(text.trim()).map(Some).map_err(|_| KeyError::Malformed(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(KeyError::Malformed(path)),
        Err(error) => Err(KeyError::Io { path, error }),
    }
}

/// The keys in `<data>/relay.key`. If there are none, makes the folder and the keys, in a file that only its owner can
/// read. Of several processes that do so at once one wins, and all get its keys.
pub fn load_or_create(data: &Path) -> Result<Keys, KeyError> {
    if let Some(keys) = load(data)? {
        return Ok(keys);
    }
    let path = data.join(FILE);
    let keys = generate();
    match create(data, &path, keys.secret_key()) {
        Ok(()) => Ok(keys),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => load(data)?.ok_or(KeyError::Io { path, error }),
        Err(error) => Err(KeyError::Io { path, error }),
    }
}

fn generate() -> Keys {
    loop {
        // All but a vanishing share of 32 random bytes are a secret key.
        if let Ok(secret) = SecretKey::from_slice(&rand::random::<[u8; 32]>()) {
            return Keys::new(secret);
        }
    }
}

/// The file appears under its name only when it is whole and on disk, and never replaces another.
fn create(data: &Path, path: &Path, secret: &SecretKey) -> io::Result<()> {
    fs::create_dir_all(data)?;
    let draft = data.join(format!("{FILE}.{:016x}", rand::random::<u64>()));
    let Ok(text) = secret.to_bech32();
    let written = write_private(&draft, &format!("{text}\n")).and_then(|()| publish(&draft, path));
    let removed = fs::remove_file(&draft);
    written?;
    removed?;
    File::open(data)?.sync_all()
}

/// Gives the file its second name. A link fails if the name is taken; file systems without links get a copy, which does
/// too.
fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => write_private(path, &fs::read_to_string(draft)?),
        linked => linked,
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/b");
        assert!(load(&data).unwrap().is_none());
        let made: Vec<Keys> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_create(&data).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|keys| keys.public_key() == made[0].public_key()));
        assert_eq!(load(&data).unwrap().unwrap().public_key(), made[0].public_key());
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(data.join(FILE)).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_no_key_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for text in
            [&b""[..], b"hello", b"\xff\xfe", b"npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6"]
        {
            fs::write(&path, text).unwrap();
            let error = load_or_create(folder.path()).unwrap_err();
            assert!(matches!(error, KeyError::Malformed(_)), "{error}");
            assert_eq!(fs::read(&path).unwrap(), text);
        }
        fs::write(&path, format!("{}\n", "01".repeat(32))).unwrap();
        assert_eq!(load_or_create(folder.path()).unwrap().secret_key().to_secret_hex(), "01".repeat(32));
        let error = load_or_create(&path).unwrap_err();
        assert!(matches!(error, KeyError::Io { .. }), "{error}");
    }
}
