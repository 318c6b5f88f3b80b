//! The floor by datagram: everybody who asked for it, and one datagram to each, many in a system call.
//!
//! Contract: a message is encoded once. What the kernel has no room for is dropped, and the verification sees it. There are no
//! leases: whoever has subscribed is sent everything until it unsubscribes.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::limits::{DATAGRAM_BYTES_MAX, FLOOR_DATAGRAMS_PER_CALL};
use crate::target::tcp::{DATA, HEARTBEAT, JSON};

/// Its cookie proves nothing: nobody but its own generator is on loopback with it.
const COOKIE: &str = "floor";
/// In front of a payload: kind, alias and sequence.
const PLACE_BYTES: usize = 13;

/// All who have subscribed, and the socket they did that on.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: Rc<UdpSocket>,
    known: HashSet<SocketAddr>,
    /// The same, as the system takes them.
    to: Vec<To>,
    sequence: u64,
    datagram: Vec<u8>,
}

#[cfg(target_os = "linux")]
type To = rustix::net::SocketAddrAny;
#[cfg(not(target_os = "linux"))]
type To = SocketAddr;

impl Datagrams {
    /// On a free port of loopback.
    pub(super) async fn bind() -> io::Result<Self> {
        let socket = Rc::new(UdpSocket::bind(("127.0.0.1", 0)).await?);
        let (known, to) = (HashSet::new(), Vec::new());
        Ok(Self { socket, known, to, sequence: 0, datagram: vec![DATA; PLACE_BYTES] })
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> Rc<UdpSocket> {
        Rc::clone(&self.socket)
    }

    /// Takes all that has come.
    pub(super) fn hear(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match self.socket.try_recv_from(&mut bytes) {
                Ok((length, from)) => self.take(&bytes[..length], from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Somebody we have sent to is gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr) {
        let answer = match datagram {
            [JSON, text @ ..] => match serde_json::from_slice(text) {
                Ok(operation) => self.operate(&operation, from),
                Err(_) => return,
            },
            [HEARTBEAT, ..] => vec![HEARTBEAT],
            _ => return,
        };
        // Whoever does not hear it asks again.
        let _ = self.socket.try_send_to(&answer, from);
    }

    fn operate(&mut self, operation: &Value, from: SocketAddr) -> Vec<u8> {
        match operation["op"].as_str() {
            Some("subscribe") if self.known.insert(from) => self.to.push(raw(from)),
            Some("unsubscribe") if self.known.remove(&from) => {
                let to = raw(from);
                self.to.retain(|one| *one != to);
            }
            _ => {}
        }
        let answer = match operation["op"].as_str() {
            Some("hello") => json!({ "event": "cookie", "cookie": COOKIE }),
            _ => json!({ "event": "ack", "id": operation["id"], "ok": [], "err": [] }),
        };
        [&[JSON], answer.to_string().as_bytes()].concat()
    }

    /// One datagram to each.
    pub(super) fn send(&mut self, payload: &[u8]) {
        self.sequence += 1;
        self.datagram.truncate(PLACE_BYTES);
        self.datagram[1..5].copy_from_slice(&[0; 4]);
        self.datagram[5..].copy_from_slice(&self.sequence.to_be_bytes());
        self.datagram.extend_from_slice(payload);
        for part in self.to.chunks(FLOOR_DATAGRAMS_PER_CALL) {
            let mut rest = part;
            while !rest.is_empty() {
                match call(&self.socket, &self.datagram, rest) {
                    // One that cannot be sent is left out.
                    Some(sent) => rest = &rest[sent.max(1)..],
                    None => break,
                }
            }
        }
    }
}

/// One system call: how many went, from the first; `None` when the kernel has no room.
#[cfg(target_os = "linux")]
fn call(socket: &UdpSocket, datagram: &[u8], to: &[To]) -> Option<usize> {
    use rustix::io::Errno;
    use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

    const MOST: usize = FLOOR_DATAGRAMS_PER_CALL;
    let bytes = [io::IoSlice::new(datagram)];
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; MOST] =
        std::array::from_fn(|_| SendAncillaryBuffer::default());
    let mut each = to.iter();
    let mut headers = controls
        .each_mut()
        .map(|control| MMsgHdr::new_with_addr(each.next().unwrap_or(&to[0]), &bytes, control));
    loop {
        return match sendmmsg(socket, &mut headers[..to.len()], SendFlags::NOSIGNAL) {
            Ok(sent) => Some(sent),
            Err(Errno::INTR) => continue,
            Err(Errno::WOULDBLOCK | Errno::NOBUFS) => None,
            Err(_) => Some(0),
        };
    }
}

#[cfg(target_os = "linux")]
fn raw(address: SocketAddr) -> To {
    rustix::net::addr::SocketAddrArg::as_any(&address)
}

#[cfg(not(target_os = "linux"))]
fn raw(address: SocketAddr) -> To {
    address
}

#[cfg(not(target_os = "linux"))]
fn call(socket: &UdpSocket, datagram: &[u8], to: &[To]) -> Option<usize> {
    match socket.try_send_to(datagram, to[0]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        _ => Some(1),
    }
}
