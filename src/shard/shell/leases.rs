//! Leases: subscriptions by datagram. Each is an address that has shown its cookie, and that goes on showing it.
//!
//! Contract:
//! 1. Who has not shown a cookie is sent nothing but the answer to a hello, which is shorter.
//! 2. A lease is a connection like any other, in all that is counted, listed and bounded.
//! 3. What cannot be acted on now is counted and forgotten: the client asks again, as datagrams are lost anyway.

use super::Shell;
use super::client::Client;
use super::udp::Holder;
use crate::clock::{self, Moment};
use crate::door::admission::{Seat, Seats};
use crate::ids::ConnectionId;
use crate::limits::ACTIONS_PER_YIELD;
use crate::message::tcp::{HEARTBEAT, JSON, LENGTH_BYTES};
use crate::message::wire::Wire;
use crate::message::{Encoding, Payload};
use crate::protocol::close::{CloseCode, Reason};
use crate::protocol::reply;
use crate::protocol::target::Endpoint;
use crate::protocol::topic::TopicName;
use crate::sequencer::publisher::Accepted;
use crate::sequencer::request::Request;
use crate::shard::register::Entry;
use crate::transport::cookie::{Cookie, Jar};
use crate::transport::inbound::Inbound;
use crate::transport::session::{Action, Rights, Session, Who};
use crate::transport::udp::{Datagram, Reader};
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use tokio::net::UdpSocket;

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = u16::MAX as usize;

/// See the module.
#[derive(Debug)]
pub(super) struct Leases {
    jar: Jar,
    reader: Reader,
    seats: Seats,
    /// One is taken out while it is served.
    by_address: HashMap<SocketAddr, Lease>,
}

#[derive(Debug)]
struct Lease {
    id: ConnectionId,
    cookie: Cookie,
    session: Session,
}

impl Leases {
    pub(super) fn new(seats: Seats) -> Self {
        Self { jar: Jar::default(), reader: Reader::default(), seats, by_address: HashMap::new() }
    }
}

