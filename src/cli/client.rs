//! The WebSocket client that `sub`, `pub` and `replay` share: one connection, owned by one task, as a sender and a receiver.
//!
//! Contract:
//! 1. [`connect`] either returns an open connection or a [`Failure`] that names the address and what to do.
//! 2. [`Receiver::next`] may be dropped while it waits; no message is lost by that.
//! 3. When [`Receiver::converse`] returns `Ok`, everything sent was read by the server: a WebSocket is read in order, and the
//!    server answered the close that came last.
//!
//! It never reconnects (these are commands for a person at a prompt; an error is more use than a silent retry), and it never
//! sends while nobody reads: a server that answers each of our messages would otherwise fill both directions and stall.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
pub(crate) use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::address::Address;
use super::failure::Failure;

/// How long connecting, and then the handshake, may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long the server may take to answer our close. It reads what we sent before it answers, and a full server reads slowly.
const CLOSE_WAIT: Duration = Duration::from_secs(30);
/// After a failed write, how long to look for the close that explains it.
const EXPLANATION_WAIT: Duration = Duration::from_secs(1);
/// Largest message taken from the server, in bytes: far above its own limit, so that the server's is the one that counts.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The server a command talks to.
#[derive(clap::Args, Debug)]
pub(crate) struct ServerArgs {
    // Hidden in the help: it may hold a token.
    /// The server, as ws://HOST:PORT; what follows (a path prefix, ?token=…) goes with every request
    #[arg(
        long = "url",
        value_name = "URL",
        env = "STENTOR_URL",
        hide_env_values = true,
        default_value = "ws://127.0.0.1:7400"
    )]
    pub(crate) url: String,
}

/// Opens `path` (with its query, if any) on the server that `url` names.
pub(crate) async fn connect(url: &str, path: &str) -> Result<(Sender, Receiver), Failure> {
    let address = Address::parse(url)?;
    let stream = match timeout(CONNECT_WAIT, TcpStream::connect((address.host, address.port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable_server(&address, &error.to_string())),
        Err(_) => return Err(unreachable_server(&address, "no answer within 10 s")),
    };
    // Without this a lone message waits for the acknowledgement of the one before. Refused only on a socket already dead.
    let _ = stream.set_nodelay(true);

    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let handshake = client_async_with_config(address.request(path), stream, Some(config));
    match timeout(CONNECT_WAIT, handshake).await {
        Ok(Ok((socket, _))) => {
            let (sink, stream) = socket.split();
            Ok((Sender { sink }, Receiver { stream, closed: None }))
        }
        Ok(Err(Error::Http(response))) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let status = response.status();
            let separator = if body.trim().is_empty() { "" } else { ": " };
            Err(Failure::run(format!(
                "{address} refused {path} with {status}{separator}{}; check the URL and what this client may do there",
                body.trim()
            )))
        }
        Ok(Err(error)) => {
            Err(Failure::run(format!("{address} does not speak WebSocket here ({error}); check the URL")))
        }
        Err(_) => Err(Failure::run(format!(
            "{address} took the connection and did not answer within 10 s; check the URL"
        ))),
    }
}

fn unreachable_server(address: &Address<'_>, why: &str) -> Failure {
    Failure::run(format!(
        "cannot connect to {address}: {why}; is the server running? start one with `stentor demo`"
    ))
}

/// The half that sends. Messages are gathered until [`flush`](Self::flush), or 128 KiB.
pub(crate) struct Sender {
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
}

impl Sender {
    /// Gathers one message; waits only while the connection is full. Dropped while it waits, the message is not sent.
    pub(crate) async fn feed(&mut self, message: Message) -> Result<(), Failure> {
        self.sink.feed(message).await.map_err(|error| lost(&error))
    }

    /// Hands everything gathered to the kernel.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        self.sink.flush().await.map_err(|error| lost(&error))
    }

    /// Sends what was gathered and then the close. The answer comes to the [`Receiver`].
    pub(crate) async fn close(&mut self) -> Result<(), Failure> {
        match timeout(CLOSE_WAIT, self.sink.close()).await {
            Ok(closed) => closed.map_err(|error| lost(&error)),
            Err(_) => Err(unconfirmed("the server stopped reading")),
        }
    }
}

