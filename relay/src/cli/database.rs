//! The database of a configuration, as commands open it.

use super::Failure;
use crate::app::{self, relay_urls};
use crate::config::Config;
use crate::store::StoreError;
use crate::store::sqlite::{FILE, Options, Sqlite};

/// Opens it, or makes one. No other process may have it open.
pub(super) fn open(config: &Config) -> Result<Sqlite, StoreError> {
    Sqlite::open(&config.server.data, options(config))
}

/// Opens one that is there for reading, whether or not a server runs on it.
pub(super) fn open_beside(config: &Config) -> Result<Sqlite, Failure> {
    let data = &config.server.data;
    if !data.join(FILE).exists() {
        return Err(format!("there is no database in {}", data.display()).into());
    }
    Ok(Sqlite::open_beside(data, options(config))?)
}

fn options(config: &Config) -> Options {
    app::options(config, relay_urls(config, config.server.listen))
}
