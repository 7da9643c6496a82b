//! The settings for a small machine that docs/RUNNING.md names.

use std::env::var_os;

const BOOK: &str = include_str!("../../docs/RUNNING.md");

/// Whether the relay is to be tried with them.
pub(crate) fn is_small() -> bool {
    var_os("PICORELAY_TEST_SMALL").is_some_and(|value| value == "1")
}

/// Each as the variable of the environment that sets it.
pub(crate) fn settings() -> Vec<(String, String)> {
    let (_, section) = BOOK.split_once("## A small machine").unwrap();
    let (_, block) = section.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut table = String::new();
    let mut settings = Vec::new();
    for line in block.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once(" = ") {
            Some((name, value)) => {
                settings.push((format!("PICORELAY_{table}__{name}").to_uppercase(), value.replace('_', "")));
            }
            None => table = line.trim_matches(['[', ']']).to_owned(),
        }
    }
    assert!(settings.len() > 10, "{settings:?}");
    settings
}
