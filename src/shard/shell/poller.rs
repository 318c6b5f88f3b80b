//! The shard's own poller: which of its sockets have something to be read. To tokio it is one descriptor.
//!
//! Edge-triggered: a socket is named once for all that has come, so whoever is named is read until nothing is
//! left, or remembered.

use crate::ids::Slot;
use crate::platform;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Sockets named by one look.
const EVENTS: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub(super) struct Poller {
    poll: AsyncFd<Poll>,
    events: Events,
}

/// Where sockets are entered and struck out.
#[derive(Debug)]
pub(super) struct Watch {
    registry: Registry,
}

impl Poller {
    /// # Errors
    /// The system has no descriptor left.
    pub(super) fn new() -> io::Result<(Self, Watch)> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let poll = platform::await_poll(poll)?;
        Ok((Self { poll, events: Events::with_capacity(EVENTS) }, Watch { registry }))
    }

    /// Waits until some socket has something, and names those, and whether their client has hung up; the next call
    /// names more, if there are.
    pub(super) async fn ready(&mut self, name: impl FnMut(Slot, bool)) -> io::Result<()> {
        let mut guard = self.poll.readable_mut().await?;
        if look(guard.get_inner_mut(), &mut self.events, name)? < EVENTS {
            // That was all; what comes after this look makes the descriptor ready anew.
            guard.clear_ready();
        }
        Ok(())
    }

    /// Names those that have something now.
    pub(super) fn look(&mut self, name: impl FnMut(Slot, bool)) -> io::Result<()> {
        look(self.poll.get_mut(), &mut self.events, name).map(drop)
    }
}

fn look(poll: &mut Poll, events: &mut Events, mut name: impl FnMut(Slot, bool)) -> io::Result<usize> {
    poll.poll(events, Some(Duration::ZERO))?;
    Ok(events.iter().map(|event| name(event.token().0 as Slot, event.is_read_closed())).count())
}

impl Watch {
    pub(super) fn enter(&self, slot: Slot, stream: &TcpStream) -> io::Result<()> {
        self.registry.register(&mut SourceFd(&stream.as_raw_fd()), Token(slot as usize), Interest::READABLE)
    }

    pub(super) fn strike_out(&self, stream: &TcpStream) {
        // It was entered; and were it not, there would be nothing to do.
        let _ = self.registry.deregister(&mut SourceFd(&stream.as_raw_fd()));
    }
}