impl Shell {
    /// Takes what comes, in turns, for as long as the shard lives.
    pub(super) async fn listen(self: Rc<Self>, socket: Rc<UdpSocket>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice();
        loop {
            if let Err(error) = socket.readable().await {
                // Nothing can be read any more: returning ends the shard.
                tracing::error!(%error, "the datagram socket failed");
                return;
            }
            for _ in 0..ACTIONS_PER_YIELD {
                match socket.try_recv_from(&mut buffer) {
                    Ok((length, from)) => self.take_datagram(&socket, from, &buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // It says something about somebody to whom we have sent.
                    Err(_) => {}
                }
            }
            self.post_leaves();
            tokio::task::yield_now().await;
        }
    }

    /// Acts on one, or counts it as ignored.
    fn take_datagram(self: &Rc<Self>, socket: &UdpSocket, from: SocketAddr, bytes: &[u8]) {
        let now = clock::now();
        let datagram = self.leases.borrow_mut().reader.read(bytes);
        let acted = match datagram {
            Some(Datagram::Hello) => self.give_cookie(socket, from, now),
            Some(Datagram::Renewal(cookie)) => self.renew(socket, from, cookie, bytes.len(), now),
            Some(Datagram::Operation(cookie, text)) => self
                .lease(socket, from, cookie, now)
                .is_some_and(|lease| self.serve_lease(from, lease, text, now)),
            Some(Datagram::Publish(topic, payload)) => self.publish_from(from, topic, payload),
            None => false,
        };
        if !acted {
            self.with(|core, _| core.counters.datagrams_ignored += 1);
        }
    }

    fn give_cookie(&self, socket: &UdpSocket, from: SocketAddr, now: Moment) -> bool {
        let cookie = self.leases.borrow().jar.bake(from, now);
        let answer = [&[JSON], reply::cookie(&cookie.to_string()).as_bytes()].concat();
        socket.try_send_to(&answer, from).is_ok()
    }

    /// A sign of life of one who has a lease, answered with one.
    fn renew(
        self: &Rc<Self>,
        socket: &UdpSocket,
        from: SocketAddr,
        cookie: Cookie,
        bytes: usize,
        now: Moment,
    ) -> bool {
        let leases = self.leases.borrow();
        let Some(id) =
            leases.by_address.get(&from).filter(|lease| lease.cookie == cookie).map(|lease| lease.id)
        else {
            return false;
        };
        drop(leases);
        self.with(|core, _| core.is_here(id).then(|| core.heard(id.slot, bytes, now))).is_some()
            && socket.try_send_to(&[HEARTBEAT], from).is_ok()
    }

    /// Takes the lease of that address out to be served, or begins one.
    fn lease(
        self: &Rc<Self>,
        socket: &UdpSocket,
        from: SocketAddr,
        cookie: Cookie,
        now: Moment,
    ) -> Option<Lease> {
        let mut leases = self.leases.borrow_mut();
        let is_fresh = leases.jar.is_fresh(cookie, from, now);
        if let Some(mut lease) = leases.by_address.remove(&from) {
            if is_fresh {
                lease.cookie = cookie;
            }
            if lease.cookie == cookie {
                return Some(lease);
            }
            leases.by_address.insert(from, lease);
            return None;
        }
        if !is_fresh {
            return None;
        }
        let seat = if self.draining.get() {
            Err("the server is shutting down".to_owned())
        } else {
            leases.seats.take(from.ip()).map_err(|no_seat| no_seat.to_string())
        };
        drop(leases);
        let seat = seat
            .inspect_err(|why| {
                let refusal = Wire::Udp.close(CloseCode::TRY_LATER, why);
                // The address has been proved; if it is lost, the client asks again.
                let _ = socket.try_send_to(&refusal[LENGTH_BYTES..], from);
            })
            .ok()?;
        let rights = Rights {
            is_local: from.ip().to_canonical().is_loopback(),
            may_publish: self.settings.udp_publish_from.contain(from.ip()),
        };
        let session = Session::new(Endpoint::Session, rights, &self.settings.limits, now);
        let id = self.take_in(from, String::new(), Some(seat.on_shard(&self.handle.seats)), None);
        Some(Lease { id, cookie, session })
    }

    /// A connection that is sent datagrams, through a socket of its own or the shard's.
    pub(super) fn take_in(
        self: &Rc<Self>,
        peer: SocketAddr,
        path: String,
        seat: Option<Seat>,
        own: Option<Rc<UdpSocket>>,
    ) -> ConnectionId {
        let about = Client {
            peer,
            path: path.into_boxed_str(),
            identity: None,
            wire: Wire::Udp,
            is_publisher: false,
            _seat: seat,
        };
        let visitor = self.with(|core, sockets| {
            let id = core.adopt(Encoding::Tcp, Encoding::Tcp, clock::now());
            core.send_datagrams_to(id);
            let visitor = about.visitor(id);
            sockets.udp.insert(id.slot, about, own);
            visitor
        });
        let id = visitor.id;
        self.register(Entry::Connected(visitor));
        id
    }

    /// Such a connection has ended.
    pub(super) fn let_go_of_lease(&self, holder: &Holder, reason: Reason) {
        if holder.is_group() && !self.draining.get() {
            let (group, reason) = (holder.about.peer, reason.as_str());
            tracing::warn!(%group, reason, "a multicast group is sent nothing any more");
        }
        self.leases.borrow_mut().by_address.remove(&holder.about.peer);
    }

    /// True when the operation was acted on, whatever the answer is. Should it panic, the lease is closed and counted, and
    /// no other.
    fn serve_lease(self: &Rc<Self>, from: SocketAddr, mut lease: Lease, text: Bytes, now: Moment) -> bool {
        let id = lease.id;
        let acted = catch_unwind(AssertUnwindSafe(|| {
            let may = self.with(|core, _| {
                core.is_here(id).then(|| core.heard(id.slot, text.len(), now));
                core.may_read(id)
            });
            may && {
                let who = Who { id, identity: None };
                let (limits, diagnostics) = (&self.settings.limits, &self.settings.diagnostics);
                let action = lease.session.interpret(Inbound::Text(text), who, limits, diagnostics, now);
                self.act_now(id, action, now)
            }
        }));
        let acted = acted.unwrap_or_else(|_| {
            tracing::error!(connection = %id, "a connection's code panicked; the connection is closed");
            self.close_panicked(id);
            true
        });
        if self.with(|core, _| core.is_here(id)) {
            self.leases.borrow_mut().by_address.insert(from, lease);
        }
        acted
    }

    /// Does what an operation asks, if there is room for that now.
    fn act_now(self: &Rc<Self>, id: ConnectionId, action: Action, now: Moment) -> bool {
        let (request, is_owed, heartbeat_s) = match action {
            Action::Publish { topic, payload, options, receipt } => {
                let is_owed = receipt.is_owed();
                match self.publisher.request(topic, payload, options, Some(receipt)) {
                    Ok(request) => (request, is_owed, None),
                    Err(_) => return false,
                }
            }
            Action::Post { request, heartbeat_s } => (request, true, heartbeat_s),
            Action::Nothing => return true,
            Action::Panic => panic!("asked to, by the panic operation"),
            action => {
                // Whether more may be read is asked before the next.
                let _ = self.answer(id, action);
                return true;
            }
        };
        let is_posted = self.publisher.post(request).is_ok();
        if is_posted && is_owed {
            self.with(|core, _| {
                core.owe_answer(id.slot);
                heartbeat_s.into_iter().for_each(|every_s| core.set_heartbeat(id.slot, every_s, now));
            });
        }
        is_posted
    }

    /// A message by datagram, from where that is allowed; there is no answer.
    fn publish_from(&self, from: SocketAddr, topic: TopicName, payload: Bytes) -> bool {
        let request = || self.publisher.request(topic, Payload::sniff(payload), None, None);
        let offer = |request: Request| self.publisher.offer(request);
        self.settings.udp_publish_from.contain(from.ip())
            && request().and_then(offer).is_ok_and(|accepted| accepted == Accepted::Yes)
    }
}
