//! Runs the tests in `js/`: nostr-tools as a client.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::harness::Relay;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js");

#[test]
fn nostr_tools() {
    if !has_node() {
        return;
    }
    install(Path::new(FOLDER));
    let relay = Relay::start();
    let status = Command::new("node")
        .args(["--test", "--test-reporter=spec"])
        .current_dir(FOLDER)
        .env("RELAY_URL", &relay.url)
        .status()
        .unwrap();
    assert!(status.success(), "node --test: {status}");
}

/// Are node and npm here? CI must have them.
pub(crate) fn has_node() -> bool {
    let found = has("node") && has("npm");
    if !found {
        assert!(!ci(), "CI needs node and npm");
        eprintln!("skipped: node and npm are not on the PATH");
    }
    found
}

#[allow(clippy::disallowed_methods, reason = "CI is no option of the relay")]
pub(crate) fn ci() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// `npm ci`, unless what is installed is what the lock file says.
pub(crate) fn install(folder: &Path) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let lock = std::fs::read(folder.join("package-lock.json")).unwrap();
    let mark = folder.join("node_modules/.installed");
    if std::fs::read(&mark).is_ok_and(|installed| installed == lock) {
        return;
    }
    let status = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(status.success(), "npm ci: {status}");
    std::fs::write(mark, lock).unwrap();
}
