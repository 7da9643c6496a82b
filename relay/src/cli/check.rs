//! `picorelay check`.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{CheckArgs, Outcome, say};
use crate::app::{loader, rules};
use crate::config::{Config, check, plugin_problem};
use crate::engine::rules::Rules;
use crate::keys;
use crate::policy::slices;
use crate::pulse::{Lookout, Pulse};

/// How long the server may take to say that it is ready.
const READY_SECONDS: u64 = 3;
/// Enough for a status line.
const ANSWER_BYTES_MAX: u64 = 1024;

/// Says whether the configuration is fine, and all that it names; that it could be read at all has been decided before.
pub(super) async fn run(args: CheckArgs, config: Config) -> Outcome {
    keys::load(&config.server.data)?;
    if args.show {
        say(toml::to_string(&config)?)?;
    }
    if args.ready {
        return ready(config.server.listen).await;
    }
    let notes = check::notes(&config).into_iter().map(|note| format!("note: {note}"));
    let plugin = plugin_problem(&config);
    let mut wrong: Vec<String> = plugin.into_iter().collect();
    wrong.extend(slices(config).await?);
    if !wrong.is_empty() {
        return Err(wrong.into_iter().chain(notes).collect::<Vec<_>>().join("\n").into());
    }
    for note in notes {
        say(note)?;
    }
    say("the configuration is fine")?;
    Ok(())
}

/// Loads the slices of all rooms, and those for events, as the server would, and gives what is wrong with them.
async fn slices(config: Config) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let stuck = Duration::from_millis(config.script.stuck_ms_max);
    let (lookout, _thread) = Lookout::start(stuck)?;
    let mut wrong = Vec::new();
    let events = config.server.data.join("slices").join("nostr");
    let script = config.script.clone();
    let (data, folder) = (config.server.data.clone(), events.clone());
    let found = look(&lookout, &events, move |pulse| {
        let (count, wrong) = slices::check(&data, &script, pulse);
        (count, wrong.iter().map(|error| format!("{}/{error}", folder.display())).collect())
    });
    wrong.extend(found.await?);
    let rules = if config.pico.enabled { rules(&config) } else { Vec::new() };
    for (_, rules) in rules {
        let folder = rules.folder.clone();
        let config = config.clone();
        let found = look(&lookout, &folder, move |pulse| {
            let loader = loader(&config);
            let load = |rules: &Rules| rules.load(config.engine.pace(), &*loader, pulse, &mut Vec::new());
            let whole = match load(&rules) {
                Ok(slices) => return (slices.len(), Vec::new()),
                Err(error) => format!("{}/{error}", rules.folder.display()),
            };
            // The server stops at the first file that is wrong.
            let alone = rules.files().into_iter().filter_map(|file| {
                let folder = file.parent().unwrap_or(Path::new("")).to_owned();
                let error = load(&Rules { listed: vec![file], folder: "".into() }).err()?;
                Some(folder.join(error.file).display().to_string() + ": " + &error.message)
            });
            let wrong: Vec<String> = alone.collect();
            (0, if wrong.is_empty() { vec![whole] } else { wrong })
        });
        wrong.extend(found.await?);
    }
    Ok(wrong)
}

/// Loads what is in a folder on a thread of its own, which is left behind if it does not come to an end, and says how much
/// there is. Gives what is wrong.
async fn look(
    lookout: &Lookout,
    folder: &Path,
    load: impl FnOnce(&Arc<Pulse>) -> (usize, Vec<String>) + Send + 'static,
) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let pulse = Arc::<Pulse>::default();
    lookout.watch(&pulse, None);
    let (done, loaded) = oneshot::channel();
    let own = Arc::clone(&pulse);
    std::thread::Builder::new().name("check".into()).spawn(move || done.send(load(&own)))?;
    let place = folder.display();
    tokio::select! {
        () = pulse.until_stuck() => {
            Ok(vec![format!("{place}: a slice does not come to an end while it is loaded (script.stuck_ms_max)")])
        }
        loaded = loaded => match loaded {
            Ok((count, wrong)) => {
                if count > 0 && wrong.is_empty() {
                    say(format_args!("{place}: {count} loaded"))?;
                }
                Ok(wrong)
            }
            Err(_) => Ok(vec![format!("{place}: the slices could not be loaded")]),
        },
    }
}

/// Asks a running server. Made for health checks in containers that have no curl.
async fn ready(listen: SocketAddr) -> Outcome {
    let address = reachable(listen);
    let answer = timeout(Duration::from_secs(READY_SECONDS), ask(address));
    let answer = answer.await.map_err(|_| format!("{address} does not answer"))?;
    let answer = answer.map_err(|error| format!("{address}: {error}"))?;
    match answer.split_whitespace().nth(1) {
        Some("200") => Ok(say(format_args!("{address} is ready"))?),
        _ => Err(format!("{address} is not ready: {}", answer.lines().last().unwrap_or_default()).into()),
    }
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where a server that listens on all addresses can be reached from here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &'static str) -> Outcome {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let outcome = ready(address).await;
        assert!(server.await.unwrap().starts_with("GET /ready HTTP/1.1\r\n"));
        outcome
    }

    #[tokio::test]
    async fn asks_the_server() {
        answered("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n").await.unwrap();
        let error = answered("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n").await.unwrap_err();
        assert!(error.to_string().ends_with("is not ready: draining"), "{error}");
        answered("").await.unwrap_err();
        ready(SocketAddr::from(([127, 0, 0, 1], 1))).await.unwrap_err();
        assert_eq!(reachable("0.0.0.0:7420".parse().unwrap()), "127.0.0.1:7420".parse().unwrap());
        assert_eq!(reachable("[::]:7420".parse().unwrap()), "[::1]:7420".parse().unwrap());
    }
}
