//! A shard's datagram socket, and where its slots are that are sent datagrams.

use super::client::Client;
use crate::ids::Slot;
use crate::message::tcp::LENGTH_BYTES;
use crate::shard::core::writer::{Offer, Taken};
use rustix::net::SocketAddrAny;
use rustix::net::addr::SocketAddrArg as _;
use slab::Slab;
use std::rc::Rc;
use tokio::net::UdpSocket;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Udp {
    socket: Option<Rc<UdpSocket>>,
    /// Side by side, since a datagram is little more than its address: apart they cost a tenth of it.
    holders: Slab<Holder>,
    /// Their places among these by slot; [`NOBODY`] for most.
    places: Vec<u32>,
}

const NOBODY: u32 = u32::MAX;

/// Who holds a lease.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) about: Box<Client>,
    /// A socket of its own, through which it is sent to.
    own: Option<Rc<UdpSocket>>,
    address: SocketAddrAny,
}

impl Holder {
    pub(super) fn is_group(&self) -> bool {
        self.own.is_some()
    }
}

impl Udp {
    pub(super) fn new(socket: Option<Rc<UdpSocket>>) -> Self {
        Self { socket, ..Self::default() }
    }

    pub(super) fn insert(&mut self, slot: Slot, about: Client, own: Option<Rc<UdpSocket>>) {
        let slot = slot as usize;
        if slot >= self.places.len() {
            self.places.resize(slot + 1, NOBODY);
        }
        let holder = Holder { address: about.peer.as_any(), own, about: Box::new(about) };
        self.places[slot] = self.holders.insert(holder) as u32;
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Holder> {
        self.holders.get(*self.places.get(slot as usize)? as usize)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Holder> {
        let place = std::mem::replace(self.places.get_mut(slot as usize)?, NOBODY);
        self.holders.try_remove(place as usize)
    }

    /// Sends frames without their lengths, one a datagram; what the kernel does not take now is not sent.
    pub(super) fn send_all(&self, offers: &[Offer<'_>], taken: &mut [Taken]) {
        taken.fill(Taken::Bytes(0));
        let mut at = 0;
        while at < offers.len() {
            let rest = &offers[at..offers.len().min(at + CALL)];
            let Some(socket) = self.socket_of(rest[0].slot) else { return };
            let is_same = |offer: &&Offer<'_>| {
                self.socket_of(offer.slot).is_some_and(|other| Rc::ptr_eq(socket, other))
            };
            let sent = self.call(socket, &rest[..rest.iter().take_while(is_same).count()]);
            for (offer, taken) in offers[at..].iter().zip(&mut taken[at..]).take(sent.unwrap_or(0)) {
                *taken = Taken::Bytes(offer.bytes.len());
            }
            at += match sent {
                Some(sent @ 1..) => sent,
                // This one cannot be sent: to nowhere, or too large for the path.
                Some(0) => 1,
                None => return,
            };
        }
    }

    fn socket_of(&self, slot: Slot) -> Option<&Rc<UdpSocket>> {
        self.get(slot).and_then(|holder| holder.own.as_ref()).or(self.socket.as_ref())
    }

    /// One system call: how many went, from the first; `None` when the kernel has no room.
    #[cfg(target_os = "linux")]
    fn call(&self, socket: &UdpSocket, offers: &[Offer<'_>]) -> Option<usize> {
        use rustix::io::Errno;
        use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
        use std::io::IoSlice;

        let nowhere = ([0, 0, 0, 0], 0);
        let nowhere = std::net::SocketAddr::from(nowhere).as_any();
        let bytes: [_; CALL] = std::array::from_fn(|at| {
            [IoSlice::new(offers.get(at).map_or(&[][..], |offer| &offer.bytes[LENGTH_BYTES..]))]
        });
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; CALL] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut at = 0;
        let mut headers = controls.each_mut().map(|control| {
            let holder = offers.get(at).and_then(|offer| self.get(offer.slot));
            let address = holder.map_or(&nowhere, |holder| &holder.address);
            at += 1;
            MMsgHdr::new_with_addr(address, &bytes[at - 1], control)
        });
        loop {
            return match sendmmsg(socket, &mut headers[..offers.len()], SendFlags::NOSIGNAL) {
                Ok(sent) => Some(sent),
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK | Errno::NOBUFS) => None,
                Err(_) => Some(0),
            };
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn call(&self, socket: &UdpSocket, offers: &[Offer<'_>]) -> Option<usize> {
        let (Some(offer), None) = (offers.first(), offers.get(1)) else {
            return self.call(socket, &offers[..1]);
        };
        let Some(holder) = self.get(offer.slot) else { return Some(0) };
        match socket.try_send_to(&offer.bytes[LENGTH_BYTES..], holder.about.peer) {
            Ok(_) => Some(1),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }
}

/// Datagrams of one system call.
const CALL: usize = crate::limits::SENDS_PER_YIELD;
