//! A WebSocket byte by byte: what a library would not send, and what it would not show.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{timeout, timeout_at};

use super::PATIENCE;

/// An open connection.
pub(crate) struct Raw {
    stream: TcpStream,
    /// What came and was not looked at.
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects to a path, such as `/` or `/pico`.
    pub(crate) async fn open(port: u16, path: &str) -> Self {
        Self::open_with(TcpSocket::new_v4().unwrap(), port, path).await
    }

    /// The same with little place for what comes, so that the other side notices soon when it is not read.
    pub(crate) async fn open_narrow(port: u16, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::open_with(socket, port, path).await
    }

    async fn open_with(socket: TcpSocket, port: u16, path: &str) -> Self {
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let mut stream = timeout(PATIENCE, socket.connect(address)).await.unwrap().unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes as they are. False when the other side is gone.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(PATIENCE, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Sends a frame, masked with zeros.
    pub(crate) async fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> bool {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            len @ ..126 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(len).expect("a short frame").to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.send(&frame).await
    }

    /// Sends a text message.
    pub(crate) async fn text(&mut self, text: &str) -> bool {
        self.send_frame(1, text.as_bytes()).await
    }

    /// The next frame: its opcode and payload. `None` when the connection has ended.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        self.frame_until(Instant::now() + PATIENCE).await.expect("no frame comes")
    }

    /// The same, if one comes until then.
    pub(crate) async fn frame_until(&mut self, end: Instant) -> Option<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some((frame, len)) = parse(&self.buffer) {
                self.buffer.drain(..len);
                return Some(Some(frame));
            }
            let mut more = [0; 4096];
            match timeout_at(end.into(), self.stream.read(&mut more)).await {
                Err(_) => return None,
                Ok(Ok(read @ 1..)) => self.buffer.extend(&more[..read]),
                Ok(Ok(0) | Err(_)) => return Some(None),
            }
        }
    }

    /// Reads to the end: the opcodes that came, and the code of a Close frame.
    pub(crate) async fn until_ended(&mut self) -> (Vec<u8>, Option<u16>) {
        let (mut opcodes, mut code) = (Vec::new(), None);
        while let Some((opcode, payload)) = self.frame().await {
            opcodes.push(opcode);
            if opcode == 8 {
                code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
        (opcodes, code)
    }

    /// Whether the other side lets go within a time, while nothing is read: that shows when writing fails.
    pub(crate) async fn is_let_go(&mut self, within: Duration) -> bool {
        let end = Instant::now() + within;
        while Instant::now() < end {
            // An unsolicited pong: nothing comes of it.
            if self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

/// A frame of a server, and how long it is.
fn parse(bytes: &[u8]) -> Option<((u8, Vec<u8>), usize)> {
    let (head, short) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(short & 0x80, 0, "frames of a server are not masked");
    let (from, len) = match short {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).unwrap()),
        len => (2, usize::from(len)),
    };
    let payload = bytes.get(from..from + len)?;
    Some(((head & 0x0f, payload.to_vec()), from + len))
}

/// Somebody with a small socket who asks over HTTP and reads nothing.
pub(crate) async fn asks_and_reads_nothing(port: u16, request: &str, times: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(format!("127.0.0.1:{port}").parse().unwrap()).await.unwrap();
    for _ in 0..times {
        if timeout(Duration::from_millis(500), stream.write_all(request.as_bytes())).await.is_err() {
            break;
        }
    }
    stream
}

/// Whether it is let go: a reset shows as an error, since nothing was read.
pub(crate) async fn is_let_go(stream: &mut TcpStream) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if matches!(stream.take_error(), Ok(Some(_)) | Err(_)) {
            return true;
        }
    }
    false
}
