//! Rooms into files.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use picofeed::Format;

use super::Failure;
use crate::cli::export::salvaged;
use crate::cli::output::Output;
use crate::cli::{Outcome, database};
use crate::config::Config;
use crate::pico::file::{MAGIC, write_feed};
use crate::pico::repo::{Part, RoomName, Run};
use crate::store::{Backend, Reader, StoreError};

/// Chains looked up at a time.
const CHAINS: usize = 256;

/// Bytes of blocks in one record.
const RECORD_BYTES: u64 = 1 << 20;

/// Writes a room out, whole or as much as fits.
pub(in crate::cli) async fn export(file: PathBuf, room: RoomName, budget: Option<u64>, config: Config) -> Outcome {
    tokio::task::spawn_blocking(move || {
        let mut reader = database::open_beside(&config)?.reader()?;
        let mut source = Source { reader: reader.as_mut(), room, damage: None };
        if source.is_empty()? {
            return Err(format!("nothing is stored of the room {}", source.room).into());
        }
        if budget.is_some_and(|budget| budget < MAGIC.len() as u64) {
            return Err("no file is as small as that".into());
        }
        if file == Path::new("-") {
            if budget.is_some() {
                return Err("--budget needs a file, not stdout".into());
            }
            let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
            out.write_all(MAGIC)?;
            let chains = source.all(&mut out)?;
            out.flush()?;
            return source.damage.map_or(Ok(()), |damage| Err(salvaged(&damage, None, chains, "chains")));
        }
        let named = |error: io::Error| format!("{}: {error}", file.display());
        let mut output = Output::create(&file)?;
        let mut out = output.file();
        out.write_all(MAGIC).map_err(named)?;
        let (chains, left_out) = match budget {
            None => {
                let mut out = BufWriter::with_capacity(1 << 16, &mut out);
                let chains = source.all(&mut out)?;
                out.flush().map_err(named)?;
                (chains, 0)
            }
            Some(budget) => {
                let chains = source.fitting(out, budget)?;
                // Some may have come or gone meanwhile.
                (chains, source.each(|_, _| Ok(()))?.saturating_sub(chains))
            }
        };
        if let Some(damage) = source.damage {
            return Err(salvaged(&damage, Some(output), chains, "chains"));
        }
        output.finish()?;
        tracing::info!(chains, left_out, "exported");
        Ok(())
    })
    .await?
}

struct Source<'a> {
    reader: &'a mut dyn Reader,
    room: RoomName,
    /// The first damage of the database that was met. Chains are written up to it.
    damage: Option<StoreError>,
}

impl Source<'_> {
    /// What was read. None where the database is damaged.
    fn undamaged<T>(&mut self, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match read {
            Err(damage) if damage.is_damage() => {
                self.damage.get_or_insert(damage);
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    fn is_empty(&mut self) -> Result<bool, Failure> {
        for format in Format::ALL {
            if !self.reader.chains(&self.room, format, None, 1)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Visits every chain, by format and owner, and says how many there are.
    fn each(&mut self, mut visit: impl FnMut(&mut Self, Run) -> Result<(), Failure>) -> Result<u64, Failure> {
        let mut count = 0;
        for format in Format::ALL {
            let mut after = None;
            loop {
                let chains = self.reader.chains(&self.room, format, after.as_ref(), CHAINS);
                let chains = self.undamaged(chains)?.unwrap_or_default();
                let Some(last) = chains.last() else { break };
                after = Some(last.owner);
                for chain in &chains {
                    visit(self, Run::Owned(format, chain.owner))?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Writes every chain.
    fn all(&mut self, out: &mut dyn Write) -> Result<u64, Failure> {
        self.each(|source, run| source.chain(run, out))
    }

    /// Whole chains, the newest and the most written on, as long as the file stays within `budget` bytes.
    fn fitting(&mut self, out: &mut File, budget: u64) -> Result<u64, Failure> {
        let mut len = MAGIC.len() as u64;
        let mut count = 0;
        let picked = self.reader.pick(&self.room, budget.saturating_sub(len));
        for (format, owner) in self.undamaged(picked)?.unwrap_or_default() {
            let mut buffered = BufWriter::with_capacity(1 << 16, &mut *out);
            self.chain(Run::Owned(format, owner), &mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            let end = out.stream_position()?;
            if end <= budget {
                len = end;
                count += 1;
            } else {
                // What stands around the blocks is not counted when chains are picked.
                out.set_len(len)?;
                out.seek(io::SeekFrom::Start(len))?;
            }
        }
        Ok(count)
    }

    fn chain(&mut self, run: Run, out: &mut dyn Write) -> Result<(), Failure> {
        let mut part = Part { skip: 0, bytes_max: RECORD_BYTES, ..Part::ALL };
        loop {
            let feed = self.reader.load(&self.room, run, part);
            let Some(feed) = self.undamaged(feed)?.flatten() else { break };
            part.skip += feed.len() as u64;
            write_feed(out, &feed.encode())?;
        }
        Ok(())
    }
}
