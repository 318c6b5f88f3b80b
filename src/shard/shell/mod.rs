//! The shard's shell: what its tasks share. All of them run on the shard's one thread.
//!
//! The core is borrowed for one call at a time, never across an `await`; what it leaves to be done is done
//! before the borrow's caller goes on.
//!
//! [`driver`] is the duty cycle; [`reader`] reads, over [`poller`] and [`turns`], with [`deadlines`] for what is
//! half-read; [`sockets`] writes, over [`socket_table`], [`uring`] and [`udp`]; [`discarded`] closes. [`leases`] are
//! those who come by datagram, [`groups`] multicast.

mod client;
mod commanded;
mod deadlines;
mod discarded;
pub(crate) mod driver;
pub(crate) mod groups;
mod leases;
pub(crate) mod outfit;
mod poller;
mod reader;
mod socket_table;
mod sockets;
mod turns;
mod udp;
mod uring;

use crate::clock::{self, Moment};
use crate::config::Settings;
use crate::door::admission::Admitted;
use crate::ids::{ConnectionId, Slot};
use crate::limits::{READ_BYTES, TICK_SLOTS_PER_YIELD};
use crate::mailbox::Refused;
use crate::platform::{self, SharedSocket};
use crate::protocol::close::Reason;
use crate::protocol::reply::Tag;
use crate::protocol::target::Endpoint;
use crate::sequencer::publisher::Publisher;
use crate::sequencer::request::Request;
use crate::shard::core::Shard;
use crate::shard::core::writer::{Effect, Ended};
use crate::shard::directory::ShardHandle;
use crate::shard::register::{Entry, Register, Visit};
use crate::transport::inbound::Decoders;
use crate::transport::session::{Rights, Session};
use client::Client;
use deadlines::Deadlines;
use discarded::Discarded;
use futures_util::FutureExt as _;
use leases::Leases;
use outfit::Outfit;
use poller::Watch;
use reader::Inlet;
use socket_table::{Socket, SocketTable};
use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use turns::Turns;
use udp::Udp;
use uring::Uring;

/// See the module.
#[derive(Debug)]
struct Shell {
    core: RefCell<Shard>,
    sockets: RefCell<SocketTable>,
    handle: ShardHandle,
    publisher: Publisher,
    settings: Arc<Settings>,
    register: Arc<Register>,
    /// Connections whose URL's subscriptions found the sequencer's queue full, in order; not read meanwhile.
    waiting: RefCell<VecDeque<Greeting>>,
    waiting_bell: Notify,
    /// True exactly when the poster has one in hand or waiting: others queue behind it.
    is_posting: Cell<bool>,
    watch: Watch,
    /// The reading side of every connection, by slot; taken out while it is served.
    inlets: RefCell<Vec<Option<Box<Inlet>>>>,
    /// Who is to be served next, and what the reading task sleeps on.
    turns: RefCell<Turns>,
    reading_bell: Notify,
    /// Who holds a publish for which the sequencer had no room.
    stalled: RefCell<Vec<Slot>>,
    stalled_bell: Notify,
    /// Where every connection's bytes arrive first.
    scratch: RefCell<Box<[u8]>>,
    decoders: RefCell<Decoders>,
    deadlines: RefCell<Deadlines>,
    discarded: Discarded,
    leases: RefCell<Leases>,
    /// True exactly when the server goes down: nobody new is taken in.
    draining: Cell<bool>,
    /// When connections that have not closed by themselves are let go, once the end mark has come.
    finish_by: Cell<Moment>,
}

/// A handshake to be answered once the URL's subscriptions are posted.
#[derive(Debug)]
struct Greeting {
    id: ConnectionId,
    answer: Vec<u8>,
    request: Request,
}

impl Shell {
    fn new(outfit: Outfit, datagrams: Option<Rc<UdpSocket>>, watch: Watch) -> Self {
        let Outfit { handle, publisher, settings, register, seats, slots, .. } = outfit;
        let uring = Uring::new(handle.id, settings.flush.io);
        let decoders = RefCell::new(Decoders::new(settings.limits.message_bytes));
        Self {
            core: RefCell::new(Shard::new(handle.id, settings.limits.clone(), slots)),
            sockets: RefCell::new(SocketTable::new(slots, uring, Udp::new(datagrams))),
            handle,
            publisher,
            settings,
            register,
            waiting: RefCell::default(),
            waiting_bell: Notify::new(),
            is_posting: Cell::new(false),
            watch,
            inlets: RefCell::new(Vec::with_capacity(slots)),
            turns: RefCell::default(),
            reading_bell: Notify::new(),
            stalled: RefCell::default(),
            stalled_bell: Notify::new(),
            scratch: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            decoders,
            deadlines: RefCell::default(),
            discarded: Discarded::new(clock::now()),
            leases: RefCell::new(Leases::new(seats)),
            draining: Cell::new(false),
            finish_by: Cell::new(Moment::default()),
        }
    }