/// The half that receives.
pub(crate) struct Receiver {
    stream: SplitStream<WebSocketStream<TcpStream>>,
    /// The server's close, from when it was read until our answer to it is out.
    closed: Option<Closed>,
}

impl Receiver {
    /// The next thing the server says. Pings are answered underneath.
    pub(crate) async fn next(&mut self) -> Result<Incoming, Failure> {
        while self.closed.is_none() {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Incoming::Text(text)),
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                    self.closed = Some(Closed { code, reason });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(lost(&error)),
                None => return Err(lost(&Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))),
            }
        }
        // Reading on sends our answer, and ends when the server hangs up.
        let _ = timeout(EXPLANATION_WAIT, async { while self.stream.next().await.is_some() {} }).await;
        let closed = self.closed.take().unwrap_or(Closed { code: 1005, reason: String::new() });
        Ok(Incoming::Closed(closed))
    }

    /// Runs `sending`, which must end by closing its [`Sender`], hands `hear` each text that comes meanwhile, and returns
    /// what `sending` returned once the server has answered the close. A second Ctrl-C stops the waiting (the first is for
    /// `sending` to notice).
    pub(crate) async fn converse<T>(
        mut self,
        sending: impl Future<Output = Result<T, Failure>>,
        mut hear: impl FnMut(&str),
    ) -> Result<T, Failure> {
        let mut sending = pin!(sending);
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let mut interrupts = 0;
        let mut outcome: Option<Result<T, Failure>> = None;
        let mut deadline = Instant::now();
        loop {
            tokio::select! {
                // Hearing comes first: a close explains the failed write it causes.
                biased;
                incoming = self.next() => match (incoming, outcome) {
                    (Ok(Incoming::Text(text)), unchanged) => {
                        hear(&text);
                        outcome = unchanged;
                    }
                    (Ok(Incoming::Closed(closed)), Some(outcome)) if closed.is_normal() => return outcome,
                    (Ok(Incoming::Closed(closed)), _) => return Err(closed.failure()),
                    (Err(_), Some(Err(failure))) | (Err(failure), None) => return Err(failure),
                    (Err(_), Some(Ok(_))) => return Err(unconfirmed("the connection ended without a close")),
                },
                result = &mut sending, if outcome.is_none() => {
                    let wait = if result.is_ok() { CLOSE_WAIT } else { EXPLANATION_WAIT };
                    deadline = Instant::now() + wait;
                    outcome = Some(result);
                }
                () = sleep_until(deadline), if outcome.is_some() => {
                    return match outcome {
                        Some(Err(failure)) => Err(failure),
                        _ => Err(unconfirmed("the server did not answer the close within 30 s")),
                    };
                }
                _ = &mut interrupt => {
                    interrupts += 1;
                    if interrupts > 1 {
                        return Err(unconfirmed("interrupted"));
                    }
                    interrupt.set(tokio::signal::ctrl_c());
                }
            }
        }
    }
}

/// What the server says to one of these commands. None of the paths they open sends binary frames to them.
pub(crate) enum Incoming {
    /// A text message: data in its envelope, an answer or an event.
    Text(Utf8Bytes),
    /// The close, already answered.
    Closed(Closed),
}

/// The code and reason of a close.
#[derive(Debug)]
pub(crate) struct Closed {
    code: u16,
    reason: String,
}

impl Closed {
    /// True exactly when nothing went wrong: 1000, or a close that carries no code.
    pub(crate) fn is_normal(&self) -> bool {
        matches!(self.code, 1000 | 1005)
    }

    /// The close as the end of a command.
    pub(crate) fn failure(&self) -> Failure {
        let next = match self.code {
            1009 => "send smaller messages or raise the server's limit",
            1002 | 1003 | 1007 | 4501 => "client and server disagree on the protocol: compare their versions",
            4001 => "read faster, subscribe to less, or resume with --since",
            4002 => "run it again without --since",
            4500 => "a token is needed: add ?token=… to the URL",
            4502 => "ask for a token that covers this topic",
            4503 => "use less of what the reason names, or raise the server's limit",
            4504 => "another client took this identity over",
            4505..=4999 => "running it again will not help",
            _ => "run it again",
        };
        Failure::run(format!("the server closed the connection: {self}; {next}"))
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.reason.is_empty() { "" } else { " " };
        write!(f, "{}{gap}{}", self.code, self.reason)
    }
}

