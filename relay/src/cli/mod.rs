//! The command line: one file for each command.
//!
//! Exit codes: 0 done, 1 failed (said on stderr), 2 used wrongly (clap says how), 3 done, but not for everything (`import` and
//! `sync`; said on stderr).

mod check;
mod database;
mod export;
mod import;
mod input;
mod key;
mod output;
mod pico;
mod room;
mod serve;
mod sync;
mod taken;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::{Config, Direction};
use crate::dial::is_websocket;
use crate::filter::Filter;
use crate::pico::repo::RoomName;
use taken::NothingTaken;

/// What a command comes to. The error is printed with its causes, and the exit code is 1, or 3 if it was done, but not for
/// everything.
pub type Outcome = Result<(), Failure>;

type Failure = Box<dyn Error + Send + Sync>;

/// Done, but not for everything. The exit code is 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotAll(String);

/// The exit code that goes with it.
const NOT_ALL: u8 = 3;

/// A self-hosted nostr relay.
///
/// Without a command it serves. With no configuration at all it listens on 127.0.0.1:7420 and keeps its data in ./data.
#[derive(Debug, Parser)]
#[command(name = "picorelay", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The configuration file [default: $PICORELAY_CONFIG, or ./picorelay.toml if there is one]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// The folder of the database and the relay's keys; made if missing [default: ./data]
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,

    /// For `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
}

const EXAMPLES: &str = "\
Examples:
  picorelay                                      Serve on 127.0.0.1:7420
  picorelay --listen 0.0.0.0:7420 --data /srv/relay
  picorelay import notes.jsonl                   Take in events, one a line
  picorelay export backup.jsonl                  Write out everything
  picorelay check                                Check the configuration

Every option of the configuration is also an environment variable: `listen` in
section [server] is PICORELAY_SERVER__LISTEN. Flags win over the environment,
the environment over the file.";

/// One for each file beside this one.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients until SIGTERM or Ctrl-C (this is what happens without a command)
    ///
    /// Prints one line with its addresses when it is ready. On SIGTERM it takes no more connections, finishes what is
    /// under way, and exits with 0.
    #[command(after_help = "\
Examples:
  picorelay serve --listen 127.0.0.1:0           Take a free port and print it
  picorelay serve --config /etc/picorelay.toml")]
    Serve(ServeArgs),

    /// Take in events from files or stdin
    ///
    /// NIP-01 event objects, one a line (JSONL), pretty-printed or in an array, or messages such as ["EVENT",{..}]; also
    /// compressed with gzip or zstd. Events that are there already are counted and skipped, so it can be run again. The
    /// server must not be running on the same data folder. Files that end in .pico, and all with --room, are feeds of a pico
    /// room.
    ///
    /// Each event is checked like one of a client that has not authenticated: signature, limits of size and age, proof of
    /// work, protected events (NIP-70), slices and policy plugin. With --trust, for backups of your own, only signatures are.
    /// What comes of versions, deletions and requests to vanish is decided in the order of the lines. A file that cannot be read
    /// does not keep the others away.
    #[command(after_help = "\
Examples:
  picorelay import a.jsonl b.jsonl
  nak req -k 1 wss://relay.example | picorelay import -
  picorelay import --trust backup.jsonl.gz       Restore a backup
  picorelay import notes.pico --room notes       Take feeds into a pico room

Exit codes:
  0  all is taken or was there before; what its author deleted, what has
     expired and what is superseded is not missed; nor is anything if there
     was no event at all
  1  nothing was taken, or some could not be saved
  2  used wrongly
  3  done, but some was refused, or a file could not be read to its end: the
     summary and the last lines say why")]
    Import(ImportArgs),

    /// Write out events as JSONL, or a pico room
    ///
    /// One NIP-01 event object a line, newest first. Private events are included: the result is for the operator's eyes, and
    /// the file is readable only by its owner. A file that is there already is replaced when the new one is whole. Of a
    /// damaged database, what can be read goes into FILE.part instead, and the exit code is 1.
    /// With --room, or to a file that ends in .pico: all chains of a pico room, as `import` reads them.
    #[command(after_help = "\
