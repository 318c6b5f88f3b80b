//! What clients send, whichever way: things that came whole.

use super::tcp;
use super::websocket;
use crate::message::wire::Wire;
use crate::protocol::close::{CloseCode, Reason};
use crate::protocol::topic::TopicName;
use bytes::Bytes;

/// Something a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    Text(Bytes),
    Binary(Bytes),
    /// A message for a topic that it names.
    Publish(TopicName, Bytes),
    Ping(Bytes),
    Pong,
    /// It cannot be understood; what follows can.
    Malformed(&'static str, String),
    /// The client closes, with this code if it gave one.
    Close(CloseCode),
    /// The client broke the protocol; nothing after it can be understood.
    Violation(Reason, CloseCode, String),
}

/// Makes whole things of what comes in pieces; lives, in a box, only while one is half-read.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Decoder {
    WebSocket(websocket::decoder::Decoder),
    Tcp(tcp::Decoder),
}

impl Decoder {
    /// A decoder for a client of a stream whose messages have at most so many bytes.
    pub(crate) fn new(wire: Wire, message_bytes_max: usize) -> Self {
        match wire {
            Wire::WebSocket => Self::WebSocket(websocket::decoder::Decoder::new(message_bytes_max)),
            Wire::Tcp | Wire::Udp => Self::Tcp(tcp::Decoder::new(message_bytes_max)),
        }
    }

    /// Adds bytes from the socket.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::WebSocket(decoder) => decoder.feed(bytes),
            Self::Tcp(decoder) => decoder.feed(bytes),
        }
    }

    /// The next whole thing among the bytes fed so far.
    pub(crate) fn next(&mut self) -> Option<Inbound> {
        match self {
            Self::WebSocket(decoder) => decoder.next(),
            Self::Tcp(decoder) => decoder.next(),
        }
    }

    /// True exactly when it holds nothing of a message: it may be dropped, and a new one made for the next.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Self::WebSocket(decoder) => decoder.is_idle(),
            Self::Tcp(decoder) => decoder.is_idle(),
        }
    }
}
