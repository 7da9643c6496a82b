//! `picorelay serve`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::{Outcome, say};
use crate::app::{App, Core, relay_urls};
use crate::bridge::{self, keys::Signers};
use crate::config::{Config, check};
use crate::descriptors;
use crate::engine::watch::watch;
use crate::http::exporter::Metrics;
use crate::http::listen::{self, Serving};
use crate::http::router::router;
use crate::keys;
use crate::memory;
use crate::pico::{follow, tcp};
use crate::policy::slices::EventSlices;
use crate::sync;
use crate::threads::needed;

/// How often buffers of metrics are emptied when nobody asks for them.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// The part of `server.drain_seconds` after which connections are cut off: it takes a while to let go of thousands, and to
/// write what they have sent.
const DRAINED: f64 = 0.75;

/// How long it takes at most to let go of connections that are cut off.
const CUT: Duration = Duration::from_secs(2);

/// How long the threads have at least to write what has come in.
const WRITTEN: Duration = Duration::from_secs(2);

/// Serves until it is told to stop.
pub(super) async fn run(mut config: Config) -> Outcome {
    let stopped = signals()?;
    let hung_up = hang_ups()?;
    fit_descriptors(&mut config);
    let keys = keys::load_or_create(&config.server.data)?;
    for note in check::notes(&config) {
        tracing::warn!("{note}");
    }
    let listener = TcpListener::bind(config.server.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.server.listen))?;
    let listening = listener.local_addr()?;
    // Before the threads that count.
    let metrics = Metrics::install().ok();
    let core = Core::start(&config, relay_urls(&config, listening))?;
    let drain = Duration::from_secs(config.server.drain_seconds);
    let reload_seconds = config.engine.reload_seconds;
    let (app, threads) = App::new(config, core, listening, Signers::new(&keys)?);

    let upkeep = metrics.clone().map(|metrics| {
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(METRICS_UPKEEP).await;
                metrics.tend();
            }
        })
    });

    let period = Duration::from_secs(app.relay.config.server.log_summary_seconds);
    let telling = (!period.is_zero())
        .then(|| tokio::spawn(Arc::clone(&app.doorkeeper.clients).tell(period, app.relay.stop.clone())));

    let memory = tokio::spawn(memory::give_back());
    let tcp = tcp::listen(&app.rooms, Arc::clone(&app.unfinished), Arc::clone(&app.doorkeeper))
        .await
        .map_err(|error| format!("pico.tcp_listen {}: {error}", app.rooms.config.tcp_listen))?;
    let tcp = tcp.map(|address| format!(", pico by TCP on {address}")).unwrap_or_default();
    app.rooms.open_engines();
    app.rooms.spawn_needed("watch", watch(app.rooms.engines(), reload_seconds, app.relay.stop.clone())?);
    bridge::start(&app.bridge());
    for upstream in sync::upstream::tasks(&app.upstream()) {
        app.rooms.spawn_needed("upstream", upstream);
    }
    follow::follow_all(&app.rooms);
    #[cfg(feature = "hyperswarm")]
    crate::pico::swarm::join_all(&app.rooms);
    say(format!("picorelay listens on http://{listening} and {}{tcp}", app.relay.public_url))?;
    let (stop, cut, parked) = (app.relay.stop.clone(), app.relay.cut.clone(), Arc::clone(&app.relay.parked));
    let serving = Serving {
        pages: router(app.pages(metrics)),
        request: Duration::from_secs(app.relay.config.server.request_seconds),
        send: Duration::from_secs(app.relay.config.server.send_seconds),
        unfinished: Arc::clone(&app.unfinished),
        waiting: Arc::clone(&app.waiting),
        stop: stop.clone(),
        cut: cut.clone(),
    };
    let serving = tokio::spawn(needed("listener", listen::serve(listener, serving)));

    let reloading = tokio::spawn(reload_each_time(hung_up, app.slices.clone()));
    stopped.await;
    tracing::info!("stopping");
    reloading.abort();
    let _ = reloading.await;
    stop.cancel();
    let end = Instant::now() + drain;
    let patience = drain.mul_f64(DRAINED);
    // Connections answer what they have read, and pages and streams are sent; whoever is not done in time is cut off. One
    // patience for all of them: they wait side by side.
    let mut ended = Box::pin(async { tokio::join!(serving, app.doorkeeper.door.all_left(), app.rooms.finish()) });
    if tokio::time::timeout(patience, &mut ended).await.is_err() {
        cut.cancel();
        let _ = tokio::time::timeout(CUT, &mut ended).await;
    }
    drop(ended);
    if let Some(telling) = telling {
        let _ = telling.await;
        app.doorkeeper.clients.tell_now();
    }
    memory.abort();
    if let Some(upkeep) = upkeep {
        upkeep.abort();
    }
    drop(app);
    let left = end.saturating_duration_since(Instant::now());
    if !threads.finish(left.max(WRITTEN)).await {
        tracing::warn!("some work was not finished in time; nothing that was acknowledged is lost");
    }
    // Clients that come back by themselves try soon, some of them once: their connections end when all else has.
    parked.end();
    Ok(())
}

/// Lets in no more clients than there can be descriptors for: the others are told that the relay is full.
fn fit_descriptors(config: &mut Config) {
    let Some(descriptors) = descriptors::raise() else { return };
    let clients_max = descriptors::clients_max(descriptors);
    let wanted = config.limits.connections_max;
    if clients_max < wanted {
        tracing::warn!(
            descriptors,
            "limits.connections_max is {wanted}, but there are file descriptors for only {clients_max} clients: more are not \
             let in; raise the hard limit (ulimit -Hn, LimitNOFILE)"
        );
        config.limits.connections_max = clients_max;
    }
}

/// Where SIGHUP is heard from now on.
#[cfg(unix)]
fn hang_ups() -> std::io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
}

#[cfg(unix)]
async fn reload_each_time(mut hung_up: tokio::signal::unix::Signal, slices: EventSlices) {
    while hung_up.recv().await.is_some() {
        slices.reload();
    }
}

#[cfg(not(unix))]
fn hang_ups() -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
async fn reload_each_time(_: (), _: EventSlices) {}

/// Resolves at SIGTERM or Ctrl-C. They are heard from the call on, not from the first poll: who has read that the relay
/// is ready may stop it at once.
pub(super) fn signals() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