Examples:
  picorelay export backup.jsonl
  picorelay export | gzip > backup.jsonl.gz
  picorelay export --filter '{\"kinds\":[0,3,10002]}' profiles.jsonl
  picorelay export --filter '{\"since\":1767225600}' - | picorelay import --data b
  picorelay export --room notes notes.pico
  picorelay export --room notes /media/stick/notes.pico --budget 64GB")]
    Export(ExportArgs),

    /// Make this relay and another have the same events
    ///
    /// Finds what either side lacks, by negentropy (NIP-77) or, where there is none, by asking for everything page by page;
    /// fetches it, and sends it. What comes is checked like what clients send. Private events (`auth.restricted_kinds`) and
    /// protected ones (NIP-70) are not sent. A run that is cut off goes on where it was when it is started again within a
    /// day. The server must not be running on the same data folder.
    #[command(after_help = "\
Examples:
  picorelay sync wss://relay.example             Both ways
  picorelay sync wss://relay.example --dir down  Only fetch
  picorelay sync wss://relay.example --dir up --filter '{\"authors\":[\"<hex>\"]}'

Exit codes:
  0  both sides have the same
  1  it could not be finished: no connection, cut off, lies without end
  2  used wrongly
  3  finished, but some was refused, false, taken and not kept, promised and
     not given, or may be missed: the last line says what")]
    Sync(SyncArgs),

    /// Check the configuration and say what is wrong, with file, line and option
    ///
    /// Reads what `serve` would read, and starts nothing. Loads the slices of all rooms and those for events, and looks whether
    /// the policy plugin is there. What is wrong is told in the order of the file, and before what is only worth a note. Exits
    /// with 0 if `serve` would accept all of it.
    #[command(after_help = "\
Examples:
  picorelay check --config /etc/picorelay.toml
  picorelay check --show   Print all options as they are in effect
  picorelay check --ready  Also ask the running server whether it is ready")]
    Check(CheckArgs),

    /// Show the relay's own public key, and make one if there is none
    ///
    /// It is kept in relay.key in the data folder, readable only by its owner. With it the relay signs what it says
    /// itself. Keep a copy of the file with your backups.
    #[command(after_help = "\
Examples:
  picorelay key           Public key, as npub and hex
  picorelay key --secret  Secret key, as nsec: show it to nobody")]
    Key(KeyArgs),

    /// What has to do with the slices of pico rooms
    #[command(subcommand)]
    Pico(PicoCommand),
}

/// What `pico` can do.
#[derive(Subcommand, Clone, Debug)]
pub enum PicoCommand {
    /// Compute the state of a room anew from its blocks
    ///
    /// For slices that have changed what they compute. The new state takes the place of the old one at once, or not at all:
    /// if the slices do not accept every block that is stored, nothing is changed, unless --drop is given. The server must
    /// not be running on the same data folder.
    #[command(after_help = "\
Examples:
  picorelay pico reload chess         Compute the state of the room chess anew
  picorelay pico reload chess --drop  Remove blocks its slices do not accept now")]
    Reload(ReloadArgs),

    /// Try slices on blocks from files, without a relay
    ///
    /// Prints what became of each block, and what the slices made of them: one line for each object. Nothing is kept.
    #[command(after_help = "\
Examples:
  picorelay pico test chat.js --blocks chat.pico
  picorelay export --room chat - | picorelay pico test chat.js --blocks -")]
    Test(TestArgs),
}

/// Arguments of `pico test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Files of slices, in the order in which they are asked
    #[arg(value_name = "FILE.js", required = true)]
    pub files: Vec<PathBuf>,

    /// Feeds: as picofeed writes them, or as `export --room` does; `-` is stdin
    #[arg(long, value_name = "FEED.pico", required = true)]
    pub blocks: Vec<PathBuf>,

    /// The time that the slices see, in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MS")]
    pub now: Option<i64>,

    /// Let time pass up to then afterwards, so that objects expire and postponed blocks are tried again
    #[arg(long, value_name = "MS")]
    pub until: Option<i64>,
}

/// Arguments of `pico reload`.
#[derive(Args, Clone, Debug)]
pub struct ReloadArgs {
    /// The room
    #[arg(value_name = "ROOM")]
    pub room: RoomName,

    /// Remove blocks that the slices do not accept now, and what follows them
    #[arg(long)]
    pub drop: bool,
}

