//! How a server's stream is read, whatever it speaks: one walker for each way, behind one face.
//!
//! Contract: [`Walk::feed`] takes the bytes as they come and tells the same events for all; what is to be answered to them is
//! asked of the same walker, since it depends on the way of speaking too.

use super::{http, nats, tcp, udp};
use crate::frame;
use crate::walker::{Event, Violation, Walker};

/// A way of speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    WebSocket,
    Tcp,
    /// Datagrams under a lease.
    Udp,
    Nats,
    /// The answers to requests.
    Http,
}

/// The state of one connection between two reads.
#[derive(Debug)]
pub(crate) enum Walk {
    WebSocket(Walker),
    Tcp(tcp::Walker),
    Udp(udp::Walker),
    Nats(nats::Walker),
    Http(http::Walker),
}

impl Walk {
    /// At the beginning of a stream.
    pub(crate) fn new(wire: Wire) -> Self {
        match wire {
            Wire::WebSocket => Self::WebSocket(Walker::default()),
            Wire::Tcp => Self::Tcp(tcp::Walker::default()),
            Wire::Udp => Self::Udp(udp::Walker::default()),
            Wire::Nats => Self::Nats(nats::Walker::default()),
            Wire::Http => Self::Http(http::Walker::default()),
        }
    }

    /// Takes the next bytes, all of them, unless they break the protocol; of datagrams one at a time.
    pub(crate) fn feed(&mut self, bytes: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        match self {
            Self::WebSocket(walker) => walker.feed(bytes, on),
            Self::Tcp(walker) => walker.feed(bytes, on),
            Self::Udp(walker) => walker.feed(bytes, on),
            Self::Nats(walker) => walker.feed(bytes, on),
            Self::Http(walker) => walker.feed(bytes, on),
        }
    }

    /// Appends the answer to a ping.
    pub(crate) fn push_pong(&self, out: &mut Vec<u8>, payload: &[u8]) {
        match self {
            Self::WebSocket(_) => frame::push_pong(out, payload),
            Self::Tcp(_) => tcp::push_frame(out, tcp::HEARTBEAT, &[]),
            Self::Nats(_) => out.extend_from_slice(nats::PONG),
            Self::Udp(_) | Self::Http(_) => {}
        }
    }

    /// Appends a leave-taking, where there is one.
    pub(crate) fn push_close(&self, out: &mut Vec<u8>, code: Option<u16>) {
        if let Self::WebSocket(_) = self {
            frame::push_close(out, code);
        }
    }
}