fn lost(error: &Error) -> Failure {
    let why = match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => "it ended without a close".to_owned(),
        Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    Failure::run(format!("the connection was lost ({why}); check the server and run it again"))
}

fn unconfirmed(why: &str) -> Failure {
    Failure::run(format!(
        "{why}: the last messages sent may not have been accepted; check the server and send them again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

    #[test]
    fn a_url_is_taken_apart_and_put_before_a_path() {
        let plain = Address::parse("ws://127.0.0.1:7400/").unwrap();
        assert_eq!((plain.host, plain.port), ("127.0.0.1", 7400));
        assert_eq!(plain.request("/stream?seq=1"), "ws://127.0.0.1:7400/stream?seq=1");
        let full = Address::parse("ws://[::1]:9/feed/?token=t").unwrap();
        assert_eq!((full.host, full.port), ("::1", 9));
        assert_eq!(full.request("/ws"), "ws://[::1]:9/feed/ws?token=t");
        assert_eq!(full.request("/stream?seq=1"), "ws://[::1]:9/feed/stream?seq=1&token=t");
        assert_eq!(full.to_string(), "ws://[::1]:9/feed");
        assert_eq!(Address::parse("ws://example.org").unwrap().port, 80);
    }

    #[test]
    fn a_url_this_client_cannot_use_is_a_usage_failure_that_names_the_form() {
        for (url, part) in [
            ("wss://h:1", "TLS"),
            ("http://h:1", "not a WebSocket URL"),
            ("ws://h:x?token=secret", "port"),
            ("ws://:1", "host"),
            ("ws://u@h:1", "host"),
        ] {
            let failure = Address::parse(url).unwrap_err();
            let line = failure.to_string();
            assert_eq!(failure.code(), 2);
            assert!(
                line.contains(part) && line.contains("ws://HOST:PORT") && !line.contains("secret"),
                "{line}"
            );
        }
    }

    /// Listens on a port of its own, and says how to reach it.
    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_what_to_do() {
        let (listener, url) = listener().await;
        drop(listener);
        let line = connect(&url, "/ws").await.err().unwrap().to_string();
        assert!(line.contains(&url) && line.contains("stentor demo"), "{line}");
    }

    #[tokio::test]
    async fn a_refused_handshake_shows_status_and_body() {
        let (listener, url) = listener().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 17\r\n\r\npublishers only\r\n";
            stream.write_all(answer).await.unwrap();
        };
        let (_, refused) = tokio::join!(server, connect(&url, "/publish/t"));
        let line = refused.err().unwrap().to_string();
        assert!(line.contains("403 Forbidden: publishers only; "), "{line}");
    }

    /// Sends three texts and closes, against a server that answers each and then closes with `code`.
    async fn exchange(code: Option<CloseCode>) -> (Result<u32, Failure>, Vec<String>) {
        let (listener, url) = listener().await;
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() {
                    // Refused once it has closed.
                    let _ = socket.send(message).await;
                    if let Some(code) = code {
                        let frame = CloseFrame { code, reason: "because".into() };
                        let _ = socket.close(Some(frame)).await;
                    }
                }
            }
        };
        let client = async {
            let (mut sender, receiver) = connect(&url, "/ws").await?;
            let mut heard = Vec::new();
            let sending = async {
                for n in 0..3 {
                    sender.feed(Message::text(format!("{n}"))).await?;
                }
                sender.close().await.map(|()| 3)
            };
            let result = receiver.converse(sending, |text| heard.push(text.to_owned())).await;
            Ok::<_, Failure>((result, heard))
        };
        let (_, result) = tokio::join!(server, client);
        result.unwrap()
    }

    #[tokio::test]
    async fn a_conversation_ends_when_the_server_has_answered_everything_and_the_close() {
        let (result, heard) = exchange(None).await;
        assert_eq!(result, Ok(3));
        assert_eq!(heard, ["0", "1", "2"]);
    }

    #[tokio::test]
    async fn a_close_by_the_server_is_reported_with_code_reason_and_advice() {
        let (result, _) = exchange(Some(CloseCode::Library(4502))).await;
        let line = result.unwrap_err().to_string();
        assert!(line.contains("4502 because") && line.contains("token"), "{line}");
    }
}
