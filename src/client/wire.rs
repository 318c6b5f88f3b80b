//! One connection to a server, over any of the three transports, as a half that sends and one that receives.
//!
//! This is what [`Client`](super::Client) stands on, and what a publisher of many messages uses by itself: nothing waits for
//! an answer, and the close at the end is the receipt of all. Contract:
//! 1. [`open`] returns an open connection or an error that names the server and what to do.
//! 2. [`Receiver::next`], [`Sender::drain`] and [`Sender::flush`] may be dropped while they wait; nothing is lost by that.
//! 3. When the answer to [`Sender::close`] comes as a normal [`Heard::Closed`], everything sent before was read by the server,
//!    and whatever it refused was told. Over UDP there is no such receipt: the close only ends it.
//!
//! It never reconnects. Whoever sends must receive meanwhile: a server that answers each message would otherwise fill both
//! directions and stall.

use super::address::{Address, Transport};
use super::closed::Closed;
use super::error::ClientError;
use super::{tcp, udp, websocket};
use crate::message::Payload;
use crate::protocol::options::PublishOptions;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;
use std::ops::Deref;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How long connecting, and then the handshake, may take.
pub(super) const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long the server may take to answer our close. It reads what we sent before it answers, and a full server reads slowly.
pub const CLOSE_WAIT: Duration = Duration::from_secs(30);
/// After a failed write, how long to look for the close that explains it.
pub const EXPLANATION_WAIT: Duration = Duration::from_secs(1);
/// Largest message taken from the server, in bytes: far above its own limit, so that the server's is the one that counts.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes gathered before they are written though more is at hand.
pub(super) const GATHERED_BYTES: usize = 128 << 10;

/// What a path segment need not escape (RFC 3986, unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// UTF-8 as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(pub(super) Utf8Bytes);

impl Text {
    pub(super) fn as_bytes(&self) -> &Bytes {
        self.0.as_ref()
    }

    /// Nothing where the bytes are not UTF-8.
    pub(super) fn from_bytes(bytes: Bytes) -> Option<Self> {
        Utf8Bytes::try_from(bytes).ok().map(Self)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// Subscriptions, and everything else.
    Session {
        /// Who this client is, for a server that believes it.
        identity: Option<&'a str>,
    },
    /// Publishing to any topics.
    Publish,
    /// Publishing to one topic. Over WebSocket the numbers of the messages count on from that in the options.
    PublishTo {
        /// The topic.
        topic: &'a str,
        /// What goes for all messages.
        options: &'a PublishOptions,
    },
}

impl Purpose<'_> {
    /// What to ask a WebSocket server for.
    pub(super) fn path(&self) -> String {
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let (path, query): (_, Vec<Option<String>>) = match self {
            Self::Session { identity } => {
                let identity =
                    identity.map(|id| format!("client={}", utf8_percent_encode(id, NON_ALPHANUMERIC)));
                ("/stream".to_owned(), vec![Some("seq=1".to_owned()), identity])
            }
            Self::Publish => ("/ws".to_owned(), Vec::new()),
            Self::PublishTo { topic, options } => (
                format!("/publish/{}", escaped(topic)),
                vec![
                    options.class.map(|class| format!("class={}", class.as_str())),
                    options.image.then(|| "image=1".to_owned()),
                    options.seq.map(|seq| format!("seq={seq}")),
                    options.epoch.map(|epoch| format!("epoch={epoch}")),
                ],
            ),
        };
        let query: Vec<_> = query.into_iter().flatten().collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{path}{mark}{}", query.join("&"))
    }
}

/// What the server says.
#[derive(Debug)]
pub enum Heard {
    /// A message in its envelope, an answer or an event.
    Text(Text),
    /// A message under its topic's alias.
    Data {
        /// As the topic's ack or announcement named it.
        alias: u32,
        /// Its number.
        seq: u64,
        /// What was published.
        payload: Bytes,
        /// True exactly when it takes the place of everything before it.
        is_snapshot: bool,
    },
    /// The close, already answered.
    Closed(Closed),
}

/// Opens a connection to the server that `url` names.
///
/// # Errors
/// The URL is wrong, or nobody answers there as expected.
pub async fn open(url: &str, purpose: Purpose<'_>) -> Result<(Sender, Receiver), ClientError> {
    open_at(&Address::parse(url)?, purpose).await
}

pub(super) async fn open_at(
    address: &Address,
    purpose: Purpose<'_>,
) -> Result<(Sender, Receiver), ClientError> {
    if address.transport != Transport::WebSocket && matches!(purpose, Purpose::Session { identity: Some(_) })
    {
        return Err(ClientError::Usage(format!(
            "{address} takes no identity; connect to ws:// to be known by one"
        )));
    }
    match address.transport {
        Transport::WebSocket => websocket::open(address, purpose).await.map(|(sender, receiver)| {
            (Sender(SenderKind::WebSocket(sender)), Receiver(ReceiverKind::WebSocket(receiver)))
        }),
        Transport::Tcp => tcp::open(address).await.map(|(sender, receiver)| {
            (Sender(SenderKind::Tcp(sender)), Receiver(ReceiverKind::Tcp(receiver)))
        }),
        Transport::Udp => udp::open(address).await.map(|(sender, receiver)| {
            (Sender(SenderKind::Udp(sender)), Receiver(ReceiverKind::Udp(receiver)))
        }),
    }
}

