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
}

impl Encoding {
    /// The wire it belongs to.
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
        }
    }

    /// An answer or an event.
    pub fn text(self, text: &str) -> Vec<u8> {
        match self {
            Self::WebSocket => frame::frame(frame::TEXT, text.as_bytes()),
            Self::Tcp => tcp::frame(tcp::JSON, text.as_bytes()),
        }
    }

    /// The last frame.
    pub fn close(self, code: CloseCode, reason: &str) -> Vec<u8> {
        match self {
            Self::WebSocket => frame::close(code, reason),
            Self::Tcp => tcp::close(code, reason),
        }
    }

    /// A question whether the other side is there, or a sign that this one is.
    pub fn ping(self) -> Vec<u8> {
        match self {
            Self::WebSocket => frame::frame(frame::PING, b""),
            Self::Tcp => tcp::frame(tcp::HEARTBEAT, b""),
        }
    }
}
