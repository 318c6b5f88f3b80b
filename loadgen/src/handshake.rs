//! Opens one connection, says what is to be said first, and hands back the bare socket.
//!
//! Contract: what the server sent right behind its 101, or while it was asked for a subscription, is not lost: it comes back as [`Opened::early`], and belongs in
//! front of everything read from the socket later. No codec stays behind: at 10,000 connections its buffers would
//! cost more than all the rest.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, protocol::WebSocketConfig};

use crate::limits::HANDSHAKE_TIMEOUT;
use crate::target::wire::Wire;
use crate::target::{Answer, Call};

/// The sample nonce of RFC 6455: a random one protects from caches we do not have, and yardstick servers that do not hash
/// answer only this.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Our end of a connection, where the system is not to choose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Local {
    pub(crate) source: Option<IpAddr>,
    /// Bytes that may lie unread, as SO_RCVBUF takes them.
    pub(crate) receive_bytes: Option<u32>,
}

/// A connection that is ready.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Non-blocking, Nagle's algorithm off.
    pub(crate) stream: TcpStream,
    /// The first bytes of frames, often none.
    pub(crate) early: Vec<u8>,
    /// How what it sends is read.
    pub(crate) wire: Wire,
}

/// Why a connection could not be opened; each text says which limit it was where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// Ours to raise.
    #[error("this process may not open more descriptors: raise its limit with `ulimit -n`")]
    Descriptors,
    /// The machine's.
    #[error("the machine may not open more descriptors: raise fs.file-max")]
    SystemDescriptors,
    /// Ours; a retry helps after a minute.
    #[error(
        "no free local port towards {0}: raise net.ipv4.ip_local_port_range, or wait for TIME_WAIT to pass"
    )]
    Ports(SocketAddr),
    /// Nobody listens, or the server's listen queue overflowed and it is set to refuse.
    #[error("{0} refuses connections: is the server running, and on this port?")]
    Refused(SocketAddr),
    /// The server's decision; its status often says which limit it is.
    #[error("the server answered {status} instead of 101{detail}")]
    Status { status: u16, detail: String },
    /// The server accepted but did not answer, or its listen queue is full.
    #[error("no answer to the handshake or the subscription within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// The server's decision about what was asked first.
    #[error("the server refused the subscription: {0}")]
    Declined(String),
    /// The server cut the connection; usually its own limit.
    #[error("the server closed the connection during the handshake")]
    Cut,
    #[error("{0}")]
    Io(#[source] io::Error),
    #[error("the handshake failed: {0}")]
    Handshake(#[source] Box<tungstenite::Error>),
}

/// Connects and does what `call` asks for.
pub(crate) async fn open(server: SocketAddr, call: &Call, local: Local) -> Result<Opened, OpenError> {
    let attempt = async {
        let stream = connect(server, local).await.map_err(|error| connect_error(error, server))?;
        let (mut stream, mut early) = match &call.upgrade {
            Some(url) => upgrade(stream, url).await?,
            None => (stream, Vec::new()),
        };
        stream.write_all(&call.hello).await.map_err(cut_error)?;
        if let Some(answer) = &call.answer {
            hear(&mut stream, &mut early, answer).await?;
        }
        Ok(Opened { stream, early, wire: call.wire })
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, attempt).await.unwrap_or(Err(OpenError::Timeout))
}

async fn connect(server: SocketAddr, local: Local) -> io::Result<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    if let Some(bytes) = local.receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = local.source {
        // A plain bind: the safe interfaces do not offer IP_BIND_ADDRESS_NO_PORT.
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(server).await
}

/// Reads until the server has answered.
async fn hear(stream: &mut TcpStream, early: &mut Vec<u8>, answer: &Answer) -> Result<(), OpenError> {
    let mut seen = 0;
    loop {
        let fresh = &early[seen..];
        let find = |words: &str| fresh.windows(words.len()).position(|window| window == words.as_bytes());
        if let Some(at) = answer.refused.iter().find_map(|words| find(words)) {
            let said = String::from_utf8_lossy(&fresh[at..fresh.len().min(at + 200)]);
            return Err(OpenError::Declined(said.trim().replace(['\r', '\n'], " ")));
        }
        if find(&answer.granted).is_some() {
            return Ok(());
        }
        let longest = answer.refused.iter().map(|words| words.len()).max().unwrap_or_default();
        seen = early.len().saturating_sub(longest.max(answer.granted.len()));
        if stream.read_buf(early).await.map_err(cut_error)? == 0 {
            return Err(OpenError::Cut);
        }
    }
}

/// Gives what came behind the 101, too.
async fn upgrade(stream: TcpStream, url: &str) -> Result<(TcpStream, Vec<u8>), OpenError> {
    // The default is a zero-filled read buffer of 128 KiB per connection, for an answer of 200 bytes.
    let config = WebSocketConfig::default().read_buffer_size(2_048);
    let recorder = Recorder { stream, seen: Vec::new() };
    let mut request = url.into_client_request().map_err(upgrade_error)?;
    request.headers_mut().insert("sec-websocket-key", HeaderValue::from_static(KEY));
    let (socket, _) =
        client_async_with_config(request, recorder, Some(config)).await.map_err(upgrade_error)?;
    let Recorder { stream, seen } = socket.into_inner();
    let early = match seen.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(end) => seen[end + 4..].to_vec(),
        None => Vec::new(),
    };
    Ok((stream, early))
}