/// Arguments of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Address and port; port 0 takes a free one [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
}

/// Arguments of `import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// Files of events, one a line, or of feeds; `-` is stdin
    #[arg(value_name = "FILE", default_value = "-")]
    pub files: Vec<PathBuf>,

    /// The files are feeds for this pico room [default for .pico files: main]
    #[arg(long, value_name = "ROOM")]
    pub room: Option<RoomName>,

    /// The events are your own, such as a backup: check nothing but signatures
    #[arg(long, conflicts_with = "room")]
    pub trust: bool,
}

/// Arguments of `export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// Where to write; `-` is stdout
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,

    /// Only events that match this NIP-01 filter; may be given several times, one match is enough
    #[arg(long = "filter", value_name = "JSON", value_parser = filter)]
    pub filters: Vec<Filter>,

    /// The chains of this pico room instead of events [default for .pico files: main]
    #[arg(long, value_name = "ROOM", conflicts_with = "filters")]
    pub room: Option<RoomName>,

    /// Only whole chains, as many as fit into a file of this size, such as 64GB: the ones with the newest blocks and the
    /// ones that others wrote on first
    #[arg(long, value_name = "BYTES", value_parser = room::bytes, conflicts_with = "filters")]
    pub budget: Option<u64>,
}

/// Arguments of `sync`.
#[derive(Args, Clone, Debug)]
pub struct SyncArgs {
    /// The other relay: ws:// or wss://
    #[arg(value_name = "URL", value_parser = websocket)]
    pub url: String,

    /// Which way events go
    #[arg(long = "dir", value_name = "DIRECTION", default_value = "both", value_enum)]
    pub direction: Direction,

    /// Only events that match this NIP-01 filter
    #[arg(long, value_name = "JSON", value_parser = sync_filter, default_value = "{}", hide_default_value = true)]
    pub filter: Filter,

    /// Begin anew, whatever an earlier run did
    #[arg(long)]
    pub fresh: bool,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Print all options as they are in effect
    #[arg(long)]
    pub show: bool,

    /// Also ask the server that runs with this configuration whether it is ready
    #[arg(long)]
    pub ready: bool,
}

/// Arguments of `key`.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// Print the secret key instead
    #[arg(long)]
    pub secret: bool,
}

/// Reads the arguments of this process and does what they say.
pub async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads our output has seen enough: `picorelay export | head`.
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "{}", with_causes(error.as_ref()));
            if error.is::<NotAll>() { ExitCode::from(NOT_ALL) } else { ExitCode::FAILURE }
        }
    }
}

/// Does what the arguments say.
pub async fn run(cli: Cli) -> Outcome {
    let listen = match (&cli.command, cli.serve.listen) {
        (None, listen) => listen,
        (Some(Command::Serve(args)), listen) => args.listen.or(listen),
        (Some(_), None) => None,
        (Some(_), Some(_)) => {
            Cli::command().error(ErrorKind::ArgumentConflict, "--listen is only for serve").exit();
        }
    };
    let mut config = Config::load_default(cli.config.as_deref())?;
    config.server.listen = listen.unwrap_or(config.server.listen);
    config.server.data = cli.data.unwrap_or(config.server.data);

    match cli.command {
        None | Some(Command::Serve(_)) => {
            start_log(&config);
            Box::pin(serve::run(config)).await
        }
        Some(Command::Import(args)) => {
            start_log(&config);
            let (rooms, events): (Vec<_>, Vec<_>) =
                args.files.into_iter().partition(|file| room::is_room(file, args.room.as_ref()));
            let room = args.room.unwrap_or(RoomName::main());
            if events.is_empty() {
                return room::import(rooms, room, config).await;
            }
            let done = Box::pin(import::run(events, args.trust, config.clone())).await;
            // What was refused of one, or could not be read, does not keep the other away.
            if rooms.is_empty()
                || done.as_ref().is_err_and(|error| !error.is::<NotAll>() && !error.is::<NothingTaken>())
            {
                return done;
            }
            taken::both(done, room::import(rooms, room, config).await)
        }
        Some(Command::Export(args)) => {
            start_log(&config);
            if room::is_room(&args.file, args.room.as_ref()) {
                return room::export(args.file, args.room.unwrap_or(RoomName::main()), args.budget, config).await;
            }
            if args.budget.is_some() {
                return Err("--budget is only for rooms: give --room too".into());
            }
            Box::pin(export::run(args, config)).await
        }
        Some(Command::Sync(args)) => {
            start_log(&config);
            Box::pin(sync::run(args, config)).await
        }
        Some(Command::Check(args)) => check::run(args, config).await,
        Some(Command::Key(args)) => key::run(args, &config),
        Some(Command::Pico(PicoCommand::Reload(args))) => {
            start_log(&config);
            pico::reload(args, config).await
        }
        Some(Command::Pico(PicoCommand::Test(args))) => {
            start_log(&config);
            tokio::task::spawn_blocking(move || pico::test(&args, &config)).await?
        }
    }
}