/// A connection of bytes.
pub(super) async fn connect(address: &Address) -> Result<TcpStream, ClientError> {
    match timeout(CONNECT_WAIT, TcpStream::connect((address.host.as_str(), address.port))).await {
        Ok(Ok(stream)) => {
            // Without this a lone message waits for the acknowledgement of the one before. Refused only on a socket
            // already dead.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(unreachable(address, &error)),
        Err(_) => Err(unreachable(address, &"no answer within 10 s")),
    }
}

pub(super) fn unreachable(address: &Address, why: &impl ToString) -> ClientError {
    ClientError::Unreachable { server: address.to_string(), why: why.to_string() }
}

/// The half that sends.
#[derive(Debug)]
pub struct Sender(SenderKind);

#[derive(Debug)]
enum SenderKind {
    WebSocket(websocket::Sender),
    Tcp(tcp::Sender),
    Udp(udp::Sender),
}

impl Sender {
    /// Gathers one message; waits only while the connection is full.
    ///
    /// # Errors
    /// The connection is lost; [`Receiver::next`] may say why. Over UDP, what a datagram cannot say.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: &Payload,
        options: &PublishOptions,
    ) -> Result<(), ClientError> {
        match &mut self.0 {
            SenderKind::WebSocket(sender) => sender.publish(topic, payload, options),
            SenderKind::Tcp(sender) => sender.publish(topic, payload, options),
            SenderKind::Udp(sender) => sender.publish(topic, payload, options)?,
        }
        self.drain().await
    }

    /// Gathers an operation, as JSON.
    pub(super) fn operation(&mut self, text: &str) {
        match &mut self.0 {
            SenderKind::WebSocket(sender) => sender.operation(text),
            SenderKind::Tcp(sender) => sender.operation(text),
            SenderKind::Udp(sender) => sender.operation(text),
        }
    }

    /// True exactly when [`Sender::flush`] has something to do.
    pub(super) fn has_unsent(&self) -> bool {
        match &self.0 {
            SenderKind::WebSocket(sender) => sender.has_unsent(),
            SenderKind::Tcp(sender) => sender.has_unsent(),
            SenderKind::Udp(sender) => sender.has_unsent(),
        }
    }

    /// Makes room: hands over what was gathered, if it is much.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn drain(&mut self) -> Result<(), ClientError> {
        match &mut self.0 {
            SenderKind::WebSocket(sender) => sender.drain().await,
            SenderKind::Tcp(sender) => sender.drain().await,
            SenderKind::Udp(sender) => sender.flush().await,
        }
    }

    /// Hands everything gathered to the kernel.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        match &mut self.0 {
            SenderKind::WebSocket(sender) => sender.flush().await,
            SenderKind::Tcp(sender) => sender.flush().await,
            SenderKind::Udp(sender) => sender.flush().await,
        }
    }

    /// Sends what was gathered and then the close. The answer comes to the [`Receiver`].
    ///
    /// # Errors
    /// The connection is lost, or the server does not read any more.
    pub async fn close(&mut self) -> Result<(), ClientError> {
        let closing = async {
            match &mut self.0 {
                SenderKind::WebSocket(sender) => sender.close().await,
                SenderKind::Tcp(sender) => sender.close().await,
                SenderKind::Udp(sender) => sender.close().await,
            }
        };
        let stuck = |_| ClientError::Unconfirmed("the server stopped reading".to_owned());
        timeout(CLOSE_WAIT, closing).await.map_err(stuck)?
    }

    /// Gathers a sign of life, where the transport has one of ours.
    pub(super) fn live(&mut self) {
        match &mut self.0 {
            // The server pings, and is answered underneath.
            SenderKind::WebSocket(_) => {}
            SenderKind::Tcp(sender) => sender.live(),
            SenderKind::Udp(sender) => sender.live(),
        }
    }
}

/// The half that receives.
#[derive(Debug)]
pub struct Receiver(ReceiverKind);

#[derive(Debug)]
enum ReceiverKind {
    WebSocket(websocket::Receiver),
    Tcp(tcp::Receiver),
    Udp(udp::Receiver),
}

impl Receiver {
    /// The next thing the server says. What only keeps the connection alive is answered underneath.
    ///
    /// # Errors
    /// The connection ended without a close.
    pub async fn next(&mut self) -> Result<Heard, ClientError> {
        loop {
            if let Some(heard) = self.sign().await? {
                return Ok(heard);
            }
        }
    }

    /// The next sign of life: something the server says, or nothing, for a ping or a part of a frame.
    pub(super) async fn sign(&mut self) -> Result<Option<Heard>, ClientError> {
        match &mut self.0 {
            ReceiverKind::WebSocket(receiver) => receiver.next().await,
            ReceiverKind::Tcp(receiver) => receiver.next().await,
            ReceiverKind::Udp(receiver) => receiver.next().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::protocol::class::Class;

    #[test]
    fn a_purpose_is_a_path() {
        let path = |purpose: Purpose<'_>| purpose.path();
        assert_eq!(path(Purpose::Session { identity: None }), "/stream?seq=1");
        assert_eq!(path(Purpose::Session { identity: Some("a&b") }), "/stream?seq=1&client=a%26b");
        assert_eq!(path(Purpose::Publish), "/ws");
        let none = PublishOptions::default();
        assert_eq!(path(Purpose::PublishTo { topic: "a/b", options: &none }), "/publish/a%2Fb");
        let options = PublishOptions {
            class: Some(Class::BestEffort),
            image: true,
            seq: Some(7),
            epoch: Some(Epoch(36)),
        };
        assert_eq!(
            path(Purpose::PublishTo { topic: "t", options: &options }),
            "/publish/t?class=best-effort&image=1&seq=7&epoch=10"
        );
    }
}
