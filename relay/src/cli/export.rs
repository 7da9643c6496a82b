//! `picorelay export`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;
use super::{ExportArgs, Outcome};
use crate::app::relay_urls;
use crate::clock;
use crate::config::Config;
use crate::filter::Filter;
use crate::store::sqlite::{FILE, Options, Sqlite};
use crate::store::{Backend, Query, Scan, Slice, Step};

/// Writes out events.
pub(super) async fn run(args: ExportArgs, config: Config) -> Outcome {
    tokio::task::spawn_blocking(move || export(&args, &config)).await?
}

fn export(args: &ExportArgs, config: &Config) -> Outcome {
    let data = &config.server.data;
    if !data.join(FILE).exists() {
        return Err(format!("there is no database in {}", data.display()).into());
    }
    let urls = relay_urls(config, config.server.listen);
    let options = Options {
        storage: config.storage.clone(),
        search: config.search.clone(),
        urls,
        private_kinds: config.auth.restricted_kinds.clone(),
        interest: None,
    };
    let database = Sqlite::open_beside(data, options)?;
    let mut reader = database.reader()?;
    let filters = if args.filters.is_empty() { vec![Filter::default()] } else { args.filters.clone() };
    let mut scan = Scan::new(Query::everything(filters, clock::now()));
    let slice = Slice { rows: 1_000, bytes: 8 << 20, examined: 10_000, ..Slice::WHOLE };

    let progress = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} events") {
        progress.set_style(style);
    }
    let mut output = if args.file == Path::new("-") { None } else { Some(Output::create(&args.file)?) };
    let mut out: Box<dyn Write> = match &mut output {
        None => Box::new(BufWriter::with_capacity(1 << 16, io::stdout().lock())),
        Some(output) => Box::new(BufWriter::with_capacity(1 << 16, output.file())),
    };
    loop {
        let mut rows = Vec::new();
        let step = reader.scan(&mut scan, slice, &mut rows)?;
        for row in &rows {
            out.write_all(row.body.as_str().as_bytes())?;
            out.write_all(b"\n")?;
        }
        progress.inc(rows.len() as u64);
        if step == Step::Done {
            break;
        }
    }
    out.flush()?;
    drop(out);
    output.map(Output::finish).transpose()?;
    let count = progress.position();
    progress.finish_and_clear();
    tracing::info!(events = count, "exported");
    Ok(())
}