/// Keeps a copy of what the handshake read, since the codec keeps what it read too far to itself.
struct Recorder {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.seen.extend_from_slice(&buffer.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What a system's error means when it comes from the first words to a server.
pub(crate) fn connect_error(error: io::Error, server: SocketAddr) -> OpenError {
    // EMFILE and ENFILE have the same numbers on every Unix, and no stable `ErrorKind`.
    match (error.kind(), error.raw_os_error()) {
        (_, Some(24)) if cfg!(unix) => OpenError::Descriptors,
        (_, Some(23)) if cfg!(unix) => OpenError::SystemDescriptors,
        (io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse, _) => OpenError::Ports(server),
        (io::ErrorKind::ConnectionRefused, _) => OpenError::Refused(server),
        (io::ErrorKind::TimedOut, _) => OpenError::Timeout,
        (io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted, _) => OpenError::Cut,
        _ => OpenError::Io(error),
    }
}

fn cut_error(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => OpenError::Cut,
        _ => OpenError::Io(error),
    }
}

fn upgrade_error(error: tungstenite::Error) -> OpenError {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let text =
                String::from_utf8_lossy(&body[..body.len().min(200)]).trim().replace(['\r', '\n'], " ");
            let detail = if text.is_empty() { text } else { format!(": {text}") };
            OpenError::Status { status: response.status().as_u16(), detail }
        }
        tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete) => OpenError::Cut,
        tungstenite::Error::Io(error) => cut_error(error),
        other => OpenError::Handshake(Box::new(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::tests::stentor;
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

    /// A server that answers one request with its 101 and `behind` in one write.
    async fn answer(mut stream: TcpStream, behind: &[u8]) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let header = |line: &str| {
            line.to_lowercase().starts_with("sec-websocket-key:").then(|| line[18..].trim().to_owned())
        };
        let key = request.lines().find_map(header).unwrap();
        let accept = derive_accept_key(key.as_bytes());
        let mut response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes();
        response.extend_from_slice(behind);
        stream.write_all(&response).await.unwrap();
        stream.write_all(b"later").await.unwrap();
    }

    #[tokio::test]
    async fn what_came_with_the_101_is_kept_and_what_comes_later_is_read() {
        for length in [0, 1, 27, 1_500] {
            let behind = vec![b'\n'; length];
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let server = listener.local_addr().unwrap();
            let url = format!("ws://{server}");
            let call = stentor(&url).subscriber(&["t".into()], false);
            let serve = async {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream, &behind).await;
            };
            let ((), opened) = tokio::join!(serve, open(server, &call, Local::default()));
            let Opened { mut stream, early, .. } = opened.unwrap();
            let mut all = early;
            stream.read_to_end(&mut all).await.unwrap();
            let expected = [behind.as_slice(), b"later"].concat();
            assert_eq!(all, expected, "{length} bytes came with the 101");
        }
    }

    #[tokio::test]
    async fn an_answer_is_waited_for_and_kept_however_it_comes() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = listener.local_addr().unwrap();
        let answer = Some(Answer { granted: "GRANTED".into(), refused: vec!["NO"] });
        let call = Call { upgrade: None, hello: b"hello".to_vec(), answer, wire: Wire::Nats };
        for (said, granted) in [("INFO GRANTED then", true), ("INFO N\nNO: never\n", false)] {
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut hello = [0; 5];
                stream.read_exact(&mut hello).await.unwrap();
                for byte in said.bytes() {
                    // Who was refused does not stay for the rest.
                    let _ = stream.write_all(&[byte]).await;
                    tokio::task::yield_now().await;
                }
                hello
            };
            let (hello, opened) = tokio::join!(serve, open(server, &call, Local::default()));
            assert_eq!(&hello, b"hello");
            match opened {
                Ok(Opened { mut stream, early: mut all, .. }) => {
                    stream.read_to_end(&mut all).await.unwrap();
                    assert!(granted && all == said.as_bytes());
                }
                Err(error) => assert!(!granted && error.to_string().contains("subscription: NO"), "{error}"),
            }
        }
    }
}
