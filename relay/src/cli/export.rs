//! `picorelay export`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;
use super::{ExportArgs, Failure, Outcome, database};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::filter::Filter;
use crate::store::{Backend, Query, Reader, Row, Scan, Slice, Step, StoreError};

/// What is read at a time.
const SLICE: Slice<'static> = Slice { rows: 1_000, bytes: 8 << 20, examined: 10_000, ..Slice::WHOLE };

/// Writes out events.
pub(super) async fn run(args: ExportArgs, config: Config) -> Outcome {
    tokio::task::spawn_blocking(move || export(&args, &config)).await?
}

fn export(args: &ExportArgs, config: &Config) -> Outcome {
    let reader = database::open_beside(config)?.reader()?;
    let filters = if args.filters.is_empty() { vec![Filter::default()] } else { args.filters.clone() };
    let mut events = Events::new(reader, filters, clock::now());

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
        let step = events.read(&mut rows)?;
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
    let count = progress.position();
    progress.finish_and_clear();
    if let Some(damage) = events.damage {
        return Err(salvaged(&damage, output, count, "events"));
    }
    output.map(Output::finish).transpose()?;
    tracing::info!(events = count, "exported");
    Ok(())
}

/// Keeps what could be read of a damaged database, beside the place of the export, and says what there is.
pub(super) fn salvaged(damage: &StoreError, output: Option<Output>, count: u64, what: &str) -> Failure {
    let damage = match damage {
        StoreError::Corrupt { file, what } => format!("the database {file} is damaged ({what})"),
        other => format!("the database is damaged ({other})"),
    };
    let kept = if count > 0 { output.map(Output::keep_part).transpose() } else { Ok(None) };
    let part = match kept {
        Ok(part) => part.flatten().map(|part| format!(" and are in {}", part.display())).unwrap_or_default(),
        Err(error) => return format!("{damage}; what could be read of it could not be kept: {error}").into(),
    };
    format!("{damage}: {count} {what} could be read{part}; those around the damage are missing").into()
}

/// Events, newest first, with gaps where the database is damaged.
struct Events {
    reader: Box<dyn Reader>,
    filters: Vec<Filter>,
    scan: Scan,
    now: Timestamp,
    /// Those that are read now are at most as new.
    until: Timestamp,
    /// How many seconds are passed over at the next damage: more each time, until something can be read again.
    gap: Timestamp,
    /// The first damage that was met.
    damage: Option<StoreError>,
}

impl Events {
    fn new(reader: Box<dyn Reader>, filters: Vec<Filter>, now: Timestamp) -> Self {
        let scan = Scan::new(Query::everything(filters.clone(), now));
        Self { reader, filters, scan, now, until: now, gap: 1, damage: None }
    }

    /// Reads some more.
    fn read(&mut self, rows: &mut Vec<Row>) -> Result<Step, StoreError> {
        match self.reader.scan(&mut self.scan, SLICE, rows) {
            Err(damage) if damage.is_damage() => {
                self.damage.get_or_insert(damage);
                if !rows.is_empty() {
                    self.gap = 1;
                }
                Ok(self.pass_over())
            }
            read => read,
        }
    }

    /// Begins anew behind the damage.
    fn pass_over(&mut self) -> Step {
        let is_by_time = |filter: &Filter| filter.limit.is_none() && filter.search.is_none();
        let reached = self.scan.after.map_or(self.until, |after| after.created_at);
        let Some(until) = reached.checked_sub(self.gap).filter(|_| self.filters.iter().all(is_by_time)) else {
            return Step::Done;
        };
        (self.until, self.gap) = (until, self.gap.saturating_mul(2));
        let older = |filter: &Filter| Filter {
            until: Some(filter.until.map_or(until, |given| given.min(until))),
            ..filter.clone()
        };
        self.scan = Scan::new(Query::everything(self.filters.iter().map(older).collect(), self.now));
        Step::Again
    }
}
