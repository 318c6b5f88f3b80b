//! Reading: the one seam between sockets' bytes and what the shard does about them.
//!
//! One task reads for all connections. Bytes arrive in the shard's one buffer, and a decoder lives only while a
//! message is half-read: an idle connection owns an [`Inlet`] and no task, no codec and no buffer.
//!
//! ```text
//!   poller names slots ─► turns ─► serve: receive, decode, act, at most 32 actions ─► idle
//!                           ▲                                    │
//!                           └── more to do · room again · may be read again
//! ```

use super::Shell;
use super::poller::Poller;
use super::socket_table::Socket;
use crate::clock::{self, Moment};
use crate::ids::{ConnectionId, Slot};
use crate::limits::ACTIONS_PER_YIELD;
use crate::mailbox::Refused;
use crate::protocol::close::Reason;
use crate::protocol::reply;
use crate::sequencer::request::Request;
use crate::shard::queue::entry::Control;
use crate::transport::inbound::Decoder;
use crate::transport::session::{Action, Session, Who};
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// One connection's reading side.
#[derive(Debug)]
pub(super) struct Inlet {
    id: ConnectionId,
    socket: Rc<Socket>,
    session: Session,
    /// While a message is half-read.
    decoder: Option<Box<Decoder>>,
    /// When that began, or we began to read again.
    half_read_since: Moment,
    /// True exactly when somebody looks at its deadline.
    is_watched: bool,
    /// True exactly when we do not read, whatever has come.
    is_kept_waiting: bool,
    /// A request on its way to the sequencer; nothing more is read before it has found room there.
    held: Option<Box<Request>>,
    /// What is refused of that is told before the client's close is answered.
    has_published: bool,
    /// True exactly when what still comes is thrown away: unread bytes would turn the close into a reset.
    is_discarding: bool,
    /// True exactly when it stands among those to be served.
    is_ready: bool,
}

/// Why serving a connection stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    /// Nothing more has come: the poller will name it again.
    Idle,
    /// It has had its turn.
    More,
    /// It holds a request until the sequencer has room.
    Stalled,
    /// It may not be read until the core says so.
    Paused,
    /// Its connection has ended.
    Gone,
}

impl Inlet {
    pub(super) fn new(id: ConnectionId, socket: Rc<Socket>, session: Session) -> Self {
        Self {
            id,
            socket,
            session,
            decoder: None,
            half_read_since: Moment::default(),
            is_watched: false,
            is_kept_waiting: false,
            held: None,
            has_published: false,
            is_discarding: false,
            is_ready: false,
        }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }
}

impl Shell {
    /// Reads for all connections, in turns, for as long as the shard lives and its poller works.
    pub(super) async fn read(self: Rc<Self>, mut poller: Poller) {
        loop {
            let name = |slot, has_hung_up| self.make_ready(slot, has_hung_up);
            // Who has just said something is named before all of those who wait have been served.
            let named = if self.has_ready() {
                poller.look(name)
            } else {
                tokio::select! {
                    named = poller.ready(name) => named,
                    () = self.reading_bell.notified() => Ok(()),
                }
            };
            if let Err(error) = named {
                // Nothing can be read any more: returning ends the shard.
                tracing::error!(%error, "the poller failed");
                return;
            }
            let mut spent = 0;
            while spent < ACTIONS_PER_YIELD
                && let Some(slot) = self.take_ready()
            {
                spent += self.serve(slot);
            }
            if self.has_ready() {
                self.post_leaves();
                tokio::task::yield_now().await;
            }
        }
    }

    /// Connections that hold a request go on when the sequencer has room.
    pub(super) async fn resume_stalled(self: Rc<Self>) {
        loop {
            self.stalled_bell.notified().await;
            self.publisher.ready().await;
            let stalled = std::mem::take(&mut *self.stalled.borrow_mut());
            stalled.into_iter().for_each(|slot| self.make_ready(slot, false));
        }
    }

    /// Puts a connection among those to be served, once.
    pub(super) fn make_ready(&self, slot: Slot, has_hung_up: bool) {
        let mut inlets = self.inlets.borrow_mut();
        if let Some(inlet) =
            inlets.get_mut(slot as usize).and_then(Option::as_mut).filter(|inlet| !inlet.is_ready)
        {
            inlet.is_ready = true;
            self.turns.borrow_mut().push(slot, has_hung_up);
            self.reading_bell.notify_one();
        }
    }

