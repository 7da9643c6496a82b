//! `picorelay check`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{CheckArgs, Outcome, say};
use crate::config::{Config, check};
use crate::keys;

/// How long the server may take to say that it is ready.
const READY_SECONDS: u64 = 3;
/// Enough for a status line.
const ANSWER_BYTES_MAX: u64 = 1024;

/// Says whether the configuration is fine; that it could be read at all has been decided before.
pub(super) async fn run(args: CheckArgs, config: Config) -> Outcome {
    keys::load(&config.server.data)?;
    if args.show {
        say(toml::to_string(&config)?)?;
    }
    if args.ready {
        return ready(config.server.listen).await;
    }
    for note in check::notes(&config) {
        say(format_args!("note: {note}"))?;
    }
    say("the configuration is fine")?;
    Ok(())
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
