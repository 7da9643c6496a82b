//! Hostile neighbours. Each attack runs beside a healthy publisher and a healthy reader, whose rates and delays are measured
//! before, during and after it, against a relay with the default configuration.
//!
//! ```text
//! cargo test --workspace --test hostile                         the worst attacks, each for some seconds
//! cargo test --workspace --test hostile -- search               attacks with `search` in their name
//! PICORELAY_TEST_LONG=1 cargo test .. --test hostile            all of them, and the stricter bounds
//! PICORELAY_TEST_BINARY=$PWD/target/release/picorelay cargo ..  another program than that of the tests' profile
//! PICORELAY_TEST_SMALL=1 cargo test .. --test hostile           with the settings for a small machine, and 512 MiB
//! cargo test .. --test hostile -- --once --list                 no second try after a breach; only their names
//! ```
//!
//! The healthy clients come from 127.0.0.1, one attacking address is 127.0.0.2, twenty are 127.0.1.1 to 127.0.1.20. Each
//! side is a process: attackers have little claim to the processors, so what is measured is the relay.

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::large_futures,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod attack;
mod child;
mod crew;
#[path = "../tests/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the other tests, which use more of it")]
mod harness;
mod healthy;
mod line;
mod list;
mod play;
mod report;
mod run;
mod small;
mod target;
mod template;
mod verdict;
mod window;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--crew", rest @ ..] => crew::main(rest),
        ["--healthy", rest @ ..] => healthy::main(rest),
        _ if words.contains(&"--list") => {
            list::ATTACKS.iter().for_each(|attack| eprintln!("{}: {}", attack.name, attack.what));
            ExitCode::SUCCESS
        }
        // Other flags of the usual test program, such as `--nocapture`, mean nothing here.
        _ => {
            let names: Vec<&str> = words.iter().filter(|word| !word.starts_with('-')).copied().collect();
            run::all(&names, words.contains(&"--once"))
        }
    }
}
