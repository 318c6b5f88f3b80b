//! The sockets of a shard, by slot: one descriptor, one writer, one owner.

use super::writer::{Offer, Sockets, Taken};
use crate::door::admission::Seat;
use crate::ids::Slot;
use crate::limits::{SENDS_PER_SUBMIT, SENDS_PER_YIELD};
use crate::platform::{Ring, Sending};
use crate::protocol::target::Endpoint;
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::SockRef;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// One connection's socket, and the task that waits on it while it is full.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: Rc<TcpStream>,
    pub(super) peer: SocketAddr,
    pub(super) path: String,
    pub(super) endpoint: Endpoint,
    /// Drains the queue; while there is one.
    pub(super) drainer: Option<AbortHandle>,
    /// Given back when the socket goes.
    pub(super) _seat: Seat,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SocketTable {
    by_slot: Vec<Option<Box<Socket>>>,
    /// Where it is used and works.
    ring: Option<Ring>,
}

impl SocketTable {
    pub(super) fn new(ring: Option<Ring>) -> Self {
        Self { by_slot: Vec::new(), ring }
    }

    /// Sends that keep readers waiting for 0.2 ms.
    pub(super) fn sends_per_yield(&self) -> usize {
        if self.ring.is_some() { SENDS_PER_SUBMIT } else { SENDS_PER_YIELD }
    }

    pub(super) fn insert(&mut self, slot: Slot, socket: Socket) {
        let slot = slot as usize;
        if slot >= self.by_slot.len() {
            self.by_slot.resize_with(slot + 1, || None);
        }
        self.by_slot[slot] = Some(Box::new(socket));
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Socket> {
        self.by_slot.get(slot as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Socket> {
        self.by_slot.get_mut(slot as usize)?.as_deref_mut()
    }

    /// Closes the writing side: the client sees the end after the last byte.
    pub(super) fn finish(&self, slot: Slot) {
        if let Some(socket) = self.get(slot) {
            // It may be gone already, which is as good.
            let _ = SockRef::from(&*socket.stream).shutdown(Shutdown::Write);
        }
    }

    /// Lets a socket go and returns it; with `reset` the kernel throws away what it still holds.
    pub(super) fn remove(&mut self, slot: Slot, reset: bool) -> Option<Rc<TcpStream>> {
        let socket = self.by_slot.get_mut(slot as usize).and_then(Option::take)?;
        if reset {
            let _ = SockRef::from(&*socket.stream).set_linger(Some(Duration::ZERO));
        }
        socket.drainer.iter().for_each(AbortHandle::abort);
        Some(socket.stream.clone())
    }
}

impl SocketTable {
    /// Returns how many offers it made, from the first: none without a ring.
    fn send_through_ring(&mut self, offers: &[Offer<'_>], taken: &mut [Taken]) -> usize {
        let Some(ring) = &mut self.ring else { return 0 };
        let by_slot = &self.by_slot;
        let sendings = offers.iter().map_while(|offer| {
            let socket = by_slot.get(offer.slot as usize)?.as_deref()?.stream.as_fd();
            Some(Sending { socket, bytes: offer.bytes })
        });
        for (offer, taken) in offers.iter().zip(&mut *taken) {
            *taken = Taken::Bytes(offer.bytes.len());
        }
        let tried = ring.send_all(sendings, |at, result| {
            taken[at] = match result {
                Ok(taken) => Taken::Bytes(taken),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    Taken::Bytes(0)
                }
                Err(_) => Taken::Dead,
            }
        });
        if tried == 0 {
            tracing::warn!("io_uring failed; this shard goes on with one system call a send");
            self.ring = None;
        }
        tried
    }
}

impl Sockets for SocketTable {
    /// A raw send: tokio's `try_write` costs 0.2 us more of 4.3, libc's `send` 0.1.
    fn send(&mut self, slot: Slot, bytes: &[u8]) -> Taken {
        let Some(socket) = self.get(slot) else { return Taken::Dead };
        loop {
            return match rustix::net::send(&*socket.stream, bytes, SEND_FLAGS) {
                Ok(taken) => Taken::Bytes(taken),
                Err(Errno::WOULDBLOCK) => Taken::Bytes(0),
                Err(Errno::INTR) => continue,
                Err(_) => Taken::Dead,
            };
        }
    }

    fn send_all(&mut self, offers: &[Offer<'_>], taken: &mut [Taken]) {
        let tried = self.send_through_ring(offers, taken);
        for (offer, taken) in offers.iter().zip(taken).skip(tried) {
            *taken = self.send(offer.slot, offer.bytes);
        }
    }
}

/// A peer that went away is an error, not a signal. The socket is non-blocking already.
#[cfg(target_os = "linux")]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const SEND_FLAGS: SendFlags = SendFlags::empty();