    /// Calls the core, then does what it left to be done.
    fn with<T>(self: &Rc<Self>, call: impl FnOnce(&mut Shard, &mut SocketTable) -> T) -> T {
        let result = call(&mut self.core.borrow_mut(), &mut self.sockets.borrow_mut());
        loop {
            let effects = std::mem::take(&mut self.core.borrow_mut().effects);
            if effects.is_empty() {
                break;
            }
            effects.into_iter().for_each(|effect| self.perform(effect));
        }
        // The leaves of many who go at once are told together: a wake-up of the sequencer each would cost 5 us.
        if self.turns.borrow().is_empty() {
            self.post_leaves();
        }
        self.post_asks();
        result
    }

    /// The core, to be looked at.
    fn core(&self) -> Ref<'_, Shard> {
        self.core.borrow()
    }

    /// The sockets, to be looked at.
    fn sockets(&self) -> Ref<'_, SocketTable> {
        self.sockets.borrow()
    }

    fn perform(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Blocked(slot) => self.start_drainer(slot),
            Effect::Finished(slot) => self.sockets.borrow().finish(slot),
            Effect::Ended(ended) => self.let_go(&ended),
            Effect::Readable(slot) => self.make_ready(slot, false),
        }
    }

    /// Lets the socket of a connection go that has ended, and tells who it was.
    fn let_go(&self, ended: &Ended) {
        let id = ended.id;
        let socket = self.sockets.borrow_mut().remove(id.slot, ended.reset);
        let holder = self.sockets.borrow_mut().udp.remove(id.slot);
        let about = socket.as_ref().map(|socket| &socket.about);
        if let Some(about) = about.or(holder.as_ref().map(|holder| &*holder.about)) {
            let identity = about.identity.as_ref();
            self.core.borrow_mut().exits.extend(identity.map(|identity| (id, identity.topic().clone())));
            let visit = Visit::new(about.visitor(id), ended, clock::now() - ended.opened);
            self.register(Entry::Disconnected(Box::new(visit)));
        }
        if let Some(socket) = socket {
            self.watch.strike_out(socket.stream());
            self.discarded.push(socket);
        }
        if let Some(holder) = holder {
            self.let_go_of_lease(&holder, ended.reason);
        }
        if let Some(place) = self.inlets.borrow_mut().get_mut(id.slot as usize) {
            *place = None;
        }
    }

    fn register(&self, entry: Entry) {
        if !self.register.enter(entry) {
            self.core.borrow_mut().counters.unregistered += 1;
        }
    }

    /// Tells the sequencer who left; what does not fit stays, coalesced per topic, for the next call.
    fn post_leaves(&self) {
        let mut core = self.core.borrow_mut();
        let leaves = &mut core.leaves;
        while let Some((topic, count)) = leaves.pop_first() {
            let leave = Request::Leave { shard: self.handle.id, topic, count };
            if let Err(Refused::Full(_)) = self.publisher.post(leave) {
                leaves.insert(topic, count);
                return;
            }
        }
        drop(core);
        self.post_unwatched();
        self.post_exits();
    }

    /// Tells it which sessions with an identity have ended.
    fn post_exits(&self) {
        let exits = &mut self.core.borrow_mut().exits;
        while let Some((connection, identity)) = exits.pop() {
            let exit = Request::Exit { connection, identity: identity.clone() };
            if let Err(Refused::Full(_)) = self.publisher.post(exit) {
                exits.push((connection, identity));
                break;
            }
        }
    }

    /// Tells it which patterns ended, in the same way.
    fn post_unwatched(&self) {
        let unwatched = &mut self.core.borrow_mut().wildcards.unwatched;
        while let Some((pattern, count)) = unwatched.pop_first() {
            let unwatch = Request::Unwatch { shard: self.handle.id, pattern: pattern.clone(), count };
            if let Err(Refused::Full(_)) = self.publisher.post(unwatch) {
                unwatched.insert(pattern, count);
                break;
            }
        }
    }

    /// Asks the sequencer for the next pieces of replays; what does not fit stays, in order, for the next call.
    fn post_asks(&self) {
        let asks = &mut self.core.borrow_mut().replays.asks;
        while let Some(ask) = asks.pop_front() {
            if let Err(Refused::Full(_)) = self.publisher.post(Request::Replay(Box::new(ask))) {
                asks.push_front(ask);
                break;
            }
        }
    }

    /// Posts a URL's subscriptions, then answers the handshake; behind others that wait, if there are any.
    fn greet_behind(self: &Rc<Self>, id: ConnectionId, answer: Vec<u8>, request: Request) {
        let refused =
            if self.is_posting.get() { Err(Refused::Full(request)) } else { self.publisher.post(request) };
        match refused {
            Ok(()) => self.greet(id, answer),
            Err(Refused::Full(request)) => {
                self.waiting.borrow_mut().push_back(Greeting { id, answer, request });
                self.is_posting.set(true);
                self.waiting_bell.notify_one();
            }
            // Going down: a handshake that is not answered says so.
            Err(Refused::Closed(_)) => self.with(|core, _| core.end(id.slot, Reason::Shutdown, true)),
        }
    }

    /// The poster: sends what waits, in order, as the sequencer makes room.
    async fn post_waiting(self: Rc<Self>) {
        loop {
            while let Some(Greeting { id, answer, request }) = self.take_waiting() {
                if self.publisher.send(request).await.is_ok() {
                    self.greet(id, answer);
                } else {
                    self.with(|core, _| core.is_here(id).then(|| core.end(id.slot, Reason::Shutdown, true)));
                }
                self.is_posting.set(!self.waiting.borrow().is_empty());
            }
            self.waiting_bell.notified().await;
        }
    }

    fn take_waiting(&self) -> Option<Greeting> {
        self.waiting.borrow_mut().pop_front()
    }

    fn greet(self: &Rc<Self>, id: ConnectionId, answer: Vec<u8>) {
        self.with(|core, sockets| core.greet(id, answer, clock::now(), sockets));
    }

    /// Takes in a socket that has passed the door.
    fn adopt(self: &Rc<Self>, admitted: Admitted) {
        let Admitted { stream, peer, path, target, answer, seat } = admitted;
        if self.draining.get() {
            // It came through the door just before that was shut.
            let _ = (&stream).write(&crate::door::refusal::shut(target.encoding.wire()));
            return;
        }
        let session =
            Session::new(target.endpoint.clone(), Rights::of(peer.ip()), &self.settings.limits, clock::now());
        let is_publisher = matches!(target.endpoint, Endpoint::Publish(..));
        let about = Client {
            peer,
            path: path.into_boxed_str(),
            identity: target.identity,
            wire: target.encoding.wire(),
            is_publisher,
            _seat: Some(seat),
        };
        let socket = Rc::new(Socket::new(stream, about));
        let id = self.with(|core, sockets| {
            let id = core.adopt(target.encoding, target.combined, clock::now());
            sockets.insert(id.slot, socket.clone());
            id
        });
        self.register(Entry::Connected(socket.about.visitor(id)));
        if let Err(error) = self.watch.enter(id.slot, socket.stream()) {
            tracing::warn!(%peer, %error, "cannot take in a connection");
            self.with(|core, _| core.end(id.slot, Reason::Socket, true));
            return;
        }
        let (identity, wishes) = (socket.about.identity.as_ref(), target.wishes);
        let request = match identity.map(|identity| identity.topic().clone()) {
            Some(identity) => Some(Request::Enter { connection: id, identity, wishes }),
            None if wishes.is_empty() => None,
            None => Some(Request::Subscribe { connection: id, tag: Tag::Silent, wishes }),
        };
        self.admit_inlet(Inlet::new(id, socket, session));
        match request {
            None => self.greet(id, answer),
            Some(request) => self.greet_behind(id, answer, request),
        }
    }

    fn admit_inlet(&self, inlet: Inlet) {
        let slot = inlet.id().slot as usize;
        let mut inlets = self.inlets.borrow_mut();
        if slot >= inlets.len() {
            inlets.resize_with(slot + 1, || None);
        }
        inlets[slot] = Some(Box::new(inlet));
    }

    /// Closes a connection, if it is still here; says whether it was.
    fn close(self: &Rc<Self>, id: ConnectionId, reason: Reason, text: &str) -> bool {
        self.with(|core, sockets| core.close_if_here(id, reason, text, clock::now(), sockets))
    }

    /// Closes a connection whose own code has panicked; it is counted, and no other is touched.
    fn close_panicked(self: &Rc<Self>, id: ConnectionId) {
        self.close(id, Reason::Panic, "internal error");
    }

    /// The writer task of a connection behind a full socket: drains its queue as the socket takes bytes.
    fn start_drainer(self: &Rc<Self>, slot: Slot) {
        let Some(id) = self.core.borrow().id_of(slot) else { return };
        let Some(socket) = self.sockets.borrow().get(slot).cloned() else { return };
        let shell = self.clone();
        let draining = async move {
            let drained = async {
                let socket = platform::await_socket(socket)?;
                let drain = |_: &SharedSocket<Client>| {
                    let done = shell
                        .with(|core, sockets| !core.is_here(id) || core.drain(slot, clock::now(), sockets));
                    if done { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
                };
                socket.async_io(Interest::WRITABLE, drain).await
            };
            match AssertUnwindSafe(drained).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err::<(), io::Error>(_)) => {
                    shell.with(|core, _| core.is_here(id).then(|| core.end(slot, Reason::Socket, true)));
                }
                Err(_) => {
                    tracing::error!(connection = %id, "a writer's task panicked; the connection is closed");
                    shell.close_panicked(id);
                }
            }
        };
        let drainer = tokio::task::spawn_local(draining).abort_handle();
        self.sockets.borrow_mut().set_drainer(slot, drainer);
    }

    /// What is to be done once a second, in turns.
    async fn tick(self: Rc<Self>) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            self.close_half_read(clock::now());
            let mut next = Some(0);
            while let Some(slot) = next {
                next =
                    self.with(|core, sockets| core.tick(slot, TICK_SLOTS_PER_YIELD, clock::now(), sockets));
                tokio::task::yield_now().await;
            }
        }
    }
}
