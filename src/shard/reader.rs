//! Reading a connection: the one seam between a socket's bytes and what the shard does about them.
//!
//! For now a task a connection with a small codec. Bytes arrive in the shard's one buffer; what a connection
//! keeps while idle is the task, the codec and no more.

use super::outbound::Control;
use super::shell::Shell;
use crate::clock;
use crate::ids::ConnectionId;
use crate::limits::ACTIONS_PER_YIELD;
use crate::mailbox::Refused;
use crate::protocol::close::Reason;
use crate::protocol::reply;
use crate::protocol::target::Endpoint;
use crate::transport::session::{Action, Session};
use crate::transport::websocket::decoder::Decoder;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Reads until the connection ends.
pub(super) async fn read(
    shell: Rc<Shell>,
    id: ConnectionId,
    stream: Rc<TcpStream>,
    endpoint: Endpoint,
    peer: SocketAddr,
) {
    let limits = &shell.settings.limits;
    let mut decoder = Decoder::new(limits.message_bytes);
    let mut session = Session::new(endpoint, peer.ip().is_loopback(), limits, clock::now());
    let mut actions = 0;
    'reading: while receive(&shell, id, &stream, |bytes| decoder.feed(bytes)).await.is_some() {
        loop {
            shell.until_readable(id).await;
            let Some(inbound) = decoder.next() else { break };
            let action = session.interpret(inbound, id, limits, &shell.settings.diagnostics, clock::now());
            if shell.act(id, action).await.is_break() {
                // What still comes is read and thrown away: unread bytes would turn the close into a reset.
                while receive(&shell, id, &stream, |_| ()).await.is_some() {}
                break 'reading;
            }
            actions += 1;
            if actions % ACTIONS_PER_YIELD == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
    shell.with(|core, _| {
        if core.is_here(id) {
            core.end(id.slot, Reason::Client, false);
        }
    });
}

/// Waits for bytes and gives them to `take`; `None` at the end of the stream.
async fn receive(
    shell: &Rc<Shell>,
    id: ConnectionId,
    stream: &TcpStream,
    take: impl FnOnce(&[u8]),
) -> Option<()> {
    loop {
        stream.readable().await.ok()?;
        let mut scratch = shell.scratch.borrow_mut();
        match stream.try_read(&mut scratch) {
            Ok(0) => return None,
            Ok(read) => {
                take(&scratch[..read]);
                drop(scratch);
                return shell
                    .with(|core, _| core.is_here(id).then(|| core.heard(id.slot, read, clock::now())));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                drop(scratch);
                shell.with(|core, _| core.is_here(id).then(|| core.end(id.slot, Reason::Socket, true)));
                return None;
            }
        }
    }
}

impl Shell {
    /// Waits while the connection may not be read.
    async fn until_readable(self: &Rc<Self>, id: ConnectionId) {
        while !self.with(|core, _| core.may_read(id)) {
            let readable = Rc::new(Notify::new());
            self.paused.borrow_mut().insert(id.slot, readable.clone());
            readable.notified().await;
        }
    }

    /// Does what a message asks; breaks when nothing more is to be read.
    async fn act(self: &Rc<Self>, id: ConnectionId, action: Action) -> ControlFlow<()> {
        let slot = id.slot;
        let now = clock::now();
        match action {
            Action::Publish { topic, payload, receipt } => {
                if receipt.is_owed() {
                    self.with(|core, _| core.is_here(id).then(|| core.owe_answer(slot)));
                }
                // Names were checked and sizes bounded on the way in, so what can fail here is only a server
                // that is going down. With the queue full this connection is not read: its message waits here.
                let Ok(request) = self.publisher.request(topic, payload, Some(receipt)) else {
                    return ControlFlow::Break(());
                };
                match self.publisher.post(request) {
                    Ok(()) => {}
                    Err(Refused::Closed(_)) => return ControlFlow::Break(()),
                    // Boxed: the wait is rare, and its room would otherwise be kept by every idle connection.
                    Err(Refused::Full(request)) => {
                        if Box::pin(self.publisher.send(request)).await.is_err() {
                            return ControlFlow::Break(());
                        }
                    }
                }
            }
            Action::Post { request, heartbeat_s } => {
                let is_here = self.with(|core, _| {
                    let is_here = core.is_here(id);
                    if is_here {
                        core.owe_answer(slot);
                        heartbeat_s.into_iter().for_each(|every_s| core.set_heartbeat(slot, every_s, now));
                    }
                    is_here
                });
                if is_here {
                    self.post(request, None);
                }
            }
            Action::Nothing => {}
            Action::Panic => panic!("asked to, by the panic operation"),
            action => {
                return self.with(|core, sockets| {
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
                        _ => {}
                    }
                    ControlFlow::Continue(())
                });
            }
        }
        ControlFlow::Continue(())
    }
}
