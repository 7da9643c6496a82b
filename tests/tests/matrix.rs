//! Client libraries that people use, each as it is published, against the relay with its default configuration: what
//! `js/matrix/table.js` says of each is tried.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::binary;
use crate::js::{ci, has, has_node, install};

const LIBRARIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/js/matrix");
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

#[test]
#[ignore = "its libraries have timeouts of seconds, so it wants the processors to itself: run it by name"]
fn client_libraries() {
    if !has_node() {
        return;
    }
    install(Path::new(LIBRARIES));
    let mut matrix = Command::new("node");
    matrix.arg("matrix.js").current_dir(LIBRARIES).env("PICORELAY", binary());
    if let Some(python) = python() {
        matrix.env("MATRIX_PYTHON", python);
    }
    let status = matrix.status().unwrap();
    assert!(status.success(), "the table above says which library fails: {status}");
}

/// A Python that has the libraries, in an environment of its own.
fn python() -> Option<PathBuf> {
    if !has("python3") {
        assert!(!ci(), "CI needs python3");
        eprintln!("skipped: the libraries for Python, because python3 is not on the PATH");
        return None;
    }
    let wanted =
        ["build.txt", "requirements.txt"].map(|file| std::fs::read(Path::new(PYTHON).join(file)).unwrap()).concat();
    let environment = Path::new(PYTHON).join(".venv");
    let (program, mark) = (environment.join("bin/python"), environment.join("installed"));
    if std::fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Some(program);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    // One of them comes as source only: what builds it is pinned as well.
    for file in ["build.txt", "requirements.txt"] {
        let mut pip = Command::new(&program);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--disable-pip-version-check",
        ]);
        run(pip.args(["--requirement", file]).current_dir(PYTHON));
    }
    std::fs::write(mark, wanted).unwrap();
    Some(program)
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
