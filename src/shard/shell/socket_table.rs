//! The sockets of a shard, by slot: one descriptor, one writer, one owner.

use super::client::Client;
use super::udp::Udp;
use super::uring::Uring;
use crate::ids::Slot;
use crate::platform;
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
    pub(super) by_slot: Vec<Option<Rc<Socket>>>,
    /// The tasks that wait on full ones.
    drainers: HashMap<Slot, AbortHandle>,
    pub(super) uring: Uring,
    /// Who is sent datagrams.
    pub(super) udp: Udp,
}

impl SocketTable {
    /// With memory set aside for so many.
    pub(super) fn new(slots: usize, uring: Uring, udp: Udp) -> Self {
        Self { by_slot: Vec::with_capacity(slots), drainers: HashMap::new(), uring, udp }
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

    /// Who is at the other end.
    pub(super) fn about(&self, slot: Slot) -> Option<&Client> {
        let datagrams = || self.udp.get(slot).map(|holder| &*holder.about);
        self.get(slot).map(|socket| &socket.about).or_else(datagrams)
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
