//! The sockets of a shard, by slot: one descriptor, one writer, one owner.

use super::client::Client;
use super::uring::Uring;
use super::writer::{Offer, Sockets, Taken};
use crate::ids::Slot;
use crate::platform;
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::SockRef;
use std::collections::HashMap;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// One connection's socket, shared by those who read it, write it and wait on it; closed by the last of them.
pub(super) type Socket = platform::Socket<Client>;

/// See the module.
#[derive(Debug)]
pub(super) struct SocketTable {
    by_slot: Vec<Option<Rc<Socket>>>,
    /// The tasks that wait on full ones.
    drainers: HashMap<Slot, AbortHandle>,
    uring: Uring,
}

impl SocketTable {
    /// With memory set aside for so many.
    pub(super) fn new(slots: usize, uring: Uring) -> Self {
        Self { by_slot: Vec::with_capacity(slots), drainers: HashMap::new(), uring }
    }

    pub(super) fn insert(&mut self, slot: Slot, socket: Rc<Socket>) {
        let slot = slot as usize;
        if slot >= self.by_slot.len() {
            self.by_slot.resize_with(slot + 1, || None);
        }
        self.by_slot[slot] = Some(socket);
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Rc<Socket>> {
        self.by_slot.get(slot as usize)?.as_ref()
    }

    /// Notes who waits on a full socket; ended with it.
    pub(super) fn set_drainer(&mut self, slot: Slot, drainer: AbortHandle) {
        self.drainers.insert(slot, drainer);
    }

    /// Closes the writing side: the client sees the end after the last byte.
    pub(super) fn finish(&self, slot: Slot) {
        if let Some(socket) = self.get(slot) {
            // It may be gone already, which is as good.
            let _ = SockRef::from(socket.stream()).shutdown(Shutdown::Write);
        }
    }

    /// Lets a socket go and returns it; with `reset` the kernel throws away what it still holds.
    pub(super) fn remove(&mut self, slot: Slot, reset: bool) -> Option<Rc<Socket>> {
        let socket = self.by_slot.get_mut(slot as usize).and_then(Option::take)?;
        if reset {
            let _ = SockRef::from(socket.stream()).set_linger(Some(Duration::ZERO));
        }
        self.drainers.remove(&slot).iter().for_each(AbortHandle::abort);
        Some(socket)
    }
}

impl Sockets for SocketTable {
    /// A raw send: tokio's `try_write` costs 0.2 us more of 4.3, libc's `send` 0.1.
    fn send(&mut self, slot: Slot, bytes: &[u8]) -> Taken {
        let Some(socket) = self.get(slot) else { return Taken::Dead };
        loop {
            return match rustix::net::send(socket.stream(), bytes, SEND_FLAGS) {
                Ok(taken) => Taken::Bytes(taken),
                Err(Errno::WOULDBLOCK) => Taken::Bytes(0),
                Err(Errno::INTR) => continue,
                Err(_) => Taken::Dead,
            };
        }
    }

    fn send_all(&mut self, offers: &[Offer<'_>], taken: &mut [Taken]) {
        let tried = self.uring.send_all(&self.by_slot, offers, taken);
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
