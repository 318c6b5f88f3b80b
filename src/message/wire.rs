//! The wires: how frames that carry no message are written on each.

use super::{Encoding, frame, tcp};
use crate::protocol::close::CloseCode;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// RFC 6455.
    WebSocket,
    /// Length-prefixed frames.
    Tcp,
    /// Datagrams: the same frames, each in one of its own, which leaves the length off as it goes.
    Udp,
}

impl Encoding {
    /// The wire it belongs to; datagrams have that of TCP.
    pub fn wire(self) -> Wire {
        if self == Self::Tcp { Wire::Tcp } else { Wire::WebSocket }
    }
}

impl Wire {
    /// As reports name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// True exactly when messages come with their topic's alias, which is to be told.
    pub fn has_aliases(self) -> bool {
        self != Self::WebSocket
    }

    /// An answer or an event.
    pub fn text(self, text: &str) -> Vec<u8> {
        match self {
            Self::WebSocket => frame::frame(frame::TEXT, text.as_bytes()),
            Self::Tcp | Self::Udp => tcp::frame(tcp::JSON, text.as_bytes()),
        }
    }

    /// The last frame.
    pub fn close(self, code: CloseCode, reason: &str) -> Vec<u8> {
        match self {
            Self::WebSocket => frame::close(code, reason),
            Self::Tcp | Self::Udp => tcp::close(code, reason),
        }
    }

    /// A question whether the other side is there, or a sign that this one is.
    pub fn ping(self) -> Vec<u8> {
        match self {
            Self::WebSocket => frame::frame(frame::PING, b""),
            Self::Tcp | Self::Udp => tcp::frame(tcp::HEARTBEAT, b""),
        }
    }
}
