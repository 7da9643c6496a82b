//! How many instructions the hot paths take: `cargo bench -p picorelay --bench instructions`.
//!
//! Counts repeat where times do not, so they are compared with the recorded ones in `instructions.tsv`, and one that has
//! about doubled is a failure. `-- --record` writes the table anew.
//!
//! Each path runs in a process of its own under valgrind's callgrind, with N and with 2 N steps. The difference is what N
//! steps cost, whatever it takes to make them ready.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on stops; it prints a table"
)]

mod work;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use work::{HotPath, PATHS, Work};

// As in the relay.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.tsv");

/// A path that takes this much of what was recorded has doubled, though a little may have been saved elsewhere. Counts
/// of one program differ by a few hundredths, those of two compilers by a tenth or two.
const RATIO_MAX: f64 = 1.8;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["--walk", name, steps, folder] = args[..] {
        let path = PATHS.iter().find(|path| path.name == name).unwrap();
        Work::open(Path::new(folder)).make(path)(steps.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    if !args.contains(&"--bench") {
        // A test run, which only asks whether this builds.
        return ExitCode::SUCCESS;
    }
    let has_valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !has_valgrind.is_ok_and(|status| status.success()) {
        eprintln!("valgrind is missing: install it (Debian: apt-get install valgrind) to count instructions");
        return ExitCode::FAILURE;
    }

    let folder = tempfile::tempdir().unwrap();
    Work::generate(folder.path());
    let counts: Vec<(&str, u64)> = PATHS.iter().map(|path| (path.name, count(path, folder.path()))).collect();
    if args.contains(&"--record") {
        let table: String = counts.iter().map(|(name, count)| format!("{name}\t{count}\n")).collect();
        std::fs::write(TABLE, &table).unwrap();
        print!("{table}");
        return ExitCode::SUCCESS;
    }
    compare(&counts, &recorded())
}

/// Prints the table, and fails if a path has doubled or has no record.
fn compare(counts: &[(&str, u64)], recorded: &BTreeMap<String, u64>) -> ExitCode {
    println!("{:<26} {:>12} {:>12} {:>6}", "hot path", "instructions", "recorded", "ratio");
    let mut wrong = Vec::new();
    for (name, count) in counts {
        let Some(before) = recorded.get(*name) else {
            println!("{name:<26} {count:>12} {:>12}", "-");
            wrong.push(format!("{name}: no record"));
            continue;
        };
        let ratio = *count as f64 / *before as f64;
        println!("{name:<26} {count:>12} {before:>12} {ratio:>6.2}");
        if ratio > RATIO_MAX {
            wrong.push(format!("{name}: {ratio:.2} times what was recorded, {RATIO_MAX} is allowed"));
        }
    }
    for name in recorded.keys().filter(|name| !counts.iter().any(|(counted, _)| counted == name)) {
        wrong.push(format!("{name}: recorded, but not a hot path"));
    }
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("\n{}", wrong.join("\n"));
    eprintln!("If this must be, record it: cargo bench -p picorelay --bench instructions -- --record");
    ExitCode::FAILURE
}

/// Instructions for one operation of `path`.
fn count(path: &HotPath, folder: &Path) -> u64 {
    let (once, twice) = std::thread::scope(|scope| {
        let twice = scope.spawn(|| walk(path, path.steps * 2, folder));
        (walk(path, path.steps, folder), twice.join().unwrap())
    });
    assert!(twice > once, "{}: {once} instructions, then {twice} for twice the steps", path.name);
    (twice - once) / (path.steps * path.operations) as u64
}

/// Instructions of a process that walks so many steps of `path`.
fn walk(path: &HotPath, steps: usize, folder: &Path) -> u64 {
    let out = folder.join(format!("{}.{steps}.out", path.name.replace(' ', "-")));
    let mut file = std::ffi::OsString::from("--callgrind-out-file=");
    file.push(&out);
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(file)
        .arg(std::env::current_exe().unwrap())
        .args(["--walk", path.name, &steps.to_string()])
        .arg(folder)
        .stdout(Stdio::null())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}: {}", path.name, String::from_utf8_lossy(&run.stderr));
    let counts = std::fs::read_to_string(&out).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap().trim().parse().unwrap()
}

fn recorded() -> BTreeMap<String, u64> {
    let table = std::fs::read_to_string(TABLE).unwrap_or_default();
    table
        .lines()
        .map(|line| {
            let (name, count) = line.split_once('\t').unwrap();
            (name.to_owned(), count.parse().unwrap())
        })
        .collect()
}