    /// Since when the connection is in the middle of a message that we would read on; `None` when it is not, and nobody
    /// looks at its deadline any more.
    pub(super) fn half_read_since(&self, id: ConnectionId) -> Option<Moment> {
        let mut inlets = self.inlets.borrow_mut();
        let inlet = inlets.get_mut(id.slot as usize)?.as_mut().filter(|inlet| inlet.id == id)?;
        inlet.is_watched = inlet.decoder.is_some() && !inlet.is_discarding;
        let since = if inlet.is_kept_waiting { clock::now() } else { inlet.half_read_since };
        inlet.is_watched.then_some(since)
    }

    fn take_ready(&self) -> Option<Slot> {
        self.turns.borrow_mut().next()
    }

    fn has_ready(&self) -> bool {
        !self.turns.borrow().is_empty()
    }

    /// Serves one connection for a turn; returns how many actions that took, at least one. Should its code panic,
    /// that connection is closed and counted, and no other.
    fn serve(self: &Rc<Self>, slot: Slot) -> usize {
        let Some(mut inlet) = self.inlets.borrow_mut().get_mut(slot as usize).and_then(Option::take) else {
            return 1;
        };
        inlet.is_ready = false;
        if std::mem::take(&mut inlet.is_kept_waiting) {
            inlet.half_read_since = clock::now();
        }
        let id = inlet.id;
        let mut actions = 1;
        let served = catch_unwind(AssertUnwindSafe(|| self.serve_turn(&mut inlet, &mut actions)));
        let served = served.unwrap_or_else(|_| {
            tracing::error!(connection = %id, "a connection's code panicked; the connection is closed");
            self.close_panicked(id);
            inlet.decoder = None;
            inlet.is_discarding = true;
            Served::More
        });
        if served == Served::Gone || !self.with(|core, _| core.is_here(id)) {
            return actions;
        }
        inlet.is_kept_waiting = matches!(served, Served::Stalled | Served::Paused);
        if inlet.decoder.is_some() && !std::mem::replace(&mut inlet.is_watched, true) {
            self.watch_half_read(id, inlet.half_read_since);
        }
        self.inlets.borrow_mut()[slot as usize] = Some(inlet);
        match served {
            Served::More => self.make_ready(slot, false),
            Served::Stalled => {
                // It is we who do not read: its silence is not its own.
                self.with(|core, _| core.heard(slot, 0, clock::now()));
                self.stalled.borrow_mut().push(slot);
                self.stalled_bell.notify_one();
            }
            Served::Idle | Served::Paused | Served::Gone => {}
        }
        actions
    }

    fn serve_turn(self: &Rc<Self>, inlet: &mut Inlet, actions: &mut usize) -> Served {
        let limits = &self.settings.limits;
        while *actions < ACTIONS_PER_YIELD {
            if let Some(request) = inlet.held.take() {
                inlet.is_discarding |= self.hand_in(inlet, *request).is_break();
                if inlet.held.is_some() {
                    return Served::Stalled;
                }
            }
            if !inlet.is_discarding {
                if !self.with(|core, _| core.may_read(inlet.id)) {
                    return Served::Paused;
                }
                if let Some(inbound) = inlet.decoder.as_mut().and_then(|decoder| decoder.next()) {
                    *actions += 1;
                    let now = clock::now();
                    inlet.half_read_since = now;
                    let diagnostics = &self.settings.diagnostics;
                    let who = Who { id: inlet.id, identity: inlet.socket.about.identity.as_ref() };
                    let action = inlet.session.interpret(inbound, who, limits, diagnostics, now);
                    inlet.is_discarding = self.act(inlet, action).is_break();
                    continue;
                }
            }
            if inlet.is_discarding {
                inlet.decoder = None;
            } else if let Some(decoder) = inlet.decoder.take_if(|decoder| decoder.is_idle()) {
                self.decoders.borrow_mut().give_back(decoder);
            }
            match self.receive(inlet) {
                ControlFlow::Continue(()) => *actions += 1,
                ControlFlow::Break(served) => return served,
            }
        }
        Served::More
    }

