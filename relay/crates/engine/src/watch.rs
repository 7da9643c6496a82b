//! Slices are loaded again when their files change, and on SIGHUP. The old ones go on if the new ones cannot be loaded.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::host::{EngineHandle, Engines};

/// What tells whether files have changed.
type Print = Vec<One>;

/// What tells whether one file has: when it was written, and how long it is.
type One = (PathBuf, Option<SystemTime>, u64);

/// What watches `engines`, looking for changes all `every` seconds (0: never), until it is told to `stop`. SIGHUP is heard
/// from this call on.
///
/// # Errors
///
/// The signal cannot be heard.
pub fn watch(
    engines: &Engines,
    every: u64,
    stop: CancellationToken,
) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
    #[cfg(unix)]
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    let mut known: Vec<(EngineHandle, Print)> =
        engines.iter().map(|(_, engine)| (engine.clone(), print(&engine.files()))).collect();
    let every = if every == 0 { Duration::MAX } else { Duration::from_secs(every) };
    Ok(async move {
        loop {
            #[cfg(unix)]
            let asked = async { hangup.recv().await.is_some() };
            #[cfg(not(unix))]
            let asked = std::future::pending::<bool>();
            let all = tokio::select! {
                () = stop.cancelled() => return,
                asked = asked => asked,
                () = tokio::time::sleep(every) => false,
            };
            for (engine, before) in &mut known {
                let files = engine.clone();
                let Ok(now) = tokio::task::spawn_blocking(move || print(&files.files())).await else { return };
                if !all && now == *before {
                    continue;
                }
                // What is wrong is logged where it was found.
                let _ = engine.reload().await;
                let files = engine.clone();
                let Ok(read) = tokio::task::spawn_blocking(move || print(&files.files())).await else { return };
                // What changed while it was loaded counts as changed since.
                let was = |one: One| now.iter().find(|was| was.0 == one.0).cloned().unwrap_or(one);
                *before = read.into_iter().map(was).collect();
            }
        }
    })
}

fn print(files: &[PathBuf]) -> Print {
    let print = |file: &PathBuf| {
        let meta = std::fs::metadata(file).ok();
        let changed = meta.as_ref().and_then(|meta| meta.modified().ok());
        (file.clone(), changed, meta.map_or(0, |meta| meta.len()))
    };
    files.iter().map(print).collect()
}