/// Writes one line to stdout, now.
fn say(line: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Bytes read of how many, on a terminal.
fn progress() -> ProgressBar {
    let progress = if io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{spinner} {wide_bar} {bytes}/{total_bytes} {msg} {eta}");
    match style {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}

/// Logs go to stderr, so that stdout holds only what was asked for.
fn start_log(config: &Config) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(config.server.log_targets())
        .with_writer(io::stderr)
        // A log that cannot be written is no reason to stop: the report of that would panic.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    // An error means that there is a log already.
    let _ = log.try_init();
}

fn filter(json: &str) -> Result<Filter, String> {
    Filter::parse(json).map_err(|error| error.to_string())
}

fn websocket(url: &str) -> Result<String, String> {
    if is_websocket(url) {
        Ok(url.to_owned())
    } else {
        Err("must be a URL that starts with ws:// or wss://".to_owned())
    }
}

/// What is compared must be the same on both sides, and for us to see.
fn sync_filter(json: &str) -> Result<Filter, String> {
    let filter = filter(json)?;
    match (&filter.search, filter.limit) {
        (None, None) => Ok(filter),
        (Some(_), _) => Err("`search` finds other things on other relays".to_owned()),
        (_, Some(_)) => Err("`limit` means nothing here; `since` does".to_owned()),
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Many errors already say what their cause says.
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts with line breaks of their own are not to be broken once more by a terminal of the usual width.
    #[test]
    fn help_fits_into_80_columns() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn arguments() {
        Cli::command().debug_assert();
        for (arguments, fine) in [
            ("", true),
            ("--listen 127.0.0.1:0 --data d --config c", true),
            ("serve --listen 127.0.0.1:0 --data d --config c", true),
            ("--data d serve --listen [::1]:0", true),
            ("--listen localhost", false),
            ("import", true),
            ("import - a b --data d", true),
            ("export", true),
            ("export - --filter {\"kinds\":[1]} --filter {}", true),
            ("export --filter {\"kind\":1}", false),
            ("export a b", false),
            ("import a.pico --room notes", true),
            ("import a.pico --room Notes", false),
            ("export --room notes a.pico --budget 64GB", true),
            ("export --room nostr a.pico", false),
            ("export --room notes --budget much a.pico", false),
            ("export --room notes --filter {}", false),
            ("sync ws://localhost:1", true),
            ("sync wss://relay.example --dir up --filter {\"kinds\":[1]} --fresh", true),
            ("sync relay.example", false),
            ("sync https://relay.example", false),
            ("sync wss://relay.example --dir sideways", false),
            ("sync wss://relay.example --filter {\"limit\":1}", false),
            ("sync wss://relay.example --filter {\"search\":\"a\"}", false),
            ("sync", false),
            ("check --listen 127.0.0.1:0", false),
            ("check --ready --show", true),
            ("key --secret", true),
            ("pico test a.js b.js --blocks a.pico --now 5", true),
            ("pico test a.js", false),
            ("pico test --blocks a.pico", false),
            ("pico reload chess --drop", true),
            ("pico reload", false),
            ("pico reload Chess", false),
            ("pico", false),
            ("unknown", false),
        ] {
            let given = ["picorelay"].into_iter().chain(arguments.split_whitespace());
            let parsed = Cli::try_parse_from(given);
            assert_eq!(parsed.is_ok(), fine, "{arguments}: {parsed:?}");
        }
    }
}