    /// Takes what has come for a connection into its decoder.
    fn receive(self: &Rc<Self>, inlet: &mut Inlet) -> ControlFlow<Served> {
        let mut scratch = self.scratch.borrow_mut();
        let id = inlet.id;
        match inlet.socket.stream().read(&mut scratch) {
            // Its close is answered by and by, and it is read again then.
            Ok(0) if inlet.is_discarding && !self.with(|core, _| core.is_closing(id.slot)) => {
                ControlFlow::Break(Served::Idle)
            }
            Ok(0) => {
                self.with(|core, _| core.is_here(id).then(|| core.end(id.slot, Reason::Client, false)));
                ControlFlow::Break(Served::Gone)
            }
            Ok(read) => {
                self.with(|core, _| core.is_here(id).then(|| core.heard(id.slot, read, clock::now())));
                if !inlet.is_discarding {
                    let decoder = inlet.decoder.get_or_insert_with(|| {
                        inlet.half_read_since = clock::now();
                        self.decoders.borrow_mut().lend(inlet.socket.about.wire)
                    });
                    decoder.feed(&scratch[..read]);
                }
                ControlFlow::Continue(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ControlFlow::Break(Served::Idle),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => ControlFlow::Continue(()),
            Err(_) => {
                self.with(|core, _| core.is_here(id).then(|| core.end(id.slot, Reason::Socket, true)));
                ControlFlow::Break(Served::Gone)
            }
        }
    }

    /// Does what a message asks; breaks when nothing more is to be read.
    fn act(self: &Rc<Self>, inlet: &mut Inlet, action: Action) -> ControlFlow<()> {
        let id = inlet.id;
        let slot = id.slot;
        let now = clock::now();
        match action {
            Action::Publish { topic, payload, options, receipt } => {
                inlet.has_published = true;
                if receipt.is_owed() {
                    self.with(|core, _| core.is_here(id).then(|| core.owe_answer(slot)));
                }
                // Names were checked and sizes bounded on the way in: this does not fail.
                match self.publisher.request(topic, payload, options, Some(receipt)) {
                    Ok(request) => return self.hand_in(inlet, request),
                    Err(_) => return ControlFlow::Break(()),
                }
            }
            Action::Post { request, heartbeat_s } => {
                self.with(|core, _| {
                    if core.is_here(id) {
                        core.owe_answer(slot);
                        heartbeat_s.into_iter().for_each(|every_s| core.set_heartbeat(slot, every_s, now));
                    }
                });
                return self.hand_in(inlet, request);
            }
            Action::Close { reason: Reason::Client, code, .. }
                if inlet.has_published && !self.with(|core, _| core.is_closing(slot)) =>
            {
                // Posted, or held until there is room: nothing more is acted on.
                let _ = self.hand_in(inlet, Request::Farewell { connection: id, code });
                return ControlFlow::Break(());
            }
            Action::Nothing => {}
            Action::Panic => panic!("asked to, by the panic operation"),
            action => return self.answer(id, action),
        }
        ControlFlow::Continue(())
    }

    /// Posts a request to the sequencer; it is held where that has no room. Breaks when nothing more is to be read.
    fn hand_in(self: &Rc<Self>, inlet: &mut Inlet, request: Request) -> ControlFlow<()> {
        match self.publisher.post(request) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Refused::Full(request)) => {
                inlet.held = Some(Box::new(request));
                ControlFlow::Continue(())
            }
            Err(Refused::Closed(_)) => {
                self.close(inlet.id, Reason::Shutdown, "restart");
                ControlFlow::Break(())
            }
        }
    }

    /// Does what needs the core alone.
    pub(super) fn answer(self: &Rc<Self>, id: ConnectionId, action: Action) -> ControlFlow<()> {
        let (slot, now) = (id.slot, clock::now());
        self.with(|core, sockets| {
            if !core.is_here(id) {
                return ControlFlow::Break(());
            }
            match action {
                Action::Answer(text) => {
                    core.owe_answer(slot);
                    core.answer(slot, text, now, sockets);
                }
                Action::Echo(frame) => {
                    core.owe_answer(slot);
                    core.control(slot, frame, Control::Answer, now, sockets);
                }
                Action::Pong(frame) => core.control(slot, frame, Control::Pong, now, sockets),
                Action::SetCombined(tag, on) => {
                    core.owe_answer(slot);
                    core.set_combined(slot, on, now, sockets);
                    core.answer(slot, reply::done(&tag), now, sockets);
                }
                Action::GetCombined(tag) => {
                    core.owe_answer(slot);
                    let text = reply::told(&tag, core.is_combined(slot));
                    core.answer(slot, text, now, sockets);
                }
                Action::Close { reason, code, text } => {
                    if core.is_closing(slot) && reason == Reason::Client {
                        core.end(slot, reason, false);
                    } else {
                        core.close(slot, reason, code, &text, now, sockets);
                    }
                    return ControlFlow::Break(());
                }
                Action::Publish { .. } | Action::Post { .. } | Action::Panic | Action::Nothing => {}
            }
            ControlFlow::Continue(())
        })
    }
}
