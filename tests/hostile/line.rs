//! A connection as an attacker has it: a socket that comes from a chosen address, and frames made beforehand.

use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::crew::{Crew, Stats};

/// How long an attacker waits to be let in.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between the end of a connection and the next one.
const PAUSE: Duration = Duration::from_millis(20);

/// The same after one that was over at once, as of somebody who is not let in.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// What is over sooner was a refusal.
const AT_ONCE: Duration = Duration::from_millis(100);

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const PING: u8 = 9;

/// The first bytes of a frame of a client, masked with zeros, whose payload has so many bytes.
pub(crate) fn head(opcode: u8, is_last: bool, len: usize) -> Vec<u8> {
    let mut out = vec![opcode | if is_last { 0x80 } else { 0 }];
    match len {
        0..=125 => out.push(0x80 | len as u8),
        126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out
}

pub(crate) fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    [&head(opcode, is_last, payload.len())[..], payload].concat()
}

pub(crate) fn text(payload: impl ToString) -> Vec<u8> {
    frame(TEXT, true, payload.to_string().as_bytes())
}

/// Frames in pieces of about 64 KiB, each a number of whole frames.
pub(crate) fn pieces(frames: impl IntoIterator<Item = Vec<u8>>) -> Arc<[Bytes]> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for frame in frames {
        match pieces.last_mut() {
            Some(last) if last.len() + frame.len() <= 65_536 => last.extend(frame),
            _ => pieces.push(frame),
        }
    }
    pieces.into_iter().map(Bytes::from).collect()
}

/// A socket from the address of the attacker of this number. `inbox_bytes` is how much the kernel keeps for it to read.
pub(crate) async fn socket(crew: &Crew, number: usize, inbox_bytes: Option<u32>) -> Result<TcpStream> {
    let connected = from(crew.relay.port(), crew.address(number), inbox_bytes).await;
    if connected.is_err() {
        Stats::add(&crew.stats.refused, 1);
    }
    connected
}

/// A socket from this address to a port of 127.0.0.1.
pub(crate) async fn from(port: u16, address: Ipv4Addr, inbox_bytes: Option<u32>) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = inbox_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind((address, 0).into())?;
    let stream = timeout(PATIENCE, socket.connect(([127, 0, 0, 1], port).into())).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The same as a WebSocket on which nothing was said yet.
pub(crate) async fn upgraded(crew: &Crew, number: usize, path: &str, inbox_bytes: Option<u32>) -> Result<TcpStream> {
    let connected = async {
        let mut stream = from(crew.relay.port(), crew.address(number), inbox_bytes).await?;
        timeout(PATIENCE, upgrade(&mut stream, path)).await??;
        Ok(stream)
    };
    let connected = connected.await;
    let counter = if connected.is_ok() { &crew.stats.opened } else { &crew.stats.refused };
    Stats::add(counter, 1);
    connected
}

async fn upgrade(stream: &mut TcpStream, path: &str) -> Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.windows(4).any(|part| part == b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    if answer.starts_with(b"HTTP/1.1 101") { Ok(()) } else { Err(Error::other("not let in")) }
}

/// A WebSocket for those who read what comes.
pub(crate) async fn websocket(port: u16, address: Ipv4Addr, path: &str) -> Option<WebSocketStream<TcpStream>> {
    let stream = from(port, address, None).await.ok()?;
    let limits = WebSocketConfig::default().max_message_size(Some(64 << 20)).max_frame_size(Some(64 << 20));
    let connected = client_async_with_config(format!("ws://127.0.0.1:{port}{path}"), stream, Some(limits));
    Some(timeout(PATIENCE, connected).await.ok()?.ok()?.0)
}

/// How often what was prepared is sent on one connection.
#[derive(Clone, Copy)]
pub(crate) enum Rounds {
    /// Until the relay ends it.
    Endless,
    /// Once; then the attacker leaves and comes again.
    One,
}

/// Writes the pieces in turn, beginning at `first`, and throws away what comes. Ends with the connection.
pub(crate) async fn pour(crew: &Crew, stream: TcpStream, pieces: &[Bytes], first: usize, rounds: Rounds) {
    let (mut reader, mut writer) = stream.into_split();
    let write = async {
        for piece in pieces.iter().cycle().skip(first % pieces.len()).take(match rounds {
            Rounds::Endless => usize::MAX,
            Rounds::One => pieces.len(),
        }) {
            crew.send(piece.len()).await;
            if writer.write_all(piece).await.is_err() {
                return true;
            }
            tokio::task::yield_now().await;
        }
        false
    };
    let was_closed = tokio::select! {
        was_closed = write => was_closed,
        () = drain(&mut reader) => true,
    };
    if was_closed {
        Stats::add(&crew.stats.closed, 1);
    }
}

/// Reads and throws away until the connection ends.
pub(crate) async fn drain(reader: &mut (impl AsyncReadExt + Unpin)) {
    let mut rubbish = vec![0; 65_536];
    while reader.read(&mut rubbish).await.is_ok_and(|len| len > 0) {}
}

/// All attackers connect to `path` and pour; those whose connection has ended come again. Without an upgrade the pieces
/// are HTTP requests.
pub(crate) async fn flood(crew: Arc<Crew>, path: Option<&'static str>, pieces: Arc<[Bytes]>, rounds: Rounds) {
    crew.go().await;
    each(&crew, move |crew, number| {
        let pieces = Arc::clone(&pieces);
        async move {
            let stream = match path {
                Some(path) => upgraded(&crew, number, path, None).await,
                None => socket(&crew, number, None).await,
            };
            if let Ok(stream) = stream {
                // They do not all say the same at the same time.
                pour(&crew, stream, &pieces, number * 7, rounds).await;
            }
        }
    })
    .await;
}

/// A task for each attacker, which does its part again and again.
pub(crate) async fn each<P>(crew: &Arc<Crew>, part: impl Fn(Arc<Crew>, usize) -> P + Send + Sync + Clone + 'static)
where
    P: Future<Output = ()> + Send,
{
    let mut tasks = JoinSet::new();
    for number in 0..crew.connections {
        let (crew, part) = (Arc::clone(crew), part.clone());
        tasks.spawn(async move {
            loop {
                let began = Instant::now();
                part(Arc::clone(&crew), number).await;
                sleep(if began.elapsed() < AT_ONCE { PAUSE_AFTER_REFUSAL } else { PAUSE }).await;
            }
        });
    }
    tasks.join_all().await;
}
