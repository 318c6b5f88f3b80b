//! A client's exchange of datagrams with a server: a cookie, a lease that is renewed by it, and messages that may be lost.

use super::address::Address;
use super::closed::Closed;
use super::error::ClientError;
use super::frames::{self, Frame};
use super::said::Said;
use super::tcp::understood;
use super::wire::{CONNECT_WAIT, Heard, Text, unreachable};
use crate::message::tcp::{HEARTBEAT, JSON};
use crate::message::{Payload, PayloadKind};
use crate::protocol::options::PublishOptions;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Bytes of a hello, of which less is not answered.
const HELLO_BYTES: usize = 128;
/// After how long a hello is sent again.
const HELLO_AGAIN: Duration = Duration::from_millis(300);
/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = u16::MAX as usize;
/// What a datagram takes that is not split on its way.
const PUBLISHED_BYTES_MAX: usize = 1_472;
/// Bytes the kernel holds for us; what comes when they are full is lost. It may grant less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

pub(super) async fn open(address: &Address) -> Result<(Sender, Receiver), ClientError> {
    let opening = async {
        let peer = lookup_host((address.host.as_str(), address.port)).await?.next();
        let peer = peer.ok_or_else(|| io::Error::other("the name has no address"))?;
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        // Less room only means more loss, which is dealt with.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        socket.connect(peer).await?;
        let cookie = greet(&socket).await?;
        Ok::<_, io::Error>((socket, cookie))
    };
    let (socket, cookie) = match timeout(CONNECT_WAIT, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err(unreachable(address, &error)),
        Err(_) => return Err(unreachable(address, &"no answer within 10 s")),
    };
    let socket = Arc::new(socket);
    let (close, closing) = oneshot::channel();
    let buffer = vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice();
    let receiver = Receiver { socket: Arc::clone(&socket), buffer, closing };
    Ok((Sender { socket, cookie, gathered: VecDeque::new(), close: Some(close) }, receiver))
}

/// Asks for a cookie until there is one.
async fn greet(socket: &UdpSocket) -> io::Result<String> {
    let mut hello = br#"J{"op":"hello","pad":""#.to_vec();
    hello.resize(HELLO_BYTES, b'.');
    hello.extend_from_slice(b"\"}");
    let mut buffer = [0; 2_048];
    loop {
        socket.send(&hello).await?;
        let Ok(received) = timeout(HELLO_AGAIN, socket.recv(&mut buffer)).await else { continue };
        let received = &buffer[..received?];
        if let Ok(Frame::Json(json)) = frames::read(Bytes::copy_from_slice(received))
            && let Ok(Said::Cookie { cookie }) = serde_json::from_slice(&json)
        {
            return Ok(cookie);
        }
    }
}

/// The half that sends.
#[derive(Debug)]
pub(super) struct Sender {
    socket: Arc<UdpSocket>,
    cookie: String,
    gathered: VecDeque<BytesMut>,
    close: Option<oneshot::Sender<()>>,
}

impl Sender {
    pub(super) fn publish(
        &mut self,
        topic: &str,
        payload: &Payload,
        options: &PublishOptions,
    ) -> Result<(), ClientError> {
        if *options != PublishOptions::default() {
            return Err(ClientError::Usage(
                "a datagram says no class, image, number or epoch; publish over tcp:// or ws://".to_owned(),
            ));
        }
        let unsendable = |why: String| Err(ClientError::Unsendable(why));
        if payload.kind() == PayloadKind::Binary && std::str::from_utf8(payload.bytes()).is_ok() {
            return unsendable("bytes that are UTF-8 would be taken for text".to_owned());
        }
        let mut datagram = BytesMut::new();
        frames::put_message(&mut datagram, frames::put_datagram, topic, payload.bytes());
        if datagram.len() > PUBLISHED_BYTES_MAX {
            let bytes = datagram.len();
            return unsendable(format!(
                "a datagram of {bytes} bytes would be split: {PUBLISHED_BYTES_MAX} fit"
            ));
        }
        self.gathered.push_back(datagram);
        Ok(())
    }

    /// With the cookie, as every operation has it here.
    pub(super) fn operation(&mut self, text: &str) {
        let rest = text.strip_prefix('{').unwrap_or(text);
        let cookie = format!("{{\"cookie\":{},", serde_json::Value::from(self.cookie.as_str()));
        self.datagram(JSON, &[cookie.as_bytes(), rest.as_bytes()]);
    }

    /// Renews the lease.
    pub(super) fn live(&mut self) {
        let cookie = self.cookie.clone();
        self.datagram(HEARTBEAT, &[cookie.as_bytes()]);
    }

    fn datagram(&mut self, kind: u8, parts: &[&[u8]]) {
        let mut datagram = BytesMut::new();
        frames::put_datagram(&mut datagram, kind, parts);
        self.gathered.push_back(datagram);
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.gathered.is_empty()
    }

    pub(super) async fn flush(&mut self) -> Result<(), ClientError> {
        while let Some(datagram) = self.gathered.front() {
            self.socket.send(datagram).await.map_err(|error| ClientError::Lost(error.to_string()))?;
            self.gathered.pop_front();
        }
        Ok(())
    }

    /// Nothing is read back of what was sent.
    pub(super) async fn close(&mut self) -> Result<(), ClientError> {
        self.flush().await?;
        if let Some(close) = self.close.take() {
            // The receiver may be gone, and then nobody waits.
            let _ = close.send(());
        }
        Ok(())
    }
}

/// The half that receives.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: Arc<UdpSocket>,
    buffer: Box<[u8]>,
    closing: oneshot::Receiver<()>,
}

impl Receiver {
    /// What is no frame is as good as lost.
    pub(super) async fn next(&mut self) -> Result<Option<Heard>, ClientError> {
        let length = tokio::select! {
            biased;
            received = self.socket.recv(&mut self.buffer) => {
                received.map_err(|error| ClientError::Lost(error.to_string()))?
            }
            Ok(()) = &mut self.closing, if !self.closing.is_terminated() => {
                return Ok(Some(Heard::Closed(Closed { code: 1000, reason: String::new() })));
            }
        };
        Ok(match frames::read(Bytes::copy_from_slice(&self.buffer[..length])) {
            Ok(Frame::Data { alias, seq, payload, is_snapshot }) => {
                Some(Heard::Data { alias, seq, payload, is_snapshot })
            }
            Ok(Frame::Json(json)) => Text::from_bytes(json).map(understood),
            Ok(Frame::Life) | Err(_) => None,
        })
    }
}
